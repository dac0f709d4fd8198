/* SPDX-License-Identifier: MIT */
#include "mqtt_peer.h"

static void broker_restart_is_survived(void **state)
{
    struct scene scene;
    int mid;

    (void)state;
    scene_open(&scene, server.tcp_url, RELEASE);
    fixture_end(server.mosquitto, SIGKILL);
    run_until(&scene, lane_down, 5000);
    run_until(&scene, publisher_down, 5000);
    assert_int_equal(mqtt_publish(scene.publisher.mqtt, "unit/extra", "x", 1, 1, false, &mid),
                     ERR_CLOSED);
    assert_int_equal(mqtt_publish_room(scene.publisher.mqtt), 0);
    assert_true(start_broker());
    run_until(&scene, all_up, 10000);
    assert_false(scene.lane.session_present);
    assert_int_equal(scene.lane.ups, 2);
    feed(&scene, 10); /* the lane has subscribed again */
    run_until(&scene, got_wanted, 5000);
    scene_close(&scene);
}

static void silent_broker_is_noticed_by_keep_alive(void **state)
{
    struct mqtt_config config = publisher_config(server.unix_url);
    struct scene scene;
    int64_t start_ms;

    (void)state;
    config.keepalive_s = 5;
    scene_init(&scene);
    open_publisher(&scene, &config);
    run_until(&scene, all_up, 10000);
    kill(server.mosquitto, SIGSTOP);
    start_ms = clock_boot_ms();
    run_until(&scene, publisher_down, 15000);
    assert_true(clock_boot_ms() - start_ms < 12000);
    kill(server.mosquitto, SIGCONT);
    run_until(&scene, all_up, 15000);
    scene_close(&scene);
}

/* Fault matrix 17: what answers is no broker, or has lost its mind. */
static void garbage_from_the_broker_is_survived(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
    } answers[] = {
        {"HTTP/1.1 400 Bad Request\r\n\r\n", 28},
        {"\x20\xff\xff\xff\xff\xff", 6},                      /* a length without an end */
        {"\x20\x03\x00\x87\x00", 5},                          /* refused: not authorised */
        {"\x20\x03\x00\x00\x05\x11\x22", 7},                  /* properties cut short */
        {"\x20\x03\x00\x00\x00\x30\x02\xff\xff", 9},          /* accepted, then half a PUBLISH */
        {"\x20\x03\x00\x00\x00\x90\x04\x00\x01\x00\x87", 11}, /* subscription refused */
        {"\x20\x03\x00\x00\x00\xe0\x01\x8e", 8},              /* accepted, then taken over */
        {"", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t length = sizeof address;
        int listener = socket(AF_INET, SOCK_STREAM, 0);
        char url[64];
        struct scene scene;
        struct mqtt_config config;
        int fd;

        assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
        assert_int_equal(listen(listener, 8), 0);
        assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
        snprintf(url, sizeof url, "mqtt://127.0.0.1:%d", ntohs(address.sin_port));
        config = lane_config(url);
        scene_init(&scene);
        open_lane(&scene, &config, RELEASE);
        run_for(&scene, never, 30);
        fd = accept(listener, NULL, NULL);
        assert_int_equal(send(fd, answers[i].bytes, answers[i].length, MSG_NOSIGNAL),
                         (ssize_t)answers[i].length);
        run_for(&scene, never, 30);
        close(fd);
        run_for(&scene, never, 30);
        assert_int_equal(scene.lane.messages, 0);
        assert_int_equal(scene.lane.ups, scene.lane.downs);
        mqtt_close(scene.lane.mqtt);
        loop_free(scene.loop);
        close(listener);
    }
}

static void bad_addresses_keep_it_down(void **state)
{
    static const char *const urls[] = {"mqtt://",
                                       "http://localhost:1883",
                                       "mqtt://host:port",
                                       "mqtt://no-such-host.invalid",
                                       "unix:/no/such/socket",
                                       "mqtt://[::1",
                                       "mqtt://h:70000",
                                       "mqtt://127.0.0.1:1/path"};

    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct mqtt_config config = publisher_config(urls[i]);
        struct scene scene;

        scene_init(&scene);
        open_publisher(&scene, &config);
        assert_false(run_for(&scene, all_up, 30));
        mqtt_close(scene.publisher.mqtt);
        loop_free(scene.loop);
        assert_int_equal(scene.publisher.downs, 0);
    }
}

static void names_with_several_addresses_are_tried_in_turn(void **state)
{
    struct mqtt_config config;
    struct scene scene;
    char url[64];

    (void)state;
    snprintf(url, sizeof url, "mqtt://localhost:%d", server.port); /* ::1 may come first */
    config = publisher_config(url);
    scene_init(&scene);
    open_publisher(&scene, &config);
    run_until(&scene, all_up, 5000);
    scene_close(&scene);
}

static void token_file_is_needed_when_named(void **state)
{
    struct mqtt_config config = publisher_config(server.unix_url);
    struct scene scene;
    char path[160];

    (void)state;
    snprintf(path, sizeof path, "%s/token", server.fixture.dir);
    config.username = "someone";
    config.token_file = path;
    scene_init(&scene);
    open_publisher(&scene, &config);
    assert_false(run_for(&scene, all_up, 100));
    fixture_write(&server.fixture, "token", "secret\n");
    assert_int_equal(chmod(path, 0600), 0);
    run_until(&scene, all_up, 5000); /* it is read again before each attempt */
    scene_close(&scene);
}

static void tls_works_and_checks_the_certificate(void **state)
{
    struct mqtt_config config = publisher_config(server.tls_url);
    struct scene scene;

    (void)state;
    if (!server.has_tls) {
        print_message("no openssl program to make a certificate with\n");
        skip();
    }
    scene_init(&scene);
    open_publisher(&scene, &config); /* not signed by anyone the system knows */
    assert_false(run_for(&scene, all_up, 500));
    mqtt_close(scene.publisher.mqtt);
    loop_free(scene.loop);

    config.ca_file = server.ca_file;
    scene_init(&scene);
    open_publisher(&scene, &config);
    struct mqtt_config lane = lane_config(server.tls_url);
    lane.ca_file = server.ca_file;
    open_lane(&scene, &lane, RELEASE);
    run_until(&scene, all_up, 10000);
    feed(&scene, 3000);
    run_until(&scene, got_wanted, 10000);
    assert_each_seen(&scene.lane, 3000, 1);
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broker_restart_is_survived),
        cmocka_unit_test(silent_broker_is_noticed_by_keep_alive),
        cmocka_unit_test(garbage_from_the_broker_is_survived),
        cmocka_unit_test(bad_addresses_keep_it_down),
        cmocka_unit_test(names_with_several_addresses_are_tried_in_turn),
        cmocka_unit_test(token_file_is_needed_when_named),
        cmocka_unit_test(tls_works_and_checks_the_certificate),
    };

    return find_broker() ? cmocka_run_group_tests(tests, start_server, stop_server) : 77;
}

/* SPDX-License-Identifier: MIT */
#include "io/mqtt.h"

#include "base/clock.h"
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server_fixture.h"

/* One broker for all tests of this program. */
static struct {
    struct fixture fixture;
    pid_t mosquitto;
    char binary[64];
    int port, tls_port;
    char unix_url[128], tcp_url[64], tls_url[64], ca_file[160];
    bool has_tls;
} server;

enum on_batch_does { HOLD, RELEASE, READ_ON, DISCARD_ONCE };

struct peer {
    struct mqtt *mqtt;
    struct scene *scene;
    int ups, downs;
    bool session_present;
    char why[128];
    enum on_batch_does does;
    size_t messages, batches, largest, last_count; /* lane */
    unsigned char seen[8192];                      /* times each number came */
    char correlation[64], response[64], trace[64];
    size_t last_bytes;
    size_t pubacks; /* publisher */
    uint8_t last_reason;
};

struct scene {
    struct loop *loop;
    struct peer lane, publisher;
    int64_t until_ms;
    bool (*is_done)(const struct scene *scene);
    size_t want, sent;
};

static int64_t turn(void *ctx)
{
    struct scene *scene = ctx;

    if (scene->is_done(scene) || clock_boot_ms() > scene->until_ms)
        loop_stop(scene->loop);
    return 50;
}

static bool run_for(struct scene *scene, bool (*is_done)(const struct scene *), int64_t within_ms)
{
    scene->is_done = is_done;
    scene->until_ms = clock_boot_ms() + within_ms;
    loop_run(scene->loop, turn, scene);
    return is_done(scene);
}

static void run_until(struct scene *scene, bool (*is_done)(const struct scene *), int64_t within_ms)
{
    assert_true(run_for(scene, is_done, within_ms));
}

static bool never(const struct scene *scene)
{
    (void)scene;
    return false;
}

static bool all_up(const struct scene *scene)
{
    return (!scene->lane.mqtt || mqtt_is_up(scene->lane.mqtt)) &&
           (!scene->publisher.mqtt || mqtt_is_up(scene->publisher.mqtt));
}

static bool got_wanted(const struct scene *scene)
{
    return scene->lane.messages >= scene->want;
}

static bool all_confirmed(const struct scene *scene)
{
    return scene->publisher.pubacks >= scene->want;
}

static bool lane_down(const struct scene *scene)
{
    return scene->lane.downs > 0;
}

static bool publisher_down(const struct scene *scene)
{
    return scene->publisher.downs > 0;
}

static void on_up(void *ctx, bool session_present)
{
    struct peer *peer = ctx;

    peer->ups++;
    peer->session_present = session_present;
}

static void on_down(void *ctx, const char *why)
{
    struct peer *peer = ctx;

    peer->downs++;
    snprintf(peer->why, sizeof peer->why, "%s", why);
}

static void on_message(void *ctx, const struct mqtt_message *message)
{
    struct peer *peer = ctx;
    int number = 0;

    peer->messages++;
    peer->last_bytes = message->payload_bytes;
    if (message->payload_bytes < 10) {
        char text[16] = "";

        memcpy(text, message->payload, message->payload_bytes);
        number = atoi(text);
        if (number > 0 && number < (int)sizeof peer->seen)
            peer->seen[number]++;
    }
    if (message->correlation)
        snprintf(peer->correlation, sizeof peer->correlation, "%.*s",
                 (int)message->correlation_bytes, (const char *)message->correlation);
}

static void on_batch(void *ctx, size_t count)
{
    struct peer *peer = ctx;

    peer->batches++;
    peer->last_count = count;
    if (count > peer->largest)
        peer->largest = count;
    switch (peer->does) {
    case HOLD:
        break;
    case RELEASE:
        mqtt_release(peer->mqtt);
        break;
    case READ_ON:
        mqtt_read_on(peer->mqtt);
        break;
    case DISCARD_ONCE:
        peer->does = RELEASE;
        mqtt_discard(peer->mqtt, "on purpose");
        break;
    }
}

static void publish_more(struct scene *scene);

static void on_puback(void *ctx, int mid, uint8_t reason)
{
    struct peer *peer = ctx;

    assert_true(mid > 0);
    peer->pubacks++;
    peer->last_reason = reason;
    publish_more(peer->scene);
}

static const struct mqtt_handlers handlers = {.on_up = on_up,
                                              .on_down = on_down,
                                              .on_message = on_message,
                                              .on_batch = on_batch,
                                              .on_puback = on_puback};
static const char *const filters[] = {"unit/+/up/#", "unit/extra", NULL};

static struct mqtt_config lane_config(const char *url)
{
    return (struct mqtt_config){.url = url,
                                .client_id = "bridge/unit-lane",
                                .session_expiry_s = 3600,
                                .receive_maximum = 1000,
                                .keepalive_s = 60,
                                .batch_max = 100,
                                .filters = filters,
                                .backoff_min_ms = 10,
                                .backoff_max_ms = 200};
}

static struct mqtt_config publisher_config(const char *url)
{
    return (struct mqtt_config){.url = url,
                                .client_id = "bridge/unit-publisher",
                                .clean_start = true,
                                .keepalive_s = 60,
                                .backoff_min_ms = 10,
                                .backoff_max_ms = 200};
}

static void scene_init(struct scene *scene)
{
    memset(scene, 0, sizeof *scene);
    scene->loop = loop_new();
    scene->lane.scene = scene->publisher.scene = scene;
}

static void open_lane(struct scene *scene, const struct mqtt_config *config,
                      enum on_batch_does does)
{
    memset(&scene->lane, 0, sizeof scene->lane);
    scene->lane.scene = scene;
    scene->lane.does = does;
    scene->lane.mqtt = mqtt_open(scene->loop, config, &handlers, &scene->lane);
}

static void close_lane(struct scene *scene)
{
    mqtt_close(scene->lane.mqtt);
    scene->lane.mqtt = NULL;
}

static void open_publisher(struct scene *scene, const struct mqtt_config *config)
{
    scene->publisher.mqtt = mqtt_open(scene->loop, config, &handlers, &scene->publisher);
}

static void scene_open(struct scene *scene, const char *url, enum on_batch_does does)
{
    struct mqtt_config lane = lane_config(url);
    struct mqtt_config publisher = publisher_config(url);

    scene_init(scene);
    open_lane(scene, &lane, does);
    open_publisher(scene, &publisher);
    run_until(scene, all_up, 10000);
}

/* Throws the lane's session away, so that tests do not meet each other's messages. */
static void scene_close(struct scene *scene)
{
    struct mqtt_config last = lane_config(server.unix_url);

    mqtt_close(scene->publisher.mqtt);
    scene->publisher.mqtt = NULL;
    close_lane(scene);
    last.clean_start = true;
    last.session_expiry_s = 0;
    open_lane(scene, &last, RELEASE);
    run_until(scene, all_up, 10000);
    close_lane(scene);
    loop_free(scene->loop);
}

static int publish_number(struct scene *scene, size_t number)
{
    char text[16];
    int mid;

    snprintf(text, sizeof text, "%zu", number);
    return mqtt_publish(scene->publisher.mqtt, "unit/s/up/request", text, strlen(text), 1, false,
                        &mid);
}

static void publish_more(struct scene *scene)
{
    while (scene->sent < scene->want && mqtt_publish_room(scene->publisher.mqtt) > 0) {
        scene->sent++;
        assert_int_equal(publish_number(scene, scene->sent), 0);
    }
}

static void feed(struct scene *scene, size_t count)
{
    scene->want = count;
    scene->sent = scene->publisher.pubacks = 0;
    publish_more(scene);
    run_until(scene, all_confirmed, 20000);
}

static void assert_each_seen(const struct peer *lane, size_t count, unsigned times)
{
    for (size_t i = 1; i <= count; i++)
        if (lane->seen[i] != times)
            fail_msg("number %zu came %u times, not %u", i, lane->seen[i], times);
}

/* ---- lanes ---- */

static void check_batches(const char *url)
{
    struct scene scene;

    scene_open(&scene, url, RELEASE);
    feed(&scene, 3000);
    run_until(&scene, got_wanted, 10000);
    assert_each_seen(&scene.lane, 3000, 1);
    assert_in_range(scene.lane.largest, 1, 100);
    assert_true(scene.lane.batches >= 30);
    /* All are acknowledged: nothing comes again. */
    run_for(&scene, never, 100);
    mqtt_discard(scene.lane.mqtt, "to see what comes again");
    run_until(&scene, all_up, 5000);
    assert_true(scene.lane.session_present);
    run_for(&scene, never, 200);
    assert_int_equal(scene.lane.messages, 3000);
    scene_close(&scene);
}

static void lane_takes_batches_and_acknowledges(void **state)
{
    (void)state;
    check_batches(server.unix_url);
    check_batches(server.tcp_url);
}

static void held_lane_takes_no_more_than_a_batch(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene, server.unix_url, HOLD);
    feed(&scene, 500);
    run_for(&scene, never, 200);
    assert_int_equal(scene.lane.batches, 1);
    assert_in_range(scene.lane.messages, 1, 100);
    scene.lane.does = READ_ON;
    mqtt_read_on(scene.lane.mqtt);
    run_until(&scene, got_wanted, 5000);
    run_for(&scene, never, 100);
    assert_int_equal(scene.lane.last_count, 500); /* counted since the release */
    assert_each_seen(&scene.lane, 500, 1);
    mqtt_release(scene.lane.mqtt); /* though not held: all have been shown */
    run_for(&scene, never, 100);
    mqtt_discard(scene.lane.mqtt, "to see what comes again");
    run_until(&scene, all_up, 5000);
    run_for(&scene, never, 200);
    assert_each_seen(&scene.lane, 500, 1);
    scene_close(&scene);
}

static void discarded_batch_comes_again(void **state)
{
    struct scene scene;
    uint64_t generation;

    (void)state;
    scene_open(&scene, server.unix_url, DISCARD_ONCE);
    generation = mqtt_generation(scene.lane.mqtt);
    feed(&scene, 80);
    scene.want = 80 + 1; /* at least one came twice */
    run_until(&scene, got_wanted, 10000);
    run_for(&scene, never, 200);
    assert_int_equal(scene.lane.downs, 1);
    assert_string_equal(scene.lane.why, "on purpose");
    assert_int_not_equal(mqtt_generation(scene.lane.mqtt), generation);
    for (size_t i = 1; i <= 80; i++)
        assert_in_range(scene.lane.seen[i], 1, 2);
    scene_close(&scene);
}

/* A lane in a process of its own, killed while it holds `held` messages. */
static void run_and_kill_a_lane(size_t held)
{
    int fds[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    if (pid == 0) {
        static struct scene scene; /* the heap of the parent is not ours to free */
        struct mqtt_config config = lane_config(server.unix_url);

        close(fds[0]);
        config.batch_max = 1000;
        scene_init(&scene);
        open_lane(&scene, &config, READ_ON);
        scene.want = held;
        if (run_for(&scene, got_wanted, 10000))
            (void)!write(fds[1], "x", 1);
        pause();
    }
    close(fds[1]);
    assert_int_equal(read(fds[0], &byte, 1), 1);
    close(fds[0]);
    fixture_end(pid, SIGKILL);
}

static void killed_before_release_all_come_again(void **state)
{
    struct mqtt_config config = lane_config(server.unix_url);
    struct scene scene;

    (void)state;
    scene_open(&scene, server.unix_url, HOLD);
    close_lane(&scene); /* leaves its subscription behind */
    feed(&scene, 500);
    run_and_kill_a_lane(500);
    run_and_kill_a_lane(500); /* and again */
    open_lane(&scene, &config, RELEASE);
    run_until(&scene, got_wanted, 10000);
    assert_each_seen(&scene.lane, 500, 1);
    run_for(&scene, never, 100);
    close_lane(&scene);
    open_lane(&scene, &config, RELEASE);
    run_until(&scene, all_up, 5000);
    run_for(&scene, never, 200);
    assert_int_equal(scene.lane.messages, 0);
    scene_close(&scene);
}

static void closing_a_held_lane_acknowledges_nothing(void **state)
{
    struct mqtt_config config = lane_config(server.unix_url);
    struct scene scene;

    (void)state;
    scene_open(&scene, server.unix_url, HOLD);
    feed(&scene, 50);
    scene.want = 1;
    run_until(&scene, got_wanted, 5000);
    close_lane(&scene);
    open_lane(&scene, &config, RELEASE);
    scene.want = 50;
    run_until(&scene, got_wanted, 10000);
    run_for(&scene, never, 100);
    assert_each_seen(&scene.lane, 50, 1);
    scene_close(&scene);
}

static void lane_held_too_long_leaves_by_itself(void **state)
{
    struct mqtt_config lane = lane_config(server.unix_url);
    struct mqtt_config publisher = publisher_config(server.unix_url);
    struct scene scene;
    int64_t start_ms;

    (void)state;
    lane.keepalive_s = 5;
    scene_init(&scene);
    open_lane(&scene, &lane, READ_ON);
    open_publisher(&scene, &publisher);
    run_until(&scene, all_up, 10000);
    feed(&scene, 10);
    run_until(&scene, got_wanted, 5000);
    start_ms = clock_boot_ms();
    run_until(&scene, lane_down, 10000);
    assert_in_range(clock_boot_ms() - start_ms, 3000, 5500);
    assert_non_null(strstr(scene.lane.why, "held"));
    scene.lane.does = RELEASE;
    scene.want = 20;
    run_until(&scene, got_wanted, 10000);
    assert_each_seen(&scene.lane, 10, 2);
    scene_close(&scene);
}

/* ---- publishers ---- */

static void publisher_hears_of_missing_subscribers(void **state)
{
    struct scene scene;
    int mid;

    (void)state;
    scene_open(&scene, server.tcp_url, RELEASE);
    scene.want = 1;
    scene.sent = 1;
    assert_int_equal(mqtt_publish(scene.publisher.mqtt, "nobody/here", "x", 1, 1, false, &mid), 0);
    run_until(&scene, all_confirmed, 5000);
    assert_int_equal(scene.publisher.last_reason, 0x10);
    scene.want = 2;
    scene.sent = 2;
    assert_int_equal(publish_number(&scene, 1), 0);
    run_until(&scene, all_confirmed, 5000);
    assert_int_equal(scene.publisher.last_reason, 0);
    scene_close(&scene);
}

static void publisher_is_bounded(void **state)
{
    struct scene scene;
    size_t room;
    int mid;

    (void)state;
    scene_open(&scene, server.unix_url, RELEASE);
    scene.want = scene.sent = room = mqtt_publish_room(scene.publisher.mqtt);
    assert_in_range(room, 100, 1000);
    for (size_t i = 1; i <= room; i++)
        assert_int_equal(publish_number(&scene, i), 0);
    assert_int_equal(mqtt_publish_room(scene.publisher.mqtt), 0);
    assert_int_equal(publish_number(&scene, 1), ERR_FULL);
    run_until(&scene, all_confirmed, 5000);
    assert_int_equal(mqtt_publish_room(scene.publisher.mqtt), room);
    assert_int_equal(mqtt_publish(scene.publisher.mqtt, "a/+/b", "x", 1, 1, false, &mid),
                     ERR_INVALID);
    assert_int_equal(mqtt_publish(scene.publisher.mqtt, "a/\xff", "x", 1, 1, false, &mid),
                     ERR_INVALID);
    scene_close(&scene);
}

static void replies_carry_their_correlation(void **state)
{
    struct scene scene;
    int mid;

    (void)state;
    scene_open(&scene, server.unix_url, RELEASE);
    scene.want = scene.sent = 1;
    assert_int_equal(
        mqtt_publish_reply(scene.publisher.mqtt, "unit/s/up/rpc", "{}", 2, "abc-1", 5, &mid), 0);
    run_until(&scene, got_wanted, 5000);
    assert_string_equal(scene.lane.correlation, "abc-1");
    scene_close(&scene);
}

static void payloads_of_any_size_pass(void **state)
{
    char *large = calloc(1, 1 << 20);
    struct scene scene;
    int mid;

    (void)state;
    assert_non_null(large);
    scene_open(&scene, server.tcp_url, RELEASE);
    scene.want = scene.sent = 1;
    assert_int_equal(
        mqtt_publish(scene.publisher.mqtt, "unit/extra", large, 1 << 20, 1, false, &mid), 0);
    run_until(&scene, got_wanted, 10000);
    assert_int_equal(scene.lane.last_bytes, 1 << 20);
    scene.want = scene.sent = 2;
    assert_int_equal(mqtt_publish(scene.publisher.mqtt, "unit/extra", NULL, 0, 0, false, &mid), 0);
    run_until(&scene, got_wanted, 10000);
    assert_int_equal(scene.lane.last_bytes, 0);
    assert_int_equal(scene.publisher.pubacks, 1); /* QoS 0 has none */
    free(large);
    scene_close(&scene);
}

/* ---- lost and found ---- */

static bool start_broker(void)
{
    char path[160];

    server.mosquitto = fixture_spawn(&server.fixture,
                                     (const char *[]){server.binary, "-c", "mosquitto.conf", NULL});
    snprintf(path, sizeof path, "%s/mqtt.sock", server.fixture.dir);
    return fixture_wait_socket(path, 10000);
}

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

/* ---- the broker ---- */

static int start_server(void **state)
{
    char conf[1024];

    (void)state;
    log_init(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    mqtt_library_init();
    if (!fixture_open(&server.fixture))
        return -1;
    server.port = fixture_free_port();
    server.tls_port = fixture_free_port();
    server.has_tls = fixture_make_certificate(&server.fixture);
    snprintf(conf, sizeof conf,
             "allow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\n"
             "listener 0 %s/mqtt.sock\nlistener %d 127.0.0.1\n",
             server.fixture.dir, server.port);
    if (server.has_tls)
        snprintf(conf + strlen(conf), sizeof conf - strlen(conf),
                 "listener %d 127.0.0.1\ncertfile cert.pem\nkeyfile key.pem\n", server.tls_port);
    fixture_write(&server.fixture, "mosquitto.conf", conf);
    snprintf(server.unix_url, sizeof server.unix_url, "unix:%s/mqtt.sock", server.fixture.dir);
    snprintf(server.tcp_url, sizeof server.tcp_url, "mqtt://127.0.0.1:%d", server.port);
    snprintf(server.tls_url, sizeof server.tls_url, "mqtts://localhost:%d", server.tls_port);
    snprintf(server.ca_file, sizeof server.ca_file, "%s/cert.pem", server.fixture.dir);
    return start_broker() ? 0 : -1;
}

static int stop_server(void **state)
{
    (void)state;
    fixture_end(server.mosquitto, SIGTERM);
    fixture_remove(&server.fixture);
    mqtt_library_fini();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lane_takes_batches_and_acknowledges),
        cmocka_unit_test(held_lane_takes_no_more_than_a_batch),
        cmocka_unit_test(discarded_batch_comes_again),
        cmocka_unit_test(killed_before_release_all_come_again),
        cmocka_unit_test(closing_a_held_lane_acknowledges_nothing),
        cmocka_unit_test(lane_held_too_long_leaves_by_itself),
        cmocka_unit_test(publisher_hears_of_missing_subscribers),
        cmocka_unit_test(publisher_is_bounded),
        cmocka_unit_test(replies_carry_their_correlation),
        cmocka_unit_test(payloads_of_any_size_pass),
        cmocka_unit_test(broker_restart_is_survived),
        cmocka_unit_test(silent_broker_is_noticed_by_keep_alive),
        cmocka_unit_test(bad_addresses_keep_it_down),
        cmocka_unit_test(names_with_several_addresses_are_tried_in_turn),
        cmocka_unit_test(token_file_is_needed_when_named),
        cmocka_unit_test(tls_works_and_checks_the_certificate),
    };

    if (!fixture_find("/usr/*bin/mosquitto", server.binary, sizeof server.binary)) {
        printf("SKIPPED: no mosquitto in /usr/sbin or /usr/bin\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, start_server, stop_server);
}

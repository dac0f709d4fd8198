/* SPDX-License-Identifier: MIT */
#include "mqtt_peer.h"

#include <mosquitto.h>
#include <mqtt_protocol.h>

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

static bool all_batched(const struct scene *scene)
{
    return scene->lane.batched >= scene->want;
}

/* A slice may end exactly where the socket runs dry: nothing will wake the lane for the rest. */
static void no_message_waits_for_the_next_one(void **state)
{
    struct mqtt_config lane = lane_config(server.unix_url);
    struct mqtt_config publisher = publisher_config(server.unix_url);
    struct scene scene;

    (void)state;
    lane.batch_max = 1000;
    scene_init(&scene);
    open_lane(&scene, &lane, HOLD);
    open_publisher(&scene, &publisher);
    run_until(&scene, all_up, 10000);
    feed(&scene, 1);
    run_until(&scene, got_wanted, 5000);
    run_for(&scene, never, 50);
    for (size_t count = 254; count <= 258; count++) { /* around a slice */
        assert_int_equal(scene.lane.batches, 1);
        scene.lane.does = HOLD;
        feed(&scene, count);
        run_for(&scene, never, 50);
        scene.lane.does = RELEASE;
        scene.lane.batched = 1;
        scene.want = count + 1;
        mqtt_release(scene.lane.mqtt);
        run_until(&scene, all_batched, 2000);
        scene.lane.does = HOLD;
        scene.lane.batches = 0;
        feed(&scene, 1);
        run_for(&scene, never, 50);
    }
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

/* Straight from the library, with all that MQTT 5 lets a service say. */
static void publish_with_properties(void)
{
    struct mosquitto *mosq = mosquitto_new("unit/other", true, NULL);
    mosquitto_property *said = NULL;

    assert_non_null(mosq);
    mosquitto_int_option(mosq, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
    assert_int_equal(mosquitto_connect(mosq, server.unix_url + strlen("unix:"), 0, 60), 0);
    mosquitto_property_add_string(&said, MQTT_PROP_RESPONSE_TOPIC, "services/s/down/reply");
    mosquitto_property_add_binary(&said, MQTT_PROP_CORRELATION_DATA, "c-7", 3);
    mosquitto_property_add_string_pair(&said, MQTT_PROP_USER_PROPERTY, "other", "thing");
    mosquitto_property_add_string_pair(&said, MQTT_PROP_USER_PROPERTY, "traceparent",
                                       "00-ab-cd-01");
    mosquitto_property_add_string_pair(&said, MQTT_PROP_USER_PROPERTY, "last", "one");
    assert_int_equal(mosquitto_publish_v5(mosq, NULL, "unit/s/up/request", 2, "{}", 1, false, said),
                     0);
    for (int i = 0; i < 50; i++)
        mosquitto_loop(mosq, 10, 1);
    mosquitto_property_free_all(&said);
    mosquitto_destroy(mosq);
}

static void properties_are_handed_over(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene, server.unix_url, RELEASE);
    publish_with_properties();
    scene.want = 1;
    run_until(&scene, got_wanted, 5000);
    assert_string_equal(scene.lane.response, "services/s/down/reply");
    assert_string_equal(scene.lane.correlation, "c-7");
    assert_string_equal(scene.lane.trace, "00-ab-cd-01");
    scene_close(&scene);
}

/* The broker stands still: the queue has an end, and all that went in arrives later. */
static void what_the_socket_does_not_take_waits(const char *url)
{
    char *large = calloc(1, 200000);
    struct scene scene;
    size_t count = 0;
    int mid;

    assert_non_null(large);
    scene_open(&scene, url, RELEASE);
    kill(server.mosquitto, SIGSTOP);
    while (count < 150 && mqtt_publish_room(scene.publisher.mqtt)) {
        assert_int_equal(
            mqtt_publish(scene.publisher.mqtt, "unit/extra", large, 200000, 1, false, &mid), 0);
        if (++count % 10 == 0)
            run_for(&scene, never, 20);
    }
    assert_in_range(count, 20, 100); /* 8 MiB, and what the kernel took */
    assert_int_equal(mqtt_publish(scene.publisher.mqtt, "unit/extra", "x", 1, 1, false, &mid),
                     ERR_FULL);
    kill(server.mosquitto, SIGCONT);
    scene.want = scene.sent = count;
    run_until(&scene, all_confirmed, 20000);
    run_until(&scene, got_wanted, 20000);
    assert_int_equal(scene.lane.last_bytes, 200000);
    assert_true(mqtt_publish_room(scene.publisher.mqtt) > 0);
    free(large);
    scene_close(&scene);
}

static void a_full_socket_is_waited_for(void **state)
{
    (void)state;
    what_the_socket_does_not_take_waits(server.unix_url);
    what_the_socket_does_not_take_waits(server.tcp_url);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lane_takes_batches_and_acknowledges),
        cmocka_unit_test(held_lane_takes_no_more_than_a_batch),
        cmocka_unit_test(no_message_waits_for_the_next_one),
        cmocka_unit_test(discarded_batch_comes_again),
        cmocka_unit_test(killed_before_release_all_come_again),
        cmocka_unit_test(closing_a_held_lane_acknowledges_nothing),
        cmocka_unit_test(lane_held_too_long_leaves_by_itself),
        cmocka_unit_test(publisher_hears_of_missing_subscribers),
        cmocka_unit_test(publisher_is_bounded),
        cmocka_unit_test(replies_carry_their_correlation),
        cmocka_unit_test(properties_are_handed_over),
        cmocka_unit_test(a_full_socket_is_waited_for),
        cmocka_unit_test(payloads_of_any_size_pass),
    };

    return find_broker() ? cmocka_run_group_tests(tests, start_server, stop_server) : 77;
}

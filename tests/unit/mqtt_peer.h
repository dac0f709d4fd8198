/* SPDX-License-Identifier: MIT */
/*
 * mqtt_peer - a Mosquitto broker of our own, and a lane and a publisher beside it
 *
 * Shared by the tests of io/mqtt.h.
 */
#ifndef TOCSIN_TESTS_MQTT_PEER_H
#define TOCSIN_TESTS_MQTT_PEER_H
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
    size_t batched;                                /* messages in batches that were released */
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

static inline int64_t turn(void *ctx)
{
    struct scene *scene = ctx;

    if (scene->is_done(scene) || clock_boot_ms() > scene->until_ms)
        loop_stop(scene->loop);
    return 50;
}

static inline bool run_for(struct scene *scene, bool (*is_done)(const struct scene *),
                           int64_t within_ms)
{
    scene->is_done = is_done;
    scene->until_ms = clock_boot_ms() + within_ms;
    loop_run(scene->loop, turn, scene);
    return is_done(scene);
}

/* The limit is that of a quiet machine: any other has FIXTURE_PATIENCE times as long. */
static inline void run_until(struct scene *scene, bool (*is_done)(const struct scene *),
                             int64_t within_ms)
{
    assert_true(run_for(scene, is_done, within_ms * FIXTURE_PATIENCE));
}

static inline bool never(const struct scene *scene)
{
    (void)scene;
    return false;
}

static inline bool all_up(const struct scene *scene)
{
    return (!scene->lane.mqtt || mqtt_is_up(scene->lane.mqtt)) &&
           (!scene->publisher.mqtt || mqtt_is_up(scene->publisher.mqtt));
}

static inline bool got_wanted(const struct scene *scene)
{
    return scene->lane.messages >= scene->want;
}

static inline bool all_confirmed(const struct scene *scene)
{
    return scene->publisher.pubacks >= scene->want;
}

static inline bool lane_down(const struct scene *scene)
{
    return scene->lane.downs > 0;
}

static inline bool publisher_down(const struct scene *scene)
{
    return scene->publisher.downs > 0;
}

static inline void on_up(void *ctx, bool session_present)
{
    struct peer *peer = ctx;

    peer->ups++;
    peer->session_present = session_present;
}

static inline void on_down(void *ctx, const char *why)
{
    struct peer *peer = ctx;

    peer->downs++;
    snprintf(peer->why, sizeof peer->why, "%s", why);
}

static inline void on_message(void *ctx, const struct mqtt_message *message)
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
    if (message->response_topic)
        snprintf(peer->response, sizeof peer->response, "%s", message->response_topic);
    if (message->traceparent)
        snprintf(peer->trace, sizeof peer->trace, "%s", message->traceparent);
    if (message->correlation)
        snprintf(peer->correlation, sizeof peer->correlation, "%.*s",
                 (int)message->correlation_bytes, (const char *)message->correlation);
}

static inline void on_batch(void *ctx, size_t count)
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
        peer->batched += count;
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

static inline void publish_more(struct scene *scene);

static inline void on_puback(void *ctx, int mid, uint8_t reason)
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

static inline struct mqtt_config lane_config(const char *url)
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

static inline struct mqtt_config publisher_config(const char *url)
{
    return (struct mqtt_config){.url = url,
                                .client_id = "bridge/unit-publisher",
                                .clean_start = true,
                                .keepalive_s = 60,
                                .backoff_min_ms = 10,
                                .backoff_max_ms = 200};
}

static inline void scene_init(struct scene *scene)
{
    memset(scene, 0, sizeof *scene);
    scene->loop = loop_new();
    scene->lane.scene = scene->publisher.scene = scene;
}

static inline void open_lane(struct scene *scene, const struct mqtt_config *config,
                             enum on_batch_does does)
{
    memset(&scene->lane, 0, sizeof scene->lane);
    scene->lane.scene = scene;
    scene->lane.does = does;
    scene->lane.mqtt = mqtt_open(scene->loop, config, &handlers, &scene->lane);
}

static inline void close_lane(struct scene *scene)
{
    mqtt_close(scene->lane.mqtt);
    scene->lane.mqtt = NULL;
}

static inline void open_publisher(struct scene *scene, const struct mqtt_config *config)
{
    scene->publisher.mqtt = mqtt_open(scene->loop, config, &handlers, &scene->publisher);
}

static inline void scene_open(struct scene *scene, const char *url, enum on_batch_does does)
{
    struct mqtt_config lane = lane_config(url);
    struct mqtt_config publisher = publisher_config(url);

    scene_init(scene);
    open_lane(scene, &lane, does);
    open_publisher(scene, &publisher);
    run_until(scene, all_up, 10000);
}

/* Throws the lane's session away, so that tests do not meet each other's messages. */
static inline void scene_close(struct scene *scene)
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

static inline int publish_number(struct scene *scene, size_t number)
{
    char text[16];
    int mid;

    snprintf(text, sizeof text, "%zu", number);
    return mqtt_publish(scene->publisher.mqtt, "unit/s/up/request", text, strlen(text), 1, false,
                        &mid);
}

static inline void publish_more(struct scene *scene)
{
    while (scene->sent < scene->want && mqtt_publish_room(scene->publisher.mqtt) > 0) {
        scene->sent++;
        assert_int_equal(publish_number(scene, scene->sent), 0);
    }
}

static inline void feed(struct scene *scene, size_t count)
{
    scene->want = count;
    scene->sent = scene->publisher.pubacks = 0;
    publish_more(scene);
    run_until(scene, all_confirmed, 20000);
}

static inline void assert_each_seen(const struct peer *lane, size_t count, unsigned times)
{
    for (size_t i = 1; i <= count; i++)
        if (lane->seen[i] != times)
            fail_msg("number %zu came %u times, not %u", i, lane->seen[i], times);
}

static inline bool start_broker(void)
{
    char path[160];

    server.mosquitto = fixture_spawn(&server.fixture,
                                     (const char *[]){server.binary, "-c", "mosquitto.conf", NULL});
    snprintf(path, sizeof path, "%s/mqtt.sock", server.fixture.dir);
    return fixture_wait_socket(path, 10000);
}

static inline int start_server(void **state)
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

static inline int stop_server(void **state)
{
    (void)state;
    fixture_end(server.mosquitto, SIGTERM);
    fixture_remove(&server.fixture);
    mqtt_library_fini();
    return 0;
}

static inline bool find_broker(void)
{
    if (fixture_find("/usr/*bin/mosquitto", server.binary, sizeof server.binary))
        return true;
    printf("SKIPPED: no mosquitto in /usr/sbin or /usr/bin\n");
    return false;
}

#endif

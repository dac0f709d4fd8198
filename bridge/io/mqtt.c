/* SPDX-License-Identifier: MIT */
#include "io/mqtt.h"
#include "io/mqtt_private.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <mqtt_protocol.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

#define OPEN_MS  10000 /* from TCP to SUBACK */
#define TICK_MS  1000
#define CORK_MIN 3 /* packets that are worth two more system calls */

static void dial_now(void *ctx);
static void on_socket(void *ctx, int events);
static void on_tick(void *ctx);

void mqtt_library_init(void)
{
    if (mosquitto_lib_init() != MOSQ_ERR_SUCCESS)
        fatal("mqtt.broken", "mosquitto_lib_init() failed");
}

void mqtt_library_fini(void)
{
    mosquitto_lib_cleanup();
}

/* ---- the end of a connection ---- */

static void drop_connection(struct mqtt *mqtt)
{
    struct mosquitto *mosq = mqtt->mosq;

    ASSERT(mqtt->inside == 0);
    loop_watch_stop(&mqtt->watch);
    loop_timer_stop(&mqtt->timer);
    loop_defer_cancel(mqtt->loop, &mqtt->later);
    if (mqtt->dial) {
        mqtt->dial->mqtt = NULL;
        mqtt->dial = NULL;
    }
    mqtt->mosq = NULL;
    mqtt->state = MQTT_RESTING;
    mqtt->generation++;
    mqtt->lost_why = NULL;
    mqtt->is_connected = mqtt->is_asked = mqtt->is_subscribed = mqtt->is_told = false;
    mqtt->is_held = mqtt->is_releasing = false;
    mqtt->unreleased = mqtt->helping = mqtt->helping_bytes = 0;
    mqtt_lane_forget(mqtt);
    mqtt->outstanding = mqtt->queued = mqtt->queued_bytes = 0;
    if (mosq)
        mosquitto_destroy(mosq); /* closes the socket; what was queued is dropped */
}

void mqtt_leave(struct mqtt *mqtt)
{
    if (--mqtt->depth > 0 || !mqtt->is_closed)
        return;
    drop_connection(mqtt);
    free(mqtt);
}

static int64_t backoff_ms(struct mqtt *mqtt)
{
    int64_t cap = mqtt->config.backoff_min_ms;

    for (unsigned i = 1; i < mqtt->failures && cap < mqtt->config.backoff_max_ms; i++)
        cap *= 2;
    if (cap > mqtt->config.backoff_max_ms)
        cap = mqtt->config.backoff_max_ms;
    return (int64_t)rng_below(&mqtt->rng, (uint64_t)cap + 1);
}

/* why is constant, or lives as long as the call. */
static void fail(struct mqtt *mqtt, const char *why)
{
    bool was_told = mqtt->is_told;
    int64_t wait_ms;

    if (mqtt->is_closed)
        return; /* mqtt_leave() ends it */
    mqtt_enter(mqtt);
    /* Only a connection that lasted is worth a quick return: two that share a client id throw
     * each other out for ever. */
    if (mqtt->state == MQTT_UP &&
        loop_now_ms(mqtt->loop) - mqtt->opened_ms > mqtt->config.backoff_max_ms)
        mqtt->failures = 0;
    mqtt->failures++;
    wait_ms = backoff_ms(mqtt);
    drop_connection(mqtt);
    if (lost_line_is_due(&mqtt->lost_line, mqtt->failures, why, loop_now_ms(mqtt->loop)))
        log_warn("mqtt.lost", LOG_STR("client", mqtt->config.client_id), LOG_STR("why", why),
                 LOG_U64("failures", mqtt->failures), LOG_MS("retry", wait_ms));
    loop_timer_start(mqtt->loop, &mqtt->timer, wait_ms, dial_now, mqtt);
    if (was_told && mqtt->handlers.on_down)
        mqtt->handlers.on_down(mqtt->ctx, why);
    mqtt_leave(mqtt);
}

void mqtt_lose(struct mqtt *mqtt, const char *why)
{
    if (!mqtt->lost_why)
        mqtt->lost_why = why;
}

bool mqtt_end_if_lost(struct mqtt *mqtt)
{
    if (!mqtt->lost_why || mqtt->inside)
        return mqtt->lost_why != NULL;
    fail(mqtt, mqtt->lost_why);
    return true;
}

/* ---- what the library tells: notes only ---- */

/* The broker does not say which of its reasons it had; this one is known here. */
static const char *refusal(const struct mqtt *mqtt, int reason)
{
    if (mqtt->token_expires_s && mqtt->token_expires_s <= clock_wall_ms() / 1000)
        return "the bridge's token has expired: put a new one into mqtt.token_file";
    return mosquitto_reason_string(reason);
}

static void on_connect(struct mosquitto *mosq, void *obj, int reason, int flags,
                       const mosquitto_property *properties)
{
    struct mqtt *mqtt = obj;
    uint16_t keepalive_s = mqtt->config.keepalive_s;
    uint16_t receive_maximum = 65535;
    uint32_t packet_max = 0;

    (void)mosq;
    mqtt->heard++;
    if (reason != 0) {
        mqtt_lose(mqtt, refusal(mqtt, reason));
        return;
    }
    mosquitto_property_read_int16(properties, MQTT_PROP_SERVER_KEEP_ALIVE, &keepalive_s, false);
    mosquitto_property_read_int16(properties, MQTT_PROP_RECEIVE_MAXIMUM, &receive_maximum, false);
    mqtt->keepalive_ms = (int64_t)keepalive_s * 1000;
    mqtt->room = receive_maximum < MQTT_PUBLISH_BOUND ? receive_maximum : MQTT_PUBLISH_BOUND;
    mosquitto_property_read_int32(properties, MQTT_PROP_MAXIMUM_PACKET_SIZE, &packet_max, false);
    mqtt->packet_max = packet_max ? packet_max : SIZE_MAX;
    mqtt->has_session = flags & 1;
    mqtt->is_connected = true;
}

static void on_subscribe(struct mosquitto *mosq, void *obj, int mid, int count, const int *granted,
                         const mosquitto_property *properties)
{
    struct mqtt *mqtt = obj;

    (void)mosq, (void)mid, (void)properties;
    mqtt->heard++;
    for (int i = 0; i < count; i++)
        if (granted[i] >= 0x80)
            mqtt_lose(mqtt, "the broker refused a subscription");
    mqtt->is_subscribed = true;
}

static void on_disconnect(struct mosquitto *mosq, void *obj, int reason,
                          const mosquitto_property *properties)
{
    (void)mosq, (void)properties;
    /* 0x80 and above came from the broker; the rest are the library's own numbers. */
    mqtt_lose(obj, reason >= 0x80 ? refusal(obj, reason) : mosquitto_strerror(reason));
}

static void on_publish(struct mosquitto *mosq, void *obj, int mid, int reason,
                       const mosquitto_property *properties)
{
    (void)mosq, (void)properties;
    mqtt_publisher_take(obj, mid, reason);
}

static void on_message(struct mosquitto *mosq, void *obj, const struct mosquitto_message *message,
                       const mosquitto_property *properties)
{
    (void)mosq;
    mqtt_lane_take(obj, message, properties);
}

/* ---- connecting ---- */

static void on_dialed(void *ctx)
{
    struct mqtt_dial *dial = ctx;
    struct mqtt *mqtt = dial->mqtt;

    if (mqtt) {
        mqtt_enter(mqtt);
        mqtt->dial = NULL;
        if (dial->err) {
            fail(mqtt, dial->why);
        } else {
            mqtt->mosq = dial->mosq;
            dial->mosq = NULL;
            mqtt->is_tcp = dial->is_tcp;
            mqtt->is_tls = dial->is_tls;
            mqtt->token_expires_s = dial->token_expires_s;
            mqtt->state = MQTT_OPENING;
            mqtt->keepalive_ms = (int64_t)mqtt->config.keepalive_s * 1000;
            mqtt->opened_ms = mqtt->written_ms = loop_now_ms(mqtt->loop);
            mosquitto_user_data_set(mqtt->mosq, mqtt);
            mosquitto_connect_v5_callback_set(mqtt->mosq, on_connect);
            mosquitto_disconnect_v5_callback_set(mqtt->mosq, on_disconnect);
            mosquitto_subscribe_v5_callback_set(mqtt->mosq, on_subscribe);
            mosquitto_publish_v5_callback_set(mqtt->mosq, on_publish);
            mosquitto_message_v5_callback_set(mqtt->mosq, on_message);
            loop_timer_start(mqtt->loop, &mqtt->timer, TICK_MS, on_tick, mqtt);
            mqtt_write(mqtt); /* CONNECT, once TCP is there */
        }
        mqtt_leave(mqtt);
    }
    mqtt_dial_free(dial);
}

static void dial_now(void *ctx)
{
    struct mqtt *mqtt = ctx;

    mqtt->dial = mqtt_dial_new(mqtt, &mqtt->config, mqtt->attempts++);
    mqtt->state = MQTT_DIALING;
    loop_work(mqtt->loop, mqtt_dial_run, on_dialed, mqtt->dial);
}

static void subscribe(struct mqtt *mqtt)
{
    const char *const *filters = mqtt->config.filters;
    int count = 0, rc;

    while (filters && filters[count])
        count++;
    if (mqtt->config.batch_max == 0 || count == 0) {
        mqtt->is_subscribed = true;
        return;
    }
    mqtt->inside++;
    rc = mosquitto_subscribe_multiple(mqtt->mosq, NULL, count, (char *const *)(uintptr_t)filters, 1,
                                      0, NULL);
    mqtt->inside--;
    if (rc != MOSQ_ERR_SUCCESS)
        mqtt_lose(mqtt, mosquitto_strerror(rc));
    else if (mqtt->unreleased == 0)
        mqtt_write(mqtt); /* else with the release: it would take acknowledgements along */
}

static void come_up(struct mqtt *mqtt)
{
    mqtt->state = MQTT_UP;
    mqtt->is_told = true;
    if (mqtt->failures)
        log_info("mqtt.up", LOG_STR("client", mqtt->config.client_id),
                 LOG_U64("failures", mqtt->failures));
    if (mqtt->handlers.on_up)
        mqtt->handlers.on_up(mqtt->ctx, mqtt->has_session);
}

/* After a read in MQTT_OPENING.  subscribe() once, come_up() once. */
static void open_further(struct mqtt *mqtt)
{
    if (mqtt->is_connected && !mqtt->is_asked) {
        mqtt->is_asked = true;
        subscribe(mqtt);
        if (mqtt_end_if_lost(mqtt))
            return;
    }
    if (mqtt->is_connected && mqtt->is_subscribed)
        come_up(mqtt);
}

/* ---- reading, writing, watching ---- */

void mqtt_watch(struct mqtt *mqtt)
{
    int events = LOOP_READ;

    if (!mqtt->mosq || mqtt->lost_why)
        return;
    /* While the TLS handshake is under way the library reads and writes in its read call. */
    if (mosquitto_want_write(mqtt->mosq) && mqtt->unreleased == 0 &&
        !(mqtt->is_tls && mqtt->state == MQTT_OPENING))
        events |= LOOP_WRITE;
    if (mqtt->is_releasing)
        events = LOOP_WRITE;
    loop_watch_start(mqtt->loop, &mqtt->watch, mosquitto_socket(mqtt->mosq), events, on_socket,
                     mqtt);
}

static void cork(const struct mqtt *mqtt, int is_on)
{
    setsockopt(mosquitto_socket(mqtt->mosq), IPPROTO_TCP, TCP_CORK, &is_on, sizeof is_on);
}

bool mqtt_read(struct mqtt *mqtt)
{
    uint64_t heard = mqtt->heard;
    int rc;

    mqtt->inside++;
    mqtt->is_reading = true;
    rc = mosquitto_loop_read(mqtt->mosq, 1);
    mqtt->is_reading = false;
    mqtt->inside--;
    if (rc != MOSQ_ERR_SUCCESS)
        mqtt_lose(mqtt, mosquitto_strerror(rc));
    /* errno would tell a dry socket, but for the library's own writes in between. */
    return mqtt->heard != heard && !mqtt->lost_why;
}

void mqtt_write(struct mqtt *mqtt)
{
    bool is_corked = mqtt->is_tcp && mqtt->queued + mqtt->unreleased >= CORK_MIN;
    int rc;

    if (is_corked)
        cork(mqtt, 1);
    mqtt->inside++;
    rc = mosquitto_loop_write(mqtt->mosq, 1); /* one call writes all packets */
    mqtt->inside--;
    if (rc != MOSQ_ERR_SUCCESS)
        mqtt_lose(mqtt, mosquitto_strerror(rc));
    if (mqtt_end_if_lost(mqtt))
        return;
    if (is_corked)
        cork(mqtt, 0);
    mqtt->written_ms = loop_now_ms(mqtt->loop);
    if (!mosquitto_want_write(mqtt->mosq)) {
        mqtt->queued = mqtt->queued_bytes = 0;
        if (mqtt->is_releasing) {
            mqtt->is_releasing = false;
            mqtt->unreleased = 0;
        }
    }
    mqtt_watch(mqtt);
}

static void keep_alive(struct mqtt *mqtt)
{
    int rc;

    mqtt->inside++;
    rc = mosquitto_loop_misc(mqtt->mosq);
    mqtt->inside--;
    if (rc != MOSQ_ERR_SUCCESS)
        mqtt_lose(mqtt, mosquitto_strerror(rc));
    else if (mosquitto_want_write(mqtt->mosq))
        mqtt_write(mqtt);
}

static void on_tick(void *ctx)
{
    struct mqtt *mqtt = ctx;

    mqtt_enter(mqtt);
    loop_timer_start(mqtt->loop, &mqtt->timer, TICK_MS, on_tick, mqtt);
    if (mqtt->state == MQTT_OPENING && loop_now_ms(mqtt->loop) - mqtt->opened_ms > OPEN_MS)
        mqtt_lose(mqtt, "the broker did not answer in time");
    else if (mqtt->unreleased)
        mqtt_lane_tick(mqtt); /* nothing may be written, not even a ping */
    else
        keep_alive(mqtt);
    mqtt_end_if_lost(mqtt);
    mqtt_leave(mqtt);
}

static void on_socket(void *ctx, int events)
{
    struct mqtt *mqtt = ctx;
    uint64_t generation = mqtt->generation;
    bool is_lane = mqtt->config.batch_max != 0;

    mqtt_enter(mqtt);
    if (events & LOOP_BROKEN) {
        mqtt_lose(mqtt, "its socket cannot be watched");
        mqtt_end_if_lost(mqtt);
        mqtt_leave(mqtt);
        return;
    }
    if (events & LOOP_WRITE && (!is_lane || mqtt->unreleased == 0 || mqtt->is_releasing))
        mqtt_write(mqtt);
    if (mqtt->generation == generation && events & LOOP_READ && !mqtt->is_releasing) {
        if (is_lane)
            mqtt_lane_read(mqtt);
        else
            mqtt_publisher_read(mqtt);
    }
    if (mqtt->generation == generation && !mqtt_end_if_lost(mqtt)) {
        if (mqtt->state == MQTT_OPENING)
            open_further(mqtt);
        if (mqtt->generation == generation && mqtt->is_tls && mqtt->state == MQTT_OPENING &&
            mqtt->unreleased == 0)
            mqtt_write(mqtt); /* the handshake may just have ended */
    }
    mqtt_leave(mqtt);
}

/* Writes what this turn has queued, or reads on where a slice ended. */
static void on_later(void *ctx)
{
    struct mqtt *mqtt = ctx;

    mqtt_enter(mqtt);
    if (mqtt->config.batch_max == 0)
        mqtt_flush(mqtt);
    if (mqtt->mosq && (mqtt->is_tls || mqtt->config.batch_max))
        on_socket(mqtt, LOOP_READ);
    mqtt_leave(mqtt);
}

/* ---- the public face ---- */

struct mqtt *mqtt_open(struct loop *loop, const struct mqtt_config *config,
                       const struct mqtt_handlers *handlers, void *ctx)
{
    struct mqtt *mqtt = xcalloc(1, sizeof *mqtt);
    uint64_t seed;

    ASSERT(config->keepalive_s >= 5 && config->backoff_min_ms > 0);
    random_bytes(&seed, sizeof seed);
    rng_init(&mqtt->rng, seed);
    mqtt->loop = loop;
    mqtt->config = *config;
    mqtt->handlers = *handlers;
    mqtt->ctx = ctx;
    mqtt->later.run = on_later;
    mqtt->later.ctx = mqtt;
    dial_now(mqtt);
    return mqtt;
}

/* Says goodbye where that acknowledges nothing; the session's expiry stands. */
static void say_goodbye(struct mqtt *mqtt)
{
    loop_watch_stop(&mqtt->watch); /* the library closes the socket */
    mqtt->inside++;
    if (mosquitto_disconnect_v5(mqtt->mosq, 0, NULL) == MOSQ_ERR_SUCCESS)
        mosquitto_loop_write(mqtt->mosq, 1);
    mqtt->inside--;
}

void mqtt_close(struct mqtt *mqtt)
{
    if (!mqtt)
        return;
    mqtt_enter(mqtt);
    memset(&mqtt->handlers, 0, sizeof mqtt->handlers); /* no callback comes after */
    if (mqtt->state == MQTT_UP && mqtt->inside == 0 && !mqtt->lost_why && mqtt->unreleased == 0)
        say_goodbye(mqtt);
    mqtt->is_closed = true;
    mqtt_lose(mqtt, "closed by us");
    mqtt_leave(mqtt);
}

bool mqtt_is_up(const struct mqtt *mqtt)
{
    return mqtt->state == MQTT_UP && !mqtt->lost_why;
}

uint64_t mqtt_generation(const struct mqtt *mqtt)
{
    return mqtt->generation;
}

/* SPDX-License-Identifier: MIT */
#include "io/mqtt.h"
#include "io/mqtt_private.h"

#include <stdlib.h>
#include <string.h>

#include <mqtt_protocol.h>

#include "base/alloc.h"
#include "base/crash.h"
#include "base/log.h"

#define BATCH_BYTES 1048576 /* payloads in one batch, give or take one */
#define SLICE       256     /* packets per turn: the loop has others to serve */

/* The user property called traceparent, allocated, or NULL. */
static char *read_traceparent(const mosquitto_property *properties)
{
    const mosquitto_property *at = properties;
    bool is_first = true;
    char *name, *value;

    for (;; is_first = false) {
        bool is_it;

        name = value = NULL;
        at = mosquitto_property_read_string_pair(at, MQTT_PROP_USER_PROPERTY, &name, &value,
                                                 !is_first);
        if (!at)
            return NULL;
        is_it = name && strcmp(name, "traceparent") == 0;
        free(name);
        if (is_it)
            return value;
        free(value);
    }
}

static void show(const struct mosquitto_message *message, const mosquitto_property *properties,
                 void (*to)(void *ctx, const struct mqtt_message *message), void *ctx)
{
    struct mqtt_message out = {.topic = message->topic,
                               .payload = message->payload ? message->payload : "",
                               .payload_bytes = (size_t)message->payloadlen,
                               .is_retained = message->retain};
    char *response_topic = NULL, *traceparent = NULL;
    void *correlation = NULL;
    uint16_t correlation_bytes = 0;

    if (properties) {
        mosquitto_property_read_string(properties, MQTT_PROP_RESPONSE_TOPIC, &response_topic,
                                       false);
        mosquitto_property_read_binary(properties, MQTT_PROP_CORRELATION_DATA, &correlation,
                                       &correlation_bytes, false);
        traceparent = read_traceparent(properties);
        out.response_topic = response_topic;
        out.correlation = correlation;
        out.correlation_bytes = correlation_bytes;
        out.traceparent = traceparent;
    }
    to(ctx, &out);
    free(response_topic);
    free(correlation);
    free(traceparent);
}

static void hand_over(struct mqtt *lane, const struct mosquitto_message *message,
                      const mosquitto_property *properties)
{
    if (!lane->handlers.on_message)
        return;
    crash_point_for("lane.message", message->payload, (size_t)message->payloadlen);
    show(message, properties, lane->handlers.on_message, lane->ctx);
}

/* ---- the message in hand of a careful lane ---- */

struct mqtt_in_hand {
    struct mosquitto_message message;
    mosquitto_property *properties;
    bool is_through; /* on_message has it */
};

static bool is_careful(const struct mqtt *lane)
{
    return lane->config.care && lane->config.care->left;
}

static void forget_message(struct mqtt_in_hand *in_hand)
{
    mosquitto_message_free_contents(&in_hand->message);
    mosquitto_property_free_all(&in_hand->properties);
    *in_hand = (struct mqtt_in_hand){.is_through = true};
}

void mqtt_lane_forget(struct mqtt *lane)
{
    if (!lane->in_hand)
        return;
    forget_message(lane->in_hand);
    free(lane->in_hand);
    lane->in_hand = NULL;
    lane->config.care->holder = NULL;
}

/* false: there is no memory for a copy. */
static bool keep_back(struct mqtt *lane, const struct mosquitto_message *message,
                      const mosquitto_property *properties)
{
    struct mqtt_in_hand *in_hand = xcalloc(1, sizeof(*in_hand));

    mqtt_lane_forget(lane);
    lane->in_hand = in_hand;
    lane->config.care->holder = lane;
    return !mosquitto_message_copy(&in_hand->message, message) &&
           (!properties || !mosquitto_property_copy_all(&in_hand->properties, properties));
}

void mqtt_show_in_hand(struct mqtt *lane, void (*to)(void *ctx, const struct mqtt_message *message),
                       void *ctx)
{
    if (lane->in_hand && !lane->in_hand->is_through)
        show(&lane->in_hand->message, lane->in_hand->properties, to, ctx);
}

void mqtt_let_through(struct mqtt *lane)
{
    ASSERT(lane->inside == 0);
    if (!lane->mosq || lane->lost_why || !lane->in_hand || lane->in_hand->is_through)
        return;
    mqtt_enter(lane);
    hand_over(lane, &lane->in_hand->message, lane->in_hand->properties);
    forget_message(lane->in_hand);
    if (lane->handlers.on_batch)
        lane->handlers.on_batch(lane->ctx, lane->unreleased);
    mqtt_leave(lane);
}

/* From inside the library, which has queued the PUBACK already. */
void mqtt_lane_take(struct mqtt *lane, const struct mosquitto_message *message,
                    const mosquitto_property *properties)
{
    lane->heard++;
    if (lane->config.batch_max == 0 || lane->lost_why)
        return; /* a publisher subscribes to nothing; a lost lane's messages come again */
    if (lane->unreleased++ == 0)
        lane->first_ms = loop_now_ms(lane->loop);
    lane->helping++;
    lane->helping_bytes += (size_t)message->payloadlen;
    lane->is_told = true;
    if (!is_careful(lane) || !lane->config.care->on_in_hand)
        hand_over(lane, message, properties);
    else if (lane->in_hand && !lane->in_hand->is_through)
        mqtt_lose(lane, "two messages came at once to a lane that is read one by one");
    else if (!keep_back(lane, message, properties))
        mqtt_lose(lane, "there is no memory for a copy of the message");
}

static bool has_to_open_further(const struct mqtt *lane)
{
    return lane->state == MQTT_OPENING && lane->is_connected &&
           (!lane->is_asked || lane->is_subscribed);
}

/* By number, or by bytes: a batch lives in memory until it is committed. */
static bool is_full(const struct mqtt *lane)
{
    size_t max = lane->batch_limit ? lane->batch_limit : lane->config.batch_max;

    return lane->helping >= (is_careful(lane) ? 1 : max) || lane->helping_bytes >= BATCH_BYTES;
}

static void note_release(const struct mqtt *lane)
{
    struct mqtt_care *care = lane->config.care;

    if (!care)
        return;
    care->was_released = true;
    care->left -= care->left < lane->unreleased ? care->left : lane->unreleased;
}

static void hold(struct mqtt *lane)
{
    lane->is_held = true;
    lane->helping = 0;
    lane->helping_bytes = 0;
    if (lane->in_hand && !lane->in_hand->is_through)
        lane->config.care->on_in_hand(lane->config.care->ctx, lane);
    else if (lane->handlers.on_batch)
        lane->handlers.on_batch(lane->ctx, lane->unreleased);
}

void mqtt_lane_read(struct mqtt *lane)
{
    bool is_dry = false;

    if (lane->is_held) {
        /* Only now: most batches are released before more comes, at no cost. */
        loop_watch_start(lane->loop, &lane->watch, lane->watch.fd, 0, NULL, NULL);
        return;
    }
    for (unsigned i = 0; i < SLICE && !is_full(lane); i++) {
        if (!mqtt_read(lane)) {
            is_dry = true;
            break;
        }
        if (has_to_open_further(lane))
            break;
    }
    if (lane->lost_why)
        return;
    if (lane->helping && (is_dry || is_full(lane)))
        hold(lane);
    else if (!is_dry)
        loop_defer(lane->loop, &lane->later); /* a dry socket would not wake us for the rest */
}

/*
 * The broker gives up one and a half keep-alives after our last packet.  Held messages keep us
 * from writing, so leave first: in good time, and by our own account.
 */
void mqtt_lane_tick(struct mqtt *lane)
{
    int64_t now_ms = loop_now_ms(lane->loop);

    if (now_ms - lane->first_ms >= lane->keepalive_ms * 3 / 4 ||
        now_ms - lane->written_ms >= lane->keepalive_ms * 5 / 4)
        mqtt_lose(lane, "messages were held for too long to stay connected");
}

static void resume(struct mqtt *lane)
{
    lane->is_held = false;
    lane->helping = 0;
    lane->helping_bytes = 0;
    if (lane->is_tls)
        loop_defer(lane->loop, &lane->later);
}

void mqtt_release(struct mqtt *lane)
{
    ASSERT(lane->inside == 0);
    if (!lane->mosq || lane->lost_why || lane->is_releasing)
        return;
    mqtt_enter(lane);
    resume(lane);
    if (lane->unreleased) {
        note_release(lane);
        mqtt_lane_forget(lane);
        lane->is_releasing = true;
        mqtt_write(lane);
    } else {
        mqtt_watch(lane);
    }
    mqtt_leave(lane);
}

void mqtt_limit_batch(struct mqtt *lane, size_t messages)
{
    lane->batch_limit = messages < lane->config.batch_max ? messages : 0;
}

void mqtt_read_on(struct mqtt *lane)
{
    ASSERT(lane->inside == 0);
    if (!lane->mosq || lane->lost_why || !lane->is_held)
        return;
    resume(lane);
    mqtt_watch(lane);
}

void mqtt_discard(struct mqtt *lane, const char *why)
{
    ASSERT(lane->inside == 0);
    if (!lane->mosq)
        return;
    mqtt_lose(lane, why);
    mqtt_end_if_lost(lane);
}

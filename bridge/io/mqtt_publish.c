/* SPDX-License-Identifier: MIT */
#include "io/mqtt.h"
#include "io/mqtt_private.h"

#include <mqtt_protocol.h>
#include <string.h>

#include "base/log.h"

#define SLICE        64      /* reads per turn; each takes as many packets as are outstanding */
#define QUEUED_MAX   10000   /* packets of QoS 0 that the socket has not taken yet */
#define QUEUED_BYTES 8388608 /* payloads that the socket has not taken yet, give or take one */
#define PAYLOAD_MAX  268435455
/* Of a PUBLISH beside topic and payload: first byte, length, topic's length, id, properties' length
 * and a Message Expiry Interval. */
#define PACKET_REST 15

/* From inside the library: QoS 0 is reported while writing, QoS 1 while reading. */
void mqtt_publisher_take(struct mqtt *publisher, int mid, int reason)
{
    if (!publisher->is_reading)
        return;
    publisher->heard++;
    if (publisher->outstanding)
        publisher->outstanding--;
    if (publisher->handlers.on_puback && !publisher->lost_why)
        publisher->handlers.on_puback(publisher->ctx, mid, (uint8_t)reason);
}

void mqtt_publisher_read(struct mqtt *publisher)
{
    for (unsigned i = 0; i < SLICE; i++)
        if (!mqtt_read(publisher) || publisher->state == MQTT_OPENING)
            return;
    loop_defer(publisher->loop, &publisher->later);
}

static int err_of(int rc)
{
    switch (rc) {
    case MOSQ_ERR_SUCCESS:
        return 0;
    case MOSQ_ERR_NO_CONN:
    case MOSQ_ERR_CONN_LOST:
    case MOSQ_ERR_ERRNO:
    case MOSQ_ERR_TLS:
        return ERR_CLOSED;
    case MOSQ_ERR_PAYLOAD_SIZE:
    case MOSQ_ERR_OVERSIZE_PACKET:
        return ERR_TOO_LARGE;
    default:
        return ERR_INVALID;
    }
}

static int publish(struct mqtt *publisher, const struct mqtt_message *message, int qos, int *mid,
                   const mosquitto_property *properties)
{
    int rc;

    ASSERT(publisher->config.batch_max == 0);
    if (!mqtt_is_up(publisher))
        return ERR_CLOSED;
    if (qos ? mqtt_publish_room(publisher) == 0 : publisher->queued >= QUEUED_MAX)
        return ERR_FULL;
    if (message->payload_bytes > PAYLOAD_MAX)
        return ERR_TOO_LARGE;
    publisher->inside++;
    rc = mosquitto_publish_v5(publisher->mosq, mid, message->topic, (int)message->payload_bytes,
                              message->payload, qos, message->is_retained, properties);
    publisher->inside--;
    if (rc != MOSQ_ERR_SUCCESS)
        return err_of(rc);
    publisher->outstanding += qos > 0;
    publisher->queued++;
    publisher->queued_bytes += message->payload_bytes;
    loop_defer(publisher->loop, &publisher->later);
    return 0;
}

int mqtt_publish(struct mqtt *mqtt, const char *topic, const void *payload, size_t payload_bytes,
                 int qos, bool retain, int *mid)
{
    struct mqtt_message message = {
        .topic = topic, .payload = payload, .payload_bytes = payload_bytes, .is_retained = retain};

    return publish(mqtt, &message, qos, mid, NULL);
}

int mqtt_publish_expiring(struct mqtt *mqtt, const char *topic, const void *payload,
                          size_t payload_bytes, uint32_t expiry_s, int *mid)
{
    struct mqtt_message message = {
        .topic = topic, .payload = payload, .payload_bytes = payload_bytes};
    mosquitto_property *properties = NULL;
    int err;

    if (expiry_s && mosquitto_property_add_int32(&properties, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL,
                                                 expiry_s) != MOSQ_ERR_SUCCESS)
        return ERR_INVALID;
    err = publish(mqtt, &message, 1, mid, properties);
    mosquitto_property_free_all(&properties);
    return err;
}

int mqtt_publish_reply(struct mqtt *mqtt, const char *topic, const void *payload,
                       size_t payload_bytes, const void *correlation, size_t correlation_bytes,
                       int *mid)
{
    struct mqtt_message message = {
        .topic = topic, .payload = payload, .payload_bytes = payload_bytes};
    mosquitto_property *properties = NULL;
    int err;

    if (correlation_bytes > UINT16_MAX)
        return ERR_TOO_LARGE;
    if (correlation_bytes &&
        mosquitto_property_add_binary(&properties, MQTT_PROP_CORRELATION_DATA, correlation,
                                      (uint16_t)correlation_bytes) != MOSQ_ERR_SUCCESS)
        return ERR_INVALID;
    err = publish(mqtt, &message, 1, mid, properties);
    mosquitto_property_free_all(&properties);
    return err;
}

size_t mqtt_publish_room(const struct mqtt *mqtt)
{
    if (!mqtt_is_up(mqtt) || mqtt->outstanding >= mqtt->room || mqtt->queued_bytes >= QUEUED_BYTES)
        return 0;
    return mqtt->room - mqtt->outstanding;
}

size_t mqtt_packet_max(const struct mqtt *mqtt)
{
    return mqtt->packet_max ? mqtt->packet_max : SIZE_MAX;
}

size_t mqtt_payload_max(const struct mqtt *mqtt, const char *topic)
{
    size_t max = mqtt_packet_max(mqtt), rest = strlen(topic) + PACKET_REST;

    if (max == SIZE_MAX)
        return max;
    return max > rest ? max - rest : 0;
}

void mqtt_flush(struct mqtt *publisher)
{
    loop_defer_cancel(publisher->loop, &publisher->later);
    if (!publisher->mosq || publisher->lost_why)
        return;
    if (publisher->inside) {
        loop_defer(publisher->loop, &publisher->later);
        return;
    }
    mqtt_enter(publisher);
    mqtt_write(publisher);
    mqtt_leave(publisher);
}

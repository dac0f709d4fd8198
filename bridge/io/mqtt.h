/* SPDX-License-Identifier: MIT */
/*
 * mqtt - one MQTT 5 connection on the loop (libmosquitto)
 *
 * Two ways to use it:
 *
 * A *lane* consumes.  libmosquitto queues the PUBACK before it calls us and has no manual
 * acknowledgement; with mosquitto_threaded_set() the queue is not written inside the callback
 * but when we call mosquitto_loop_write(), which a lane does only in mqtt_release().  So a lane
 * alternates: it reads until batch_max messages or a dry socket, calls on_batch() and is *held*:
 * it neither reads nor writes.  mqtt_release() lets the acknowledgements out and reading go on;
 * mqtt_read_on() takes another helping without acknowledging; mqtt_discard() drops connection
 * and acknowledgements, so that the broker sends everything again.  A lane that is held longer
 * than three quarters of its keep-alive discards by itself (nothing may be written, not even a
 * ping).  It subscribes again on every connect, also when the session was present.
 *
 * A *publisher* sends.  Packets queue and leave together at the end of the turn.
 *
 * Both reconnect by themselves with full-jitter backoff.  Names are resolved off the loop.
 * The token file is read again (off the loop) before each connect.
 *
 * Ownership: strings in a message are borrowed for the length of the callback.
 * Errors:    connection trouble is reported by on_down and healed; never fatal.
 * Order:     on_down may come from within mqtt_release(), mqtt_flush() and mqtt_discard(): be done
 *            with your own state before you call them.
 */
#ifndef TOCSIN_IO_MQTT_H
#define TOCSIN_IO_MQTT_H
#include "base/err.h"
#include "io/loop.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mqtt;
struct mqtt_message;

/*
 * A lane whose reader has crashed is read message by message for a while: what was in hand then is
 * at the head of the broker's queue again, and no two of its messages get into one batch.  Each is
 * kept back until it is let through (mqtt_let_through) or acknowledged unread (mqtt_release).
 */
struct mqtt_care {
    size_t left;       /* messages that are still read one at a time */
    bool was_released; /* set when messages were acknowledged */
    struct mqtt
        *holder; /* the lane whose message is in hand, until it is acknowledged or dropped */
    /* A message is in hand, and the lane is held; as on_batch.  NULL: it is let through at once. */
    void (*on_in_hand)(void *ctx, struct mqtt *lane);
    void *ctx;
};

struct mqtt_config {
    const char *url;        /* mqtt://host:port, mqtts://host:port or unix:/path; borrowed */
    const char *client_id;  /* borrowed */
    const char *username;   /* borrowed, may be NULL */
    const char *token_file; /* the JWT sent as the password; borrowed, may be NULL */
    const char *ca_file;    /* for mqtts; borrowed, may be NULL */
    bool clean_start;       /* false for lanes: the session must outlive us */
    uint32_t session_expiry_s;
    uint16_t receive_maximum; /* lanes: batch_max */
    uint16_t keepalive_s;
    size_t batch_max;           /* lanes: messages per batch; 0 makes this a publisher */
    struct mqtt_care *care;     /* lanes: borrowed, outlives the connection; NULL: none */
    const char *const *filters; /* lanes: subscribed at QoS 1; borrowed, NULL-terminated */
    int64_t backoff_min_ms, backoff_max_ms;
};

struct mqtt_message {
    const char *topic;
    const void *payload;
    size_t payload_bytes;
    bool is_duplicate; /* libmosquitto does not tell: false */
    bool is_retained;
    const char *response_topic; /* NULL when absent */
    const void *correlation;    /* NULL when absent */
    size_t correlation_bytes;
    const char *traceparent; /* user property; NULL when absent */
};

struct mqtt_handlers {
    /* The connection (and each subscription of a lane) is accepted. */
    void (*on_up)(void *ctx, bool session_present);
    /*
     * It ended; why is a constant text.  Publishes without their PUBACK stay unconfirmed: the
     * library does not send them again, and their mids are void.  Comes once after each on_up,
     * and also when a lane handed over messages without having come up.
     */
    void (*on_down)(void *ctx, const char *why);
    /*
     * Lanes.  With a present session it may come before on_up.  From here one may not release,
     * read on, discard or close.
     */
    void (*on_message)(void *ctx, const struct mqtt_message *message);
    /*
     * The lane is now held; count messages came since the last release, on this connection.
     * May release at once.
     */
    void (*on_batch)(void *ctx, size_t count);
    /* reason is the MQTT 5 reason code; 0x10 is "no matching subscribers". */
    void (*on_puback)(void *ctx, int mid, uint8_t reason);
};

/* Starts to connect.  config and handlers are copied, the strings borrowed. */
struct mqtt *mqtt_open(struct loop *loop, const struct mqtt_config *config,
                       const struct mqtt_handlers *handlers, void *ctx);
/* Ends now; no callback comes after.  A lane drops unreleased acknowledgements. */
void mqtt_close(struct mqtt *mqtt);
bool mqtt_is_up(const struct mqtt *mqtt);

/*
 * Queues a message; *mid identifies its PUBACK (QoS 1).  ERR_CLOSED when not connected,
 * ERR_FULL when the outgoing queue is at its bound (mqtt_publish_room() == 0).  After these two the
 * same message may be taken later.  Every other error is about the message and stays:
 * ERR_TOO_LARGE (mqtt_payload_max()), ERR_INVALID (its topic, or a thing the broker cannot do).
 */
NODISCARD int mqtt_publish(struct mqtt *mqtt, const char *topic, const void *payload,
                           size_t payload_bytes, int qos, bool retain, int *mid);
/*
 * As above at QoS 1, with the MQTT 5 Message Expiry Interval: the broker delivers the message to
 * nobody once expiry_s seconds have passed.  0: it does not expire.
 */
NODISCARD int mqtt_publish_expiring(struct mqtt *mqtt, const char *topic, const void *payload,
                                    size_t payload_bytes, uint32_t expiry_s, int *mid);
/* As above, with the MQTT 5 Correlation Data a request carried. */
NODISCARD int mqtt_publish_reply(struct mqtt *mqtt, const char *topic, const void *payload,
                                 size_t payload_bytes, const void *correlation,
                                 size_t correlation_bytes, int *mid);
/* How many more QoS 1 messages may be under way now; 0 too while 8 MiB wait for the socket. */
size_t mqtt_publish_room(const struct mqtt *mqtt);
/*
 * The largest packet that the broker takes, as its CONNACK said (MQTT 5 Maximum Packet Size), and
 * the largest payload that fits into one on a topic.  SIZE_MAX: it named no limit.
 */
size_t mqtt_packet_max(const struct mqtt *mqtt);
size_t mqtt_payload_max(const struct mqtt *mqtt, const char *topic);

/*
 * Acknowledges every message that on_message has shown on this connection, held or not: whoever
 * calls it has stored them all.  Nothing happens when there is none.
 */
void mqtt_release(struct mqtt *lane);
/*
 * Lanes: messages in a batch from now on, at most those of the configuration; 0: as many as those.
 * With 1 a batch that cannot be stored is one message.
 */
void mqtt_limit_batch(struct mqtt *lane, size_t messages);
void mqtt_read_on(struct mqtt *lane);
/*
 * Careful lanes, between on_in_hand and mqtt_release().  The first shows the message in hand, the
 * second gives it to on_message and on_batch.  Nothing happens when there is none.
 */
void mqtt_show_in_hand(struct mqtt *lane,
                       void (*show)(void *ctx, const struct mqtt_message *message), void *ctx);
void mqtt_let_through(struct mqtt *lane);
/*
 * Counts connections.  Whoever commits asynchronously notes it in on_batch and compares it
 * before mqtt_release(): the messages of an ended connection come again, and its commit must
 * not acknowledge those of the next.
 */
uint64_t mqtt_generation(const struct mqtt *mqtt);
void mqtt_discard(struct mqtt *lane, const char *why);
/* Writes what is queued; called by itself at the end of a turn, public for the drain. */
void mqtt_flush(struct mqtt *publisher);

/* Library set-up and tear-down, once per process. */
void mqtt_library_init(void);
void mqtt_library_fini(void);

/* mqtt://host[:port], mqtts://host[:port], with an IPv6 address in brackets, or unix:/path. */
bool mqtt_url_is_valid(const char *url);

#endif

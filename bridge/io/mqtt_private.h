/* SPDX-License-Identifier: MIT */
/*
 * mqtt_private - what the files of mqtt share and nobody else sees
 *
 * mqtt.c has the life of a connection, mqtt_lane.c consuming, mqtt_publish.c sending, and
 * mqtt_dial.c what blocks: names, files and the library's own connect, on a pool thread.
 *
 * Order: libmosquitto holds a mutex while it calls us.  So inside its callbacks we only take
 *        notes; connections end and packets are written after the library has returned.
 */
#ifndef TOCSIN_IO_MQTT_PRIVATE_H
#define TOCSIN_IO_MQTT_PRIVATE_H
#include "base/arena.h"
#include "base/random.h"
#include "io/lost_line.h"
#include "io/mqtt.h"
#include <mosquitto.h>

#define MQTT_WHY_BYTES 160
/*
 * QoS 1 messages under way at once.  The library walks its list of them for every message and
 * every PUBACK, so more is not faster.
 */
#define MQTT_PUBLISH_BOUND 200

/* One attempt to connect.  Copies all it needs: it may outlive the mqtt it is for. */
struct mqtt_dial {
    struct mqtt *mqtt; /* NULL once abandoned */
    struct arena *arena;
    struct mqtt_config config; /* strings copied */
    unsigned attempt;          /* picks among several addresses */
    struct mosquitto *mosq;    /* the result: a connection begun */
    int64_t token_expires_s;   /* 0: not known */
    bool is_tcp, is_tls;
    char why[MQTT_WHY_BYTES];
    int err;
};

struct mqtt_dial *mqtt_dial_new(struct mqtt *mqtt, const struct mqtt_config *config,
                                unsigned attempt);
void mqtt_dial_run(void *ctx); /* for loop_work() */
void mqtt_dial_free(struct mqtt_dial *dial);

enum mqtt_state {
    MQTT_RESTING, /* until the next attempt is due */
    MQTT_DIALING, /* a mqtt_dial is under way */
    MQTT_OPENING, /* waiting for CONNACK and, on a lane, SUBACK */
    MQTT_UP
};

struct mqtt {
    struct loop *loop;
    struct mqtt_config config;
    struct mqtt_handlers handlers;
    void *ctx;
    enum mqtt_state state;
    unsigned depth; /* of our functions on the stack; the last one out frees */
    bool is_closed;

    struct mosquitto *mosq; /* one per connection: nothing of the last one survives */
    struct mqtt_dial *dial;
    struct loop_watch watch;
    struct loop_timer timer;    /* backoff; then a tick per second */
    struct loop_deferred later; /* publisher: write; lane: read again */
    bool is_tcp, is_tls;
    uint64_t generation; /* counts connections */
    unsigned attempts, failures;
    struct lost_line lost_line;
    int64_t token_expires_s; /* of the token of this connection; 0: not known */
    struct rng rng;
    int64_t opened_ms, written_ms, keepalive_ms;

    /* notes from the library's callbacks */
    unsigned inside;      /* calls into the library on the stack */
    bool is_reading;      /* one of them reads */
    uint64_t heard;       /* callbacks so far: tells whether a read got anything */
    const char *lost_why; /* not NULL: the connection is over */
    bool is_connected;    /* CONNACK with success */
    bool is_asked;        /* SUBSCRIBE is on its way, or none is needed */
    bool is_subscribed;   /* SUBACK with success */
    bool has_session;     /* session present */
    bool is_told;         /* on_up or on_message has been called for this connection */

    /* lane */
    size_t batch_limit;           /* 0: batch_max */
    size_t unreleased;            /* messages handed over and not acknowledged */
    size_t helping;               /* of these, since on_batch was last called */
    size_t helping_bytes;         /* payloads of those */
    bool is_held;                 /* between on_batch and release or read_on */
    bool is_releasing;            /* acknowledgements are being written: no reading yet */
    int64_t first_ms;             /* when the first unreleased message came */
    struct mqtt_in_hand *in_hand; /* a message that is kept back; see mqtt_care */

    /* publisher */
    size_t outstanding;  /* QoS 1 without PUBACK */
    size_t room;         /* how many the broker and we allow */
    size_t packet_max;   /* bytes that the broker takes in one; SIZE_MAX: it named no limit */
    size_t queued_bytes; /* payloads of those */
    size_t queued;       /* packets since the last complete write */
};

/* mqtt_lane.c: forgets the message in hand. */
void mqtt_lane_forget(struct mqtt *lane);

static inline void mqtt_enter(struct mqtt *mqtt)
{
    mqtt->depth++;
}
void mqtt_leave(struct mqtt *mqtt);

/* Notes that the connection is over; why is a constant text. */
void mqtt_lose(struct mqtt *mqtt, const char *why);
/* Ends a connection so noted, unless the library is on the stack.  True when it is over. */
bool mqtt_end_if_lost(struct mqtt *mqtt);
/* Lets the library read; false when it got nothing, or the connection is over. */
bool mqtt_read(struct mqtt *mqtt);
/* Writes all that the library holds, as far as the socket takes it. */
void mqtt_write(struct mqtt *mqtt);
/* Watches for what the state needs. */
void mqtt_watch(struct mqtt *mqtt);

/* mqtt_lane.c */
void mqtt_lane_read(struct mqtt *lane);
void mqtt_lane_tick(struct mqtt *lane);
void mqtt_lane_take(struct mqtt *lane, const struct mosquitto_message *message,
                    const mosquitto_property *properties);

/* mqtt_publish.c */
void mqtt_publisher_read(struct mqtt *publisher);
void mqtt_publisher_take(struct mqtt *publisher, int mid, int reason);

#endif

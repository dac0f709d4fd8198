/* SPDX-License-Identifier: MIT */
/*
 * client - many MQTT connections on one epoll, at little cost
 *
 * What one recv() brought is parsed where it lies, in a buffer that all
 * connections share; what the callbacks write is sent with one send() per
 * connection at the end of the turn.  There is no reconnect: a connection
 * that ends spoils a measurement, and is reported as the engine's fault.
 *
 * Thread:     one.
 * Units:      CLOCK_MONOTONIC nanoseconds.
 * Ownership:  the caller owns struct engine and struct client, neither of
 *             which may move while open; strings given are copied.
 * Errors:     -1, with engine->fault saying why.
 * Order:      engine_init, client_open..., engine_turn until client_is_up.
 */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include "websocket.h"
#include "wire.h"

struct client;

struct client_events {
    void (*on_message)(struct client *c, const struct wire_publish *m);
    /* A PUBACK for one of ours; reason >= 0x80 means refused. */
    void (*on_puback)(struct client *c, uint8_t reason);
    /* Everything that one recv() brought has been handed over. */
    void (*on_drained)(struct client *c);
};

struct engine {
    int epoll_fd;
    uint8_t *scratch; /* what recv() fills, shared by all clients */
    size_t scratch_cap;
    struct client *dirty; /* clients with bytes to send */
    int64_t now_ns;       /* when the bytes being handled were read */
    /*
     * Sleep so long before each wait.  Under saturation that gathers more
     * work per turn and saves the broker from waking us for every message,
     * which costs it more than the message; for latencies it must be 0.
     */
    int64_t gather_ns;
    uint64_t recvs, sends;
    char fault[192]; /* empty while all is well */
};

enum client_state { CLIENT_CLOSED, CLIENT_WAIT_CONNACK, CLIENT_WAIT_SUBACK, CLIENT_UP };

struct client {
    struct engine *engine; /* borrowed */
    const struct client_events *events;
    void *owner;
    int fd, level;
    enum client_state state;
    struct wire_buf out;
    uint8_t *partial; /* the beginning of a packet whose rest has not come */
    size_t partial_len, partial_cap;
    uint16_t next_id, receive_maximum;
    uint32_t unacked; /* QoS 1 publishes without PUBACK */
    struct client *next_dirty;
    bool is_dirty, wants_write;
    bool is_websocket, is_upgraded;
    struct websocket websocket;
    struct wire_buf frames; /* of a WebSocket: out, in frames */
    char name[96], filter[128];
};

struct client_config {
    const char *url; /* mqtt://host:port, ws://host:port, or unix:/path */
    int level;       /* 4 or 5 */
    const char *client_id, *user, *password;
    const char *filter; /* subscribed to at QoS 1; NULL for none */
    const struct client_events *events;
    void *owner;
};

int64_t clock_ns(void);

int engine_init(struct engine *e);
void engine_fini(struct engine *e);
/* Waits for at most wait_ns, handles what has come, sends what was written. */
int engine_turn(struct engine *e, int64_t wait_ns);
/* Records the first fault; returns -1. */
int engine_fail(struct engine *e, const char *who, const char *what);

int client_open(struct client *c, struct engine *e, const struct client_config *conf);
void client_close(struct client *c);
bool client_is_up(const struct client *c);
/* May one more QoS 1 publish go out without breaking the broker's window? */
bool client_may_publish(const struct client *c);
/* Starts a publish; the caller fills payload_len bytes at once. */
uint8_t *client_publish(struct client *c, int qos, const char *topic, size_t topic_len,
                        size_t payload_len);
void client_ping(struct client *c);

#endif

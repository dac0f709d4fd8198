/* SPDX-License-Identifier: MIT */
/*
 * sink_loop - the sink's one thread: descriptors, delays and counts
 *
 * Protocols (sink_http1, sink_http2) hand it complete requests and are called
 * back when an answer is due.  Every delay is the same for all requests of its
 * kind, so what waits forms one queue per delay in order of its due time, and
 * no timer costs more than a list operation.
 *
 * Ownership: a watch belongs to its protocol; after sink_close() it is freed by
 * its on_free, at the end of the turn.  A wait must be forgotten
 * (sink_forget()) before its memory goes.
 */
#ifndef TOCSIN_BENCH_SINK_LOOP_H
#define TOCSIN_BENCH_SINK_LOOP_H

#include "sink_api.h"

enum { SINK_DELAYS = 2 /* the usual one, and that of the slow prefix */, SINK_STATS_MAX = 4096 };

struct sink;
struct sink_watch;
struct sink_wait;
typedef void sink_event_fn(struct sink *sink, struct sink_watch *watch, uint32_t events);
typedef void sink_free_fn(struct sink_watch *watch);
typedef void sink_due_fn(struct sink *sink, struct sink_wait *wait);

/* One descriptor.  First member of a protocol's connection. */
struct sink_watch {
    int fd;
    bool is_blocked; /* EPOLLOUT is wanted */
    sink_event_fn *on_event;
    sink_free_fn *on_free;
    struct sink_watch *next, *prev; /* all that are open; then, by next, all that are dead */
};

/* One request whose answer waits. */
struct sink_wait {
    const struct sink_kind *kind; /* NULL while nothing waits */
    sink_due_fn *on_due;
    uint64_t due_ns;
    unsigned delay;
    struct sink_wait *next, *prev;
};

struct sink_queue {
    uint64_t delay_ns;
    struct sink_wait *first, *last;
};

struct sink_request {
    const char *path;
    size_t path_len;
    const char *key; /* idempotency key, or NULL */
    size_t key_len;
    const char *body;
    size_t body_len;
};

struct sink {
    int epoll;
    int timer;
    int signals;
    uint64_t now_ns;
    uint64_t armed_ns; /* when the timer fires, 0 when it is not set */
    const char *slow_prefix;
    struct sink_queue queues[SINK_DELAYS];
    struct sink_watch *all;
    struct sink_watch *dead; /* freed after the turn: their events may still be in the batch */
    uint64_t requests;
    uint64_t answered;
    uint64_t bad;
    uint64_t connections;
    uint64_t open;
    uint64_t in_flight;
    uint64_t peak_in_flight;
    uint64_t first_ns;
    uint64_t last_ns;
    struct sink_api api;
};

int sink_init(struct sink *sink);
void sink_fini(struct sink *sink);
void sink_run(struct sink *sink); /* until SIGTERM or SIGINT */

/* A listening socket on the loopback; `*port` 0 picks one.  Returns it, or -1.
 */
int sink_listen(uint16_t *port);

/* Accepted connections count, listeners do not. */
int sink_watch_add(struct sink *sink, struct sink_watch *watch, int fd, bool is_connection);
void sink_want_out(struct sink *sink, struct sink_watch *watch, bool is_wanted);
void sink_close(struct sink *sink, struct sink_watch *watch);

/* Count a request and queue its answer; true when it is due at once (and
 * nothing is queued). */
bool sink_take(struct sink *sink, struct sink_wait *wait, const struct sink_request *request);
void sink_forget(struct sink *sink, struct sink_wait *wait);
void sink_sent(struct sink *sink); /* an answer has left */

void sink_stats(struct sink *sink, char text[SINK_STATS_MAX]);
void sink_reset(struct sink *sink);

#endif

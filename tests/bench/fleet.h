/* SPDX-License-Identifier: MIT */
/*
 * fleet - many connected principals of one kind
 *
 * Opens them a few at a time, because a broker's listen queue is short, and
 * returns when each is subscribed.
 *
 * Ownership:  fleet_open() allocates, fleet_close() frees, also after an
 *             error.  Members do not move.
 * Errors:     -1, with engine->fault saying why.
 */
#ifndef BENCH_FLEET_H
#define BENCH_FLEET_H

#include "client.h"
#include "options.h"

#define FLEET_ID_MAX 40

struct fleet_member {
    struct client client;
    void *owner;     /* whoever opened the fleet */
    unsigned number; /* 0.. within the fleet */
    char id[FLEET_ID_MAX];
    char topic[96]; /* where this member publishes */
    size_t topic_len;
    struct wire_buf pending; /* a user's ids not yet acknowledged */
    uint32_t unsettled;      /* a service's requests without a final receipt */
};

struct fleet_config {
    const char *kind;       /* user, service or bridge */
    const char *topic_leaf; /* up/request, up/ack; NULL when none is wanted */
    unsigned count;
    int level;
    bool subscribes; /* to its own down/# */
    const struct client_events *events;
    void *owner;
};

struct fleet {
    struct fleet_member *members;
    unsigned count;
};

/* The id of principal n of a kind, as requests name it. */
void fleet_id(const struct load_options *o, const char *kind, unsigned n, char out[FLEET_ID_MAX]);
int fleet_open(struct fleet *f, struct engine *e, const struct load_options *o,
               const struct fleet_config *conf);
void fleet_close(struct fleet *f);
void fleet_ping(struct fleet *f);

#endif

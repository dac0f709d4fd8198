/* SPDX-License-Identifier: MIT */
/*
 * route - from a decoded request to who gets it by which channel
 *
 * Purity:    no I/O; what the configuration says comes in as parameters.
 * Ownership: everything lives in the arena given.
 */
#ifndef TOCSIN_CORE_ROUTE_H
#define TOCSIN_CORE_ROUTE_H
#include "base/arena.h"
#include "core/request.h"

/* What the configuration says of a type. */
struct route_type {
    unsigned channels;                 /* bit set; 0: nothing */
    enum channel order[CHANNEL_COUNT]; /* the same, as listed */
    size_t order_count;
    bool is_first;             /* one after the other, where the request says nothing of it */
    int64_t escalate_after_ms; /* then; -1: only when the one before has failed */
};

struct route {
    unsigned channels; /* bit set; at least one */
    enum channel order[CHANNEL_COUNT];
    size_t order_count;
    /* One after the other: each is a step, and waits for the one before.  Never with one alone. */
    bool is_first;
    int64_t escalate_after_ms; /* -1: only when the one before has failed */
    enum recipient_kind kind;
    const char **recipients; /* users and roles percent-encoded; "" for a broadcast */
    size_t recipient_count;
    size_t deliveries; /* recipients x channels */
};

/*
 * Returns true and fills route, or false and fills rejection.  type is the type's policy (NULL:
 * none), available the channels that have a destination.
 */
bool route_request(const struct request *request, const struct route_type *type, unsigned available,
                   struct arena *arena, struct route *route, struct rejection *rejection);

#endif

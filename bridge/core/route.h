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

struct route {
    unsigned channels; /* bit set; at least one */
    enum recipient_kind kind;
    const char **recipients; /* users and roles percent-encoded; "" for a broadcast */
    size_t recipient_count;
    size_t deliveries; /* recipients x channels */
};

/*
 * Returns true and fills route, or false and fills rejection.  type_channels is the type's
 * policy (0: none), available the channels that have a destination.
 */
bool route_request(const struct request *request, unsigned type_channels, unsigned available,
                   struct arena *arena, struct route *route, struct rejection *rejection);

#endif

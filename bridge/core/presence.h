/* SPDX-License-Identifier: MIT */
/*
 * presence - what the broker's plugin tells of a user: notify/v1/presence/{user}
 *
 * {"connections": n, "at": time, "roles"?: [...]}, or nothing at all when the user has been away
 * for so long that the retained message went.  Members that a later plugin may add are passed over.
 *
 * Purity:    no I/O, no clock.
 * Ownership: user points into the topic given.
 */
#ifndef TOCSIN_CORE_PRESENCE_H
#define TOCSIN_CORE_PRESENCE_H
#include "base/arena.h"
#include "base/err.h"
#include <stdint.h>

#define PRESENCE_FILTER          "notify/v1/presence/+"
#define PRESENCE_CONNECTIONS_MAX 1000000

struct presence_told {
    const char *user; /* percent-encoded */
    int connections;
    int64_t at_ms;     /* wall; 0: not told */
    const char *roles; /* percent-encoded, joined by ','; "" when none are told; in scratch */
};

/* scratch is the caller's to reset. */
NODISCARD int presence_read(const char *topic, const char *payload, size_t bytes,
                            struct arena *scratch, struct presence_told *told);

#endif

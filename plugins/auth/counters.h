/* SPDX-License-Identifier: MIT */
/*
 * counters - what the plugin did, for $SYS/broker/tocsin/...
 *
 * Purity: plain numbers; publishing them is the caller's.
 */
#ifndef TOCSIN_AUTH_COUNTERS_H
#define TOCSIN_AUTH_COUNTERS_H

#include "principal.h"

#include <stdint.h>

enum counter {
    COUNTER_ACCEPTED_USER, /* the kinds in the order of enum principal_kind */
    COUNTER_ACCEPTED_SERVICE,
    COUNTER_ACCEPTED_ADMIN,
    COUNTER_ACCEPTED_BRIDGE,
    COUNTER_KICKED_EXPIRED,
    COUNTER_KICKED_REVOKED,
    COUNTER_KICKED_KEY,
    COUNTER_KICKED_ADMIN,
    COUNTER_DENIED_PUBLISH,
    COUNTER_DENIED_SUBSCRIBE,
    COUNTER_LIMITED_PUBLISH_RATE,
    COUNTER_LIMITED_PUBLISH_BYTES,
    COUNTER_LIMITED_PAYLOAD,
    COUNTER_LIMITED_SUBSCRIPTIONS,
    COUNTER_LIMITED_SUBSCRIBE_RATE,
    COUNTER_LIMITED_CONTROL_RATE,
    COUNTER_LIMITED_ROLES,
    COUNTER_LIMITED_ANSWERS,
    COUNTER_REFRESH_ACCEPTED,
    COUNTER_REFRESH_REFUSED,
    COUNTER_RELOADS,
    COUNTER_RELOADS_FAILED,
    COUNTER_LIVE_CONNECTIONS, /* from here on the state of now */
    COUNTER_LIVE_PRINCIPALS,
    COUNTER_LEFT_SESSIONS,
    COUNTER_KEYS,
    COUNTER_REVOCATIONS,
    COUNTER_CACHE_HITS,
    COUNTER_CACHE_MISSES,
    COUNTER_REFUSED_FIRST, /* one per enum refusal */
    COUNTER_COUNT = COUNTER_REFUSED_FIRST + REFUSAL_COUNT
};

struct counters {
    uint64_t now[COUNTER_COUNT], published[COUNTER_COUNT];
    int was_published;
};

/* "accepted/user", "refused/signature", ... */
void counter_topic(enum counter which, char *out, size_t size);

#endif

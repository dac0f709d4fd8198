/* SPDX-License-Identifier: MIT */
#include "counters.h"

#include <stdio.h>

static const char *const names[COUNTER_REFUSED_FIRST] = {
    [COUNTER_ACCEPTED_USER] = "accepted/user",
    [COUNTER_ACCEPTED_SERVICE] = "accepted/service",
    [COUNTER_ACCEPTED_ADMIN] = "accepted/admin",
    [COUNTER_ACCEPTED_BRIDGE] = "accepted/bridge",
    [COUNTER_KICKED_EXPIRED] = "kicked/expired",
    [COUNTER_KICKED_REVOKED] = "kicked/revoked",
    [COUNTER_KICKED_KEY] = "kicked/key",
    [COUNTER_KICKED_ADMIN] = "kicked/admin",
    [COUNTER_DENIED_PUBLISH] = "denied/publish",
    [COUNTER_DENIED_SUBSCRIBE] = "denied/subscribe",
    [COUNTER_LIMITED_PUBLISH_RATE] = "limited/publish_rate",
    [COUNTER_LIMITED_PUBLISH_BYTES] = "limited/publish_bytes",
    [COUNTER_LIMITED_PAYLOAD] = "limited/payload",
    [COUNTER_LIMITED_SUBSCRIPTIONS] = "limited/subscriptions",
    [COUNTER_LIMITED_SUBSCRIBE_RATE] = "limited/subscribe_rate",
    [COUNTER_LIMITED_CONTROL_RATE] = "limited/control_rate",
    [COUNTER_LIMITED_ROLES] = "limited/roles",
    [COUNTER_LIMITED_ANSWERS] = "limited/answers",
    [COUNTER_REFRESH_ACCEPTED] = "refresh/accepted",
    [COUNTER_REFRESH_REFUSED] = "refresh/refused",
    [COUNTER_RELOADS] = "reloads/done",
    [COUNTER_RELOADS_FAILED] = "reloads/failed",
    [COUNTER_LIVE_CONNECTIONS] = "live/connections",
    [COUNTER_LIVE_PRINCIPALS] = "live/principals",
    [COUNTER_LEFT_SESSIONS] = "live/left_sessions",
    [COUNTER_KEYS] = "keys",
    [COUNTER_REVOCATIONS] = "revocations",
    [COUNTER_CACHE_HITS] = "cache/hits",
    [COUNTER_CACHE_MISSES] = "cache/misses",
};

void counter_topic(enum counter which, char *out, size_t size)
{
    if (which < COUNTER_REFUSED_FIRST)
        snprintf(out, size, "$SYS/broker/tocsin/%s", names[which]);
    else
        snprintf(out, size, "$SYS/broker/tocsin/refused/%s",
                 refusal_name((enum refusal)(which - COUNTER_REFUSED_FIRST)));
}

/* SPDX-License-Identifier: MIT */
/*
 * bucket - token buckets, and how they are configured
 *
 * A bucket holds up to `burst` and fills at `rate` per second; a rate of 0
 * means no limit.
 *
 * Purity: no I/O, no clock; the caller passes monotonic milliseconds.
 */
#ifndef TOCSIN_AUTH_BUCKET_H
#define TOCSIN_AUTH_BUCKET_H

#include "principal.h"

#include <stdbool.h>
#include <stdint.h>

struct limits_config {
    int64_t connections_per_principal; /* 0: no limit, here and below; bridges are exempt */
    int64_t connections_per_address;
    int64_t connect_rate, connect_burst; /* per address */
    int64_t failure_rate, failure_burst; /* refused connects per address */
    int64_t publish_rate[PRINCIPAL_KINDS], publish_burst[PRINCIPAL_KINDS];
    int64_t byte_rate[PRINCIPAL_KINDS], byte_burst[PRINCIPAL_KINDS];
    int64_t payload_max; /* bytes */
    int64_t subscriptions_per_client;
    int64_t user_subscriptions;     /* of one connection of a user, beside one for each role */
    int64_t sessions_per_principal; /* left behind: client ids that are not connected */
    int64_t subscribe_rate, subscribe_burst; /* filters per connection */
    int64_t control_rate, control_burst;     /* $CONTROL requests per connection */
};

struct bucket {
    int64_t level_milli; /* thousandths of one, so that slow rates fill too */
    int64_t filled_ms;
};

void bucket_init(struct bucket *b, int64_t burst, int64_t now_ms);
/* Takes `amount` if it is there, or if the rate is 0. */
bool bucket_take(struct bucket *b, int64_t rate, int64_t burst, int64_t amount, int64_t now_ms);
/* Has it all it can have, or is the rate 0? */
bool bucket_is_full(struct bucket *b, int64_t rate, int64_t burst, int64_t now_ms);
/* Is at least one there?  Takes nothing. */
bool bucket_has(struct bucket *b, int64_t rate, int64_t burst, int64_t now_ms);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * delivery - one notification to one recipient on one channel: its states and legal moves
 *
 * The drawing is docs/lifecycle.md.  delivery_can_move() is the one table of moves;
 * delivery_set_state() panics on any other, and each UPDATE in store/ names the state it moves
 * from.
 */
#ifndef TOCSIN_CORE_DELIVERY_H
#define TOCSIN_CORE_DELIVERY_H
#include "core/channel.h"
#include "core/outcome.h"
#include <stdbool.h>
#include <stdint.h>

/* Stored in the database: never renumber. */
enum delivery_state {
    DELIVERY_READY = 0,  /* may be claimed once due */
    DELIVERY_LEASED = 1, /* a bridge is at it */
    DELIVERY_HELD = 2,   /* waits for something that is not a time of its own */
    DELIVERY_SENT = 3,   /* the provider has it; final where no receipt can follow */
    DELIVERY_DELIVERED = 4,
    DELIVERY_DEAD = 5,
    DELIVERY_SUPPRESSED = 6,
    DELIVERY_EXPIRED = 7,
    DELIVERY_CANCELLED = 8,
    DELIVERY_STATE_COUNT = 9
};
const char *delivery_state_name(enum delivery_state state);
bool delivery_is_final(enum delivery_state state); /* SENT is not */
bool delivery_can_move(enum delivery_state from, enum delivery_state to);
void delivery_set_state(enum delivery_state *state, enum delivery_state to);

/* How often and when to try again; the request's override wins over the type's, the channel's. */
struct retry_policy {
    int attempts; /* in all; >= 1 */
    int64_t base_ms, max_ms;
    double factor;
    bool is_jittered; /* full jitter: uniform in (0, delay] */
};

/* What to do after an outcome. */
struct verdict {
    enum delivery_state state; /* READY: again at due; else the new state */
    int64_t delay_ms;          /* from now, for READY and HELD */
    bool costs_attempt;
};

/* What has cost no attempt so often, and is so old, ends: an outage of a weekend is outlasted. */
#define DELIVERY_DEFERRALS_MAX 500
#define DELIVERY_DEFERRALS_MS  (72 * INT64_C(3600000))

/* What was tried before, this time included. */
struct tries {
    int attempts;
    int deferrals;  /* tries that cost no attempt; counts this one as if it were one */
    int64_t age_ms; /* since the notification was accepted */
};

/*
 * Pure: outcome + what was tried + expiry -> what now.
 * random is 64 fresh random bits for the jitter.
 *
 *   delivered, accepted      DELIVERED, SENT
 *   permanent, dead_target   DEAD; SUPPRESSED when the reason is one (opted_out, bounced...)
 *   retry, unknown           READY after base * factor^(attempts-1), at most max; DEAD when the
 *                            attempts are used up.  A retry with retry_after_ms, its provider's
 *                            floor (FCM 10 s, APNs 15 min), waits that long besides, 1 h at most
 *   retry_after              the same, but after the time named, clamped to [1 s, 1 h]; costs no
 *                            attempt when the reason is rate_limited and the outcome is not counted
 *   throttle                 like retry_after, and costs no attempt unless it is counted
 *   auth_config_error        READY after max: kept until somebody mends the destination; costs
 *                            no attempt
 *   expired, cancelled, suppressed   that state; costs no attempt
 *
 * What costs no attempt waits longer each time, as if it had, also where a short time is named
 * again and again, and is DEAD after DELIVERY_DEFERRALS_MAX of them once the
 * notification is DELIVERY_DEFERRALS_MS old.
 *
 * A connection that never came about (is_connection) costs no attempt either, unless the target
 * is its own server (is_target_only): a webhook that nobody answers ends, a provider comes back.  A
 * delay that reaches expires_at_ms (0: never) ends as EXPIRED at once.
 */
struct verdict delivery_judge(const struct outcome *outcome, const struct retry_policy *policy,
                              struct tries tries, int64_t now_wall_ms, int64_t expires_at_ms,
                              uint64_t random);

/* What becomes of an in-app notification whose user could not be shown it. */
enum offline_policy {
    OFFLINE_DEAD_LETTER, /* out of attempts, it is dead */
    OFFLINE_HOLD,        /* it waits for its user, and is never a dead letter */
    OFFLINE_NEXT_CHANNEL /* the same, and the next channel is told at once */
};

/* The user was not there, or their client did not say so. */
bool reason_is_absence(enum reason reason);

/*
 * The verdict where absent users are waited for: HELD until until_ms (wall) in the place of DEAD,
 * EXPIRED when that is over; any other verdict as it is.
 */
struct verdict delivery_wait(const struct verdict *verdict, enum reason reason, int64_t now_wall_ms,
                             int64_t until_ms);

#endif

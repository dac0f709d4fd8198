/* SPDX-License-Identifier: MIT */
/*
 * throttle - how hard we may push one destination: concurrency window, breaker, pauses
 *
 * The window starts at a fifth of the maximum (at least 5) and opens by one per answer, good or
 * final: the provider is talking to us.  A throttling answer halves it, once for all attempts
 * that were under way together.  max_strikes transient failures in a row open the breaker:
 * nothing goes for shut_min_ms, then one probe; a failed probe doubles the wait up to
 * shut_max_ms, an answer closes the breaker and the window ramps from the start again.
 * AUTH_CONFIG_ERROR opens the breaker without waiting for so many.  A Retry-After, on either
 * outcome that carries one, pauses the destination for that long (shut_max_ms at most) without
 * opening it.
 *
 * Two witnesses: what one message meets may be its own fault, so that it never opens the breaker
 * alone, however often it comes.  Strikes open it only when at least two addresses are among
 * them; AUTH_CONFIG_ERROR only when a second message with another address and other content has
 * met it since the last good answer, or max_strikes with at least two addresses.  A pause needs a
 * second address as well, except where the provider says of itself that the account is over its
 * rate.  What happened before any message was offered (no connection, no token, no login) needs no
 * witness.
 *
 * max_strikes 0 is for destinations whose answers speak of one target and not of the provider
 * (webhooks: every target is somebody else's server): neither failures nor Retry-After then
 * stop the others.
 *
 * Purity: no I/O, no clock; the caller passes monotonic ms.
 */
#ifndef TOCSIN_CORE_THROTTLE_H
#define TOCSIN_CORE_THROTTLE_H
#include "core/outcome.h"
#include <stdbool.h>
#include <stdint.h>

struct throttle_config {
    unsigned max_window;  /* concurrency */
    unsigned max_strikes; /* 0: never opens by failures, never pauses */
    int64_t shut_min_ms, shut_max_ms;
};

enum breaker { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };
#define BREAKER_COUNT 3
const char *breaker_name(enum breaker breaker);

/* Which message had an outcome: hashes; both 0 for one that differs from every other. */
struct witness {
    uint64_t address, content;
};

/* Of what an outcome accuses the destination, until a second witness is there. */
enum charge { CHARGE_FAILURE, CHARGE_SETUP, CHARGE_RATE };
#define CHARGE_COUNT 3

struct throttle {
    const struct throttle_config *config; /* borrowed */
    unsigned window, inflight, strikes;
    unsigned settling; /* answers still to come from before the window was last halved */
    bool is_probing;   /* half open, and the probe is under way */
    enum breaker breaker;
    uint64_t moves[BREAKER_COUNT];      /* how often it moved to each state */
    int64_t shut_ms;                    /* the current wait */
    int64_t open_until_ms;              /* breaker */
    int64_t paused_until_ms;            /* Retry-After */
    struct witness first[CHARGE_COUNT]; /* since the last good answer */
    bool is_charged[CHARGE_COUNT];      /* first is set */
    bool has_other_address;             /* among the strikes */
    bool is_setup_confirmed;            /* by two witnesses, since the last good answer */
    int64_t good_ms;                    /* when it last took or delivered one; -1: never */
};

void throttle_init(struct throttle *throttle, const struct throttle_config *config);
/* How many more attempts may start now. */
unsigned throttle_room(struct throttle *throttle, int64_t now_ms);
/* Takes one slot; false when there is no room.  Pair every true with a throttle_give(). */
bool throttle_take(struct throttle *throttle, int64_t now_ms);
void throttle_give(struct throttle *throttle, const struct outcome *outcome,
                   const struct witness *witness, int64_t now_ms);
/*
 * Whether a message that this destination refused at since_ms, and refuses again, seems to be at
 * fault itself: others were taken meanwhile, and nobody else has been refused so since the last of
 * them.  Once may be chance: an outage has begun, and this message was the first to meet it.
 */
bool throttle_is_own_fault(const struct throttle *throttle, int64_t since_ms,
                           const struct witness *witness);
/* Whether the message is none of those that accuse the destination: fit for a probe. */
bool throttle_is_impartial(const struct throttle *throttle, const struct witness *witness);
/* Another bridge was told to pause; shut_max_ms at most. */
void throttle_pause(struct throttle *throttle, int64_t for_ms, int64_t now_ms);
/* Gives a slot back that was not used after all. */
void throttle_cancel(struct throttle *throttle);
/*
 * When room may come back by time alone; -1 when only an answer can bring it.  Later than now_ms
 * whenever throttle_room() has just returned 0: a caller that waits until then never spins.
 */
int64_t throttle_next_ms(const struct throttle *throttle, int64_t now_ms);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * throttle - how hard we may push one destination: concurrency window, breaker, pauses
 *
 * The window starts at a fifth of the maximum (at least 5) and opens by one per answer, good or
 * final: the provider is talking to us.  A throttling answer halves it, once for all attempts
 * that were under way together.  max_strikes transient failures in a row open the breaker:
 * nothing goes for shut_min_ms, then one probe; a failed probe doubles the wait up to
 * shut_max_ms, an answer closes the breaker and the window ramps from the start again.
 * AUTH_CONFIG_ERROR opens the breaker at once.  A Retry-After, on either outcome that carries
 * one, pauses the destination for that long (shut_max_ms at most) without opening it.
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

struct throttle {
    const struct throttle_config *config; /* borrowed */
    unsigned window, inflight, strikes;
    unsigned settling; /* answers still to come from before the window was last halved */
    bool is_probing;   /* half open, and the probe is under way */
    enum breaker breaker;
    uint64_t moves[BREAKER_COUNT]; /* how often it moved to each state */
    int64_t shut_ms;               /* the current wait */
    int64_t open_until_ms;         /* breaker */
    int64_t paused_until_ms;       /* Retry-After */
};

void throttle_init(struct throttle *throttle, const struct throttle_config *config);
/* How many more attempts may start now. */
unsigned throttle_room(struct throttle *throttle, int64_t now_ms);
/* Takes one slot; false when there is no room.  Pair every true with a throttle_give(). */
bool throttle_take(struct throttle *throttle, int64_t now_ms);
void throttle_give(struct throttle *throttle, const struct outcome *outcome, int64_t now_ms);
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

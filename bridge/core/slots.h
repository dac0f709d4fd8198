/* SPDX-License-Identifier: MIT */
/*
 * slots - the moments at which one destination may be asked, under a rate shared by all bridges
 *
 * The database gives out moments, evenly spaced, each once (store/rates.h); a bridge takes a few
 * ahead and uses each when it has come.  So every second, wherever it begins, sees the rate and
 * no more, however many bridges there are.  A moment that was not used in time is lost: used
 * late it would make a burst.
 *
 * Purity: the caller passes the time.  Units: microseconds of the boot clock.
 */
#ifndef TOCSIN_CORE_SLOTS_H
#define TOCSIN_CORE_SLOTS_H
#include <stdbool.h>
#include <stdint.h>

struct rate_config {
    uint32_t per_second, per_minute, per_hour, per_day; /* 0: no limit */
};

/* The distance between two requests that keeps all four; 0 when there is no limit. */
int64_t rate_spacing_us(const struct rate_config *config);

struct slots {
    int64_t spacing_us; /* 0: no limit */
    struct {
        int64_t next_us; /* the first that is left */
        unsigned left;
    } gift[2]; /* the one in use and the one after it; others' moments may lie between them */
};

/* How many to ask for, to have some for the next quarter of a second; 0 while there are enough. */
unsigned slots_wanted(struct slots *slots, unsigned waiting, int64_t now_us);
/* The database has given count of them from first_us on. */
void slots_give(struct slots *slots, unsigned count, int64_t first_us);
/* Whether one may be used now; if not, *wait_us says when (-1: when more are given). */
bool slots_ready(struct slots *slots, int64_t now_us, int64_t *wait_us);
/* After slots_ready(). */
void slots_use(struct slots *slots);

#endif

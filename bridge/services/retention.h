/* SPDX-License-Identifier: MIT */
/*
 * retention - what is old enough is taken away while traffic flows
 *
 * The bridge that speaks for all does it: partitions by the day, all else in bites, one bite at a
 * time.  After a full bite it pauses for as long as that took, so that it keeps up with whatever
 * is stored and has the database for half of the time at most.  What finds a table locked comes
 * back later; what found less than a bite comes back in a minute, partitions in an hour, and all
 * of it when a day begins.
 *
 * Not here: callbacks' rows (callbacks.h) and dead letters (chores.h), which have their own terms.
 */
#ifndef TOCSIN_SERVICES_RETENTION_H
#define TOCSIN_SERVICES_RETENTION_H
#include "base/metrics.h"
#include "core/fence.h"
#include "io/loop.h"
#include "store/store.h"

struct retention;

struct retention_config {
    int keep_days;
    int inbox_days; /* 0: as keep_days */
    int reject_days;
};

struct retention_ops {
    bool (*is_speaker)(void *ctx);
    void (*touch)(void *ctx, const char *user); /* the user's counters have changed */
    /* For how many days after this one every table has its partition. */
    void (*ahead)(void *ctx, int64_t days);
    void *ctx;
};

struct retention *retention_new(struct loop *loop, const struct retention_config *config,
                                struct store *store, const struct fence *fence,
                                struct metrics *metrics, const struct retention_ops *ops);
/* The store is closed before. */
void retention_free(struct retention *retention);

#endif

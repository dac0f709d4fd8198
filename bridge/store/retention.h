/* SPDX-License-Identifier: MIT */
/*
 * retention - what is old enough is taken away, a day's partition or a bite at a time
 *
 * All statements go over the desk.  Each is one short transaction; one that would have to wait for
 * a lock gives up and says so, since everybody else would wait behind it.
 */
#ifndef TOCSIN_STORE_RETENTION_H
#define TOCSIN_STORE_RETENTION_H
#include "store/store.h"
#include "store/upkeep.h"

/* Rows that one bite takes at most. */
#define RETENTION_BITE 500

struct retention_terms {
    int keep_days, inbox_days, reject_days;
    int64_t now_wall_ms;
};
/*
 * count: -1 when the locks were not to be had, -2 when something could not be done that the
 * server's log names; else how much was done, and to be tried again until it is 0.
 */
typedef int store_retention_fn(struct store *store, const struct retention_terms *terms,
                               store_count_fn *on_done, void *ctx);

struct made_call {
    void (*on_ahead)(void *ctx, int64_t days); /* for which every table has its partition */
    void (*on_done)(void *ctx, int err, int64_t count);
    void *ctx;
};
/* Makes the day partitions of the coming week. */
NODISCARD int store_make_partitions(struct store *store, const struct made_call *call);
/* Drops the oldest day that is over; what is still needed of it stays. */
NODISCARD int store_drop_partition(struct store *store, const struct retention_terms *terms,
                                   store_count_fn *on_done, void *ctx);
/* Rows that day partitions left, once they are needed no more. */
NODISCARD int store_trim_leftovers(struct store *store, const struct retention_terms *terms,
                                   store_count_fn *on_done, void *ctx);
NODISCARD int store_trim_rejects(struct store *store, const struct retention_terms *terms,
                                 store_count_fn *on_done, void *ctx);

struct trim_call {
    void (*on_user)(void *ctx, const char *user); /* whose counters have changed */
    void (*on_done)(void *ctx, int err, int64_t count);
    void *ctx;
};
/* Entries of users' inboxes: the gap that they leave shows in history (`complete`: false). */
NODISCARD int store_trim_inbox(struct store *store, const struct retention_terms *terms,
                               const struct trim_call *call);

#endif

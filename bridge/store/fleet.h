/* SPDX-License-Identifier: MIT */
/*
 * fleet - which bridges are alive, which lanes they read, and what the dead leave behind
 *
 * A bridge is a row with an epoch and a lease on the database's clock.  A row that is gone means
 * that the epoch is over: whatever still carries it is an orphan, and store_sweep() returns it.
 */
#ifndef TOCSIN_STORE_FLEET_H
#define TOCSIN_STORE_FLEET_H
#include "core/channel.h"
#include "store/store.h"

struct registered {
    int64_t epoch, wall_us; /* wall_us: the database's clock */
    int node;
    /*
     * Rows with ids of this node may exist up to this time (wall): those of the process that had it
     * before, when the database's clock has been set back since.
     */
    int64_t ids_after_ms;
};
/*
 * name: NULL, or what only one process at a time can have (host and port it listens on).
 * node: 0 takes the next free one in turn, so that none comes again before some thousand others.
 * `registered` is NULL on errors.
 */
NODISCARD int store_register(
    struct store *store, const char *name, const char *host, int node, int64_t lease_ms,
    void (*on_done)(void *ctx, int err, const struct registered *registered), void *ctx);
/*
 * ERR_FENCED in the callback when our row is gone.  A lease that ran out is revived while the row
 * is there: until it is deleted nobody touches what is ours.  wall_us is the database's clock.
 * told_until_us: services have been told what was settled before (wall, and not later than that on
 * the database's clock); INT64_MIN: nobody can say now, and what was said last counts.
 */
NODISCARD int store_heartbeat(struct store *store, int64_t epoch, int64_t lease_ms,
                              int64_t told_until_us,
                              void (*on_done)(void *ctx, int err, int64_t wall_us), void *ctx);

struct lanes_call {
    /*
     * Each lane that is ours now.  crashes: how often its reader was lost since a batch of it was
     * last acknowledged.
     */
    void (*on_lane)(void *ctx, const char *name, unsigned crashes);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
/*
 * Takes a fair part of the lanes nobody alive reads.  own_before: the epoch that this process had
 * before, which has not crashed; 0: none.
 */
NODISCARD int store_lanes(struct store *store, int64_t epoch, int64_t own_before,
                          const struct lanes_call *call);
/* A batch of the lane was acknowledged: its crashes are over, and nothing is in hand. */
NODISCARD int store_lane_calm(struct store *store, int64_t epoch, const char *name);
/*
 * The lane has this message in hand, alone.  crashes: at how many its reader had it in hand before.
 * ERR_FENCED in the callback when the lane is not ours.
 */
NODISCARD int store_lane_in_hand(struct store *store, int64_t epoch, const char *name,
                                 const void *digest, size_t digest_bytes,
                                 void (*on_done)(void *ctx, int err, unsigned crashes), void *ctx);
NODISCARD int store_lane_drop(struct store *store, int64_t epoch, const char *name);

struct reap_call {
    /* The epoch is over. */
    void (*on_dead)(void *ctx, int64_t epoch);
    /* We have to tell what it settled since then (wall), until store_told(): see store/untold.h. */
    void (*on_untold)(void *ctx, int64_t epoch, int64_t since_us);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
/*
 * Ends bridges whose lease ran out more than grace_ms ago, and at once an earlier one of our
 * own name (it cannot be alive: we hold its port).  What they have left untold is ours to tell from
 * the same commit on, and what those were to tell who are gone.
 */
NODISCARD int store_reap(struct store *store, int64_t epoch, int64_t lease_ms, int64_t grace_ms,
                         const char *name, const struct reap_call *call);
/*
 * Up to when (wall milliseconds) rows with ids of this node exist; 0: there is none from now on.
 * Looks up to a day ahead.
 */
NODISCARD int store_ids_after(struct store *store, unsigned node,
                              void (*on_done)(void *ctx, int err, int64_t ms), void *ctx);
/* Returns orphans to ready, counting a crash for each. */
NODISCARD int store_sweep(struct store *store, store_done_fn *on_done, void *ctx);
/*
 * Gives back all that is ours and ends our epoch.  What we settled since untold_us (wall) is left
 * for others to tell; INT64_MIN: there is nothing.
 */
NODISCARD int store_leave(struct store *store, int64_t epoch, int64_t untold_us,
                          store_done_fn *on_done, void *ctx);

/* The number of a destination, made when it is new. */
NODISCARD int store_destination(struct store *store, const char *name, enum channel channel,
                                const char *adapter,
                                void (*on_done)(void *ctx, int err, int32_t id), void *ctx);

#endif

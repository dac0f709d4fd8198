/* SPDX-License-Identifier: MIT */
/*
 * queue_stats - what bridges tell of their destinations, and the counts of the whole queue
 *
 * All statements go over the desk.
 */
#ifndef TOCSIN_STORE_QUEUE_STATS_H
#define TOCSIN_STORE_QUEUE_STATS_H
#include "core/queue_stats.h"
#include "store/store.h"

/* What this bridge has seen of a destination since it last told. */
struct flow_report {
    int32_t destination;
    int breaker; /* enum breaker */
    struct queue_flow flow;
};
NODISCARD int store_report_flows(struct store *store, int64_t epoch,
                                 const struct flow_report *reports, size_t count,
                                 store_done_fn *on_done, void *ctx);

/* The deliveries and dead letters of one destination as they are now. */
struct counts_call {
    void (*on_row)(void *ctx, int32_t destination, const struct queue_counts *counts);
    void (*on_done)(void *ctx, int err, int64_t at_ms); /* at_ms: wall, the database's clock */
    void *ctx;
};
/* Reads all that is not over: how long that takes grows with it. */
NODISCARD int store_queue_counts(struct store *store, const struct counts_call *call);

/* Every destination that a living bridge has or something waits for, by channel, no counts. */
struct flows_call {
    void (*on_row)(void *ctx, const struct queue_line *line); /* borrowed for the callback */
    void (*on_done)(void *ctx, int err, int64_t at_ms, int bridges);
    void *ctx;
};
NODISCARD int store_queue_flows(struct store *store, const struct flows_call *call);
/* Forgets flows of more than three hours ago, and what the dead have told of their breakers. */
NODISCARD int store_forget_flows(struct store *store);

#endif

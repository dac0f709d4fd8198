/* SPDX-License-Identifier: MIT */
/*
 * queue_stats - stats/queue and queue.stats: what waits, and what became of the rest
 *
 * Every bridge tells the database every five seconds what its destinations have seen.  One of
 * them, which reads the admins lane, reads that of all together, counts what is in the queue, and
 * publishes both as one retained message.  Counting looks at every row that is not over: it is
 * done as often as it costs a twentieth of one connection's time at most, and `counted_at` says
 * when; with a hundred thousand rows that is every time.
 *
 * Not here: alerts, which are told of the same numbers.
 */
#ifndef TOCSIN_SERVICES_QUEUE_STATS_H
#define TOCSIN_SERVICES_QUEUE_STATS_H
#include "core/fence.h"
#include "core/queue_stats.h"
#include "core/throttle.h"
#include "services/asks.h"

struct queue_stats;

struct queue_stats_ops {
    /* As dispatch_flows(). */
    void (*flows)(void *ctx,
                  void (*on_flow)(void *flow_ctx, int32_t destination, enum breaker breaker,
                                  const struct queue_flow *flow),
                  void *flow_ctx);
    /* This bridge speaks for all. */
    bool (*is_speaker)(void *ctx);
    /* Retained; false: the broker is away. */
    bool (*publish)(void *ctx, const char *topic, const void *payload, size_t bytes);
    /* The speaker has new numbers; borrowed for the call. */
    void (*on_lines)(void *ctx, const struct queue_line *lines, size_t count,
                     const struct queue_moment *moment);
    void *ctx;
};

struct queue_stats *queue_stats_new(struct loop *loop, struct asks *asks, struct store *store,
                                    const struct fence *fence, const struct queue_stats_ops *ops);
/* After store_close(): what was asked has had its answer. */
void queue_stats_free(struct queue_stats *stats);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * inbox - what users do with their notifications, and what they ask about them
 *
 * Events are gathered by inbox_add() while their lane reads a batch, and written by
 * inbox_commit() before the lane acknowledges.  After the commit the user's devices are told on
 * down/changed and services that asked for it by receipt.  Events on one entry fold into one
 * change; `all` is written on its own, in bites, in its place among the others.
 *
 * Whose inbox it is comes from the topic alone.
 *
 * Bounded: INBOX_ASKING questions are put to the database at once, the others wait for them.
 * Not here: acknowledgements (events), the badge's publication (badge).
 */
#ifndef TOCSIN_SERVICES_INBOX_H
#define TOCSIN_SERVICES_INBOX_H
#include "base/metrics.h"
#include "core/ack.h"
#include "core/fence.h"
#include "core/outcome.h"
#include "core/receipt.h"
#include "services/asks.h"
#include "store/store.h"

struct inbox;

struct inbox_ops {
    void (*publish)(void *ctx, const char *topic, const void *payload, size_t bytes);
    void (*receipt)(void *ctx, const char *service, const struct receipt *receipt);
    void (*touch)(void *ctx, const char *user); /* the counters may have changed */
    /* The user's roles, joined by ','; "" when none are known.  Borrowed for the moment. */
    const char *(*roles)(void *ctx, const char *user);
    void (*gone)(void *ctx, uint64_t delivery); /* it has ended: do not send it any more */
    /* Called back, or replaced: ends what waits in memory; how many that were. */
    size_t (*recall)(void *ctx, uint64_t id, enum reason reason);
    bool (*is_full)(void *ctx); /* no room for receipts: nothing is ended while it is */
    void *ctx;
};

/* Also hands the methods history, badge, request.cancel and request.retract to asks. */
struct inbox *inbox_new(struct loop *loop, struct asks *asks, struct store *store,
                        const struct fence *fence, struct metrics *metrics,
                        const struct inbox_ops *ops);
/* The store is closed before. */
void inbox_free(struct inbox *inbox);

/* Every event but ack; user is the encoded id of the topic.  All is copied. */
void inbox_add(struct inbox *inbox, const char *user, const struct ack *ack);
bool inbox_has_events(const struct inbox *inbox);
/* Writes what was gathered, and calls back once; an error means that some may not be written. */
NODISCARD int inbox_commit(struct inbox *inbox, store_done_fn *on_done, void *ctx);
/* Forgets what was gathered and not yet given to a commit: it will come again. */
void inbox_forget(struct inbox *inbox);

/* Nothing is swept any more; a sweep that is under way ends. */
void inbox_stop_sweeps(struct inbox *inbox);
/* Something with a collapse_key was stored: remove soon what it replaces. */
void inbox_replaced(struct inbox *inbox);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * untold - tells services what may not have been told: in place of the dead, and after a doubt
 *
 * A *duty* is an epoch and a moment: what it settled since then is told again (receivers drop
 * repeats).  That of an epoch that is over is a row in the database (store/untold.h), and is
 * fulfilled when the broker has everything; whoever dies before leaves it to the next.  That of
 * our own epoch is a doubt: statements went unanswered, and may have been committed.
 *
 * Each duty is looked at twice, in two heartbeats, and what was found the first time is not told
 * again: a statement of the lost connection may still be committed after the first look.
 * In pages, and only while there is room for what they say: nothing here grows with a backlog,
 * but for an id and a moment of each ending.
 *
 * Not here: what an ending is told as, and who is dead (membership).
 */
#ifndef TOCSIN_SERVICES_UNTOLD_H
#define TOCSIN_SERVICES_UNTOLD_H
#include "core/fence.h"
#include "io/loop.h"
#include "store/untold.h"

struct untold;

struct untold_ops {
    /* Into the outbox by the end of this turn, or a dead letter that is published soon. */
    void (*tell)(void *ctx, const struct ending *ending);
    bool (*is_full)(void *ctx); /* there is no room for a page of them */
    bool (*is_said)(void *ctx); /* all of them are in the outbox */
    uint64_t (*mark)(void *ctx);
    bool (*is_past)(void *ctx, uint64_t mark); /* the broker has all up to that mark */
    void *ctx;
};

struct untold *untold_new(struct loop *loop, struct store *store, const struct fence *fence,
                          const struct untold_ops *ops);
void untold_free(struct untold *untold);
/* The row of a dead epoch is ours; said again as long as it is.  since_us: wall. */
void untold_take(struct untold *untold, int64_t epoch, int64_t since_us);
/* Statements sent since then (boot) may have been committed, and nobody told. */
void untold_doubt(struct untold *untold, int64_t since_ms);
/* Since when (boot) there is a doubt; INT64_MAX: there is none. */
int64_t untold_doubt_ms(const struct untold *untold);
/* A heartbeat was answered: what waits for one, or failed, is asked for. */
void untold_beat(struct untold *untold);
/* Our epoch is over: whoever ended it takes over. */
void untold_forget(struct untold *untold);
/* To be called every turn, after all that was added has been handed to the outbox. */
void untold_turn(struct untold *untold);

#endif

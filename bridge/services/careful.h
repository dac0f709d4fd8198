/* SPDX-License-Identifier: MIT */
/*
 * careful - lanes whose reader has crashed are read message by message, and a message at which
 *           bridges end again and again is set aside
 *
 * Purpose:  a message that ends every bridge that reads it comes first again after each restart;
 *           without this the lane would stand still for ever.
 * Strategy: after a crash each message of the lane is kept back until the lane's row has its digest
 *           and says at how many crashes it was in hand.  At CAREFUL_CRASHES_MAX it is not read any
 *           more: it goes to ingest_reject, its sender is answered `unavailable`, and it is
 *           acknowledged when the broker has the answer.
 * Guarantees: one message of all lanes of this bridge is in hand at a time, so that a crash counts
 *           against that one alone.  Nothing is acknowledged before it is kept.
 * Limits:   a crash for another reason counts against the message that was in hand then; three in
 *           a row, without it being stored in between, set it aside.  While the database is away
 *           nothing is counted and messages are let through.
 * Errors:   a statement that fails drops the connection of the lane: the broker sends again.
 */
#ifndef TOCSIN_SERVICES_CAREFUL_H
#define TOCSIN_SERVICES_CAREFUL_H
#include "base/metrics.h"
#include "core/fence.h"
#include "core/request.h"
#include "core/topic.h"
#include "io/mqtt.h"
#include "store/store.h"

/* A message that was in hand at so many crashes is not read again. */
#define CAREFUL_CRASHES_MAX 3
#define CAREFUL_LANES       3

struct careful;

struct careful_ops {
    /* As refusals_answer(). */
    void (*refuse)(void *ctx, const struct topic_up *from, const struct mqtt_message *message,
                   const struct rejection *rejection);
    /* As outbox_mark() and outbox_is_past(). */
    uint64_t (*mark)(void *ctx);
    bool (*is_past)(void *ctx, uint64_t mark);
    void *ctx;
};

struct careful *careful_new(struct store *store, const struct fence *fence, struct metrics *metrics,
                            const struct careful_ops *ops);
/* After the lanes and the database are closed. */
void careful_free(struct careful *careful);
/*
 * For the configuration of the lane's connection; lives as long as `careful`.  lane: below
 * CAREFUL_LANES; name: of its row, borrowed.
 */
struct mqtt_care *careful_of(struct careful *careful, unsigned lane, const char *name);
/* The lane is ours from now on, and its reader was lost `crashes` times; messages: of a batch. */
void careful_take(struct careful *careful, unsigned lane, unsigned crashes, size_t messages);
/* Every turn, after receipts have gone to the outbox. */
void careful_turn(struct careful *careful);

#endif

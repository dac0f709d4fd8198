/* SPDX-License-Identifier: MIT */
/*
 * desk - dlq.*: admins look at what died, and bring it back
 *
 * desk_read.c answers questions, desk_change.c accepts retries and verdicts, and desk_feed.c puts
 * accepted retries into the queue: on every bridge, and only as fast as the queue takes them, so
 * that a retry of a hundred thousand delays nobody's live traffic.  desk_tell.c publishes what a
 * bridge died over.
 */
#ifndef TOCSIN_SERVICES_DESK_H
#define TOCSIN_SERVICES_DESK_H
#include "core/fence.h"
#include "core/task.h"
#include "io/loop.h"
#include "services/asks.h"

struct desk;

#define DESK_DESTINATIONS_MAX 64

struct desk_ops {
    void (*poke)(void *ctx, int32_t destination); /* something became ready for it */
    /* Fills in the destinations of this bridge; returns how many. */
    size_t (*destinations)(void *ctx, int32_t ids[DESK_DESTINATIONS_MAX]);
    /* 0 when there is none of this name. */
    int32_t (*destination_id)(void *ctx, const char *name);
    /* Publishes a dead letter, as dispatch's; all is borrowed for the call. */
    void (*dead)(void *ctx, const struct task *task, const struct outcome *outcome, int attempts,
                 const char *destination);
    void *ctx;
};

struct desk *desk_new(struct loop *loop, struct asks *asks, struct store *store,
                      const struct fence *fence, const struct desk_ops *ops);
void desk_free(struct desk *desk);
/* A bridge that is dead recorded this death, and may not have told: it is told soon. */
void desk_tell(struct desk *desk, uint64_t delivery);
/* How many are still to be told. */
size_t desk_telling(const struct desk *desk);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * asks_queue - rpc requests that wait for their turn: so many of each kind, a share for each caller
 *
 * Strategy:   one queue for each caller (kind and id), served in turn.  A bound by kind on what
 * runs at once, and on what one caller runs of that, so that neither a flood of one caller nor slow
 * requests of another kind hold up the rest. Bounded:    by kind, in units of a request and of 8
 * KiB of its payload.  A caller may have as much waiting as is still free: the first half of it
 * all, the next half of the rest, and so on.  So there is always room for one who has little.
 * Ownership:  requests are the caller's (of these functions); the queue keeps none when it is
 * freed. Errors:     ERR_FULL, and is_own says whether it is the caller's own share that is used
 * up.
 */
#ifndef TOCSIN_SERVICES_ASKS_QUEUE_H
#define TOCSIN_SERVICES_ASKS_QUEUE_H
#include "base/err.h"
#include "base/list.h"
#include "core/topic.h"
#include <stdbool.h>
#include <stddef.h>

struct asks_caller;

/* The part of a request that the queue needs; zero-initialised, in the request. */
struct asks_place {
    struct list_node node;
    struct asks_caller *caller; /* NULL: not in the queue, and not running */
    size_t weight;
};

struct asks_queue;
struct asks_queue *asks_queue_new(void);
void asks_queue_free(struct asks_queue *queue);
/* Takes it in.  ERR_FULL: it was not, and *is_own says whose fault that is. */
NODISCARD int asks_queue_add(struct asks_queue *queue, enum topic_kind kind, const char *id,
                             size_t payload_bytes, struct asks_place *place, bool *is_own);
/* The next that may run, which counts as running from now on; NULL when none may. */
struct asks_place *asks_queue_next(struct asks_queue *queue);
/* It has been answered; does nothing for one that was not taken in. */
void asks_queue_end(struct asks_queue *queue, struct asks_place *place);
/* One that waits, out of turn and not running, for the end of the process; NULL: none waits. */
struct asks_place *asks_queue_drop(struct asks_queue *queue);
/* Requests that wait and requests that run. */
size_t asks_queue_waiting(const struct asks_queue *queue);
size_t asks_queue_running(const struct asks_queue *queue);

#endif

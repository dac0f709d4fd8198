/* SPDX-License-Identifier: MIT */
/*
 * recall - what was called back or replaced while a bridge had it in memory
 *
 * The statements that end deliveries (store/removal.h, store/queue.h) leave a row for what another
 * statement may be at; every bridge reads those rows while something waits in its memory, and a
 * claim reads them for what it takes.  Rows are removed after a day.
 */
#ifndef TOCSIN_STORE_RECALL_H
#define TOCSIN_STORE_RECALL_H
#include "core/outcome.h"
#include "store/store.h"

struct recall_call {
    /* id is a notification's or a delivery's; REASON_NONE: called back, else why it is replaced. */
    void (*on_row)(void *ctx, uint64_t id, enum reason reason, int64_t at_us);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};

/* Those after since_us (wall), at most limit, the oldest first; 0: those of the last minute. */
NODISCARD int store_recalled_since(struct store *store, int64_t since_us, int limit,
                                   const struct recall_call *call);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * upkeep - the chores that keep the tables small and what is due moving
 *
 * Each is one statement that takes a bounded bite; any bridge may run any of them at any time.
 */
#ifndef TOCSIN_STORE_UPKEEP_H
#define TOCSIN_STORE_UPKEEP_H
#include "store/store.h"

typedef void store_count_fn(void *ctx, int err, int64_t count);

/* Moves what has come due from `scheduled` into the queue. */
NODISCARD int store_stage(struct store *store, store_count_fn *on_done, void *ctx);
#define KEYS_PURGE_BITE 5000
/* Forgets request keys without a date that are older than seven days. */
NODISCARD int store_purge_keys(struct store *store, int64_t now_wall_ms, store_count_fn *on_done,
                               void *ctx);
/* Releases steps that nothing is under way for any more: see store/steps.c. */
NODISCARD int store_steps_sweep(struct store *store, store_count_fn *on_done, void *ctx);
/* Makes ready what was held until now. */
NODISCARD int store_release(struct store *store, store_count_fn *on_done, void *ctx);

#endif

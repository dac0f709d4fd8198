/* SPDX-License-Identifier: MIT */
/*
 * store - Postgres as the bridge sees it: four connections and every statement
 *
 * intake   ingest, claim and reconcile, strictly in order: what a reconcile must not release is
 *          what an earlier statement on the same connection brought in.
 * settle   outcomes, acknowledgements, dead letters.
 * control  heartbeat, lanes, reaping, rates, upkeep, questions: short statements, since others
 * wait. desk     what may take its time: counts, bulk work, retention.  Its statements have a
 * deadline of a minute; without it the bridge is up all the same, and what is sent here is refused.
 *
 * No other directory holds SQL.  Each function sends one statement and calls back once, later;
 * an error return means that it never will.  Arguments are encoded before a function returns.
 * Rows are handed over as plain structs whose strings are borrowed for the callback.
 *
 * Errors: as io/pg.h.  ERR_DOUBT: it may have been committed.
 */
#ifndef TOCSIN_STORE_STORE_H
#define TOCSIN_STORE_STORE_H
#include "base/err.h"
#include "io/loop.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_SCHEMA_VERSION 1

struct store;

struct store_config {
    const char *conninfo;      /* borrowed */
    const char *password_file; /* borrowed, may be NULL */
    int64_t deadline_ms, connect_ms;
    int64_t backoff_min_ms, backoff_max_ms;
};

struct store_handlers {
    void (*on_up)(void *ctx);                    /* the first three are connected */
    void (*on_down)(void *ctx, const char *why); /* the first of them is gone */
};

struct store *store_open(struct loop *loop, const struct store_config *config,
                         const struct store_handlers *handlers, void *ctx);
void store_close(struct store *store);
bool store_is_up(const struct store *store);
/*
 * When the oldest statement under way that may end a delivery was sent (boot clock); INT64_MAX:
 * there is none.  What it ends, nobody has been told.
 */
int64_t store_oldest_end_ms(const struct store *store);
/* Statements under way on all connections but desk. */
size_t store_pending(const struct store *store);
/* No ingest and no claim is under way. */
bool store_intake_is_idle(const struct store *store);

/* Ends a call that has no rows to show. */
typedef void store_done_fn(void *ctx, int err);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * chores - the regular work on the database that no request triggers
 *
 * Staging what has come due, forgetting old keys, dead letters that are over.
 * Every bridge runs them; each is a bounded bite that two may take at once without harm.
 */
#ifndef TOCSIN_SERVICES_CHORES_H
#define TOCSIN_SERVICES_CHORES_H
#include "core/fence.h"
#include "io/loop.h"
#include "store/store.h"

struct chores;
struct chores_config {
    int keep_days;
    int64_t resolve_after_ms; /* dead letters that nobody looked at; 0: never */
};
struct chores *chores_new(struct loop *loop, const struct chores_config *config,
                          struct store *store, const struct fence *fence,
                          void (*on_staged)(void *ctx), void *ctx);
void chores_free(struct chores *chores);

#endif

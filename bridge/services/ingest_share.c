/* SPDX-License-Identifier: MIT */
/*
 * ingest_share - what one service may ask for
 *
 * The unit is a delivery, since that is what costs: 7 KB of a request may be 100,000 of them.
 *
 * A *budget* is a token bucket by service: `requests.deliveries_rate` deliveries a second, and
 * BURST_SECONDS of it at once.  A request is let in while the budget is above zero, and takes it
 * below when it becomes more than that: what follows is `rate_limited` until it has recovered.
 * What is not stored after all, or was stored before, is given back.
 *
 * A *share* is what a service may have of one batch at once.  A large request that goes beyond is
 * deferred: accepted, and expanded in turns with other services.  A small one never is, since an
 * expansion costs a statement: it waits for its turn in the batch, which is served share by share,
 * what is urgent and services that ask for little before all others.
 */
#include "base/alloc.h"
#include "services/ingest_internal.h"

#include <stdlib.h>

#define BURST_SECONDS 50
/* Budgets in memory; beyond it those that are full again are forgotten. */
#define BUDGETS_MAX 10000
#define SHARE_ASKS  4000
#define SHARE_PLANS 8000
/* From here on a statement of its own costs a request no more by delivery than a group does. */
#define LARGE 250
/* A service that asks for more of a batch than this comes behind those that ask for less. */
#define LIGHT_ASKS 100

struct budget {
    double level;
    int64_t at_ms; /* boot: when the level was this */
};

static void refill(struct budget *budget, int64_t rate, int64_t now_ms)
{
    double most = (double)rate * BURST_SECONDS;

    budget->level += (double)rate * (double)(now_ms - budget->at_ms) / 1000;
    if (budget->level > most)
        budget->level = most;
    budget->at_ms = now_ms;
}

struct pruning {
    struct strmap kept;
    int64_t rate, now_ms;
};

static void keep_or_free(void *ctx, const char *key, void *value)
{
    struct pruning *pruning = ctx;
    struct budget *budget = value;

    refill(budget, pruning->rate, pruning->now_ms);
    if (budget->level < (double)pruning->rate * BURST_SECONDS)
        strmap_set(&pruning->kept, key, budget);
    else
        free(budget);
}

static void prune(struct ingest *ingest, int64_t rate, int64_t now_ms)
{
    struct pruning pruning = {.rate = rate, .now_ms = now_ms};

    strmap_each(&ingest->budgets, keep_or_free, &pruning);
    strmap_fini(&ingest->budgets);
    ingest->budgets = pruning.kept;
}

/* NULL: there is no limit. */
static struct budget *budget_of(struct ingest *ingest, const char *service)
{
    int64_t rate = ingest->ops.deliveries_rate(ingest->ops.ctx);
    int64_t now_ms = loop_now_ms(ingest->loop);
    struct budget *budget;

    if (rate == 0)
        return NULL;
    budget = strmap_get(&ingest->budgets, service);
    if (!budget) {
        if (ingest->budgets.count >= BUDGETS_MAX)
            prune(ingest, rate, now_ms);
        budget = xmalloc(sizeof(*budget));
        *budget = (struct budget){(double)rate * BURST_SECONDS, now_ms};
        strmap_set(&ingest->budgets, service, budget);
    }
    refill(budget, rate, now_ms);
    return budget;
}

bool ingest_charge(struct ingest *ingest, struct entry *entry, size_t deliveries)
{
    struct budget *budget = budget_of(ingest, entry->service);

    if (!budget)
        return true;
    if (budget->level <= 0)
        return false;
    budget->level -= (double)deliveries;
    entry->charged += deliveries;
    return true;
}

void ingest_charge_more(struct ingest *ingest, struct entry *entry, size_t deliveries)
{
    struct budget *budget = deliveries ? budget_of(ingest, entry->service) : NULL;

    if (!budget)
        return;
    budget->level -= (double)deliveries;
    entry->charged += deliveries;
}

void ingest_refund(struct ingest *ingest, struct entry *entry)
{
    struct budget *budget = entry->charged ? budget_of(ingest, entry->service) : NULL;

    if (budget)
        budget->level += (double)entry->charged;
    entry->charged = 0;
}

struct share *ingest_share(struct ingest *ingest, const char *service)
{
    struct share *share = strmap_get(&ingest->shares, service);

    if (!share) {
        share = arena_zalloc(ingest->arena, sizeof(*share));
        strmap_set(&ingest->shares, service, share);
    }
    return share;
}

void ingest_take_share(struct entry *entry)
{
    struct share *share = entry->share;
    size_t asks = entry->route.deliveries;
    bool is_urgent = entry->request->priority == PRIORITY_URGENT;
    size_t before = is_urgent ? share->urgent : share->asks;

    entry->is_deferred = asks > SHARE_ASKS || (asks > LARGE && share->asks + asks > SHARE_ASKS);
    if (entry->is_deferred) {
        entry->round = 1;
        return;
    }
    entry->round = is_urgent && before < LIGHT_ASKS ? 0 : 1 + (unsigned)(before / SHARE_ASKS);
    share->asks += asks;
    if (is_urgent)
        share->urgent += asks;
}

bool ingest_is_over_plans(const struct share *share, size_t plans)
{
    return plans > LARGE && share->plans > SHARE_PLANS;
}

/* ---- the order of a batch ---- */

static int by_round(const void *a, const void *b)
{
    const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;
    bool is_urgent_x = x->round && x->request->priority == PRIORITY_URGENT;
    bool is_urgent_y = y->round && y->request->priority == PRIORITY_URGENT;

    if (x->round != y->round)
        return x->round < y->round ? -1 : 1;
    if (is_urgent_x != is_urgent_y)
        return is_urgent_x ? -1 : 1;
    return x->place < y->place ? -1 : x->place > y->place;
}

void ingest_put_in_order(struct ingest *ingest)
{
    bool is_in_order = true;

    for (size_t i = 0; i < ingest->good_count; i++) {
        struct entry *entry = ingest->good[i];

        entry->place = i;
        if (!entry->is_deferred && entry->share->asks <= LIGHT_ASKS)
            entry->round = 0;
        if (i && by_round(&ingest->good[i - 1], &ingest->good[i]) > 0)
            is_in_order = false;
    }
    if (!is_in_order)
        qsort(ingest->good, ingest->good_count, sizeof(struct entry *), by_round);
}

/* SPDX-License-Identifier: MIT */
#include "services/chores.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/dlq.h"

#include <stdlib.h>

#define TICK_MS       1000
#define STAGE_BITE    1000 /* rows one staging moves at most: as many may be waiting */
#define RESOLVE_TICKS 5
#define RESOLVE_BITE  5000
#define SWEEP_TICKS   10
#define PURGE_TICKS   60

struct chores {
    struct loop *loop;
    struct chores_config config;
    struct store *store;
    const struct fence *fence;
    struct loop_timer timer;
    void (*on_staged)(void *ctx);
    void *ctx;
    unsigned tick;
    bool is_staging;
    /* The last bite was full: the next does not wait for its turn. */
    bool is_resolving;  /* retries that have ended */
    bool is_burying;    /* dead letters that are old */
    bool is_forgetting; /* request keys that are old */
};

static void stage(struct chores *chores);

static void on_staged(void *ctx, int err, int64_t count)
{
    struct chores *chores = ctx;

    chores->is_staging = false;
    if (err || !count)
        return;
    chores->on_staged(chores->ctx);
    if (count >= STAGE_BITE)
        stage(chores);
}

static void stage(struct chores *chores)
{
    if (!chores->is_staging)
        chores->is_staging = store_stage(chores->store, on_staged, chores) == 0;
}

static void on_counted(void *ctx, int err, int64_t count)
{
    (void)ctx, (void)count;
    if (err)
        log_warn("chores.failed", LOG_STR("err", err_name(err)));
}

static void on_resolved(void *ctx, int err, int64_t count)
{
    struct chores *chores = ctx;

    chores->is_resolving = !err && count >= RESOLVE_BITE;
}

static void on_purged(void *ctx, int err, int64_t count)
{
    struct chores *chores = ctx;

    on_counted(NULL, err, count);
    chores->is_burying = !err && count >= DLQ_PURGE_BITE;
}

static void on_forgotten(void *ctx, int err, int64_t count)
{
    struct chores *chores = ctx;

    on_counted(NULL, err, count);
    chores->is_forgetting = !err && count >= KEYS_PURGE_BITE;
}

static void on_released(void *ctx, int err, int64_t count)
{
    struct chores *chores = ctx;

    if (!err && count)
        chores->on_staged(chores->ctx);
}

/* A chore that could not be sent now is due again soon enough. */
static void run(struct chores *chores)
{
    int err = 0;

    stage(chores);
    if (chores->tick % RESOLVE_TICKS == 0 || chores->is_resolving)
        err |= store_dlq_resolve_retried(chores->store, on_resolved, chores);
    if (chores->tick % RESOLVE_TICKS == 1 && chores->config.resolve_after_ms)
        err |=
            store_dlq_resolve_old(chores->store, chores->config.resolve_after_ms, on_counted, NULL);
    if (chores->tick % PURGE_TICKS == 4 || chores->is_burying)
        err |= store_dlq_purge(chores->store, chores->config.keep_days, on_purged, chores);
    err |= store_release(chores->store, on_released, chores);
    if (chores->tick % SWEEP_TICKS == 3)
        err |= store_steps_sweep(chores->store, on_counted, NULL);
    if (chores->tick % PURGE_TICKS == 1 || chores->is_forgetting)
        err |= store_purge_keys(chores->store, clock_wall_ms(), on_forgotten, chores);
    if (err)
        log_debug("chores.unsent", LOG_INT("tick", chores->tick));
}

static void on_timer(void *ctx)
{
    struct chores *chores = ctx;

    loop_timer_start(chores->loop, &chores->timer, TICK_MS, on_timer, chores);
    if (!store_is_up(chores->store) || !chores->fence->epoch)
        return;
    chores->tick++;
    run(chores);
}

struct chores *chores_new(struct loop *loop, const struct chores_config *config,
                          struct store *store, const struct fence *fence,
                          void (*on_staged_fn)(void *ctx), void *ctx)
{
    struct chores *chores = xcalloc(1, sizeof(*chores));

    chores->loop = loop;
    chores->config = *config;
    chores->store = store;
    chores->fence = fence;
    chores->on_staged = on_staged_fn;
    chores->ctx = ctx;
    loop_timer_start(loop, &chores->timer, TICK_MS, on_timer, chores);
    return chores;
}

void chores_free(struct chores *chores)
{
    loop_timer_stop(&chores->timer);
    free(chores);
}

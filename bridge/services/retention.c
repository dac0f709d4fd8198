/* SPDX-License-Identifier: MIT */
#include "services/retention.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/removal.h"
#include "store/retention.h"

#include <stdio.h>
#include <stdlib.h>

#define TICK_MS 1000
/* Between two bites: as long as the first one took, and not less. */
#define PAUSE_MS  20
#define MINUTE_MS 60000
#define HOUR_MS   3600000
#define DAY_MS    INT64_C(86400000)
/* When to try again what could not have its locks. */
#define LOCKED_MS 10000

static void on_timer(void *ctx);
static int make(struct store *store, const struct retention_terms *terms, store_count_fn *on_done,
                void *ctx);
static int trim_inbox(struct store *store, const struct retention_terms *terms,
                      store_count_fn *on_done, void *ctx);
static int trim_shared(struct store *store, const struct retention_terms *terms,
                       store_count_fn *on_done, void *ctx);

/*
 * bite: a count of this means that there may be more.  rests_ms: how long a job that has nothing
 * left to do waits.
 */
static const struct kind {
    const char *name;
    store_retention_fn *run;
    int64_t bite, rests_ms;
} kinds[] = {
    {"make", make, INT64_MAX, HOUR_MS},
    {"drop", store_drop_partition, 1, HOUR_MS},
    {"leftovers", store_trim_leftovers, RETENTION_BITE, HOUR_MS},
    {"inbox", trim_inbox, RETENTION_BITE, MINUTE_MS},
    {"shared", trim_shared, SHARED_BITE, MINUTE_MS},
    {"rejects", store_trim_rejects, RETENTION_BITE, MINUTE_MS},
};
enum { JOBS = sizeof(kinds) / sizeof(kinds[0]) };

struct job {
    struct retention *retention;
    const struct kind *kind;
    int64_t due_ms; /* boot */
    struct metric *rows;
};

struct retention {
    struct loop *loop;
    struct retention_config config;
    struct store *store;
    const struct fence *fence;
    struct retention_ops ops;
    struct loop_timer timer;
    struct job jobs[JOBS];
    bool is_running;    /* one at a time */
    int64_t started_ms; /* boot */
    int64_t day;        /* the last that was seen */
};

static void on_done(void *ctx, int err, int64_t count)
{
    struct job *job = ctx;
    struct retention *retention = job->retention;
    int64_t now_ms = loop_now_ms(retention->loop), pause_ms;

    retention->is_running = false;
    if (err || count < 0) {
        job->due_ms = now_ms + (count < -1 ? MINUTE_MS : LOCKED_MS);
        if (err)
            log_warn("retention.failed", LOG_STR("job", job->kind->name),
                     LOG_STR("err", err_name(err)));
        else if (count < -1)
            log_warn("retention.failed", LOG_STR("job", job->kind->name),
                     LOG_STR("why", "the database refuses it: its own log says why"));
        else
            log_info("retention.waits", LOG_STR("job", job->kind->name),
                     LOG_STR("why", "somebody reads the table for long"));
        return;
    }
    if (count)
        log_info("retention.done", LOG_STR("job", job->kind->name), LOG_INT("count", count));
    metric_add(job->rows, (double)count);
    if (count < job->kind->bite) {
        job->due_ms = now_ms + job->kind->rests_ms;
        return;
    }
    job->due_ms = now_ms;
    pause_ms = now_ms - retention->started_ms;
    loop_timer_start(retention->loop, &retention->timer, pause_ms > PAUSE_MS ? pause_ms : PAUSE_MS,
                     on_timer, retention);
}

/* How far partitions reach is watched by the alerts. */
static void on_ahead(void *ctx, int64_t days)
{
    struct job *job = ctx;

    job->retention->ops.ahead(job->retention->ops.ctx, days);
}

static int make(struct store *store, const struct retention_terms *terms, store_count_fn *on_made,
                void *ctx)
{
    struct made_call call = {on_ahead, on_made, ctx};

    (void)terms;
    return store_make_partitions(store, &call);
}

/* The inbox has users to tell of: its job is not alone. */
static void on_user(void *ctx, const char *user)
{
    struct job *job = ctx;

    job->retention->ops.touch(job->retention->ops.ctx, user);
}

static int trim_inbox(struct store *store, const struct retention_terms *terms,
                      store_count_fn *on_trimmed, void *ctx)
{
    struct trim_call call = {on_user, on_trimmed, ctx};

    return store_trim_inbox(store, terms, &call);
}

static int trim_shared(struct store *store, const struct retention_terms *terms,
                       store_count_fn *on_trimmed, void *ctx)
{
    return store_trim_shared(store, terms->now_wall_ms - terms->inbox_days * DAY_MS, on_trimmed,
                             ctx);
}

/* The one that has waited longest, so that none is always last. */
static struct job *next_job(struct retention *retention)
{
    struct job *next = &retention->jobs[0];

    for (size_t i = 1; i < JOBS; i++)
        if (retention->jobs[i].due_ms < next->due_ms)
            next = &retention->jobs[i];
    return next->due_ms <= loop_now_ms(retention->loop) ? next : NULL;
}

/* Partitions go when their day is over, and not up to an hour later. */
static void look_at_day(struct retention *retention, int64_t now_wall_ms)
{
    int64_t day = now_wall_ms / DAY_MS;

    if (day == retention->day)
        return;
    retention->day = day;
    for (size_t i = 0; i < JOBS; i++)
        retention->jobs[i].due_ms = 0;
}

static void on_timer(void *ctx)
{
    struct retention *retention = ctx;
    const struct retention_config *config = &retention->config;
    struct retention_terms terms = {
        .keep_days = config->keep_days,
        .inbox_days = config->inbox_days ? config->inbox_days : config->keep_days,
        .reject_days = config->reject_days,
        .now_wall_ms = clock_wall_ms(),
    };
    struct job *job;

    loop_timer_start(retention->loop, &retention->timer, TICK_MS, on_timer, retention);
    if (retention->is_running || !store_is_up(retention->store) || !retention->fence->epoch ||
        !retention->ops.is_speaker(retention->ops.ctx))
        return;
    look_at_day(retention, terms.now_wall_ms);
    job = next_job(retention);
    if (!job)
        return;
    retention->started_ms = loop_now_ms(retention->loop);
    retention->is_running = job->kind->run(retention->store, &terms, on_done, job) == 0;
}

struct retention *retention_new(struct loop *loop, const struct retention_config *config,
                                struct store *store, const struct fence *fence,
                                struct metrics *metrics, const struct retention_ops *ops)
{
    struct retention *retention = xcalloc(1, sizeof(*retention));

    retention->loop = loop;
    retention->config = *config;
    retention->store = store;
    retention->fence = fence;
    retention->ops = *ops;
    for (size_t i = 0; i < JOBS; i++) {
        struct job *job = &retention->jobs[i];
        char labels[64];

        snprintf(labels, sizeof(labels), "job=\"%s\"", kinds[i].name);
        *job = (struct job){.retention = retention, .kind = &kinds[i]};
        job->rows = metrics_get(metrics, METRIC_COUNTER, "tocsin_retention_total",
                                "Rows trimmed, and partitions made and dropped.", labels);
    }
    loop_timer_start(loop, &retention->timer, TICK_MS, on_timer, retention);
    return retention;
}

void retention_free(struct retention *retention)
{
    loop_timer_stop(&retention->timer);
    free(retention);
}

/* SPDX-License-Identifier: MIT */
#include "services/queue_stats.h"

#include "base/alloc.h"
#include "base/log.h"
#include "store/queue_stats.h"

#include <stdlib.h>
#include <string.h>

#define TICK_MS          5000
#define DESTINATIONS_MAX 128
/* Counting may take this part of the time. */
#define COUNT_SHARE 20
/* An answer to queue.stats is no older than this. */
#define FRESH_MS     (2 * TICK_MS)
#define ASKING_MAX   32
#define FORGET_TICKS 120

struct counted {
    int32_t destination;
    struct queue_counts counts;
};

/* What of a destination was told last. */
struct told {
    int32_t destination;
    int breaker;
    struct queue_flow flow;
};

struct queue_stats {
    struct loop *loop;
    struct store *store;
    const struct fence *fence;
    struct queue_stats_ops ops;
    struct loop_timer timer;
    unsigned tick;
    /* telling */
    struct told told[DESTINATIONS_MAX];
    size_t told_count;
    int64_t told_epoch;
    struct flow_report reports[DESTINATIONS_MAX];
    size_t report_count;
    /* reading */
    struct counted counts[DESTINATIONS_MAX];
    size_t counts_count;
    int64_t counted_ms;              /* wall; 0: never under this speaker */
    int64_t count_from_ms, count_at; /* boot: when the one under way began; when the next may */
    bool is_counting, is_reading;
    struct arena *arena; /* of the lines */
    struct queue_line lines[DESTINATIONS_MAX];
    size_t line_count;
    struct buf text;  /* the last message */
    int64_t fresh_ms; /* boot: when it was made; 0: never */
    struct ask *asking[ASKING_MAX];
    size_t asking_count;
};

/* ---- telling ---- */

static struct told *told_of(struct queue_stats *stats, int32_t destination)
{
    for (size_t i = 0; i < stats->told_count; i++)
        if (stats->told[i].destination == destination)
            return &stats->told[i];
    if (stats->told_count == DESTINATIONS_MAX)
        return NULL;
    stats->told[stats->told_count] = (struct told){.destination = destination, .breaker = -1};
    return &stats->told[stats->told_count++];
}

static struct queue_flow flow_since(const struct queue_flow *now, const struct queue_flow *then)
{
    return (struct queue_flow){
        .completed = now->completed - then->completed,
        .failed = now->failed - then->failed,
        .other = now->other - then->other,
        .retried = now->retried - then->retried,
        .attempts = now->attempts - then->attempts,
        .tries = now->tries - then->tries,
    };
}

static void on_flow(void *ctx, int32_t destination, enum breaker breaker,
                    const struct queue_flow *flow)
{
    struct queue_stats *stats = ctx;
    struct told *told = told_of(stats, destination);

    if (!told || (told->breaker == (int)breaker && memcmp(&told->flow, flow, sizeof(*flow)) == 0))
        return;
    stats->reports[stats->report_count++] =
        (struct flow_report){destination, (int)breaker, flow_since(flow, &told->flow)};
}

static void note_told(struct queue_stats *stats)
{
    for (size_t i = 0; i < stats->report_count; i++) {
        const struct flow_report *report = &stats->reports[i];
        struct told *told = told_of(stats, report->destination);

        told->breaker = report->breaker;
        told->flow.completed += report->flow.completed;
        told->flow.failed += report->flow.failed;
        told->flow.other += report->flow.other;
        told->flow.retried += report->flow.retried;
        told->flow.attempts += report->flow.attempts;
        told->flow.tries += report->flow.tries;
    }
}

/* Only what has changed, so that an idle bridge writes nothing. */
static void tell(struct queue_stats *stats)
{
    if (stats->told_epoch != stats->fence->epoch)
        for (size_t i = 0; i < stats->told_count; i++)
            stats->told[i].breaker = -1; /* a new epoch has told nothing of them */
    stats->told_epoch = stats->fence->epoch;
    stats->report_count = 0;
    stats->ops.flows(stats->ops.ctx, on_flow, stats);
    /* What is lost on the way is missing in a statistic: not worth telling it twice. */
    if (stats->report_count && !store_report_flows(stats->store, stats->fence->epoch,
                                                   stats->reports, stats->report_count, NULL, NULL))
        note_told(stats);
}

/* ---- answers ---- */

static void answer(struct queue_stats *stats, struct ask *ask)
{
    if (!stats->fresh_ms) {
        ask_fail(ask, ERR_CLOSED);
        return;
    }
    ask_begin(ask);
    buf_add(&ask->out, stats->text.data, stats->text.length);
    ask_end(ask);
}

static void answer_all(struct queue_stats *stats)
{
    while (stats->asking_count)
        answer(stats, stats->asking[--stats->asking_count]);
}

/* ---- reading ---- */

static void on_count(void *ctx, int32_t destination, const struct queue_counts *counts)
{
    struct queue_stats *stats = ctx;

    if (stats->counts_count < DESTINATIONS_MAX)
        stats->counts[stats->counts_count++] = (struct counted){destination, *counts};
}

static void on_counted(void *ctx, int err, int64_t at_ms)
{
    struct queue_stats *stats = ctx;
    int64_t now_ms = loop_now_ms(stats->loop);

    stats->is_counting = false;
    stats->count_at = now_ms + (now_ms - stats->count_from_ms) * COUNT_SHARE;
    if (err) {
        stats->counted_ms = 0;
        log_warn("queue_stats.uncounted", LOG_STR("err", err_name(err)));
        return;
    }
    stats->counted_ms = at_ms;
    log_debug("queue_stats.counted", LOG_MS("took", now_ms - stats->count_from_ms));
}

/* Into the same array: what was counted before is of no use once this is sent. */
static void count(struct queue_stats *stats)
{
    struct counts_call call = {on_count, on_counted, stats};
    int64_t now_ms = loop_now_ms(stats->loop);

    if (stats->is_counting || now_ms < stats->count_at)
        return;
    stats->count_from_ms = now_ms;
    stats->is_counting = store_queue_counts(stats->store, &call) == 0;
    if (stats->is_counting)
        stats->counts_count = 0;
}

static void on_line(void *ctx, const struct queue_line *line)
{
    struct queue_stats *stats = ctx;
    struct queue_line *copy;

    if (stats->line_count == DESTINATIONS_MAX)
        return;
    copy = &stats->lines[stats->line_count++];
    *copy = *line;
    copy->name = arena_strdup(stats->arena, line->name);
    for (size_t i = 0; i < stats->counts_count; i++)
        if (stats->counts[i].destination == line->id)
            copy->counts = stats->counts[i].counts;
}

static void on_lines(void *ctx, int err, int64_t at_ms, int bridges)
{
    struct queue_stats *stats = ctx;
    struct queue_moment moment = {at_ms, stats->counted_ms, bridges};

    stats->is_reading = false;
    if (!err && stats->counted_ms && stats->line_count) {
        buf_clear(&stats->text);
        queue_stats_write(stats->lines, stats->line_count, &moment, &stats->text);
        stats->fresh_ms = loop_now_ms(stats->loop);
        if (stats->ops.is_speaker(stats->ops.ctx)) {
            (void)stats->ops.publish(stats->ops.ctx, "notify/v1/stats/queue", stats->text.data,
                                     stats->text.length);
            stats->ops.on_lines(stats->ops.ctx, stats->lines, stats->line_count, &moment);
        }
    }
    if (err)
        log_warn("queue_stats.unread", LOG_STR("err", err_name(err)));
    answer_all(stats);
}

/* The desk answers in order: the flows come with the counts that were asked for before them. */
static void look(struct queue_stats *stats)
{
    struct flows_call call = {on_line, on_lines, stats};

    if (stats->is_reading)
        return;
    count(stats);
    arena_reset(stats->arena);
    stats->line_count = 0;
    stats->is_reading = store_queue_flows(stats->store, &call) == 0;
    if (!stats->is_reading)
        answer_all(stats);
}

static void on_timer(void *ctx)
{
    struct queue_stats *stats = ctx;

    loop_timer_start(stats->loop, &stats->timer, TICK_MS, on_timer, stats);
    if (!store_is_up(stats->store) || !stats->fence->epoch)
        return;
    tell(stats);
    if (!stats->ops.is_speaker(stats->ops.ctx))
        return;
    look(stats);
    if (stats->tick++ % FORGET_TICKS == 0 && store_forget_flows(stats->store))
        log_debug("queue_stats.unforgotten", LOG_INT("tick", stats->tick));
}

/* ---- queue.stats ---- */

static void queue_stats_ask(struct ask *ask)
{
    struct queue_stats *stats = ask->service;
    bool is_fresh = stats->fresh_ms && loop_now_ms(stats->loop) - stats->fresh_ms < FRESH_MS;

    if (!rpc_done(&ask->rpc)) {
        ask_answer(ask);
    } else if (is_fresh) {
        answer(stats, ask);
    } else if (stats->asking_count == ASKING_MAX) {
        ask_fail(ask, ERR_FULL);
    } else {
        stats->asking[stats->asking_count++] = ask;
        look(stats);
    }
}

static const struct method methods[] = {{"queue.stats", ASK_ADMINS, 0, queue_stats_ask}};

struct queue_stats *queue_stats_new(struct loop *loop, struct asks *asks, struct store *store,
                                    const struct fence *fence, const struct queue_stats_ops *ops)
{
    struct queue_stats *stats = xcalloc(1, sizeof(*stats));

    stats->loop = loop;
    stats->store = store;
    stats->fence = fence;
    stats->ops = *ops;
    stats->arena = arena_new(4096);
    asks_add(asks, methods, sizeof(methods) / sizeof(methods[0]), stats);
    loop_timer_start(loop, &stats->timer, TICK_MS, on_timer, stats);
    return stats;
}

void queue_stats_free(struct queue_stats *stats)
{
    loop_timer_stop(&stats->timer);
    arena_free(stats->arena);
    buf_fini(&stats->text);
    free(stats);
}

/* SPDX-License-Identifier: MIT */
#include "services/ingest.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "services/ingest_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Connections that a degraded lane may lose before it leaves the lane to others. */
#define DEGRADED_DOWNS_MAX 5

struct ingest *ingest_new(struct loop *loop, const struct ingest_config *config,
                          struct store *store, const struct fence *fence, struct metrics *metrics,
                          const struct ingest_ops *ops)
{
    struct ingest *ingest = xcalloc(1, sizeof(*ingest));

    ingest->loop = loop;
    ingest->config = *config;
    ingest->store = store;
    ingest->fence = fence;
    ingest->ops = *ops;
    ingest->arena = arena_new(65536);
    ingest->work.arena = arena_new(65536);
    ingest->chunk = CHUNK_MAX;
    ingest_rows_init(&ingest->work.rows);
    ingest->messages = metrics_get(metrics, METRIC_COUNTER, "tocsin_request_messages_total",
                                   "MQTT messages read from the requests lane.", NULL);
    ingest->accepted = metrics_get(metrics, METRIC_COUNTER, "tocsin_requests_accepted_total",
                                   "Requests committed.", NULL);
    ingest->rejected = metrics_get(metrics, METRIC_COUNTER, "tocsin_requests_rejected_total",
                                   "Requests refused.", NULL);
    ingest->duplicates = metrics_get(metrics, METRIC_COUNTER, "tocsin_requests_duplicate_total",
                                     "Requests whose id was seen before.", NULL);
    ingest->limited = metrics_get(metrics, METRIC_COUNTER, "tocsin_requests_limited_total",
                                  "Requests refused as rate_limited.", NULL);
    ingest->deferred =
        metrics_get(metrics, METRIC_COUNTER, "tocsin_requests_deferred_total",
                    "Requests accepted whose deliveries were made later, in slices.", NULL);
    ingest->slices = metrics_get(metrics, METRIC_COUNTER, "tocsin_expansion_slices_total",
                                 "Slices of such requests that were stored.", NULL);
    ingest->queue = metrics_get_queue(metrics, "queue=\"requests_lane\"");
    ingest->commit_seconds = metrics_get(metrics, METRIC_HISTOGRAM, "tocsin_ingest_commit_seconds",
                                         "From sending a batch to its commit.", NULL);
    return ingest;
}

static void free_value(void *ctx, const char *key, void *value)
{
    (void)ctx, (void)key;
    free(value);
}

void ingest_free(struct ingest *ingest)
{
    ingest_close(ingest);
    loop_timer_stop(&ingest->give_up);
    strmap_each(&ingest->shown, free_value, NULL);
    strmap_fini(&ingest->shown);
    strmap_each(&ingest->budgets, free_value, NULL);
    strmap_fini(&ingest->budgets);
    strmap_fini(&ingest->shares);
    ingest_rows_fini(&ingest->work.rows);
    arena_free(ingest->work.arena);
    arena_free(ingest->arena);
    free(ingest->work.entries);
    free(ingest->work.ranges);
    free(ingest->entries);
    free(ingest->good);
    free(ingest);
}

/* ---- the order of work ---- */

static void on_batch(void *ctx, size_t count)
{
    struct ingest *ingest = ctx;

    (void)count;
    if (!id_can_take(clock_wall_ms())) {
        log_error("ingest.clock", LOG_INT("wall_ms", clock_wall_ms()),
                  LOG_STR("why", "no id can be made before 1970 and after 7 September 2039: set the"
                                 " database's clock; the broker keeps the requests until then"));
        ingest_abandon(ingest, ERR_INVALID);
        return;
    }
    if (ingest->is_degraded) {
        ingest_degraded_batch(ingest);
        return;
    }
    ingest->held_since_ms = loop_now_ms(ingest->loop);
    ingest->is_batch = true;
    metric_set(ingest->queue.depth, (double)ingest->count);
    ingest_put_in_order(ingest);
    ingest_next(ingest);
}

static void end_batch(struct ingest *ingest);
static void finish(struct ingest *ingest);

void ingest_next(struct ingest *ingest)
{
    bool has_group = ingest->is_batch && ingest->next < ingest->good_count;

    if (ingest->work.is_busy || !ingest->lane || ingest->is_degraded)
        return;
    if (has_group && !(ingest->expand.is_wanted && ingest->expand.is_due)) {
        ingest->expand.is_due = true;
        ingest_start_group(ingest);
        return;
    }
    if (ingest->is_batch && !has_group && !ingest->is_ending)
        end_batch(ingest);
    if (ingest->expand.is_wanted && ingest->lane && !ingest->work.is_busy)
        ingest_expand(ingest);
}

/* ---- the end of a lane's batch ---- */

void ingest_batch_reset(struct ingest *ingest)
{
    ingest->count = ingest->good_count = ingest->next = 0;
    ingest->looking_count = 0;
    ingest->held_since_ms = ingest->read_ms = 0;
    ingest->is_batch = ingest->is_ending = ingest->is_telling = false;
    ingest->is_given_back = false;
    ingest->batch++;
    strmap_fini(&ingest->shares);
    memset(&ingest->shares, 0, sizeof(ingest->shares));
    metric_set(ingest->queue.depth, 0);
    arena_reset(ingest->arena);
}

/* Forgets all; what the broker has not been told of, it will send again. */
static void reset(struct ingest *ingest)
{
    ingest->generation++;
    for (size_t i = 0; i < ingest->count; i++)
        if (!ingest->entries[i]->is_stored || ingest->entries[i]->is_duplicate)
            ingest_refund(ingest, ingest->entries[i]);
    if (ingest->expand.entry)
        ingest_refund(ingest, ingest->expand.entry);
    ingest->expand.entry = NULL;
    ingest_work_reset(ingest);
    ingest_batch_reset(ingest);
}

void ingest_abandon(struct ingest *ingest, int err)
{
    log_warn("ingest.abandoned", LOG_STR("err", err_name(err)), LOG_INT("requests", ingest->count));
    if (err == ERR_DOUBT)
        ingest->ops.doubt(ingest->ops.ctx);
    reset(ingest);
    mqtt_discard(ingest->lane, "the batch could not be stored");
}

/* ---- telling ---- */

/* Its ids are in the database now. */
static void forget_shown(struct ingest *ingest, const struct entry *entry)
{
    if (ingest->shown.count && entry->request->id)
        free(strmap_remove(&ingest->shown, ingest_shown_key(ingest, entry)));
}

void ingest_tell(struct ingest *ingest, struct entry *entry, int64_t now_ms)
{
    bool is_good = !entry->rejection.reason;
    struct receipt receipt = {
        .id = entry->request->id,
        .notification = is_good ? entry->id : 0,
        .status = is_good ? "accepted" : "rejected",
        .reason = is_good ? NULL : reject_name(entry->rejection.reason),
        .field = is_good ? NULL : entry->rejection.pointer,
        .detail = is_good ? NULL : entry->rejection.detail,
        .at_ms = now_ms,
    };

    if (entry->is_told)
        return;
    entry->is_told = true;
    metric_add(is_good ? ingest->accepted : ingest->rejected, 1);
    if (entry->is_duplicate)
        metric_add(entry->rejection.reason == REJECT_RATE_LIMITED ? ingest->limited
                                                                  : ingest->duplicates,
                   1);
    ingest->ops.receipt(ingest->ops.ctx, entry->service, &receipt);
    forget_shown(ingest, entry);
}

/* ---- those seen before ---- */

static void on_found(void *ctx, size_t index, uint64_t notification, uint64_t digest)
{
    struct storing *storing = ctx;
    struct ingest *ingest = storing->ingest;
    size_t i = 0;

    if (storing->generation != ingest->generation)
        return;
    for (;; i++) {
        if (!ingest->entries[i]->is_duplicate)
            continue;
        if (index-- == 0)
            break;
    }
    if (digest != ingest->entries[i]->request->digest)
        ingest_refuse(ingest->entries[i], REJECT_ID_REUSED, "/id",
                      "this id was used before for another request");
    ingest->entries[i]->id = notification;
    ingest->entries[i]->is_stored = true;
}

struct ingest *ingest_statement_ended(struct storing *storing)
{
    struct ingest *ingest =
        storing->generation == storing->ingest->generation ? storing->ingest : NULL;

    free(storing);
    return ingest;
}

static void on_looked_up(void *ctx, int err)
{
    struct ingest *ingest = ingest_statement_ended(ctx);

    if (!ingest)
        return;
    if (err)
        ingest_abandon(ingest, err);
    else
        finish(ingest);
}

static void look_up(struct ingest *ingest)
{
    struct storing *storing = xmalloc(sizeof(*storing));
    struct key_lookup lookup = {on_found, on_looked_up, storing};
    struct request_key *keys = xmalloc(ingest->looking_count * sizeof(*keys));
    size_t count = 0;
    int err;

    *storing = (struct storing){ingest, ingest->generation, {0, 0}};
    for (size_t i = 0; i < ingest->count; i++)
        if (ingest->entries[i]->is_duplicate)
            keys[count++] = ingest->entries[i]->key;
    err = store_key_lookup(ingest->store, keys, count, &lookup);
    free(keys);
    if (err) {
        free(storing);
        ingest_abandon(ingest, err);
    }
}

/* ---- telling the rest, and letting go ---- */

static void release(struct ingest *ingest)
{
    metric_add(ingest->queue.taken, (double)ingest->count);
    ingest_batch_reset(ingest);
    mqtt_release(ingest->lane);
}

/*
 * The database failed for some, and not because of what they say.  Where others of the batch were
 * stored it is theirs alone, and they must not hold the lane; else it is everybody's, and the
 * broker keeps the batch until the fault is mended.
 */
static bool refuse_failed(struct ingest *ingest)
{
    bool is_any_failed = false, is_any_stored = false;

    for (size_t i = 0; i < ingest->count; i++) {
        is_any_failed = is_any_failed || ingest->entries[i]->is_failed;
        is_any_stored = is_any_stored || ingest->entries[i]->is_stored;
    }
    for (size_t i = 0; is_any_stored && i < ingest->count; i++)
        if (ingest->entries[i]->is_failed) {
            log_error("ingest.unavailable", LOG_STR("service", ingest->entries[i]->service));
            ingest_refuse(ingest->entries[i], REJECT_UNAVAILABLE, "",
                          "the database could not store this request through no fault of it: send "
                          "it again later");
        }
    return !is_any_failed || is_any_stored;
}

/* Over its service's budget, and not accepted before. */
static void refuse_limited(struct ingest *ingest, struct entry *entry)
{
    (void)ingest;
    entry->is_duplicate = true;
    ingest_refuse(entry, REJECT_RATE_LIMITED, "/to",
                  "this service asks for more deliveries than requests.deliveries_rate allows: "
                  "send it again later, or have the rate raised");
}

/*
 * What repeats have taken is given back, and may be enough for those that were refused for it: once
 * in a batch, since it would not end while budgets recover.  true: there is more to store.
 */
static bool let_in_more(struct ingest *ingest)
{
    size_t before = ingest->good_count;
    bool is_any = false;

    if (ingest->is_given_back)
        return false;
    ingest->is_given_back = true;
    for (size_t i = 0; i < ingest->count; i++) {
        struct entry *entry = ingest->entries[i];

        if (!entry->charged || !(entry->is_duplicate || entry->is_failed))
            continue;
        ingest_refund(ingest, entry);
        is_any = true;
    }
    for (size_t i = 0; is_any && i < ingest->count; i++) {
        struct entry *entry = ingest->entries[i];

        if (!entry->is_limited || entry->is_stored)
            continue;
        entry->is_limited = entry->is_duplicate = false;
        ingest->looking_count--;
        ingest_take_in(ingest, entry);
    }
    return ingest->good_count > before;
}

/* All is committed or refused: tell the services the rest. */
static void finish(struct ingest *ingest)
{
    int64_t now_ms = clock_wall_ms();

    if (!refuse_failed(ingest)) {
        ingest_abandon(ingest, ERR_REFUSED);
        return;
    }
    if (let_in_more(ingest)) {
        ingest->is_ending = false;
        ingest_next(ingest);
        return;
    }
    for (size_t i = 0; i < ingest->count; i++) {
        struct entry *entry = ingest->entries[i];

        if (entry->is_limited && !entry->is_stored)
            refuse_limited(ingest, entry);
        /* Seen before, and gone since: its seven days ended this very moment.  Ask again. */
        else if (entry->is_duplicate && !entry->is_stored) {
            ingest_abandon(ingest, ERR_AGAIN);
            return;
        }
    }
    for (size_t i = 0; i < ingest->count; i++)
        ingest_tell(ingest, ingest->entries[i], now_ms);
    crash_point("ingest.told");
    if (ingest->count == 0) { /* calls alone: who asks, asks again */
        release(ingest);
        return;
    }
    ingest->is_telling = true;
    ingest->told_mark = 0;
}

static void end_batch(struct ingest *ingest)
{
    ingest->is_ending = true;
    if (ingest->looking_count)
        look_up(ingest);
    else
        finish(ingest);
}

void ingest_turn(struct ingest *ingest)
{
    if (!ingest->is_telling)
        return;
    if (!ingest->told_mark)
        ingest->told_mark = ingest->ops.mark(ingest->ops.ctx);
    if (!ingest->ops.is_past(ingest->ops.ctx, ingest->told_mark))
        return;
    release(ingest);
    crash_point("ingest.acknowledged");
}

/* ---- the lane ---- */

static void on_up(void *ctx, bool session_present)
{
    struct ingest *ingest = ctx;

    ingest->is_up = true;
    log_info("ingest.up", LOG_INT("session_present", session_present));
    if (!session_present)
        log_warn("ingest.gap", LOG_STR("what", "the broker had no session for the requests lane:"
                                               " unless it is new, requests may be missing until"
                                               " their services send them again"));
}

static void on_give_up(void *ctx)
{
    ingest_close(ctx);
}

static void on_down(void *ctx, const char *why)
{
    struct ingest *ingest = ctx;

    ingest->is_up = false;
    log_warn("ingest.down", LOG_STR("why", why));
    reset(ingest);
    /* Thrown out again and again: somebody with a database reads this lane now. */
    if (ingest->is_degraded && ++ingest->degraded_downs >= DEGRADED_DOWNS_MAX)
        loop_timer_start(ingest->loop, &ingest->give_up, 0, on_give_up, ingest);
}

static void open_lane(struct ingest *ingest)
{
    static const struct mqtt_handlers handlers = {
        .on_up = on_up, .on_down = on_down, .on_message = ingest_on_message, .on_batch = on_batch};

    ingest->lane = mqtt_open(ingest->loop, &ingest->config.lane, &handlers, ingest);
}

void ingest_open(struct ingest *ingest)
{
    if (ingest->lane && !ingest->is_degraded)
        return;
    ingest_close(ingest);
    open_lane(ingest);
    ingest_expand_start(ingest);
    ingest_next(ingest);
}

void ingest_open_degraded(struct ingest *ingest)
{
    ingest_close(ingest);
    ingest->is_degraded = true;
    ingest->degraded_downs = 0;
    open_lane(ingest);
    log_warn("ingest.degraded", LOG_STR("what", "urgent in-app notifications are shown before"
                                                " they are stored; nothing is acknowledged"));
}

void ingest_close(struct ingest *ingest)
{
    struct mqtt *lane = ingest->lane;

    if (!lane)
        return;
    ingest->lane = NULL;
    ingest->is_up = ingest->is_degraded = false;
    mqtt_close(lane);
    ingest_expand_stop(ingest);
    reset(ingest);
}

bool ingest_is_open(const struct ingest *ingest)
{
    return ingest->lane != NULL;
}

bool ingest_is_ready(const struct ingest *ingest)
{
    int64_t held_ms = ingest->held_since_ms ? loop_now_ms(ingest->loop) - ingest->held_since_ms : 0;

    return ingest->is_up && !ingest->is_degraded && held_ms < 10000;
}

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

/* Deliveries in one statement; a request has more of them only by itself. */
#define CHUNK_DELIVERIES 4000
/* Connections that a degraded lane may lose before it leaves the lane to others. */
#define DEGRADED_DOWNS_MAX 5
/* How often one range may be told to try again before the whole batch is dropped. */
#define AGAIN_MAX 5

static void next_range(struct ingest *ingest);
static void finish(struct ingest *ingest);

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
    ingest_rows_init(&ingest->rows);
    ingest->messages = metrics_get(metrics, METRIC_COUNTER, "tocsin_request_messages_total",
                                   "MQTT messages read from the requests lane.", NULL);
    ingest->accepted = metrics_get(metrics, METRIC_COUNTER, "tocsin_requests_accepted_total",
                                   "Requests committed.", NULL);
    ingest->rejected = metrics_get(metrics, METRIC_COUNTER, "tocsin_requests_rejected_total",
                                   "Requests refused.", NULL);
    ingest->duplicates = metrics_get(metrics, METRIC_COUNTER, "tocsin_requests_duplicate_total",
                                     "Requests whose id was seen before.", NULL);
    ingest->commit_seconds = metrics_get(metrics, METRIC_HISTOGRAM, "tocsin_ingest_commit_seconds",
                                         "From sending a batch to its commit.", NULL);
    return ingest;
}

static void free_shown(void *ctx, const char *key, void *value)
{
    (void)ctx, (void)key;
    free(value);
}

void ingest_free(struct ingest *ingest)
{
    ingest_close(ingest);
    loop_timer_stop(&ingest->give_up);
    strmap_each(&ingest->shown, free_shown, NULL);
    strmap_fini(&ingest->shown);
    ingest_rows_fini(&ingest->rows);
    arena_free(ingest->arena);
    free(ingest->entries);
    free(ingest->ranges);
    free(ingest->good);
    free(ingest);
}

/* ---- storing ---- */

static void push_range(struct ingest *ingest, size_t from, size_t to)
{
    if (ingest->range_count == ingest->range_capacity) {
        ingest->range_capacity = ingest->range_capacity ? ingest->range_capacity * 2 : 16;
        ingest->ranges = xrealloc(ingest->ranges, ingest->range_capacity * sizeof(*ingest->ranges));
    }
    ingest->ranges[ingest->range_count++] = (struct range){from, to};
}

static int by_id(const void *a, const void *b)
{
    const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;

    return x->id < y->id ? -1 : x->id > y->id;
}

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
    if (ingest->waiting_count)
        ingest_find_targets(ingest);
    else
        ingest_store(ingest);
}

void ingest_store(struct ingest *ingest)
{
    size_t from = 0, deliveries = 0;

    /* Ids are taken in order, but for those of what was shown before. */
    if (ingest->shown.count)
        qsort(ingest->good, ingest->good_count, sizeof(*ingest->good), by_id);
    ingest->again = 0;
    ingest->looking_count = 0;
    /* Cut so that no statement has too many rows; the order does not matter. */
    for (size_t i = 0; i < ingest->good_count; i++) {
        size_t more = ingest->good[i]->plan_count;

        if (i > from && deliveries + more > CHUNK_DELIVERIES) {
            push_range(ingest, from, i);
            from = i;
            deliveries = 0;
        }
        deliveries += more;
    }
    if (ingest->good_count > from)
        push_range(ingest, from, ingest->good_count);
    crash_point("ingest.pre_tx");
    next_range(ingest);
}

static void withdraw(struct ingest *ingest, struct entry *entry)
{
    for (size_t i = 0; i < entry->plan_count; i++) {
        if (!entry->plans[i].is_admitted)
            continue;
        entry->plans[i].is_admitted = false;
        ingest->ops.withdraw(ingest->ops.ctx, entry->plans[i].destination);
    }
}

/* Forgets the batch; what the broker has not been told of, it will send again. */
void ingest_reset(struct ingest *ingest)
{
    for (size_t i = 0; i < ingest->count; i++)
        withdraw(ingest, ingest->entries[i]);
    ingest->count = ingest->good_count = 0;
    ingest->waiting_count = ingest->need_count = 0;
    ingest->needs = NULL;
    ingest->range_count = 0;
    ingest->looking_count = 0;
    ingest->held_since_ms = 0;
    ingest->is_telling = false;
    ingest->generation++;
    arena_reset(ingest->arena);
}

void ingest_abandon(struct ingest *ingest, int err)
{
    log_warn("ingest.abandoned", LOG_STR("err", err_name(err)), LOG_INT("requests", ingest->count));
    if (err == ERR_DOUBT)
        ingest->ops.doubt(ingest->ops.ctx);
    ingest_reset(ingest);
    mqtt_discard(ingest->lane, "the batch could not be stored");
}

/* The entry whose notification or delivery has this id. */
static struct entry *entry_of(struct ingest *ingest, uint64_t id)
{
    size_t low = 0, high = ingest->good_count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (ingest->good[middle]->id <= id)
            low = middle;
        else
            high = middle;
    }
    return ingest->good[low];
}

static struct plan *plan_of(struct entry *entry, uint64_t id)
{
    size_t low = 0, high = entry->plan_count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (entry->plans[middle].id <= id)
            low = middle;
        else
            high = middle;
    }
    return &entry->plans[low];
}

static struct note *note_of(struct entry *entry)
{
    const struct request *request = entry->request;
    struct note source = {
        .id = entry->id,
        .priority = request->priority,
        .receipts = request->receipts,
        .created_ms = id_wall_ms(entry->id),
        .expires_ms = request->expires_at_ms,
        .retry = request->retry,
        .service = entry->service,
        .request = request->id,
        .type = request->type,
        .collapse_key = request->collapse_key,
        .content = request->content,
        .content_bytes = request->content_bytes,
    };

    if (!entry->note)
        entry->note = note_new(&source);
    return entry->note;
}

static void on_notification(void *ctx, uint64_t id)
{
    struct storing *storing = ctx;

    if (storing->generation == storing->ingest->generation)
        entry_of(storing->ingest, id)->is_stored = true;
}

static void on_delivery(void *ctx, uint64_t id, int64_t seq, bool is_leased)
{
    struct storing *storing = ctx;
    struct ingest *ingest = storing->ingest;
    struct entry *entry;
    struct plan *one;
    struct task *task;

    if (storing->generation != ingest->generation)
        return;
    entry = entry_of(ingest, id);
    one = plan_of(entry, id);
    if (!is_leased) {
        if (!one->step)
            ingest->ops.poke(ingest->ops.ctx, one->destination);
        return;
    }
    task = task_new(note_of(entry), id, one->recipient, one->user);
    task->seq = seq;
    task->channel = one->channel;
    task->recipient_kind = one->kind;
    task->suppressed = one->suppressed;
    task->is_step = one->head != 0;
    one->is_admitted = false;
    ingest->ops.enter(ingest->ops.ctx, one->destination, task);
}

/* ---- telling ---- */

/* Its ids are in the database now. */
static void forget_shown(struct ingest *ingest, const struct entry *entry)
{
    if (ingest->shown.count && entry->request->id)
        free(strmap_remove(&ingest->shown, ingest_shown_key(ingest, entry)));
}

static void tell(struct ingest *ingest, struct entry *entry, int64_t now_ms)
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
        metric_add(ingest->duplicates, 1);
    ingest->ops.receipt(ingest->ops.ctx, entry->service, &receipt);
    forget_shown(ingest, entry);
}

/* A row that can never be stored: kept for people, refused to its service. */
static void set_aside(struct ingest *ingest, struct entry *entry)
{
    char topic[TOPIC_BYTES_MAX];

    snprintf(topic, sizeof(topic), "notify/v1/services/%s/up/request", entry->service);
    log_error("ingest.unstorable", LOG_STR("service", entry->service),
              LOG_ID("notification", entry->id));
    if (store_reject(ingest->store, topic, "the database refuses the row", entry->payload,
                     entry->payload_bytes))
        log_warn("ingest.unkept", LOG_STR("service", entry->service));
    ingest_refuse(entry, REJECT_BAD_VALUE, "", "the database cannot store this request");
    withdraw(ingest, entry);
}

static void on_failed(struct ingest *ingest, struct range range, int err)
{
    size_t middle = range.from + (range.to - range.from) / 2;

    if (err == ERR_AGAIN && ingest->again++ < AGAIN_MAX) {
        push_range(ingest, range.from, range.to);
    } else if (err == ERR_DATA && range.to - range.from == 1) {
        set_aside(ingest, ingest->good[range.from]);
    } else if (err == ERR_DATA) {
        log_warn("ingest.halved", LOG_INT("requests", range.to - range.from));
        push_range(ingest, middle, range.to);
        push_range(ingest, range.from, middle);
    } else {
        ingest_abandon(ingest, err);
        return;
    }
    next_range(ingest);
}

static void on_stored(void *ctx, int err)
{
    struct storing *storing = ctx;
    struct ingest *ingest = storing->ingest;
    struct range range = storing->range;
    bool is_current = storing->generation == ingest->generation;
    int64_t now_ms = clock_wall_ms();

    free(storing);
    if (!is_current) {
        /* The lane was dropped meanwhile: what this brought in, memory does not know. */
        ingest->ops.doubt(ingest->ops.ctx);
        return;
    }
    crash_point("ingest.pre_puback");
    metric_observe(ingest->commit_seconds, (double)(clock_boot_us() - ingest->sent_us) / 1e6);
    if (err) {
        on_failed(ingest, range, err);
        return;
    }
    if (ingest->rows.has_more)
        ingest->ops.replaced(ingest->ops.ctx);
    for (size_t i = range.from; i < range.to; i++) {
        struct entry *entry = ingest->good[i];

        if (entry->is_stored) {
            /*
             * Now, and not with the rest of the batch: its deliveries are on their way, and
             * `delivered` must not overtake `accepted` while duplicates are looked up.
             */
            tell(ingest, entry, now_ms);
            continue;
        }
        entry->is_duplicate = true;
        ingest->looking_count++;
        withdraw(ingest, entry);
    }
    next_range(ingest);
}

static enum delivery_state state_of(const struct plan *one)
{
    if (one->step)
        return DELIVERY_HELD;
    return one->is_admitted ? DELIVERY_LEASED : DELIVERY_READY;
}

/* A step that is not the first is due when the one before was not acknowledged for so long. */
static int64_t due_ms(const struct entry *entry, const struct plan *one)
{
    int64_t at_ms = entry->request->deliver_at_ms;

    if (!one->step)
        return at_ms;
    if (entry->route.escalate_after_ms < 0)
        return DELIVERY_ROW_NEVER;
    if (at_ms < id_wall_ms(entry->id))
        at_ms = id_wall_ms(entry->id);
    return at_ms + (int64_t)one->step * entry->route.escalate_after_ms;
}

static void add_rows(struct ingest *ingest, const struct entry *entry)
{
    const struct request *request = entry->request;
    struct notification_row row = {
        .id = entry->id,
        .key = entry->key,
        .digest = request->digest,
        .service = entry->service,
        .request = request->id,
        .type = request->type,
        .priority = request->priority,
        .receipts = (int)request->receipts,
        .deliveries = (int)entry->plan_count,
        .expires_ms = request->expires_at_ms,
        .collapse_key = request->collapse_key,
        .retry = entry->retry,
        .content = request->content,
        .content_bytes = request->content_bytes,
    };

    ingest_rows_add(&ingest->rows, &row);
    for (size_t i = 0; i < entry->plan_count; i++) {
        const struct plan *one = &entry->plans[i];
        struct delivery_row delivery = {
            .id = one->id,
            .notification = entry->id,
            .due_ms = due_ms(entry, one),
            .destination = one->destination,
            .channel = one->channel,
            .priority = request->priority,
            .state = (int)state_of(one),
            .recipient_kind = (int)one->kind,
            .recipient = one->recipient,
            .user = one->user,
            .head = one->head,
        };

        ingest_rows_add_delivery(&ingest->rows, &delivery);
    }
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
        if (!ingest->good[i]->is_duplicate)
            continue;
        if (index-- == 0)
            break;
    }
    if (digest != ingest->good[i]->request->digest)
        ingest_refuse(ingest->good[i], REJECT_ID_REUSED, "/id",
                      "this id was used before for another request");
    ingest->good[i]->id = notification;
    ingest->good[i]->is_stored = true;
}

static void on_looked_up(void *ctx, int err)
{
    struct storing *storing = ctx;
    struct ingest *ingest = storing->ingest;
    bool is_current = storing->generation == ingest->generation;

    free(storing);
    if (!is_current)
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
    for (size_t i = 0; i < ingest->good_count; i++)
        if (ingest->good[i]->is_duplicate)
            keys[count++] = ingest->good[i]->key;
    err = store_key_lookup(ingest->store, keys, count, &lookup);
    free(keys);
    if (err) {
        free(storing);
        ingest_abandon(ingest, err);
    }
}

static void next_range(struct ingest *ingest)
{
    struct storing *storing;
    struct ingest_answer answer;
    struct range range;
    int err;

    if (ingest->range_count == 0) {
        if (ingest->looking_count)
            look_up(ingest);
        else
            finish(ingest);
        return;
    }
    range = ingest->ranges[--ingest->range_count];
    ingest_rows_clear(&ingest->rows);
    for (size_t i = range.from; i < range.to; i++)
        add_rows(ingest, ingest->good[i]);
    storing = xmalloc(sizeof(*storing));
    *storing = (struct storing){ingest, ingest->generation, range};
    answer = (struct ingest_answer){on_notification, on_delivery, on_stored, storing};
    ingest->sent_us = clock_boot_us();
    err = store_ingest(ingest->store, ingest->fence->epoch, &ingest->rows, &answer);
    if (err) {
        free(storing);
        ingest_abandon(ingest, err);
        return;
    }
    crash_point("ingest.commit_sent");
}

/* ---- the end of a batch ---- */

static void release(struct ingest *ingest)
{
    ingest_reset(ingest);
    mqtt_release(ingest->lane);
}

/* All is committed or refused: tell the services the rest. */
static void finish(struct ingest *ingest)
{
    int64_t now_ms = clock_wall_ms();

    for (size_t i = 0; i < ingest->count; i++) {
        struct entry *entry = ingest->entries[i];

        /* Seen before, and gone since: its seven days ended this very moment.  Ask again. */
        if (entry->is_duplicate && !entry->is_stored) {
            ingest_abandon(ingest, ERR_AGAIN);
            return;
        }
    }
    for (size_t i = 0; i < ingest->count; i++)
        tell(ingest, ingest->entries[i], now_ms);
    crash_point("ingest.told");
    if (ingest->count == 0) { /* calls alone: who asks, asks again */
        release(ingest);
        return;
    }
    ingest->is_telling = true;
    ingest->told_mark = 0;
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
    ingest_reset(ingest);
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
    ingest_reset(ingest);
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

/* SPDX-License-Identifier: MIT */
/*
 * ingest_store - one group of the batch, or one slice of an expansion, in the database
 *
 * A group is cut into ranges, one statement each.  What a failure says of whom is decided by its
 * class (io/pg_sqlstate.h):
 *   the row      ERR_DATA: halved until one is left, which is refused and kept for people
 *   our ids      ERR_COLLISION: new ids, behind all that the database has of our node
 *   us           ERR_REFUSED: halved likewise; the one that is left is refused as `unavailable`
 * only when others of the batch could be stored, else the broker keeps the batch the moment
 * ERR_AGAIN at once and a few times, all others by dropping the batch
 */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "services/ingest_internal.h"
#include "store/fleet.h"

#include <stdio.h>
#include <stdlib.h>

/* What one group may ask of the database: recipients x channels, and bytes of deferred requests. */
#define GROUP_ASKS  4000
#define GROUP_BYTES 524288
/* Deferred requests in one statement. */
#define DEFER_ROWS 200
/* Deliveries in one statement at least, however slow the database is. */
#define CHUNK_MIN 100
/* A statement that was answered in this time may have been twice as large. */
#define QUICK_US 250000
/* How often one range may be told to try again, or that its ids are taken. */
#define AGAIN_MAX      5
#define COLLISIONS_MAX 6
/* How far the ids go on at the first collision of which the database knows no reason. */
#define COLLISION_MS 250

static void next_range(struct ingest *ingest);

/* ---- a group ---- */

static void add_to_work(struct work *work, struct entry *entry)
{
    if (work->count == work->capacity) {
        work->capacity = work->capacity ? work->capacity * 2 : 64;
        work->entries = xrealloc(work->entries, work->capacity * sizeof(*work->entries));
    }
    work->entries[work->count++] = entry;
}

static void drop_from_work(struct work *work, size_t at)
{
    for (size_t i = at + 1; i < work->count; i++)
        work->entries[i - 1] = work->entries[i];
    work->count--;
}

void ingest_work_reset(struct ingest *ingest)
{
    struct work *work = &ingest->work;

    for (size_t i = 0; i < work->count; i++) {
        ingest_withdraw(ingest, work->entries[i]);
        work->entries[i]->plan_count = 0;
    }
    work->count = work->deferred = work->counting = work->need_count = work->range_count = 0;
    work->needs = NULL;
    work->is_busy = work->is_slice = false;
    arena_reset(work->arena);
}

static void count_next(struct ingest *ingest);

/* Those that may be too large are counted before they are accepted. */
static bool must_count(const struct entry *entry)
{
    return entry->is_deferred && ingest_is_counted(entry);
}

static void on_counted(void *ctx, int err, int64_t more)
{
    struct ingest *ingest = ingest_statement_ended(ctx);
    struct work *work;
    struct entry *entry;

    if (!ingest)
        return;
    if (err) {
        ingest_abandon(ingest, err);
        return;
    }
    work = &ingest->work;
    entry = work->entries[work->counting];
    ingest_charge_more(ingest, entry, (size_t)more);
    if (entry->route.deliveries + (size_t)more > PLANS_MAX) {
        ingest_refuse(entry, REJECT_TOO_LARGE, "/to", "this would be more than 100,000 deliveries");
        drop_from_work(work, work->counting);
    } else {
        work->counting++;
    }
    count_next(ingest);
}

static void count_one(struct ingest *ingest, const struct entry *entry)
{
    struct storing *storing = xmalloc(sizeof(*storing));
    struct reach_many many = {.users = entry->route.recipients,
                              .user_count = entry->route.recipient_count,
                              .channels = entry->route.channels & ~(1u << CHANNEL_IN_APP)};
    int err;

    *storing = (struct storing){ingest, ingest->generation, {0, 0}};
    err = store_reach_count(ingest->store, &many, on_counted, storing);
    if (err) {
        free(storing);
        ingest_abandon(ingest, err);
    }
}

static void count_next(struct ingest *ingest)
{
    struct work *work = &ingest->work;
    bool is_asking = false;

    for (; work->counting < work->count; work->counting++)
        if (must_count(work->entries[work->counting])) {
            count_one(ingest, work->entries[work->counting]);
            return;
        }
    for (size_t i = 0; i < work->count; i++)
        is_asking = is_asking || work->entries[i]->is_waiting;
    if (is_asking)
        ingest_find_targets(ingest);
    else
        ingest_planned(ingest);
}

void ingest_start_group(struct ingest *ingest)
{
    size_t asks = 0, bytes = 0;

    ingest->work.is_busy = true;
    ingest->held_since_ms = loop_now_ms(ingest->loop); /* it goes on, however long the batch is */
    for (; ingest->next < ingest->good_count; ingest->next++) {
        struct entry *entry = ingest->good[ingest->next];

        asks += entry->is_deferred ? 1 : entry->route.deliveries;
        bytes += entry->is_deferred ? entry->text_bytes : 0;
        if (ingest->work.count && (asks > GROUP_ASKS || bytes > GROUP_BYTES))
            break;
        add_to_work(&ingest->work, entry);
    }
    count_next(ingest);
}

/* ---- ranges ---- */

static void push_range(struct work *work, size_t from, size_t to)
{
    if (work->range_count == work->range_capacity) {
        work->range_capacity = work->range_capacity ? work->range_capacity * 2 : 16;
        work->ranges = xrealloc(work->ranges, work->range_capacity * sizeof(*work->ranges));
    }
    work->ranges[work->range_count++] = (struct range){from, to};
}

static size_t weight(const struct entry *entry)
{
    return entry->is_deferred ? entry->text_bytes : entry->plan_count;
}

/* Cut so that no statement has too many rows; the order does not matter. */
static void cut(struct work *work, size_t from, size_t to, size_t weight_max, size_t rows_max)
{
    size_t sum = 0;

    for (size_t i = from; i < to; i++) {
        size_t more = weight(work->entries[i]);

        if (i > from && (sum + more > weight_max || i - from == rows_max)) {
            push_range(work, from, i);
            from = i;
            sum = 0;
        }
        sum += more;
    }
    if (to > from)
        push_range(work, from, to);
}

/* Deferred ones last; ids ascend in both parts, but for those of what was shown before. */
static int in_order(const void *a, const void *b)
{
    const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;

    if (x->is_deferred != y->is_deferred)
        return x->is_deferred ? 1 : -1;
    return x->id < y->id ? -1 : x->id > y->id;
}

void ingest_planned(struct ingest *ingest)
{
    struct work *work = &ingest->work;
    size_t kept = 0;

    for (size_t i = 0; i < work->count; i++) {
        struct entry *entry = work->entries[i];
        bool is_good =
            entry->is_deferred ? ingest_defer(ingest, entry) : ingest_plan(ingest, entry);

        if (!is_good)
            continue;
        work->deferred += entry->is_deferred;
        work->entries[kept++] = entry;
    }
    work->count = kept;
    if (work->deferred || ingest->shown.count)
        qsort(work->entries, kept, sizeof(struct entry *), in_order);
    cut(work, kept - work->deferred, kept, GROUP_BYTES, DEFER_ROWS);
    cut(work, 0, kept - work->deferred, ingest->chunk, SIZE_MAX);
    work->again = work->collisions = 0;
    crash_point("ingest.pre_tx");
    next_range(ingest);
}

void ingest_store_slice(struct ingest *ingest)
{
    add_to_work(&ingest->work, ingest->expand.entry);
    push_range(&ingest->work, 0, 1);
    ingest->work.again = ingest->work.collisions = 0;
    next_range(ingest);
}

/* ---- answers ---- */

/* The entry of the range whose notification or delivery has this id; ids ascend in a range. */
static struct entry *entry_of(const struct storing *storing, uint64_t id)
{
    struct entry **entries = storing->ingest->work.entries;
    size_t low = storing->range.from, high = storing->range.to;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (entries[middle]->id <= id)
            low = middle;
        else
            high = middle;
    }
    return entries[low];
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
        entry_of(storing, id)->is_stored = true;
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
    entry = entry_of(storing, id);
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

/* ---- failures ---- */

/* A row that can never be stored: kept for people, refused to its service. */
static void set_aside(struct ingest *ingest, struct entry *entry)
{
    char topic[TOPIC_BYTES_MAX];

    snprintf(topic, sizeof(topic), "notify/v1/services/%s/up/request", entry->service);
    log_error("ingest.unstorable", LOG_STR("service", entry->service),
              LOG_ID("notification", entry->id));
    if (store_reject(ingest->store, topic, "the database refuses the row", entry->payload,
                     entry->payload_bytes, NULL, NULL))
        log_warn("ingest.unkept", LOG_STR("service", entry->service));
    ingest_refuse(entry, REJECT_BAD_VALUE, "", "the database cannot store this request");
    ingest_withdraw(ingest, entry);
}

/* Ids behind all that the database has; or further on each time, where it knows of none. */
static void on_ids_after(void *ctx, int err, int64_t ms)
{
    struct range range = ((struct storing *)ctx)->range;
    struct ingest *ingest = ingest_statement_ended(ctx);
    int64_t last_ms;

    if (!ingest)
        return;
    if (err) {
        ingest_abandon(ingest, err);
        return;
    }
    last_ms = id_wall_ms(ingest->ids.last);
    id_start_after(&ingest->ids, last_ms + (COLLISION_MS << ingest->work.collisions));
    id_start_after(&ingest->ids, ms);
    for (size_t i = range.from; i < range.to; i++)
        if (!ingest_new_ids(ingest, ingest->work.entries[i])) {
            ingest_abandon(ingest, ERR_REFUSED);
            return;
        }
    push_range(&ingest->work, range.from, range.to);
    next_range(ingest);
}

static void find_new_ids(struct ingest *ingest, struct range range)
{
    struct storing *storing = xmalloc(sizeof(*storing));
    int err;

    log_warn("ingest.collision", LOG_INT("node", ingest->fence->node),
             LOG_INT("requests", range.to - range.from),
             LOG_STR("what", "ids of ours are in the database already: new ones are taken"));
    *storing = (struct storing){ingest, ingest->generation, range};
    err = store_ids_after(ingest->store, ingest->fence->node, on_ids_after, storing);
    if (err) {
        free(storing);
        ingest_abandon(ingest, err);
    }
}

/* One that is at fault, or with which we are, is found by halving. */
static void halve(struct ingest *ingest, struct range range, int err)
{
    size_t middle = range.from + (range.to - range.from) / 2;
    struct entry *entry = ingest->work.entries[range.from];

    if (range.to - range.from > 1) {
        log_warn("ingest.halved", LOG_INT("requests", range.to - range.from));
        push_range(&ingest->work, middle, range.to);
        push_range(&ingest->work, range.from, middle);
        return;
    }
    if (err == ERR_DATA) {
        set_aside(ingest, entry);
        return;
    }
    entry->is_failed = true;
    ingest_withdraw(ingest, entry);
}

/* Slower than the deadline, or the connection was lost: what comes again is cut smaller. */
static void note_pace(struct ingest *ingest, int err, int64_t took_us)
{
    if (err == ERR_DOUBT && ingest->chunk / 2 >= CHUNK_MIN)
        ingest->chunk /= 2;
    else if (!err && took_us < QUICK_US && ingest->chunk < CHUNK_MAX)
        ingest->chunk = ingest->chunk * 2 < CHUNK_MAX ? ingest->chunk * 2 : CHUNK_MAX;
}

static void on_failed(struct ingest *ingest, struct range range, int err)
{
    struct work *work = &ingest->work;

    if (err == ERR_AGAIN && work->again++ < AGAIN_MAX) {
        push_range(work, range.from, range.to);
    } else if (err == ERR_COLLISION && work->collisions++ < COLLISIONS_MAX) {
        find_new_ids(ingest, range);
        return;
    } else if (work->is_slice) {
        ingest_expand_done(ingest, err, false);
        return;
    } else if (err == ERR_DATA || err == ERR_REFUSED || err == ERR_COLLISION) {
        work->collisions = 0;
        halve(ingest, range, err);
    } else {
        ingest_abandon(ingest, err);
        return;
    }
    next_range(ingest);
}

static void on_group_stored(struct ingest *ingest, struct range range)
{
    int64_t now_ms = clock_wall_ms();

    for (size_t i = range.from; i < range.to; i++) {
        struct entry *entry = ingest->work.entries[i];

        if (entry->is_stored) {
            /*
             * Now, and not with the rest of the batch: its deliveries are on their way, and
             * `delivered` must not overtake `accepted` while duplicates are looked up.
             */
            ingest_tell(ingest, entry, now_ms);
            if (entry->is_deferred) {
                metric_add(ingest->deferred, 1);
                ingest->expand.is_wanted = true;
            }
            continue;
        }
        entry->is_duplicate = true;
        ingest->looking_count++;
        ingest_withdraw(ingest, entry);
    }
}

static void on_stored(void *ctx, int err)
{
    struct storing *storing = ctx;
    struct ingest *ingest = storing->ingest;
    struct range range = storing->range;
    bool is_current = storing->generation == ingest->generation;
    int64_t took_us = clock_boot_us() - ingest->sent_us;

    free(storing);
    note_pace(ingest, err, took_us);
    if (!is_current) {
        /* The lane was dropped meanwhile: what this brought in, memory does not know. */
        ingest->ops.doubt(ingest->ops.ctx);
        return;
    }
    crash_point("ingest.pre_puback");
    metric_observe(ingest->commit_seconds, (double)took_us / 1e6);
    if (err) {
        on_failed(ingest, range, err);
        return;
    }
    ingest->work.again = ingest->work.collisions = 0;
    if (ingest->work.rows.has_more)
        ingest->ops.replaced(ingest->ops.ctx);
    if (ingest->work.is_slice) {
        ingest_expand_done(ingest, 0, ingest->work.entries[0]->is_stored);
        return;
    }
    on_group_stored(ingest, range);
    next_range(ingest);
}

/* ---- rows ---- */

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

static void add_notification(struct ingest *ingest, const struct entry *entry)
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

    ingest_rows_add(&ingest->work.rows, &row);
}

static void add_deliveries(struct ingest *ingest, const struct entry *entry)
{
    const struct request *request = entry->request;

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

        ingest_rows_add_delivery(&ingest->work.rows, &delivery);
    }
}

static int send(struct ingest *ingest, struct range range, const struct ingest_answer *answer)
{
    struct work *work = &ingest->work;
    bool is_deferred = work->entries[range.from]->is_deferred;

    ingest_rows_clear(&work->rows);
    for (size_t i = range.from; i < range.to; i++) {
        const struct entry *entry = work->entries[i];

        if (!work->is_slice)
            add_notification(ingest, entry);
        if (is_deferred && !work->is_slice)
            ingest_rows_add_deferred(&work->rows, id_next(entry->id), entry->text,
                                     entry->text_bytes);
        else
            add_deliveries(ingest, entry);
    }
    if (work->is_slice)
        return store_expand(ingest->store, ingest->fence->epoch, &ingest->expand.slice, &work->rows,
                            answer);
    if (is_deferred)
        return store_defer(ingest->store, ingest->read_ms, &work->rows, answer);
    return store_ingest(ingest->store, ingest->fence->epoch, &work->rows, answer);
}

static void next_range(struct ingest *ingest)
{
    struct work *work = &ingest->work;
    struct storing *storing;
    struct ingest_answer answer;
    int err;

    if (work->range_count == 0) {
        ingest_work_reset(ingest);
        ingest_next(ingest);
        return;
    }
    storing = xmalloc(sizeof(*storing));
    *storing = (struct storing){ingest, ingest->generation, work->ranges[--work->range_count]};
    answer = (struct ingest_answer){on_notification, on_delivery, on_stored, storing};
    ingest->sent_us = clock_boot_us();
    err = send(ingest, storing->range, &answer);
    if (err) {
        free(storing);
        ingest_abandon(ingest, err);
        return;
    }
    crash_point("ingest.commit_sent");
}

/* SPDX-License-Identifier: MIT */
/*
 * dispatch_settle - recording outcomes in batches, and telling services after the commit
 *
 * One statement of each kind is under way at a time; what comes meanwhile forms the next batch,
 * so that batches are as small as the load is low.  A statement whose data are refused is divided
 * until the row is found, which then waits by itself: one bad row never keeps the others.
 */
#include "base/alloc.h"
#include "base/crash.h"
#include "base/log.h"
#include "services/dispatch_internal.h"

#include <stdlib.h>

/* How long to wait after a batch could not be recorded. */
#define SETTLE_RETRY_MS 100
/* The same for a row that the database has refused by itself. */
#define SETTLE_REFUSED_MS 10000

/* A batch under way. */
struct batch {
    struct dispatch *dispatch;
    enum settle_kind kind;
    unsigned generation;
    struct list items; /* struct settling */
    struct idmap by_id;
    struct settlement *rows;
};

static enum settle_kind kind_of(enum delivery_state state)
{
    if (state == DELIVERY_READY || state == DELIVERY_HELD)
        return SETTLE_RETRY;
    return state == DELIVERY_DEAD ? SETTLE_BURY : SETTLE_FINAL;
}

/* A vendor's bytes must not be able to make a row that cannot be stored. */
static void scrub(char *text)
{
    for (; *text; text++)
        if (*text < 0x20 || *text > 0x7e)
            *text = '?';
}

/* Where a repeat could be a second message and the type forbids that, not knowing is the end. */
static struct outcome known(struct dispatch *dispatch, const struct task *task,
                            const struct outcome *outcome)
{
    struct outcome known = *outcome;

    if (known.kind == OUTCOME_UNKNOWN && dispatch_ends_unknown(dispatch, task)) {
        known.kind = OUTCOME_PERMANENT;
        known.reason = REASON_OUTCOME_UNKNOWN;
    }
    scrub(known.code);
    scrub(known.provider_id);
    scrub(known.detail);
    return known;
}

/* Where the type says so, a user who is not there is waited for. */
static struct verdict judge(struct dispatch *dispatch, const struct task *task,
                            const struct outcome *outcome, int attempts, int64_t now_ms)
{
    struct tries tries = {.attempts = attempts,
                          .deferrals = task->deferrals + 1,
                          .age_ms = now_ms - task->note->created_ms};
    struct retry_policy policy = dispatch_policy(dispatch, task);
    const struct type_config *type = dispatch_type(dispatch, task->note->type);
    struct verdict verdict = delivery_judge(outcome, &policy, tries, now_ms, task->note->expires_ms,
                                            rng_next(&dispatch->rng));
    int64_t until_ms = task->note->expires_ms
                           ? task->note->expires_ms
                           : task->note->created_ms + dispatch->config.hold_max_ms;

    if (!type || type->offline == OFFLINE_DEAD_LETTER || task->channel != CHANNEL_IN_APP ||
        task->recipient_kind != RECIPIENT_USER)
        return verdict;
    return delivery_wait(&verdict, outcome->reason, now_ms, until_ms);
}

void dispatch_judge(struct dispatch *dispatch, struct task *task, const struct outcome *outcome)
{
    struct settling *item = xcalloc(1, sizeof(*item));
    int64_t now_ms = dispatch_wall_ms(dispatch);
    struct verdict verdict;
    bool is_tried = outcome->kind < OUTCOME_EXPIRED && outcome->reason != REASON_NO_TARGET;
    int tries = task->attempts + (is_tried ? 1 : 0);

    item->outcome = known(dispatch, task, outcome);
    verdict = judge(dispatch, task, &item->outcome, tries, now_ms);
    delivery_set_state(&task->state, verdict.state);
    item->task = task;
    item->row = (struct settlement){
        .id = task->id,
        .state = verdict.state,
        .attempts = verdict.costs_attempt ? tries : task->attempts,
        .number = is_tried ? tries : 0,
        .due_ms = now_ms + verdict.delay_ms,
        .dead_since_ms = outcome->dead_since_ms,
        .is_step = task->is_step,
        .destination = ((struct destination *)task->destination)->id,
        .is_awaited = ((struct destination *)task->destination)->config.has_receipts,
        .outcome = &item->outcome,
    };
    list_push_back(&dispatch->settling[kind_of(verdict.state)], &item->node);
}

static const char *status_of(enum delivery_state state)
{
    return state == DELIVERY_READY || state == DELIVERY_HELD ? "retrying"
                                                             : delivery_state_name(state);
}

static void count(struct destination *destination, const struct settlement *row)
{
    struct queue_flow *flow = &destination->flow;
    bool is_tried = row->number > 0;

    flow->attempts += is_tried;
    if (kind_of(row->state) == SETTLE_RETRY) {
        flow->retried += is_tried;
    } else if (row->state == DELIVERY_DEAD) {
        flow->failed++;
        flow->tries += row->attempts;
    } else if (row->state == DELIVERY_SENT || row->state == DELIVERY_DELIVERED) {
        flow->completed++;
        flow->tries += row->attempts;
    } else {
        flow->other++;
    }
}

/* What must be told, is told: after the commit. */
static void tell(struct dispatch *dispatch, struct settling *item)
{
    struct task *task = item->task;
    struct destination *destination = task->destination;
    enum receipts_wanted wanted = task->note->receipts;

    metric_add(dispatch->settled[item->row.state], 1);
    count(destination, &item->row);
    if (item->row.state == DELIVERY_DEAD) {
        log_info("delivery.dead", LOG_ID("delivery", task->id),
                 LOG_STR("channel", channel_name(task->channel)),
                 LOG_STR("destination", destination->config.name), LOG_ADDR("to", task->recipient),
                 LOG_STR("reason", reason_name(item->outcome.reason)),
                 LOG_INT("attempts", item->row.attempts));
        dispatch->ops.dead(dispatch->ops.ctx, task, &item->outcome, item->row.attempts,
                           destination->config.name);
    }
    if (wanted == RECEIPTS_NONE ||
        (wanted == RECEIPTS_FINAL && kind_of(item->row.state) == SETTLE_RETRY))
        return;
    dispatch_tell(dispatch, task, status_of(item->row.state), &item->outcome, item->row.number);
}

static void finish(struct dispatch *dispatch, struct settling *item, bool is_ours)
{
    struct destination *destination = item->task->destination;

    if (is_ours) {
        tell(dispatch, item);
        dispatch_missed(dispatch, item->task, item->outcome.reason);
        if (item->row.state == DELIVERY_READY) {
            int64_t due_ms = item->row.due_ms - dispatch->wall_offset_ms;

            if (destination->next_claim_ms > due_ms)
                destination->next_claim_ms = due_ms;
        }
    }
    dispatch->refused -= item->is_refused;
    dispatch_forget(dispatch, item->task);
    free(item);
}

static void on_row(void *ctx, uint64_t id, uint64_t notification, int attempts)
{
    struct batch *batch = ctx;
    struct settling *item;

    (void)notification, (void)attempts;
    if (batch->generation != batch->dispatch->generation)
        return;
    item = idmap_remove(&batch->by_id, id);
    if (!item)
        return;
    list_remove(&batch->items, &item->node);
    finish(batch->dispatch, item, true);
}

/* Its siblings, of whom one has done it, are of the same notification, and in the batch yet. */
static void on_off(void *ctx, const struct called_off *off)
{
    struct batch *batch = ctx;
    struct dispatch *dispatch = batch->dispatch;

    if (batch->generation != dispatch->generation)
        return;
    metric_add(dispatch->settled[DELIVERY_CANCELLED], 1);
    for (struct list_node *node = list_first(&batch->items); node;
         node = list_next(&batch->items, node)) {
        const struct settling *item = CONTAINER_OF(node, struct settling, node);
        const struct note *note = item->task->note;
        struct receipt receipt = {
            .id = note->request,
            .notification = note->id,
            .status = delivery_state_name(DELIVERY_CANCELLED),
            .channel = channel_name(off->channel),
            .user = off->user[0] ? off->user : NULL,
            .at_ms = dispatch_wall_ms(dispatch),
        };

        if (note->id != off->notification)
            continue;
        if (note->receipts != RECEIPTS_NONE)
            dispatch->ops.receipt(dispatch->ops.ctx, note->service, &receipt);
        return;
    }
}

static void put_back(struct batch *batch, int err)
{
    struct list *waiting = &batch->dispatch->settling[batch->kind];
    struct list_node *node;

    while ((node = batch->items.head.prev) != &batch->items.head) {
        struct settling *item = CONTAINER_OF(node, struct settling, node);

        list_remove(&batch->items, node);
        if (err == ERR_DOUBT)
            item->was_in_doubt = true;
        list_push_front(waiting, node);
    }
}

static void batch_free(struct batch *batch)
{
    idmap_fini(&batch->by_id);
    free(batch->rows);
    free(batch);
}

/* ---- what was in doubt, and is not ours any more ---- */

static void on_recorded(void *ctx, uint64_t id, int number, int state)
{
    struct batch *batch = ctx;
    struct settling *item;

    if (batch->generation != batch->dispatch->generation)
        return;
    item = idmap_get(&batch->by_id, id);
    if (item && number == item->row.number &&
        state == (kind_of(item->row.state) == SETTLE_RETRY ? -1 : (int)item->row.state))
        item->is_recorded = true;
}

static void on_asked(void *ctx, int err)
{
    struct batch *batch = ctx;
    struct dispatch *dispatch = batch->dispatch;
    bool is_current = batch->generation == dispatch->generation;
    struct list_node *node;

    if (is_current)
        dispatch->asking--;
    if (is_current && err)
        put_back(batch, err);
    while ((node = list_pop_front(&batch->items))) {
        struct settling *item = CONTAINER_OF(node, struct settling, node);

        if (is_current)
            finish(dispatch, item, item->is_recorded);
        else
            free(item);
    }
    batch_free(batch);
}

/*
 * Rows that an earlier statement of ours may have moved, in which case we tell; or somebody else
 * did (a user's acknowledgement read by another bridge), who has told already.  Takes the batch.
 */
static void ask(struct dispatch *dispatch, struct batch *batch)
{
    struct recorded recorded = {on_recorded, on_asked, batch};
    uint64_t *ids = xmalloc(batch->items.count * sizeof(*ids));
    size_t count = 0;
    int err;

    for (struct list_node *node = batch->items.head.next; node != &batch->items.head;
         node = node->next) {
        struct settling *item = CONTAINER_OF(node, struct settling, node);

        ids[count++] = item->row.id;
        idmap_set(&batch->by_id, item->row.id, item);
    }
    err = store_recorded(dispatch->store, dispatch->fence->epoch, ids, count, &recorded);
    free(ids);
    if (!err) {
        dispatch->asking++;
        return;
    }
    put_back(batch, err);
    batch_free(batch);
}

/* One of the rows can never be stored as it is: smaller statements until it is alone. */
static void divide(struct dispatch *dispatch, struct batch *batch)
{
    size_t count = batch->items.count;
    struct settling *item;

    dispatch->settle_max[batch->kind] = count > 1 ? count / 2 : 1;
    if (count > 1)
        return;
    item = CONTAINER_OF(list_first(&batch->items), struct settling, node);
    item->not_before_ms = loop_now_ms(dispatch->loop) + SETTLE_REFUSED_MS;
    dispatch->refused += !item->is_refused;
    item->is_refused = true;
    log_error("settle.refused", LOG_ID("delivery", item->row.id),
              LOG_INT("attempt", item->row.number),
              LOG_STR("why", "the database refuses this row; it is tried again, and holds up no"
                             " other"));
}

/* After a statement that went well they grow again. */
static void widen(struct dispatch *dispatch, enum settle_kind kind, size_t rows)
{
    size_t *max = &dispatch->settle_max[kind];

    metric_add(dispatch->settle_queue.taken, (double)rows);
    *max = *max && *max * 2 < dispatch->config.settle_batch ? *max * 2 : 0;
}

static void on_done(void *ctx, int err)
{
    struct batch *batch = ctx;
    struct dispatch *dispatch = batch->dispatch;
    bool is_current = batch->generation == dispatch->generation;
    struct list doubtful;
    struct list_node *node;

    crash_point("settle.committed");
    list_init(&doubtful);
    if (is_current) {
        dispatch->is_settling[batch->kind] = false;
        if (err) {
            log_warn("settle.failed", LOG_STR("err", err_name(err)),
                     LOG_INT("rows", batch->items.count));
            if (err_is_refusal(err))
                divide(dispatch, batch);
            else
                dispatch->settle_after_ms = loop_now_ms(dispatch->loop) + SETTLE_RETRY_MS;
            put_back(batch, err);
        } else {
            widen(dispatch, batch->kind, batch->items.count);
        }
    }
    while ((node = list_pop_front(&batch->items))) {
        struct settling *item = CONTAINER_OF(node, struct settling, node);

        if (!is_current)
            free(item); /* its task died with the epoch */
        else if (item->was_in_doubt)
            list_push_back(&doubtful, node);
        else
            finish(dispatch, item, false); /* not ours any more */
    }
    if (!doubtful.count) {
        batch_free(batch);
        return;
    }
    while ((node = list_pop_front(&doubtful)))
        list_push_back(&batch->items, node);
    ask(dispatch, batch);
}

static int by_id(const void *a, const void *b)
{
    const struct settlement *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

static int send_batch(struct dispatch *dispatch, struct batch *batch, size_t count)
{
    static int (*const store[SETTLE_KINDS])(struct store *, int64_t, const struct settlement *,
                                            size_t, const struct settled *) = {
        [SETTLE_FINAL] = store_settle, [SETTLE_RETRY] = store_retry, [SETTLE_BURY] = store_bury};
    struct settled settled = {.on_off = on_off, .on_row = on_row, .on_done = on_done, .ctx = batch};

    /* In the order of ids, so that two bridges cannot wait for each other's rows. */
    qsort(batch->rows, count, sizeof(*batch->rows), by_id);
    return store[batch->kind](dispatch->store, dispatch->fence->epoch, batch->rows, count,
                              &settled);
}

static void flush(struct dispatch *dispatch, enum settle_kind kind)
{
    struct list_node *node = list_first(&dispatch->settling[kind]);
    int64_t now_ms = loop_now_ms(dispatch->loop);
    size_t max = dispatch->settle_max[kind];
    struct batch *batch;
    size_t count = 0;
    int err;

    if (!max || max > dispatch->config.settle_batch)
        max = dispatch->config.settle_batch;
    while (node && CONTAINER_OF(node, struct settling, node)->not_before_ms > now_ms)
        node = list_next(&dispatch->settling[kind], node);
    if (!node)
        return;
    batch = xcalloc(1, sizeof(*batch));
    batch->dispatch = dispatch;
    batch->kind = kind;
    batch->generation = dispatch->generation;
    list_init(&batch->items);
    batch->rows = xmalloc(max * sizeof(*batch->rows));
    while (count < max && node) {
        struct settling *item = CONTAINER_OF(node, struct settling, node);

        node = list_next(&dispatch->settling[kind], node);
        if (item->not_before_ms > now_ms)
            continue;
        list_remove(&dispatch->settling[kind], &item->node);
        list_push_back(&batch->items, &item->node);
        idmap_set(&batch->by_id, item->row.id, item);
        batch->rows[count++] = item->row;
    }
    crash_point("settle.pre_tx");
    err = send_batch(dispatch, batch, count);
    if (!err) {
        dispatch->is_settling[kind] = true;
        return;
    }
    put_back(batch, err);
    batch_free(batch);
}

static void show_depth(const struct dispatch *dispatch)
{
    size_t waiting = 0;

    for (int kind = 0; kind < SETTLE_KINDS; kind++)
        waiting += dispatch->settling[kind].count;
    metric_set(dispatch->settle_queue.depth, (double)waiting);
    metric_set(dispatch->settle_refused, (double)dispatch->refused);
}

void dispatch_settle_turn(struct dispatch *dispatch)
{
    show_depth(dispatch);
    if (loop_now_ms(dispatch->loop) < dispatch->settle_after_ms)
        return;
    for (int kind = 0; kind < SETTLE_KINDS; kind++)
        if (!dispatch->is_settling[kind] && dispatch->settling[kind].count)
            flush(dispatch, (enum settle_kind)kind);
}

void dispatch_settle_clear(struct dispatch *dispatch)
{
    for (int kind = 0; kind < SETTLE_KINDS; kind++) {
        struct list_node *node;

        while ((node = list_pop_front(&dispatch->settling[kind])))
            free(CONTAINER_OF(node, struct settling, node));
        dispatch->is_settling[kind] = false;
    }
    dispatch->asking = 0;
    dispatch->refused = 0;
}

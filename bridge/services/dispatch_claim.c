/* SPDX-License-Identifier: MIT */
/*
 * dispatch_claim - taking ready deliveries from the database when there is room for them
 *
 * A destination is asked for when its queue is half empty and either something is known to be
 * due or a while has passed.  Shares are weighted 8:4:2:1, and what a priority did not use last
 * time goes to the others.  A watermark spares the index its dead entries: what becomes ready is
 * due from that moment, and what comes back with an older time (a dead bridge's, what was given
 * back) brings a look without it.  Every few seconds one look ignores it anyway and moves it back
 * where much was found, so that neither correctness nor speed depends on it.  A destination whose
 * breaker is open is not asked for: its deliveries stay where they are.
 */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "services/dispatch_internal.h"

#include <stdlib.h>

#define SWEEP_MIN_MS       5000
#define SWEEP_SPREAD_MS    10000
#define RECONCILE_EVERY_MS 10000
#define CLAIM_MIN          16
/* How long a repeat waits for a destination that is away, lest it be a second message. */
#define PIN_MS 600000

struct asking {
    struct dispatch *dispatch;
    struct destination *destination; /* whose rows they are; another may send them */
    unsigned generation;
    bool is_suspect, is_sweep;
    unsigned room[PRIORITY_COUNT], got[PRIORITY_COUNT], total;
    int64_t last_due_ms[PRIORITY_COUNT];
    struct note *note; /* of the row before, when its siblings follow */
};

static struct note *note_of(struct note **before, const struct claimed *row)
{
    struct note source = {
        .id = row->notification,
        .priority = row->priority,
        .receipts = (enum receipts_wanted)row->receipts,
        .created_ms = row->created_ms,
        .expires_ms = row->expires_ms,
        .service = row->service,
        .request = row->request,
        .type = row->type,
        .collapse_key = row->collapse_key,
        .content = row->content,
        .content_bytes = row->content_bytes,
    };
    bool is_edited = row->desk & TASK_EDITED;
    struct note *last = *before;

    if (last && last->id == row->notification && !is_edited && last->priority == row->priority)
        return last;
    retry_override_read(&source.retry, row->retry);
    if (is_edited)
        return note_new(&source); /* nobody else's */
    *before = note_new(&source);
    return *before;
}

struct task *dispatch_make(struct note **before, const struct claimed *row)
{
    struct task *task;

    task = task_new(note_of(before, row), row->id, row->recipient, row->user);
    task->seq = row->seq;
    task->channel = row->channel;
    task->recipient_kind = (enum recipient_kind)row->recipient_kind;
    task->attempts = row->attempts;
    task->deferrals = row->deferrals;
    task->desk = row->desk;
    task->is_replay = row->is_replay;
    /* What was dead has lost its head, and those after it may still wait. */
    task->is_step = row->is_step || row->was_dead || row->desk;
    task->suppressed = row->suppressed;
    task->is_recalled = row->is_recalled;
    return task;
}

void dispatch_place(struct dispatch *dispatch, struct destination *destination, struct task *task)
{
    destination->held++;
    dispatch->active++;
    dispatch_enter(dispatch, destination->id, task);
}

static void bury_poison(struct dispatch *dispatch, struct task *task)
{
    struct outcome outcome;

    outcome_set(&outcome, OUTCOME_PERMANENT, REASON_POISON,
                "bridges died while they had this delivery, alone at the end");
    dispatch_judge(dispatch, task, &outcome);
}

static void end_unknown(struct dispatch *dispatch, struct task *task)
{
    struct outcome outcome;

    outcome_set(&outcome, OUTCOME_UNKNOWN, REASON_OUTCOME_UNKNOWN,
                "a bridge died after the request may have left");
    dispatch_judge(dispatch, task, &outcome);
}

/*
 * Where its own may have had it, and drops repeats, there it goes again: anywhere else it would be
 * a second message.  Not for ever, unless the type forbids that.
 */
static void pin(struct dispatch *dispatch, struct task *task, const struct destination *own,
                const struct claimed *row)
{
    if (!own->config.is_idempotent || !(row->is_unsure || row->crashes > 0))
        return;
    task->pinned_until_ms =
        dispatch_is_at_most_once(dispatch, task) ? INT64_MAX : dispatch_wall_ms(dispatch) + PIN_MS;
}

/* Chosen anew, if it may be: its own may be away now, or be configured otherwise than it was. */
static struct destination *choose(struct dispatch *dispatch, const struct task *task,
                                  struct destination *own)
{
    struct destination *picked = NULL;

    if (task->pinned_until_ms <= dispatch_wall_ms(dispatch))
        picked = dispatch_pick_for(dispatch, task, own);
    return picked ? picked : own;
}

static void on_row(void *ctx, const struct claimed *row)
{
    struct asking *asking = ctx;
    struct dispatch *dispatch = asking->dispatch;
    struct destination *own, *destination;
    struct task *task;
    bool is_lost;

    if (asking->generation != dispatch->generation)
        return;
    asking->got[row->priority]++;
    asking->total++;
    if (row->due_ms > asking->last_due_ms[row->priority])
        asking->last_due_ms[row->priority] = row->due_ms;
    task = dispatch_make(&asking->note, row);
    task->is_suspect = asking->is_suspect;
    own = row->started_via ? dispatch_find(dispatch, row->started_via) : NULL;
    if (!own)
        own = asking->destination;
    pin(dispatch, task, own, row);
    is_lost =
        row->started_via && !own->config.is_idempotent && dispatch_is_at_most_once(dispatch, task);
    destination = is_lost ? own : choose(dispatch, task, own);
    dispatch_place(dispatch, destination, task);
    if (is_lost) {
        active_remove(destination->queue, &task->entry);
        end_unknown(dispatch, task);
        return;
    }
    if (asking->is_suspect) {
        log_warn("delivery.suspect", LOG_ID("delivery", row->id), LOG_INT("crashes", row->crashes));
        dispatch->has_suspect = true;
        if (row->crashes >= STORE_POISON_CRASHES) {
            active_remove(destination->queue, &task->entry);
            bury_poison(dispatch, task);
        }
    }
}

/* What was ready behind the watermark is found by a look without one, and begins there anew. */
static void move_watermark(const struct asking *asking, int priority)
{
    int64_t *watermark_ms = &asking->destination->watermark_ms[priority];
    int64_t next_ms = asking->last_due_ms[priority] - WATERMARK_SLACK_MS;

    if (asking->is_sweep || next_ms > *watermark_ms)
        *watermark_ms = next_ms;
}

static void remember(struct asking *asking)
{
    struct dispatch *dispatch = asking->dispatch;
    struct destination *destination = asking->destination;
    int64_t now_ms = loop_now_ms(dispatch->loop);
    bool is_more = false;

    for (int p = 0; p < PRIORITY_COUNT; p++) {
        destination->share[p] = asking->got[p];
        if (asking->got[p] && asking->got[p] == asking->room[p]) {
            is_more = true;
            move_watermark(asking, p);
        }
    }
    destination->has_backlog = is_more;
    if (is_more)
        destination->next_claim_ms = 0;
    if (asking->is_sweep)
        destination->next_sweep_ms =
            now_ms + SWEEP_MIN_MS + (int64_t)rng_below(&dispatch->rng, SWEEP_SPREAD_MS);
}

/* One look sees one priority: there are no more when none of them had any, one after the other. */
static void remember_suspects(struct destination *destination, bool is_found)
{
    if (is_found) {
        destination->suspect_looks = PRIORITY_COUNT;
        return;
    }
    destination->suspect_priority = (destination->suspect_priority + 1) % PRIORITY_COUNT;
    if (destination->suspect_looks && --destination->suspect_looks)
        destination->next_claim_ms = 0;
}

/*
 * A database too slow for what it was asked is asked for less: else it would never answer in time.
 * An empty answer says nothing.
 */
static void adapt(const struct asking *asking, int err)
{
    unsigned *most = &asking->destination->claim_max;

    if (err == ERR_DOUBT && *most > CLAIM_MIN)
        *most /= 2;
    else if (!err && asking->total && !asking->is_suspect)
        *most = *most * 2 < DISPATCH_CLAIM_MAX ? *most * 2 : DISPATCH_CLAIM_MAX;
}

static void on_done(void *ctx, int err)
{
    struct asking *asking = ctx;
    struct dispatch *dispatch = asking->dispatch;

    if (asking->total)
        crash_point("claim.done");
    adapt(asking, err);
    if (asking->generation == dispatch->generation) {
        asking->destination->is_claiming = false;
        if (asking->is_suspect)
            dispatch->is_asking_suspect = false;
        if (!err && !asking->is_suspect)
            remember(asking);
        if (!err && asking->is_suspect)
            remember_suspects(asking->destination, asking->total > 0);
        if (err == ERR_DOUBT)
            dispatch->wants_reconcile = true;
        if (err)
            log_warn("claim.failed", LOG_STR("destination", asking->destination->config.name),
                     LOG_STR("err", err_name(err)));
    }
    free(asking);
}

/* By weight; what a priority left unused last time is lent to those that used theirs. */
static void share_out(const struct destination *destination, unsigned count,
                      unsigned room[PRIORITY_COUNT])
{
    static const unsigned weight[PRIORITY_COUNT] = {8, 4, 2, 1};
    unsigned busy_weight = 0, idle = 0;

    for (int p = 0; p < PRIORITY_COUNT; p++) {
        if (destination->share[p])
            busy_weight += weight[p];
        else
            idle++;
    }
    for (int p = 0; p < PRIORITY_COUNT; p++) {
        if (busy_weight == 0)
            room[p] = count * weight[p] / 15;
        else if (destination->share[p])
            room[p] = (count - (count > idle ? idle : 0)) * weight[p] / busy_weight;
        else
            room[p] = 1;
        if (room[p] == 0)
            room[p] = 1;
    }
}

static void ask(struct dispatch *dispatch, struct destination *destination, unsigned count,
                bool is_suspect)
{
    static const int64_t always[PRIORITY_COUNT];
    struct asking *asking = xcalloc(1, sizeof(*asking));
    struct claim claim = {on_row, on_done, asking};
    int64_t now_ms = loop_now_ms(dispatch->loop);

    asking->dispatch = dispatch;
    asking->destination = destination;
    asking->generation = dispatch->generation;
    asking->is_suspect = is_suspect;
    asking->is_sweep = is_suspect || now_ms >= destination->next_sweep_ms;
    share_out(destination, count, asking->room);
    if (is_suspect) {
        for (int p = 0; p < PRIORITY_COUNT; p++)
            asking->room[p] = 0;
        asking->room[destination->suspect_priority] = 1;
    }
    if (store_claim(dispatch->store, dispatch->fence->epoch, destination->id, asking->room,
                    asking->is_sweep ? always : destination->watermark_ms, is_suspect, &claim)) {
        free(asking);
        return;
    }
    destination->is_claiming = true;
    if (is_suspect)
        dispatch->is_asking_suspect = true;
}

static void on_reconciled(void *ctx, int err)
{
    struct dispatch *dispatch = ctx;

    dispatch->is_reconciling = false;
    if (err)
        dispatch->wants_reconcile = true;
    else
        dispatch_look_again(dispatch, 0);
}

struct ids {
    uint64_t *ids;
    size_t count;
};

static void add_id(void *ctx, uint64_t id, void *value)
{
    struct ids *known = ctx;

    (void)value;
    known->ids[known->count++] = id;
}

static void reconcile(struct dispatch *dispatch)
{
    struct ids known = {xmalloc((dispatch->tasks.count + 1) * sizeof(uint64_t)), 0};

    idmap_each(&dispatch->tasks, add_id, &known);
    if (!store_reconcile(dispatch->store, dispatch->fence->epoch, known.ids, known.count,
                         on_reconciled, dispatch)) {
        dispatch->wants_reconcile = false;
        dispatch->is_reconciling = true;
        log_debug("dispatch.reconcile", LOG_INT("known", known.count));
    }
    free(known.ids);
}

/*
 * At once after a doubt, and again and again: a server that was stopped may commit the doubtful
 * statement after it has answered on the new connection.  Only while nothing is under way on
 * intake, whose rows memory could not know yet.
 */
static void reconcile_when_due(struct dispatch *dispatch)
{
    int64_t now_ms = loop_now_ms(dispatch->loop);

    if (now_ms >= dispatch->next_reconcile_ms)
        dispatch->wants_reconcile = true;
    if (!dispatch->wants_reconcile || dispatch->is_reconciling ||
        !store_intake_is_idle(dispatch->store))
        return;
    dispatch->next_reconcile_ms = now_ms + RECONCILE_EVERY_MS;
    reconcile(dispatch);
}

void dispatch_look_again(struct dispatch *dispatch, int32_t id)
{
    for (size_t i = 0; i < dispatch->destination_count; i++) {
        struct destination *destination = dispatch->destinations[i];

        if (!id || destination->id == id)
            destination->next_claim_ms = destination->next_sweep_ms = 0;
    }
}

void dispatch_reconcile(struct dispatch *dispatch)
{
    dispatch->wants_reconcile = true;
}

size_t dispatch_room(const struct dispatch *dispatch, const struct destination *destination)
{
    size_t room = destination->cap > destination->held ? destination->cap - destination->held : 0;
    size_t common = dispatch->config.active_max > dispatch->active
                        ? dispatch->config.active_max - dispatch->active
                        : 0;

    if (dispatch->bytes >= dispatch->config.bytes_max)
        return 0;
    return room < common ? room : common;
}

/* Less room than a quarter is not worth a statement; the common bound may be the smaller one. */
static size_t worthwhile(const struct dispatch *dispatch, const struct destination *destination)
{
    size_t most = destination->cap < dispatch->config.active_max ? destination->cap
                                                                 : dispatch->config.active_max;

    return most / 4;
}

static int64_t claim_for(struct dispatch *dispatch, struct destination *destination)
{
    int64_t now_ms = loop_now_ms(dispatch->loop);
    int64_t spread = dispatch->config.poll_max_ms - dispatch->config.poll_min_ms;
    size_t room = dispatch_room(dispatch, destination);
    bool is_sweep = now_ms >= destination->next_sweep_ms;

    if (destination->is_claiming)
        return -1; /* its answer will bring the next turn */
    if (destination_is_away(dispatch, destination)) {
        struct destination *other = dispatch_stand_in(dispatch, destination);
        size_t others_room = other ? dispatch_room(dispatch, other) : 0;

        if (!others_room)
            return dispatch->config.poll_min_ms;
        room = room < others_room ? room : others_room;
    }
    if (room <= worthwhile(dispatch, destination))
        return -1; /* a settlement will bring the next turn */
    if (destination->next_claim_ms > now_ms)
        return destination->next_claim_ms - now_ms;
    destination->next_claim_ms = now_ms + dispatch->config.poll_min_ms +
                                 (int64_t)rng_below(&dispatch->rng, (uint64_t)spread);
    ask(dispatch, destination,
        room > destination->claim_max ? destination->claim_max : (unsigned)room, false);
    /* One at a time, yet one after the other: a storm leaves many, and most are innocent. */
    if (is_sweep)
        destination->suspect_looks = PRIORITY_COUNT;
    if (destination->suspect_looks && !dispatch->has_suspect && !dispatch->is_asking_suspect)
        ask(dispatch, destination, 1, true);
    return destination->next_claim_ms - now_ms;
}

int64_t dispatch_claim_turn(struct dispatch *dispatch)
{
    int64_t next_ms = -1;

    reconcile_when_due(dispatch);
    for (size_t i = 0; i < dispatch->destination_count; i++) {
        int64_t ms = claim_for(dispatch, dispatch->destinations[i]);

        if (ms >= 0 && (next_ms < 0 || ms < next_ms))
            next_ms = ms;
    }
    return next_ms;
}

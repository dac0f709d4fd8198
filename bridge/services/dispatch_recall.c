/* SPDX-License-Identifier: MIT */
/*
 * dispatch_recall - deliveries that were called back or replaced while they waited in memory
 *
 * The bridge whose statement called them back ends its own at once.  What another bridge called
 * back is read once a second while anything waits for its turn.  A claim that is under way may
 * bring more of the same: marks are remembered for one to two minutes, and later claims read them
 * in the database.  What is under way is never touched.
 */
#include "base/alloc.h"
#include "base/log.h"
#include "services/dispatch_internal.h"
#include "store/recall.h"

#include <stdlib.h>

#define LOOK_EVERY_MS 1000
/* After a longer pause a look begins anew: what came in between was seen by the claim. */
#define STALE_MS 10000
#define ROWS_MAX 1000
/* Rows are committed later than their time says. */
#define OVERLAP_US  10000000
#define REMEMBER_MS 60000

struct recall_look {
    struct dispatch *dispatch;
    unsigned generation;
    int64_t last_us;
    size_t rows, fresh;
};

/* A mark is its reason, beyond NULL. */
static void *mark_of(enum reason reason)
{
    return (void *)((uintptr_t)reason + 1);
}

static void *find_mark(const struct dispatch *dispatch, uint64_t id)
{
    void *mark = idmap_get(&dispatch->recalled[0], id);

    return mark ? mark : idmap_get(&dispatch->recalled[1], id);
}

bool dispatch_is_recalled(const struct dispatch *dispatch, struct task *task)
{
    void *mark = find_mark(dispatch, task->id);

    if (task->is_started || task->is_sending)
        return false;
    if (!mark && !(task->desk & TASK_RETRIED))
        mark = find_mark(dispatch, task->note->id);
    if (mark && mark != mark_of(REASON_NONE) && !task->suppressed)
        task->suppressed = (enum reason)((uintptr_t)mark - 1);
    task->is_recalled = task->is_recalled || mark == mark_of(REASON_NONE);
    return task->is_recalled || mark;
}

/* Whether it waits for its turn, and has been ended. */
static bool end_waiting(struct dispatch *dispatch, struct task *task)
{
    struct destination *destination = task->destination;

    if (task->is_starting || !list_is_linked(&task->entry.node) ||
        !dispatch_is_recalled(dispatch, task))
        return false;
    active_remove(destination->queue, &task->entry);
    if (!dispatch_judge_untried(dispatch, task))
        dispatch_queue(destination, task);
    return true;
}

struct sweep_of_tasks {
    struct dispatch *dispatch;
    size_t ended;
};

static void visit(void *ctx, uint64_t id, void *value)
{
    struct sweep_of_tasks *sweep = ctx;

    (void)id;
    sweep->ended += end_waiting(sweep->dispatch, value);
}

static size_t end_all(struct dispatch *dispatch)
{
    struct sweep_of_tasks sweep = {dispatch, 0};

    idmap_each(&dispatch->tasks, visit, &sweep);
    return sweep.ended;
}

static void remember(struct dispatch *dispatch, uint64_t id, enum reason reason)
{
    int64_t now_ms = loop_now_ms(dispatch->loop);

    if (now_ms >= dispatch->forget_recalled_ms) {
        idmap_fini(&dispatch->recalled[1]);
        dispatch->recalled[1] = dispatch->recalled[0];
        dispatch->recalled[0] = (struct idmap){0};
        dispatch->forget_recalled_ms = now_ms + REMEMBER_MS;
    }
    idmap_set(&dispatch->recalled[0], id, mark_of(reason));
}

size_t dispatch_recall(struct dispatch *dispatch, uint64_t id, enum reason reason)
{
    struct task *task = idmap_get(&dispatch->tasks, id);

    remember(dispatch, id, reason);
    if (task)
        return end_waiting(dispatch, task);
    /* What is replaced is named by its own id. */
    return reason == REASON_NONE ? end_all(dispatch) : 0;
}

void dispatch_recall_free(struct dispatch *dispatch)
{
    idmap_fini(&dispatch->recalled[0]);
    idmap_fini(&dispatch->recalled[1]);
}

/* ---- what others have called back ---- */

static void on_row(void *ctx, uint64_t id, enum reason reason, int64_t at_us)
{
    struct recall_look *look = ctx;

    look->rows++;
    look->last_us = at_us;
    if (find_mark(look->dispatch, id))
        return;
    remember(look->dispatch, id, reason);
    look->fresh++;
}

static void on_done(void *ctx, int err)
{
    struct recall_look *look = ctx;
    struct dispatch *dispatch = look->dispatch;

    dispatch->is_looking_recalled = false;
    if (err) {
        log_debug("recalled.failed", LOG_STR("err", err_name(err)));
    } else if (look->rows) {
        /* A full answer leaves more behind it: at once, and without going back. */
        bool is_full = look->rows == ROWS_MAX;

        dispatch->recalled_since_us = is_full ? look->last_us : look->last_us - OVERLAP_US;
        if (is_full)
            dispatch->next_recall_look_ms = loop_now_ms(dispatch->loop);
    }
    if (!err && look->fresh && look->generation == dispatch->generation)
        (void)end_all(dispatch);
    free(look);
}

static bool has_waiting(const struct dispatch *dispatch)
{
    for (size_t i = 0; i < dispatch->destination_count; i++)
        if (active_count(dispatch->destinations[i]->queue))
            return true;
    return false;
}

int64_t dispatch_recall_turn(struct dispatch *dispatch)
{
    int64_t now_ms = loop_now_ms(dispatch->loop);
    struct recall_call call = {on_row, on_done, NULL};
    struct recall_look *look;

    if (dispatch->is_looking_recalled || !has_waiting(dispatch))
        return -1;
    if (now_ms < dispatch->next_recall_look_ms)
        return dispatch->next_recall_look_ms - now_ms;
    look = xcalloc(1, sizeof(*look));
    look->dispatch = dispatch;
    look->generation = dispatch->generation;
    call.ctx = look;
    if (now_ms - dispatch->next_recall_look_ms > STALE_MS)
        dispatch->recalled_since_us = 0;
    dispatch->next_recall_look_ms = now_ms + LOOK_EVERY_MS;
    dispatch->is_looking_recalled =
        store_recalled_since(dispatch->store, dispatch->recalled_since_us, ROWS_MAX, &call) == 0;
    if (!dispatch->is_looking_recalled)
        free(look);
    return LOOK_EVERY_MS;
}

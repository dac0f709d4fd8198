/* SPDX-License-Identifier: MIT */
/*
 * dispatch_start - attempts that are recorded before they are made
 *
 * For types whose unknown outcomes must not be repeated, unless the only provider of the channel
 * drops repeats: a row in `attempt` says that the request may have left, and where to.  Whoever
 * claims the delivery after a crash finds the row and ends it as outcome_unknown, or repeats it
 * there where repeats are dropped.  Everybody else is spared the write.
 */
#include "base/alloc.h"
#include "base/log.h"
#include "services/dispatch_internal.h"

#include <stdlib.h>

#define START_BATCH 500

struct starting {
    struct dispatch *dispatch;
    unsigned generation;
    struct list tasks; /* by their active_entry's node */
    struct idmap by_id;
};

bool dispatch_is_at_most_once(struct dispatch *dispatch, const struct task *task)
{
    const struct type_config *type = dispatch_type(dispatch, task->note->type);

    return type && type->is_at_most_once && task->channel != CHANNEL_IN_APP;
}

bool dispatch_ends_unknown(struct dispatch *dispatch, const struct task *task)
{
    const struct destination *destination = task->destination;

    return !destination->config.is_idempotent && dispatch_is_at_most_once(dispatch, task);
}

/* Where all of a channel's providers drop repeats, and it stays with one, nothing need be known. */
bool dispatch_must_record(struct dispatch *dispatch, const struct task *task)
{
    if (!dispatch_is_at_most_once(dispatch, task))
        return false;
    for (size_t i = 0; i < dispatch->destination_count; i++) {
        const struct destination_config *config = &dispatch->destinations[i]->config;

        if (config->channel == task->channel &&
            (!config->is_idempotent || dispatch->destinations[i] != task->destination))
            return true;
    }
    return false;
}

void dispatch_start(struct dispatch *dispatch, struct task *task)
{
    task->is_starting = true;
    list_push_back(&dispatch->unstarted, &task->entry.node);
}

void dispatch_start_clear(struct dispatch *dispatch)
{
    struct list_node *node;

    while ((node = list_pop_front(&dispatch->unstarted)))
        CONTAINER_OF(node, struct task, entry.node)->is_starting = false;
    dispatch->is_starting = false;
}

static void on_row(void *ctx, uint64_t id, uint64_t notification, int attempts)
{
    struct starting *starting = ctx;
    struct task *task;

    (void)notification, (void)attempts;
    if (starting->generation != starting->dispatch->generation)
        return;
    task = idmap_remove(&starting->by_id, id);
    if (!task)
        return;
    list_remove(&starting->tasks, &task->entry.node);
    task->is_starting = false;
    task->is_started = true;
    dispatch_queue(task->destination, task);
}

static void on_done(void *ctx, int err)
{
    struct starting *starting = ctx;
    struct dispatch *dispatch = starting->dispatch;
    bool is_current = starting->generation == dispatch->generation;
    struct list_node *node;

    if (is_current)
        dispatch->is_starting = false;
    if (is_current && err)
        log_warn("start.failed", LOG_STR("err", err_name(err)),
                 LOG_INT("rows", starting->tasks.count));
    while ((node = list_pop_front(&starting->tasks))) {
        struct task *task = CONTAINER_OF(node, struct task, entry.node);

        task->is_starting = false;
        if (!is_current)
            task_free(task); /* taken out of the map when the epoch ended */
        else if (err)
            dispatch_start(dispatch, task);
        else
            dispatch_forget(dispatch, task); /* not ours any more */
    }
    idmap_fini(&starting->by_id);
    free(starting);
}

void dispatch_start_turn(struct dispatch *dispatch)
{
    struct settlement rows[START_BATCH];
    struct starting *starting;
    struct settled settled;
    struct outcome outcome;
    struct list_node *node;
    size_t count = 0;

    if (dispatch->is_starting || !dispatch->unstarted.count)
        return;
    starting = xcalloc(1, sizeof(*starting));
    starting->dispatch = dispatch;
    starting->generation = dispatch->generation;
    list_init(&starting->tasks);
    outcome_set(&outcome, OUTCOME_UNKNOWN, REASON_OUTCOME_UNKNOWN, "the request may have left");
    while (count < START_BATCH && (node = list_pop_front(&dispatch->unstarted))) {
        struct task *task = CONTAINER_OF(node, struct task, entry.node);

        list_push_back(&starting->tasks, node);
        idmap_set(&starting->by_id, task->id, task);
        rows[count++] = (struct settlement){
            .id = task->id,
            .state = DELIVERY_LEASED,
            .attempts = task->attempts,
            .number = task->attempts + 1,
            .destination = ((struct destination *)task->destination)->id,
            .outcome = &outcome,
        };
    }
    settled = (struct settled){.on_row = on_row, .on_done = on_done, .ctx = starting};
    dispatch->is_starting = true;
    if (store_start(dispatch->store, dispatch->fence->epoch, rows, count, &settled))
        on_done(starting, ERR_CLOSED);
}

bool dispatch_is_plain(const struct dispatch *dispatch, uint64_t delivery)
{
    const struct task *task = delivery ? idmap_get(&dispatch->tasks, delivery) : NULL;

    return task && !task->is_step;
}

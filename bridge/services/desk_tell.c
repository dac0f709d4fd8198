/* SPDX-License-Identifier: MIT */
/* Dead letters that a bridge recorded and may not have lived to publish: published again. */
#include "services/desk_internal.h"

#include "base/alloc.h"
#include "base/log.h"
#include "core/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Read at once, with their content of 64 KiB at most; and remembered at most. */
#define BITE       100
#define UNTOLD_MAX 20000
/* One whose reading is refused for so long, by itself, is left out: the others are published. */
#define REFUSED_MS 60000

static void tell_next(struct desk *desk);

static void on_row(void *ctx, const struct dead_row *row)
{
    struct desk *desk = ctx;
    struct note source = {
        .id = row->notification,
        .priority = (enum priority)row->priority,
        .created_ms = row->created_ms,
        .expires_ms = row->expires_ms,
        .service = row->service,
        .request = row->request,
        .type = row->type,
        .collapse_key = row->collapse_key,
        .content = row->edited ? row->edited : row->content,
        .content_bytes = row->edited ? row->edited_bytes : row->content_bytes,
    };
    struct outcome outcome;
    struct task *task;

    if (!source.content)
        return;
    task = task_new(note_new(&source), row->delivery, row->recipient, row->user);
    task->channel = (enum channel)row->channel;
    task->recipient_kind = (enum recipient_kind)row->recipient_kind;
    outcome_set(&outcome, OUTCOME_PERMANENT, (enum reason)row->reason, row->detail);
    snprintf(outcome.code, sizeof(outcome.code), "%s", row->code ? row->code : "");
    desk->ops.dead(desk->ops.ctx, task, &outcome, row->attempts, row->destination);
    task_free(task);
}

/* What stays unread may be the fault of one of them: fewer at once, until it is alone. */
static void on_unread(struct desk *desk, int err)
{
    int64_t now_ms = loop_now_ms(desk->loop);

    log_warn("desk.untold", LOG_STR("err", err_name(err)), LOG_INT("count", desk->telling));
    desk->tell_max = desk->telling > 1 ? desk->telling / 2 : 1;
    /* The moment or the connection: fewer may be quick enough, and none is at fault. */
    if (desk->telling > 1 || !err_is_refusal(err))
        return;
    if (!desk->refused_since_ms)
        desk->refused_since_ms = now_ms;
    if (now_ms - desk->refused_since_ms < REFUSED_MS)
        return;
    log_error("desk.untold", LOG_ID("delivery", desk->untold[0]),
              LOG_STR("why", "the dead letter cannot be read: it is not published"));
    desk->refused_since_ms = 0;
    desk->untold_count--;
    memmove(desk->untold, desk->untold + 1, desk->untold_count * sizeof(*desk->untold));
}

static void on_told(void *ctx, int err)
{
    struct desk *desk = ctx;

    desk->is_telling = false;
    if (err) {
        on_unread(desk, err);
        return; /* desk_tell_turn() goes on */
    }
    desk->refused_since_ms = 0;
    desk->tell_max = desk->tell_max * 2 < BITE ? desk->tell_max * 2 : 0;
    memmove(desk->untold, desk->untold + desk->telling,
            (desk->untold_count - desk->telling) * sizeof(*desk->untold));
    desk->untold_count -= desk->telling;
    tell_next(desk);
}

static void tell_next(struct desk *desk)
{
    struct dead_filter filter = {
        .channel = -1, .statuses = 1u << DEAD_PENDING_REVIEW, .ids = desk->untold};
    struct dead_call call = {on_row, on_told, desk};

    if (desk->is_telling || !desk->untold_count)
        return;
    desk->telling = desk->tell_max ? desk->tell_max : BITE;
    if (desk->telling > desk->untold_count)
        desk->telling = desk->untold_count;
    filter.id_count = desk->telling;
    desk->is_telling = store_dlq_list(desk->store, &filter, 0, BITE, true, &call) == 0;
}

void desk_tell(struct desk *desk, uint64_t delivery)
{
    if (desk->untold_count == UNTOLD_MAX) {
        log_warn("desk.untold", LOG_ID("delivery", delivery));
        return;
    }
    if (desk->untold_count == desk->untold_room) {
        desk->untold_room = desk->untold_room ? desk->untold_room * 2 : 64;
        desk->untold = xrealloc(desk->untold, desk->untold_room * sizeof(*desk->untold));
    }
    desk->untold[desk->untold_count++] = delivery;
}

size_t desk_telling(const struct desk *desk)
{
    return desk->untold_count;
}

void desk_tell_turn(struct desk *desk)
{
    tell_next(desk);
}

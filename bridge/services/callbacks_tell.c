/* SPDX-License-Identifier: MIT */
/*
 * callbacks_tell - what folded events mean to a service, told at least once
 *
 * The fold writes our epoch on each event that moved something.  Its receipt goes to the outbox;
 * when the broker has everything up to there, the mark is taken off.  An epoch that is over
 * leaves its marks behind: they are looked for, and told again (receivers drop repeats).
 */
#include "base/alloc.h"
#include "base/crash.h"
#include "base/log.h"
#include "services/callbacks_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* How many ticks of the timer (FOLD_MS) go by between two looks at what others left. */
#define LOOK_TICKS 4

static void add_receipt(struct callbacks *callbacks, const struct folded *row)
{
    char masked[64] = "";
    struct receipt receipt = {
        .id = row->request,
        .notification = row->notification,
        .status = report_receipt_status(row->report),
        .channel = channel_name(row->channel),
        .provider = callbacks->ops.destination_name(callbacks->ops.ctx, row->destination),
        .provider_id = row->destination == STORE_OURSELVES ? NULL : row->provider_id,
        .reason = row->reason ? reason_name(row->reason) : NULL,
        .attempt = row->number,
        .at_ms = row->at_ms,
    };

    if (row->receipts == RECEIPTS_NONE || !receipt.status)
        return;
    /* What a reader does with a mail is told to those who want to know everything. */
    if (row->destination == STORE_OURSELVES && row->report < REPORT_BOUNCED &&
        row->receipts != RECEIPTS_ALL)
        return;
    if (row->recipient_kind == RECIPIENT_USER) {
        receipt.user = row->recipient;
    } else if (row->recipient && row->recipient_kind >= RECIPIENT_EMAIL) {
        log_mask(row->recipient, masked, sizeof(masked));
        receipt.target = masked;
        receipt.user = row->user;
    }
    callbacks->ops.receipt(callbacks->ops.ctx, row->service, &receipt);
}

/* The dead letter as it is published when a delivery dies here. */
static void add_dead(struct callbacks *callbacks, const struct folded *row)
{
    struct note source = {
        .id = row->notification,
        .priority = row->priority,
        .created_ms = row->created_ms,
        .service = row->service,
        .request = row->request,
        .type = row->type,
        .content = row->content,
        .content_bytes = row->content_bytes,
    };
    struct task *task = task_new(note_new(&source), row->delivery, row->recipient, row->user);
    const char *name = callbacks->ops.destination_name(callbacks->ops.ctx, row->destination);
    struct outcome outcome;

    task->channel = row->channel;
    task->recipient_kind = (enum recipient_kind)row->recipient_kind;
    outcome_set(&outcome, OUTCOME_REPORTED, row->reason,
                "the provider took it, and reported this later");
    snprintf(outcome.code, sizeof(outcome.code), "%s", row->code ? row->code : "");
    log_info("delivery.dead", LOG_ID("delivery", row->delivery),
             LOG_STR("channel", channel_name(row->channel)), LOG_STR("destination", name),
             LOG_ADDR("to", row->recipient), LOG_STR("reason", reason_name(row->reason)),
             LOG_INT("attempts", row->number));
    callbacks->ops.dead(callbacks->ops.ctx, task, &outcome, row->number, name ? name : "");
    task_free(task);
}

static void forget_other_epochs(struct callbacks *callbacks)
{
    if (callbacks->epoch == callbacks->fence->epoch)
        return;
    callbacks->epoch = callbacks->fence->epoch;
    callbacks->fresh_count = callbacks->handed_count = 0;
}

void callbacks_tell(void *ctx, const struct folded *row)
{
    struct callbacks *callbacks = ctx;

    crash_point("callbacks.folded");
    forget_other_epochs(callbacks);
    if (callbacks->fresh_count == callbacks->fresh_room) {
        callbacks->fresh_room = callbacks->fresh_room ? 2 * callbacks->fresh_room : 64;
        callbacks->fresh =
            xrealloc(callbacks->fresh, callbacks->fresh_room * sizeof(*callbacks->fresh));
    }
    callbacks->fresh[callbacks->fresh_count++] = row->event;
    metric_add(callbacks->moves[row->report / 5], 1);
    if (!row->service)
        return;
    add_receipt(callbacks, row);
    if (row->is_dead)
        add_dead(callbacks, row);
}

void callbacks_tell_off(void *ctx, const struct folded *row)
{
    struct callbacks *callbacks = ctx;
    bool is_user = row->recipient_kind == RECIPIENT_USER;
    struct receipt receipt = {
        .id = row->request,
        .notification = row->notification,
        .status = delivery_state_name(DELIVERY_CANCELLED),
        .channel = channel_name(row->channel),
        .user = is_user ? row->recipient : row->user,
        .at_ms = row->at_ms,
    };

    if (row->service && row->receipts != RECEIPTS_NONE)
        callbacks->ops.receipt(callbacks->ops.ctx, row->service, &receipt);
}

/* ---- the marks ---- */

static void on_told(void *ctx, int err)
{
    struct callbacks *callbacks = ctx;

    callbacks->is_telling = false;
    if (err)
        log_warn("callbacks.unmarked", LOG_STR("err", err_name(err)));
    else
        callbacks->handed_count = 0;
}

/* A turn has ended since they were told: all of them are in the outbox. */
static void hand_over(struct callbacks *callbacks)
{
    free(callbacks->handed);
    callbacks->handed = callbacks->fresh;
    callbacks->handed_count = callbacks->fresh_count;
    callbacks->fresh = NULL;
    callbacks->fresh_count = callbacks->fresh_room = 0;
    callbacks->mark = callbacks->ops.mark(callbacks->ops.ctx);
}

static void on_looked(void *ctx, int err, bool is_more)
{
    struct callbacks *callbacks = ctx;

    (void)is_more;
    callbacks->is_looking = false;
    if (!err)
        return;
    callbacks->is_in_doubt = callbacks->is_in_doubt || err == ERR_DOUBT;
    log_warn("callbacks.unlooked", LOG_STR("err", err_name(err)));
}

static void look(struct callbacks *callbacks)
{
    struct fold_call call = {callbacks_tell, callbacks_tell_off, on_looked, callbacks};

    if (store_callbacks_untold(callbacks->store, callbacks->epoch, callbacks->is_in_doubt, &call))
        return;
    callbacks->is_looking = true;
    callbacks->is_in_doubt = false;
}

void callbacks_tell_turn(struct callbacks *callbacks)
{
    forget_other_epochs(callbacks);
    if (!callbacks->epoch || callbacks->is_telling)
        return;
    if (callbacks->handed_count && callbacks->ops.is_past(callbacks->ops.ctx, callbacks->mark))
        callbacks->is_telling =
            store_callbacks_told(callbacks->store, callbacks->handed, callbacks->handed_count,
                                 on_told, callbacks) == 0;
    else if (!callbacks->handed_count && callbacks->fresh_count)
        hand_over(callbacks);
    if (callbacks->tick % LOOK_TICKS == 0 && !callbacks->is_looking && !callbacks->is_stopped)
        look(callbacks);
}

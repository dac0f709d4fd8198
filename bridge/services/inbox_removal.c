/* SPDX-License-Identifier: MIT */
/*
 * inbox_removal - what leaves inboxes by itself or by its service, and who is told
 *
 * Every SWEEP_MS, and at once after something with a collapse_key was stored, what is replaced or
 * has expired is removed, a bite at a time; all bridges look, one does it.  request.cancel ends
 * what has not been sent of one notification, request.retract takes it out of inboxes as well.
 * Devices see the entries as deleted, with the reason; the service gets a receipt for each delivery
 * that ended.
 *
 * Receipts have the room of the outbox: while that is full no bite is taken, and a call is refused
 * to be made again.
 */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "core/delivery.h"
#include "core/id.h"
#include "services/inbox_internal.h"
#include "store/expansion.h"
#include "store/questions.h"
#include "store/removal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SWEEP_MS 1000
/* How often an expansion is to be dropped whose row a slice holds (lock_timeout each). */
#define DROP_TRIES 4

/* One removal, bite by bite. */
struct removal {
    struct inbox *inbox;
    enum sweep sweep;
    const char *why;
    struct told told;
    struct ask *ask; /* request.cancel, request.retract */
    bool is_cancel;
    uint64_t notification;
    unsigned drops;
    int64_t cancelled, retracted;
};

static void begin_sweep(struct inbox *inbox, enum sweep sweep);

/* ---- what came of a bite ---- */

static void on_delivery(void *ctx, const struct removed_delivery *row)
{
    struct removal *removal = ctx;
    struct inbox *inbox = removal->inbox;
    char masked[64];
    struct receipt receipt = {
        .id = row->request,
        .notification = row->notification,
        .status = delivery_state_name(removal->ask ? DELIVERY_CANCELLED : DELIVERY_SUPPRESSED),
        .reason = removal->ask ? NULL : reason_name(REASON_COLLAPSED),
        .channel = channel_name(row->channel),
        .at_ms = clock_wall_ms(),
    };

    crash_point("removal.committed");
    removal->cancelled++;
    inbox->ops.gone(inbox->ops.ctx, row->delivery);
    if (row->receipts == RECEIPTS_NONE)
        return;
    if (row->recipient_kind == RECIPIENT_USER)
        receipt.user = row->recipient;
    else if (row->user[0])
        receipt.user = row->user;
    if (row->recipient_kind >= RECIPIENT_EMAIL) {
        log_mask(row->recipient, masked, sizeof(masked));
        receipt.target = masked;
    }
    inbox->ops.receipt(inbox->ops.ctx, row->service, &receipt);
}

static void on_entry(void *ctx, const char *user, uint64_t delivery)
{
    struct removal *removal = ctx;

    removal->retracted++;
    metric_add(removal->inbox->removed, 1);
    told_add(removal->inbox, &removal->told, user, delivery, "deleted", removal->why);
}

static void on_shared(void *ctx, const char *role, uint64_t delivery)
{
    struct removal *removal = ctx;
    struct inbox *inbox = removal->inbox;
    char topic[TOPIC_BYTES_MAX], payload[96], id[ID_TEXT_BYTES];

    if (role[0])
        snprintf(topic, sizeof(topic), "notify/v1/roles/%s/changed", role);
    else
        snprintf(topic, sizeof(topic), "notify/v1/broadcast/changed");
    snprintf(payload, sizeof(payload), "{\"ids\":[\"%s\"],\"state\":\"deleted\",\"why\":\"%s\"}",
             id_format(delivery, id), removal->why);
    removal->retracted++;
    inbox->ops.publish(inbox->ops.ctx, topic, payload, strlen(payload));
}

/* A bridge may have it in memory: this one ends what waits here, others read the mark. */
static void on_recalled(void *ctx, uint64_t id)
{
    struct removal *removal = ctx;
    struct inbox *inbox = removal->inbox;

    removal->cancelled += (int64_t)inbox->ops.recall(inbox->ops.ctx, id,
                                                     removal->ask ? REASON_NONE : REASON_COLLAPSED);
}

static void removal_free(struct removal *removal)
{
    told_fini(&removal->told);
    free(removal);
}

/* ---- sweeping ---- */

static void on_swept(void *ctx, int err, bool is_more)
{
    struct removal *removal = ctx;
    struct inbox *inbox = removal->inbox;
    enum sweep sweep = removal->sweep;

    told_flush(inbox, &removal->told);
    removal_free(removal);
    inbox->is_sweeping[sweep] = false;
    if (err)
        log_warn("inbox.unswept", LOG_STR("err", err_name(err)));
    else if (is_more || inbox->wants_sweep[sweep])
        begin_sweep(inbox, sweep);
}

static void begin_sweep(struct inbox *inbox, enum sweep sweep)
{
    static const char *const why[] = {[SWEEP_COLLAPSE] = "replaced", [SWEEP_EXPIRE] = "expired"};
    struct removal *removal;
    struct removal_call call;
    int err;

    inbox->wants_sweep[sweep] = inbox->is_sweeping[sweep];
    if (inbox->is_stopped || inbox->is_sweeping[sweep] || !store_is_up(inbox->store) ||
        !inbox->fence->epoch || inbox->ops.is_full(inbox->ops.ctx))
        return;
    removal = xcalloc(1, sizeof(*removal));
    removal->inbox = inbox;
    removal->sweep = sweep;
    removal->why = why[sweep];
    call = (struct removal_call){on_delivery, on_entry, on_shared, on_recalled, on_swept, removal};
    err = sweep == SWEEP_COLLAPSE ? store_collapse(inbox->store, inbox->fence->epoch, &call)
                                  : store_expire(inbox->store, &call);
    if (err)
        removal_free(removal); /* the next tick tries again */
    else
        inbox->is_sweeping[sweep] = true;
}

static void on_tick(void *ctx)
{
    struct inbox *inbox = ctx;

    loop_timer_start(inbox->loop, &inbox->sweep_timer, SWEEP_MS, on_tick, inbox);
    begin_sweep(inbox, SWEEP_COLLAPSE);
    begin_sweep(inbox, SWEEP_EXPIRE);
}

void inbox_start_sweeps(struct inbox *inbox)
{
    loop_timer_start(inbox->loop, &inbox->sweep_timer, SWEEP_MS, on_tick, inbox);
}

void inbox_stop_sweeps(struct inbox *inbox)
{
    inbox->is_stopped = true;
}

void inbox_replaced(struct inbox *inbox)
{
    begin_sweep(inbox, SWEEP_COLLAPSE);
}

/* ---- request.cancel, request.retract ---- */

static void on_taken_back(void *ctx, int err, bool is_more);

static int take_bite(struct removal *removal)
{
    struct inbox *inbox = removal->inbox;
    struct removal_call call = {on_delivery, on_entry,      on_shared,
                                on_recalled, on_taken_back, removal};

    if (inbox->ops.is_full(inbox->ops.ctx))
        return ERR_FULL;
    if (removal->is_cancel)
        return store_cancel(inbox->store, inbox->fence->epoch, removal->notification, &call);
    return store_retract(inbox->store, inbox->fence->epoch, removal->notification, &call);
}

/* What earlier bites have ended stays so: the call is made again for the rest. */
static void fail_removal(struct removal *removal, int err)
{
    struct inbox *inbox = removal->inbox;
    struct ask *ask = removal->ask;

    if (err == ERR_FULL && inbox->ops.is_full(inbox->ops.ctx)) {
        (void)rpc_fail(&ask->rpc, RPC_UNAVAILABLE,
                       "too many receipts wait for the broker; try again", NULL);
        ask_answer(ask);
    } else {
        ask_fail(ask, err);
    }
    removal_free(removal);
}

static void on_taken_back(void *ctx, int err, bool is_more)
{
    struct removal *removal = ctx;
    struct ask *ask = removal->ask;

    told_flush(removal->inbox, &removal->told);
    if (!err && is_more) {
        err = take_bite(removal);
        if (!err)
            return;
    }
    if (err) {
        fail_removal(removal, err);
        return;
    }
    ask_begin(ask);
    buf_printf(&ask->out, "{\"cancelled\":%lld", (long long)removal->cancelled);
    if (!removal->is_cancel)
        buf_printf(&ask->out, ",\"retracted\":%lld", (long long)removal->retracted);
    buf_add_char(&ask->out, '}');
    ask_end(ask);
    removal_free(removal);
}

static void on_head(void *ctx, const struct status_head *head)
{
    struct removal *removal = ctx;

    removal->notification = head->notification;
}

static void on_dropped(void *ctx, int err);

/* Before what is there already is taken back: no more of it is made from then on. */
static int drop_expansion(struct removal *removal)
{
    struct inbox *inbox = removal->inbox;

    if (!inbox->fence->epoch)
        return ERR_CLOSED;
    if (inbox->ops.is_full(inbox->ops.ctx))
        return ERR_FULL;
    removal->drops++;
    return store_expansion_drop(inbox->store, removal->notification, on_dropped, removal);
}

static void on_dropped(void *ctx, int err)
{
    struct removal *removal = ctx;

    if (err == ERR_AGAIN && removal->drops < DROP_TRIES)
        err = drop_expansion(removal);
    else if (!err)
        err = take_bite(removal);
    if (err)
        fail_removal(removal, err);
}

static void on_found(void *ctx, int err)
{
    struct removal *removal = ctx;

    if (!err)
        err = drop_expansion(removal);
    if (err)
        fail_removal(removal, err);
}

static void take_back(struct ask *ask, bool is_cancel)
{
    struct removal *removal;
    struct status_call found = {on_head, NULL, on_found, NULL};
    struct request_key key;
    const char *id = NULL;

    if (!rpc_text(&ask->rpc, "id", RPC_REQUIRED, REQUEST_ID_MAX, &id) || !rpc_done(&ask->rpc)) {
        ask_answer(ask);
        return;
    }
    if (strlen(id) > REQUEST_ID_MAX) {
        ask_fail(ask, ERR_NOT_FOUND);
        return;
    }
    removal = xcalloc(1, sizeof(*removal));
    removal->inbox = ask->service;
    removal->ask = ask;
    removal->is_cancel = is_cancel;
    removal->why = "retracted";
    found.ctx = removal;
    request_key_make(ask->from, id, clock_wall_ms(), &key);
    if (store_status_head(removal->inbox->store, &key, &found))
        on_found(removal, ERR_CLOSED);
}

static void request_cancel(struct ask *ask)
{
    take_back(ask, true);
}

static void request_retract(struct ask *ask)
{
    take_back(ask, false);
}

static const struct method methods[] = {
    {"request.cancel", ASK_SERVICES, 0, request_cancel},
    {"request.retract", ASK_SERVICES, 0, request_retract},
};

void inbox_add_removal(struct inbox *inbox, struct asks *asks)
{
    asks_add(asks, methods, sizeof(methods) / sizeof(methods[0]), inbox);
}

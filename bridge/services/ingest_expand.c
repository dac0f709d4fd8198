/* SPDX-License-Identifier: MIT */
/*
 * ingest_expand - deliveries of requests that were accepted before, slice by slice
 *
 * Purpose:  a request that becomes many deliveries neither holds up others nor needs the memory of
 *           all of them: it is accepted as one row, and its recipients are served in slices.
 * Strategy: the bridge that reads the requests lane takes the oldest expansion of the next service
 *           in turn, decodes it again, makes the deliveries of as many recipients as one statement
 *           takes, and stores them together with how far it has come.  Nothing is kept in memory in
 *           between, and a slice that was made already is not made twice.
 * Errors:   a slice that the database refuses is made smaller; one recipient who cannot be stored
 * is left out, with a line in the log.  What is only the moment's is tried again a second later.
 */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "core/outcome.h"
#include "services/ingest_internal.h"
#include "store/queue.h"

#include <stdio.h>
#include <stdlib.h>

/* Recipients x channels that a slice asks the database for. */
#define SLICE_ASKS       1000
#define RETRY_MS         1000
#define LOOK_EVERY_MS    5000
#define SLICE_RECIPIENTS 4000
/* Deliveries that are not made: nobody can say how many. */
#define ALL_THAT_IS_LEFT SIZE_MAX

/* A predecessor may have left some; and a slice may have failed. */
static void on_look(void *ctx)
{
    struct ingest *ingest = ctx;

    loop_timer_start(ingest->loop, &ingest->expand.timer, LOOK_EVERY_MS, on_look, ingest);
    ingest->expand.is_wanted = true;
    ingest_next(ingest);
}

void ingest_expand_start(struct ingest *ingest)
{
    ingest->expand.is_wanted = true;
    ingest->expand.limit = SLICE_RECIPIENTS;
    loop_timer_start(ingest->loop, &ingest->expand.timer, LOOK_EVERY_MS, on_look, ingest);
}

void ingest_expand_stop(struct ingest *ingest)
{
    ingest->expand.is_wanted = false;
    ingest->expand.entry = NULL;
    loop_timer_stop(&ingest->expand.timer);
}

/* The part of the recipients that this slice is for. */
static void narrow(struct ingest *ingest, struct entry *entry, int32_t from)
{
    struct expand *expand = &ingest->expand;
    struct route *route = &entry->route;
    size_t left, most = expand->limit;

    expand->recipients = route->recipient_count;
    entry->is_counted = ingest_is_counted(entry);
    left = (size_t)from < route->recipient_count ? route->recipient_count - (size_t)from : 0;
    if (ingest_must_ask(entry) && most > SLICE_ASKS / route->order_count)
        most = SLICE_ASKS / route->order_count;
    if (most > ingest->chunk / route->order_count)
        most = ingest->chunk / route->order_count;
    route->recipients += from < (int32_t)route->recipient_count ? from : 0;
    route->recipient_count = left < most ? left : most;
    route->deliveries = route->recipient_count * route->order_count;
}

/* false: what was good when it was accepted is not any more. */
static bool read_again(struct ingest *ingest, struct entry *entry, const struct expansion_row *row)
{
    struct arena *arena = ingest->work.arena;
    struct request_batch batch;
    const struct request_item *item;
    const char *text = arena_copy(arena, row->request, row->request_bytes);

    request_decode(text, row->request_bytes, row->accepted_ms, arena, &batch);
    item = batch.items;
    if (batch.count != 1 || item->rejection.reason)
        return false;
    entry->request = &item->request;
    return route_request(
        entry->request, ingest->ops.type_route(ingest->ops.ctx, entry->request->type),
        ingest->ops.available(ingest->ops.ctx), arena, &entry->route, &entry->rejection);
}

/* The configuration has changed since: it ends here, is kept for people, and its service told. */
static void set_aside(struct ingest *ingest, const struct expansion_row *row)
{
    char topic[TOPIC_BYTES_MAX];

    ingest->expand.unreached = ALL_THAT_IS_LEFT;

    log_error("expansion.unreadable", LOG_STR("service", row->service),
              LOG_ID("notification", row->notification));
    snprintf(topic, sizeof(topic), "notify/v1/services/%s/up/request", row->service);
    if (store_reject(ingest->store, topic, "no deliveries can be made of it any more", row->request,
                     row->request_bytes, NULL, NULL))
        log_warn("expansion.unkept", LOG_STR("service", row->service));
}

static void on_row(void *ctx, const struct expansion_row *row)
{
    struct storing *storing = ctx;
    struct ingest *ingest = storing->ingest;
    struct expand *expand = &ingest->expand;
    struct entry *entry;

    if (storing->generation != ingest->generation)
        return;
    entry = arena_zalloc(ingest->work.arena, sizeof(*entry));
    entry->service = arena_strdup(ingest->work.arena, row->service);
    entry->id = row->notification;
    expand->unreached = 0;
    snprintf(expand->service, sizeof(expand->service), "%s", row->service);
    expand->slice = (struct expansion_slice){.notification = row->notification,
                                             .from = row->next,
                                             .to = row->next,
                                             .next_id = row->next_id,
                                             .is_last = true};
    if (read_again(ingest, entry, row))
        narrow(ingest, entry, row->next);
    else
        set_aside(ingest, row);
    expand->entry = entry;
}

static void finish(struct ingest *ingest)
{
    ingest->expand.entry = NULL;
    ingest->expand.is_due = false;
    ingest_work_reset(ingest);
    ingest_next(ingest);
}

/* What is only the moment's: the same slice is made again. */
static void try_later(struct ingest *ingest, int err)
{
    struct expand *expand = &ingest->expand;

    log_warn("expansion.failed", LOG_STR("err", err_name(err)),
             LOG_ID("notification", expand->slice.notification));
    if (expand->entry) {
        ingest_withdraw(ingest, expand->entry);
        ingest_refund(ingest, expand->entry);
    }
    expand->is_wanted = false;
    loop_timer_start(ingest->loop, &expand->timer, RETRY_MS, on_look, ingest);
    finish(ingest);
}

static void on_found(void *ctx, int err)
{
    struct ingest *ingest = ingest_statement_ended(ctx);
    struct expand *expand;

    if (!ingest)
        return;
    expand = &ingest->expand;
    if (err || !expand->entry) {
        expand->is_wanted = false; /* until more are deferred, or the timer looks */
        finish(ingest);
    } else if (expand->entry->route.recipient_count && ingest_must_ask(expand->entry)) {
        expand->entry->is_waiting = true;
        ingest_find_targets(ingest);
    } else {
        ingest_expand_planned(ingest);
    }
}

/* ---- what is not made, since no destination takes it any more ---- */

static void on_about(void *ctx, const struct about *about)
{
    struct storing *storing = ctx;
    struct ingest *ingest = storing->ingest;
    char detail[160];
    struct receipt receipt = {
        .id = about->request,
        .notification = about->notification,
        .status = "dead",
        .reason = reason_name(REASON_NO_TARGET),
        .detail = detail,
        .at_ms = clock_wall_ms(),
    };

    if (storing->generation != ingest->generation || about->receipts == RECEIPTS_NONE)
        return;
    if (ingest->expand.unreached == ALL_THAT_IS_LEFT)
        snprintf(detail, sizeof(detail),
                 "the rest of its deliveries is not made: a channel that it asks for has left the "
                 "configuration");
    else
        snprintf(detail, sizeof(detail),
                 "%zu deliveries are not made: no destination is configured any more for this "
                 "type, target and channel",
                 ingest->expand.unreached);
    ingest->ops.receipt(ingest->ops.ctx, about->service, &receipt);
}

static void on_about_done(void *ctx, int err)
{
    struct ingest *ingest = ingest_statement_ended(ctx);

    if (!ingest)
        return;
    if (err)
        try_later(ingest, err);
    else
        ingest_store_slice(ingest);
}

/* Before the slice is stored: a bridge killed in between sends the receipt again, and loses none.
 */
static void tell_unreached(struct ingest *ingest)
{
    struct expand *expand = &ingest->expand;
    struct storing *storing = xmalloc(sizeof(*storing));
    struct about_call call = {on_about, on_about_done, storing};

    *storing = (struct storing){ingest, ingest->generation, {0, 0}};
    log_warn("expansion.unreached", LOG_STR("service", expand->service),
             LOG_ID("notification", expand->slice.notification),
             LOG_INT("deliveries",
                     expand->unreached == ALL_THAT_IS_LEFT ? -1 : (int64_t)expand->unreached));
    if (store_about(ingest->store, &expand->slice.notification, 1, &call)) {
        free(storing);
        try_later(ingest, ERR_FULL);
    }
}

void ingest_expand_planned(struct ingest *ingest)
{
    struct expand *expand = &ingest->expand;
    struct entry *entry = expand->entry;
    size_t made = 0;

    if (entry->route.recipient_count)
        made = ingest_plan_slice(ingest, entry, &expand->slice.next_id);
    expand->slice.to = expand->slice.from + (int32_t)made;
    expand->slice.is_last = !made || (size_t)expand->slice.to >= expand->recipients;
    if (expand->unreached)
        tell_unreached(ingest);
    else
        ingest_store_slice(ingest);
}

/* One recipient who cannot be stored is left out, and the next slice begins behind them. */
static void skip(struct ingest *ingest)
{
    struct expand *expand = &ingest->expand;
    struct work *work = &ingest->work;

    log_error("expansion.unstorable", LOG_STR("service", expand->service),
              LOG_ID("notification", expand->slice.notification),
              LOG_INT("recipient", expand->slice.from));
    ingest_withdraw(ingest, expand->entry);
    expand->entry->plan_count = 0;
    work->count = work->range_count = 0;
    ingest_store_slice(ingest);
}

void ingest_expand_done(struct ingest *ingest, int err, bool is_made)
{
    struct expand *expand = &ingest->expand;
    bool is_one = expand->slice.to - expand->slice.from <= 1;

    if (!err) {
        crash_point("expand.made");
        if (is_made)
            metric_add(ingest->slices, 1);
        expand->limit = SLICE_RECIPIENTS;
        finish(ingest);
        return;
    }
    log_warn("expansion.failed", LOG_STR("err", err_name(err)),
             LOG_ID("notification", expand->slice.notification));
    ingest_refund(ingest, expand->entry);
    if (err == ERR_DATA && is_one && expand->entry->plan_count) {
        skip(ingest);
        return;
    }
    expand->limit = is_one ? 1 : (size_t)(expand->slice.to - expand->slice.from) / 2;
    if (err == ERR_DOUBT)
        ingest->ops.doubt(ingest->ops.ctx);
    if (err != ERR_DATA) {
        expand->is_wanted = false;
        loop_timer_start(ingest->loop, &expand->timer, RETRY_MS, on_look, ingest);
    }
    finish(ingest);
}

void ingest_expand(struct ingest *ingest)
{
    struct storing *storing;
    struct expansion_call call = {on_row, on_found, NULL};

    storing = xmalloc(sizeof(*storing));
    *storing = (struct storing){ingest, ingest->generation, {0, 0}};
    call.ctx = storing;
    ingest->work.is_busy = ingest->work.is_slice = true;
    if (store_expansion_next(ingest->store, ingest->expand.service, &call)) {
        free(storing);
        ingest->expand.is_wanted = false;
        finish(ingest);
    }
}

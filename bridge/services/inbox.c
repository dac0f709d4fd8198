/* SPDX-License-Identifier: MIT */
#include "services/inbox.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/panic.h"
#include "core/channel.h"
#include "core/id.h"
#include "core/mark.h"
#include "services/inbox_internal.h"
#include "store/inbox.h"
#include "store/shared.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Entries one statement changes at most: what it locks is soon free again. */
#define MARK_BITE 1000

/* One statement to come: some entries of anybody, or all of one user. */
struct step {
    const char *user; /* NULL: those of marks from first on */
    uint64_t before;
    bool is_open; /* no time was given: until now */
    int64_t after_seq,
        until_seq; /* the next bite; until: the user's last when the first was taken */
    struct mark mark;
    const char *url, *roles;
    size_t first, count;
};

/* What one lane batch said, in order; then what one commit writes. */
struct batch {
    struct inbox *inbox;
    struct arena *arena;
    struct step *steps;
    size_t step_count, step_capacity, at; /* at: the step being written */
    bool is_shared;                       /* its second half: what was told to many */
    struct inbox_mark *marks;
    size_t mark_count, mark_capacity;
    struct strmap by_entry; /* "id/user" to place + 1 in marks, of the last step */
    store_done_fn *on_done;
    void *ctx;
    int64_t last_seq, until_seq;
    struct told told;
};

struct inbox *inbox_new(struct loop *loop, struct asks *asks, struct store *store,
                        const struct fence *fence, struct metrics *metrics,
                        const struct inbox_ops *ops)
{
    struct inbox *inbox = xcalloc(1, sizeof(*inbox));

    inbox->loop = loop;
    inbox->store = store;
    inbox->fence = fence;
    inbox->ops = *ops;
    list_init(&inbox->waiting);
    inbox->marked = metrics_get(metrics, METRIC_COUNTER, "tocsin_inbox_marked_total",
                                "Inbox entries that were read, archived and so on.", NULL);
    inbox->removed = metrics_get(metrics, METRIC_COUNTER, "tocsin_inbox_removed_total",
                                 "Inbox entries that were replaced, expired or retracted.", NULL);
    inbox_add_methods(inbox, asks);
    inbox_add_removal(inbox, asks);
    inbox_start_sweeps(inbox);
    return inbox;
}

static void batch_free(struct batch *batch)
{
    arena_free(batch->arena);
    strmap_fini(&batch->by_entry);
    told_fini(&batch->told);
    free(batch->steps);
    free(batch->marks);
    free(batch);
}

void inbox_forget(struct inbox *inbox)
{
    if (inbox->batch)
        batch_free(inbox->batch);
    inbox->batch = NULL;
}

void inbox_free(struct inbox *inbox)
{
    ASSERT(inbox->waiting.count == 0);
    loop_timer_stop(&inbox->sweep_timer);
    inbox_forget(inbox);
    free(inbox);
}

bool inbox_has_events(const struct inbox *inbox)
{
    return inbox->batch != NULL;
}

/* ---- gathering ---- */

static struct step *add_step(struct batch *batch)
{
    struct step *step;

    if (batch->step_count == batch->step_capacity) {
        batch->step_capacity = batch->step_capacity ? batch->step_capacity * 2 : 4;
        batch->steps = xrealloc(batch->steps, batch->step_capacity * sizeof(*batch->steps));
    }
    ASSERT(batch->steps);
    step = &batch->steps[batch->step_count++];
    *step = (struct step){.first = batch->mark_count};
    mark_init(&step->mark);
    strmap_fini(&batch->by_entry);
    batch->by_entry = (struct strmap){0};
    return step;
}

/* The step that takes single entries now. */
static struct step *entries_step(struct batch *batch)
{
    struct step *last = batch->step_count ? &batch->steps[batch->step_count - 1] : NULL;

    return last && !last->user && last->count < MARK_BITE ? last : add_step(batch);
}

static void add_entry(struct batch *batch, const char *user, const char *roles, uint64_t id,
                      const struct ack *ack)
{
    char key[ID_TEXT_BYTES + 1 + TOPIC_ID_MAX + 1], text[ID_TEXT_BYTES];
    struct step *step;
    uintptr_t place;

    snprintf(key, sizeof(key), "%s/%s", id_format(id, text), user);
    place = (uintptr_t)strmap_get(&batch->by_entry, key);
    if (!place) {
        step = entries_step(batch);
        if (batch->mark_count == batch->mark_capacity) {
            batch->mark_capacity = batch->mark_capacity ? batch->mark_capacity * 2 : 64;
            batch->marks = xrealloc(batch->marks, batch->mark_capacity * sizeof(*batch->marks));
        }
        batch->marks[batch->mark_count] =
            (struct inbox_mark){.user = user, .delivery = id, .roles = roles};
        mark_init(&batch->marks[batch->mark_count].mark);
        place = ++batch->mark_count;
        step->count++;
        strmap_set(&batch->by_entry, key, (void *)place);
    }
    mark_add(&batch->marks[place - 1].mark, ack->kind, false);
    if (ack->url)
        batch->marks[place - 1].url = arena_strdup(batch->arena, ack->url);
}

static void add_all(struct batch *batch, const char *user, const char *roles, const struct ack *ack)
{
    struct step *last = batch->step_count ? &batch->steps[batch->step_count - 1] : NULL;
    /* All there is, is all there was when this was read: not what comes while it is written. */
    int64_t read_ms = clock_wall_ms() + 1;
    bool is_open = ack->before_ms >= read_ms;
    uint64_t before = id_first_of(is_open ? read_ms : ack->before_ms);

    if (!last || !last->user || strcmp(last->user, user) != 0 || last->is_open != is_open ||
        (!is_open && last->before != before)) {
        last = add_step(batch);
        last->user = user;
        last->roles = roles;
        last->is_open = is_open;
        last->until_seq = INT64_MAX;
    }
    last->before = before;
    mark_add(&last->mark, ack->kind, true);
}

void inbox_add(struct inbox *inbox, const char *user, const struct ack *ack)
{
    const char *roles;

    if (!inbox->batch) {
        inbox->batch = xcalloc(1, sizeof(*inbox->batch));
        inbox->batch->inbox = inbox;
        inbox->batch->arena = arena_new(4096);
    }
    user = arena_strdup(inbox->batch->arena, user);
    roles = arena_strdup(inbox->batch->arena, inbox->ops.roles(inbox->ops.ctx, user));
    if (ack->is_all)
        add_all(inbox->batch, user, roles, ack);
    for (size_t i = 0; i < ack->id_count; i++)
        add_entry(inbox->batch, user, roles, ack->ids[i], ack);
}

/* ---- telling ---- */

static void tell_service(struct batch *batch, const struct inbox_marked *marked,
                         const struct mark *mark, const char *url)
{
    struct inbox *inbox = batch->inbox;
    struct receipt receipt = {
        .id = marked->request,
        .notification = marked->notification,
        .channel = channel_name(CHANNEL_IN_APP),
        .user = marked->user,
        .at_ms = clock_wall_ms(),
    };

    if (mark->is_read) {
        receipt.status = "read";
        inbox->ops.receipt(inbox->ops.ctx, marked->service, &receipt);
    }
    if (mark->is_clicked) {
        receipt.status = "clicked";
        receipt.detail = url;
        inbox->ops.receipt(inbox->ops.ctx, marked->service, &receipt);
    }
}

static int by_entry(const void *a, const void *b)
{
    const struct inbox_mark *x = a, *y = b;

    if (x->delivery != y->delivery)
        return x->delivery < y->delivery ? -1 : 1;
    return strcmp(x->user, y->user);
}

static void on_row(void *ctx, const struct inbox_marked *marked)
{
    struct batch *batch = ctx;
    const struct step *step = &batch->steps[batch->at];
    const struct mark *mark = &step->mark;
    const char *url = NULL;

    metric_add(batch->inbox->marked, 1);
    batch->last_seq = marked->seq;
    batch->until_seq = marked->until_seq;
    if (!step->user) {
        struct inbox_mark key = {.user = marked->user, .delivery = marked->delivery};
        struct inbox_mark *found =
            bsearch(&key, batch->marks + step->first, step->count, sizeof(key), by_entry);

        if (!found)
            return;
        found->is_found = true;
        mark = &found->mark;
        url = found->url;
    }
    told_add(batch->inbox, &batch->told, marked->user, marked->delivery,
             mark_told(mark, marked->state), NULL);
    if (mark_tells_seen(mark, marked->state))
        told_add(batch->inbox, &batch->told, marked->user, marked->delivery, "seen", NULL);
    if (marked->service)
        tell_service(batch, marked, mark, url);
}

/* ---- writing, step by step ---- */

static void on_step(void *ctx, int err, size_t rows);

static int write_step(struct batch *batch)
{
    struct store *store = batch->inbox->store;
    struct inbox_mark_call call = {on_row, on_step, batch};
    struct step *step = &batch->steps[batch->at];
    struct inbox_mark *marks = batch->marks;
    struct inbox_range all = {step->user,      step->before, step->after_seq,
                              step->until_seq, MARK_BITE,    step->roles};

    if (step->user)
        return batch->is_shared ? store_shared_mark_all(store, &all, &step->mark, &call)
                                : store_inbox_mark_all(store, &all, &step->mark, &call);
    marks += step->first;
    if (batch->is_shared)
        return store_shared_mark(store, marks, step->count, &call);
    qsort(marks, step->count, sizeof(*marks), by_entry);
    return store_inbox_mark(store, marks, step->count, &call);
}

/* What is in no inbox of its user may be something told to many.  false: nothing is left. */
static bool begin_shared(struct batch *batch)
{
    struct step *step = &batch->steps[batch->at];
    struct inbox_mark *marks;
    size_t left = 0;

    batch->is_shared = true;
    step->after_seq = 0;
    step->until_seq = INT64_MAX;
    if (step->user)
        return true;
    marks = batch->marks + step->first;
    for (size_t i = 0; i < step->count; i++)
        if (!marks[i].is_found)
            marks[left++] = marks[i];
    step->count = left;
    return left > 0;
}

static void end(struct batch *batch, int err)
{
    store_done_fn *on_done = batch->on_done;
    void *ctx = batch->ctx;

    batch_free(batch);
    on_done(ctx, err);
}

static void on_step(void *ctx, int err, size_t rows)
{
    struct batch *batch = ctx;
    struct step *step = &batch->steps[batch->at];

    told_flush(batch->inbox, &batch->told);
    if (!err && step->user && rows == MARK_BITE) {
        step->after_seq = batch->last_seq;
        step->until_seq = batch->until_seq;
    } else if (err || batch->is_shared || !begin_shared(batch)) {
        batch->is_shared = false;
        batch->at++;
    }
    if (!err && batch->at < batch->step_count)
        err = write_step(batch);
    else
        batch->at = batch->step_count;
    if (err || batch->at == batch->step_count)
        end(batch, err);
}

int inbox_commit(struct inbox *inbox, store_done_fn *on_done, void *ctx)
{
    struct batch *batch = inbox->batch;
    int err;

    batch->on_done = on_done;
    batch->ctx = ctx;
    err = write_step(batch);
    if (!err)
        inbox->batch = NULL; /* the commit's from now on */
    return err;
}

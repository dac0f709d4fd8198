/* SPDX-License-Identifier: MIT */
#include "services/untold.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"

#include <stdlib.h>

#define LOOKS 2
/* Endings asked for at once. */
#define PAGE 1000
/* In memory at once; further rows stay in the database, and are said again. */
#define DUTIES_MAX 64

enum step { STEP_LOOK, STEP_LOOKING, STEP_SAY, STEP_SAID, STEP_ENDING };

struct duty {
    struct list_node node;
    struct untold *untold;
    int64_t epoch;
    int64_t since_us, until_us; /* wall; until_us: INT64_MIN where there is no end */
    int64_t doubt_ms, sure_ms;  /* boot: what was sent between them is in doubt; of our own */
    bool is_own;                /* a doubt: not in the database */
    bool is_dropped;            /* dies with the answer it waits for */
    bool is_doubtful;           /* it goes on, or another has come */
    struct unsent_place behind; /* how far this look has come */
    int rows, looks, told;      /* of this page; still to be made; in all */
    unsigned due_beat;          /* not before that heartbeat */
    uint64_t mark;
    struct idmap seen; /* delivery -> the moment of the end that was told */
    enum step step;
};

struct untold {
    struct loop *loop;
    struct store *store;
    const struct fence *fence;
    struct untold_ops ops;
    struct list duties;
    unsigned beats;
};

struct untold *untold_new(struct loop *loop, struct store *store, const struct fence *fence,
                          const struct untold_ops *ops)
{
    struct untold *untold = xcalloc(1, sizeof(*untold));

    untold->loop = loop;
    untold->store = store;
    untold->fence = fence;
    untold->ops = *ops;
    list_init(&untold->duties);
    return untold;
}

static void duty_free(struct duty *duty)
{
    list_remove(&duty->untold->duties, &duty->node);
    idmap_fini(&duty->seen);
    free(duty);
}

void untold_free(struct untold *untold)
{
    struct list_node *node;

    while ((node = list_first(&untold->duties)))
        duty_free(CONTAINER_OF(node, struct duty, node));
    free(untold);
}

static struct duty *find(const struct untold *untold, int64_t epoch)
{
    struct list_node *node = untold->duties.head.next;

    for (; node != &untold->duties.head; node = node->next) {
        struct duty *duty = CONTAINER_OF(node, struct duty, node);

        if (duty->epoch == epoch && !duty->is_dropped)
            return duty;
    }
    return NULL;
}

static struct duty *duty_new(struct untold *untold, int64_t epoch)
{
    struct duty *duty = xcalloc(1, sizeof(*duty));

    duty->untold = untold;
    duty->epoch = epoch;
    duty->until_us = INT64_MIN;
    duty->looks = LOOKS;
    duty->due_beat = untold->beats;
    list_push_back(&untold->duties, &duty->node);
    return duty;
}

void untold_take(struct untold *untold, int64_t epoch, int64_t since_us)
{
    struct duty *duty;

    if (untold->duties.count >= DUTIES_MAX || find(untold, epoch))
        return;
    duty = duty_new(untold, epoch);
    duty->since_us = since_us;
}

void untold_doubt(struct untold *untold, int64_t since_ms)
{
    struct duty *duty;

    if (!untold->fence->epoch)
        return;
    duty = find(untold, untold->fence->epoch);
    if (!duty) {
        duty = duty_new(untold, untold->fence->epoch);
        duty->is_own = true;
        duty->doubt_ms = since_ms;
    }
    if (since_ms < duty->doubt_ms)
        duty->doubt_ms = since_ms;
    duty->is_doubtful = true;
}

int64_t untold_doubt_ms(const struct untold *untold)
{
    const struct duty *duty = untold->duties.count ? find(untold, untold->fence->epoch) : NULL;

    return duty ? duty->doubt_ms : INT64_MAX;
}

void untold_beat(struct untold *untold)
{
    untold->beats++;
    loop_wake(untold->loop);
}

void untold_forget(struct untold *untold)
{
    struct list_node *node = list_first(&untold->duties);

    while (node) {
        struct duty *duty = CONTAINER_OF(node, struct duty, node);

        node = list_next(&untold->duties, node);
        duty->is_dropped = true;
        if (duty->step != STEP_LOOKING && duty->step != STEP_ENDING)
            duty_free(duty);
    }
}

/* ---- looking ---- */

static void on_ending(void *ctx, const struct ending *ending)
{
    struct duty *duty = ctx;
    void *at = (void *)(uintptr_t)ending->at_us;

    duty->rows++;
    duty->behind = (struct unsent_place){ending->at_us, ending->delivery};
    if (duty->is_dropped || idmap_get(&duty->seen, ending->delivery) == at)
        return;
    idmap_set(&duty->seen, ending->delivery, at);
    duty->told++;
    duty->untold->ops.tell(duty->untold->ops.ctx, ending);
}

static void begin_look(struct duty *duty)
{
    duty->behind = (struct unsent_place){0, 0};
    duty->due_beat = duty->untold->beats + 1;
    duty->step = STEP_LOOK;
}

static void on_looked(void *ctx, int err)
{
    struct duty *duty = ctx;

    if (duty->is_dropped) {
        duty_free(duty);
        return;
    }
    duty->step = STEP_LOOK;
    if (err) {
        log_warn("untold.unasked", LOG_INT("epoch", duty->epoch), LOG_STR("err", err_name(err)));
        duty->due_beat = duty->untold->beats + 1;
    } else if (duty->rows < PAGE && --duty->looks > 0) {
        begin_look(duty);
    } else if (duty->rows < PAGE) {
        duty->step = STEP_SAY;
    }
}

/*
 * All connections are there again, and the backends of those before them have ended (io/pg.h): from
 * here on each answer tells.
 */
static void restart(struct duty *duty)
{
    duty->is_doubtful = false;
    duty->sure_ms = loop_now_ms(duty->untold->loop);
    duty->looks = LOOKS;
    begin_look(duty);
}

static void look(struct duty *duty)
{
    struct untold *untold = duty->untold;
    struct endings_call call = {on_ending, on_looked, duty};

    if ((int)(untold->beats - duty->due_beat) < 0 || !store_is_up(untold->store) ||
        untold->ops.is_full(untold->ops.ctx))
        return;
    duty->rows = 0;
    /* Only now: the heartbeat has told what the database's clock says. */
    if (duty->is_own) {
        duty->since_us = clock_wall_least_us(duty->doubt_ms * 1000);
        duty->until_us = clock_wall_most_us(duty->sure_ms * 1000);
    }
    if (!duty->behind.at_us)
        duty->behind.at_us = duty->since_us;
    if (store_unsent(untold->store, duty->epoch, &duty->behind, duty->until_us, PAGE, &call) == 0)
        duty->step = STEP_LOOKING;
}

/* ---- the end ---- */

static void on_ended(void *ctx, int err)
{
    struct duty *duty = ctx;

    if (!err || duty->is_dropped) {
        duty_free(duty);
        return;
    }
    duty->step = STEP_SAID;
    duty->due_beat = duty->untold->beats + 1;
}

static void finish(struct duty *duty)
{
    struct untold *untold = duty->untold;

    crash_point("untold.said");
    if ((int)(untold->beats - duty->due_beat) < 0 ||
        !untold->ops.is_past(untold->ops.ctx, duty->mark))
        return;
    if (store_told(untold->store, duty->epoch, untold->fence->epoch, on_ended, duty))
        return;
    log_info("untold.told", LOG_INT("epoch", duty->epoch), LOG_INT("endings", duty->told));
    duty->step = STEP_ENDING;
}

/* Our own are in the outbox, and stand in the way of told_until there. */
static void say(struct duty *duty)
{
    struct untold *untold = duty->untold;

    if (!untold->ops.is_said(untold->ops.ctx))
        return;
    if (duty->is_own) {
        log_info("untold.doubt", LOG_INT("endings", duty->told));
        duty_free(duty);
        return;
    }
    duty->mark = untold->ops.mark(untold->ops.ctx);
    duty->step = STEP_SAID;
    finish(duty);
}

void untold_turn(struct untold *untold)
{
    struct list_node *node = list_first(&untold->duties);

    while (node) {
        struct duty *duty = CONTAINER_OF(node, struct duty, node);

        node = list_next(&untold->duties, node);
        if (duty->is_doubtful && duty->step != STEP_LOOKING && store_is_up(untold->store))
            restart(duty);
        if (duty->is_doubtful)
            continue;
        if (duty->step == STEP_LOOK)
            look(duty);
        else if (duty->step == STEP_SAY)
            say(duty);
        else if (duty->step == STEP_SAID)
            finish(duty);
    }
}

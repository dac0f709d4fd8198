/* SPDX-License-Identifier: MIT */
/*
 * dispatch_wake - bringing back what waits for users who have come
 *
 * Users queue here, each once, in the order in which they came, and are asked about many at a
 * time: a statement of store_wake() takes what waits for them, leased to us, and it goes the way
 * of everything that was claimed.  A user's client has a moment to subscribe first.  Who has more
 * than a share comes again after the others (round robin).  Who has a share under way that is not
 * acknowledged is asked about only when nobody else is due, and with USER_MAX of them not at all
 * until some have ended (parked): one user never uses up what all have.
 *
 * Paced, so that ten thousand who reconnect at once do not stand before everybody else: so many a
 * second, little at a time, and only while few of them are under way, for that is the queue that
 * others find before them where the machine is the limit.  Whose client has not acknowledged for a
 * while is not counted: it must not hold up the others who have come.  At wake_users_max users a
 * further one is left to their next sign (counted).
 *
 * Two bridges hear of the same user; what one of them has taken, the other does not find.
 */
#include "base/alloc.h"
#include "base/crash.h"
#include "base/log.h"
#include "services/dispatch_internal.h"

#include <stdlib.h>
#include <string.h>

/* Users asked about in one statement, and what it takes of each and in all. */
#define USERS_AT_ONCE 128
#define EACH_MAX      32
#define EACH_MIN      4
#define TOTAL_MAX     64
/* Woken deliveries in memory: those of the last second, and all of them. */
#define YOUNG_MAX 256
#define WOKEN_MAX 4000
/* Those of one user: a share, all, and how many are left when the user may have more. */
#define USER_SHARE 64
#define USER_MAX   1000
#define USER_LOW   500
/* Users looked at for one statement. */
#define LOOK_MAX 512
/* A second, in slots. */
#define SLOT_MS   128
#define SLOTS     8
#define FAILED_MS 500

struct comer {
    struct list_node node; /* in fresh, turn or parked */
    int64_t due_ms;        /* boot */
    bool is_parked;
    uint64_t after[2]; /* the last delivery and dead letter that were brought back already */
    bool is_again;     /* they came, or missed one, since the first of them was */
    char user[];
};

/* A statement under way. */
struct waking {
    struct dispatch *dispatch;
    struct destination *own;
    struct note *note;
    unsigned generation;
    size_t count;
    struct comer *comers[USERS_AT_ONCE];
    struct wake_user users[USERS_AT_ONCE];
    size_t got[2][USERS_AT_ONCE]; /* deliveries, dead letters */
    size_t total[2], rows, limit, each;
};

struct waker {
    struct list fresh;       /* not due yet, in the order in which they came */
    struct list turn;        /* due */
    struct list parked;      /* USER_MAX of theirs are under way */
    struct strmap by_user;   /* those in the three lists */
    struct strmap under_way; /* user -> how many of theirs were woken and are in memory */
    struct waking *waking;   /* NULL: none under way */
    int64_t next_ms;         /* boot: not before */
    size_t woken;            /* tasks in memory that were woken */
    size_t young[SLOTS];     /* of these, by when; those of the slots up to slot */
    int64_t slot;
    struct metric *waiting, *replayed, *dropped;
};

struct waker *waker_new(struct metrics *metrics)
{
    struct waker *waker = xcalloc(1, sizeof(*waker));

    list_init(&waker->fresh);
    list_init(&waker->turn);
    list_init(&waker->parked);
    waker->waiting =
        metrics_get(metrics, METRIC_GAUGE, "tocsin_wake_users",
                    "Users who have come and whose deliveries are still to be looked for.", NULL);
    waker->replayed =
        metrics_get(metrics, METRIC_COUNTER, "tocsin_replayed_total",
                    "Deliveries and dead letters brought back because their user came.", NULL);
    waker->dropped =
        metrics_get(metrics, METRIC_COUNTER, "tocsin_wake_dropped_total",
                    "Users who came and were not looked for: more than presence.users.", NULL);
    return waker;
}

static void free_waking(struct waking *waking)
{
    for (size_t i = 0; i < waking->count; i++)
        free(waking->comers[i]);
    free(waking);
}

void waker_free(struct waker *waker)
{
    struct list_node *node;

    while ((node = list_pop_front(&waker->fresh)) || (node = list_pop_front(&waker->turn)) ||
           (node = list_pop_front(&waker->parked)))
        free(CONTAINER_OF(node, struct comer, node));
    if (waker->waking)
        free_waking(waker->waking);
    strmap_fini(&waker->by_user);
    strmap_fini(&waker->under_way);
    free(waker);
}

static size_t users_of(const struct waker *waker)
{
    return waker->fresh.count + waker->turn.count + waker->parked.count;
}

static size_t under_way(const struct waker *waker, const char *user)
{
    return (size_t)(uintptr_t)strmap_get(&waker->under_way, user);
}

static void set_under_way(struct waker *waker, const char *user, size_t count)
{
    if (count)
        strmap_set(&waker->under_way, user, (void *)(uintptr_t)count);
    else
        strmap_remove(&waker->under_way, user);
}

void dispatch_wake(struct dispatch *dispatch, const char *user)
{
    struct waker *waker = dispatch->waker;
    size_t length = strlen(user);
    struct comer *comer;

    comer = strmap_get(&waker->by_user, user);
    if (comer) {
        comer->is_again = true;
        return;
    }
    if (users_of(waker) >= dispatch->config.wake_users_max) {
        metric_add(waker->dropped, 1);
        return;
    }
    comer = xcalloc(1, sizeof(*comer) + length + 1);
    memcpy(comer->user, user, length + 1);
    comer->due_ms = loop_now_ms(dispatch->loop) + dispatch->config.wake_after_ms;
    list_push_back(&waker->fresh, &comer->node);
    strmap_set(&waker->by_user, user, comer);
}

/*
 * Their presence may have been told, and looked at, between the attempt and the record of it: then
 * nobody would tell again.
 */
void dispatch_missed(struct dispatch *dispatch, const struct task *task, enum reason reason)
{
    if (!reason_is_absence(reason) || task->channel != CHANNEL_IN_APP ||
        task->recipient_kind != RECIPIENT_USER)
        return;
    if (dispatch->ops.awaits(dispatch->ops.ctx, task->recipient, task->tried_ms))
        dispatch_wake(dispatch, task->recipient);
}

static void park(struct waker *waker, struct comer *comer)
{
    comer->is_parked = true;
    list_push_back(&waker->parked, &comer->node);
}

/* Behind the others, or aside; unless they came anew meanwhile. */
static void put_back(struct waker *waker, struct comer *comer)
{
    if (strmap_get(&waker->by_user, comer->user)) {
        free(comer);
        return;
    }
    if (under_way(waker, comer->user) >= USER_MAX)
        park(waker, comer);
    else
        list_push_back(&waker->turn, &comer->node);
    strmap_set(&waker->by_user, comer->user, comer);
}

/* One of theirs has ended. */
static void count_down(struct waker *waker, const char *user)
{
    struct comer *comer = strmap_get(&waker->by_user, user);
    size_t count = under_way(waker, user);

    if (count)
        set_under_way(waker, user, --count);
    if (!comer || !comer->is_parked || count > USER_LOW)
        return;
    comer->is_parked = false;
    list_remove(&waker->parked, &comer->node);
    list_push_back(&waker->turn, &comer->node);
}

static void unpark_all(struct waker *waker)
{
    struct list_node *node;

    while ((node = list_pop_front(&waker->parked))) {
        CONTAINER_OF(node, struct comer, node)->is_parked = false;
        list_push_back(&waker->turn, node);
    }
}

/* All that waited was brought back: once, or who never acknowledges would be brought it for ever.
 */
static void end(struct waker *waker, struct comer *comer)
{
    if (!comer->is_again) {
        free(comer);
        return;
    }
    comer->is_again = false;
    comer->after[0] = comer->after[1] = 0;
    put_back(waker, comer);
}

/* Makes the slots those of the last second. */
static void move_on(struct waker *waker, int64_t now_ms)
{
    int64_t slot = now_ms / SLOT_MS;

    if (slot - waker->slot > SLOTS)
        waker->slot = slot - SLOTS;
    while (waker->slot < slot)
        waker->young[++waker->slot % SLOTS] = 0;
}

void dispatch_wake_over(struct dispatch *dispatch, const struct task *task)
{
    struct waker *waker = dispatch->waker;
    int64_t slot;

    if (!task) {
        waker->woken = 0;
        memset(waker->young, 0, sizeof(waker->young));
        strmap_fini(&waker->under_way);
        waker->under_way = (struct strmap){0};
        unpark_all(waker);
        return;
    }
    waker->woken--;
    count_down(waker, task->recipient);
    move_on(waker, loop_now_ms(dispatch->loop));
    slot = task->woken_ms / SLOT_MS;
    if (waker->slot - slot < SLOTS)
        waker->young[slot % SLOTS]--;
}

/* Whether there are as many under way as may be. */
static bool is_busy(struct waker *waker, int64_t now_ms)
{
    size_t young = 0;

    move_on(waker, now_ms);
    for (int i = 0; i < SLOTS; i++)
        young += waker->young[i];
    return young >= YOUNG_MAX || waker->woken >= WOKEN_MAX;
}

static size_t place_of(const struct waking *waking, const char *user)
{
    size_t i = 0;

    while (i + 1 < waking->count && strcmp(waking->users[i].name, user) != 0)
        i++;
    return i;
}

static void on_row(void *ctx, const struct claimed *row)
{
    struct waking *waking = ctx;
    struct dispatch *dispatch = waking->dispatch;
    struct waker *waker = dispatch->waker;
    size_t place = place_of(waking, row->recipient);
    struct task *task;

    waking->rows++;
    waking->total[row->was_dead]++;
    waking->got[row->was_dead][place]++;
    waking->comers[place]->after[row->was_dead] = row->id; /* they come by id */
    if (waking->generation != dispatch->generation)
        return;
    task = dispatch_make(&waking->note, row);
    task->woken_ms = loop_now_ms(dispatch->loop);
    dispatch_place(dispatch, waking->own, task);
    move_on(waker, task->woken_ms);
    waker->young[waker->slot % SLOTS]++;
    waker->woken++;
    set_under_way(waker, row->recipient, under_way(waker, row->recipient) + 1);
}

/*
 * Whom a limit cut off: all from the last one on of whom something was taken, when the whole limit
 * was reached, and whoever reached their own.
 */
static bool is_cut(const struct waking *waking, size_t i)
{
    for (int kind = 0; kind < 2; kind++) {
        size_t last = 0;

        if (waking->got[kind][i] >= waking->each)
            return true;
        for (size_t k = 0; k < waking->count; k++)
            if (waking->got[kind][k])
                last = k;
        if (waking->total[kind] >= waking->limit && i >= last)
            return true;
    }
    return false;
}

static void on_done(void *ctx, int err)
{
    struct waking *waking = ctx;
    struct dispatch *dispatch = waking->dispatch;
    struct waker *waker = dispatch->waker;
    int64_t now_ms = loop_now_ms(dispatch->loop);

    if (waking->rows)
        crash_point("wake.done");
    waker->waking = NULL;
    for (size_t i = 0; i < waking->count; i++) {
        if (!err && !is_cut(waking, i))
            end(waker, waking->comers[i]);
        else
            put_back(waker, waking->comers[i]);
    }
    metric_add(waker->replayed, (double)waking->rows);
    waker->next_ms = now_ms + (int64_t)waking->rows * 1000 / dispatch->config.wake_per_second;
    if (err) {
        log_warn("wake.failed", LOG_STR("err", err_name(err)), LOG_INT("users", waking->count));
        waker->next_ms = now_ms + FAILED_MS;
    }
    if (err == ERR_DOUBT && waking->generation == dispatch->generation)
        dispatch->wants_reconcile = true;
    free(waking);
}

static struct destination *in_app_of(const struct dispatch *dispatch)
{
    for (size_t i = 0; i < dispatch->destination_count; i++)
        if (dispatch->destinations[i]->config.channel == CHANNEL_IN_APP)
            return dispatch->destinations[i];
    return NULL;
}

static void take(struct waking *waking, struct comer *comer)
{
    strmap_remove(&waking->dispatch->waker->by_user, comer->user);
    waking->comers[waking->count] = comer;
    waking->users[waking->count++] =
        (struct wake_user){comer->user, {comer->after[0], comer->after[1]}};
}

/* In turn those with less than a share under way; the others when there is none of these. */
static void choose(struct waker *waker, struct waking *waking)
{
    struct list_node *node;
    struct list later;
    size_t left = waker->turn.count < LOOK_MAX ? waker->turn.count : LOOK_MAX;

    list_init(&later);
    while (left-- && waking->count < USERS_AT_ONCE && (node = list_pop_front(&waker->turn))) {
        struct comer *comer = CONTAINER_OF(node, struct comer, node);
        size_t count = under_way(waker, comer->user);

        if (count >= USER_MAX)
            park(waker, comer);
        else if (count >= USER_SHARE)
            list_push_back(&later, node);
        else
            take(waking, comer);
    }
    if (waking->count == 0 && (node = list_pop_front(&later)))
        take(waking, CONTAINER_OF(node, struct comer, node));
    while ((node = list_pop_front(&later)))
        list_push_back(&waker->turn, node);
}

static void ask(struct dispatch *dispatch, struct destination *own, unsigned total)
{
    struct waker *waker = dispatch->waker;
    struct waking *waking = xcalloc(1, sizeof(*waking));
    struct claim claim = {on_row, on_done, waking};
    int64_t now_ms = loop_now_ms(dispatch->loop);
    int err;

    waking->dispatch = dispatch;
    waking->own = own;
    waking->limit = total;
    waking->generation = dispatch->generation;
    choose(waker, waking);
    if (waking->count == 0) {
        free(waking);
        return;
    }
    /* The fewer for each, the more there are. */
    waking->each = total / waking->count;
    waking->each = waking->each < EACH_MIN ? EACH_MIN : waking->each;
    waking->each = waking->each > EACH_MAX ? EACH_MAX : waking->each;
    err = store_wake(dispatch->store, dispatch->fence->epoch, waking->users, waking->count,
                     (unsigned)waking->each, total, &claim);
    if (!err) {
        waker->waking = waking;
        return;
    }
    for (size_t i = 0; i < waking->count; i++)
        put_back(waker, waking->comers[i]);
    waker->next_ms = now_ms + FAILED_MS;
    free(waking);
}

/* Whose moment to subscribe is over takes turns with the others.  Returns when the next one is. */
static int64_t take_due(struct waker *waker, int64_t now_ms)
{
    struct list_node *node;

    while ((node = list_first(&waker->fresh))) {
        struct comer *comer = CONTAINER_OF(node, struct comer, node);

        if (comer->due_ms > now_ms)
            return comer->due_ms - now_ms;
        list_remove(&waker->fresh, node);
        list_push_back(&waker->turn, node);
    }
    return -1;
}

int64_t dispatch_wake_turn(struct dispatch *dispatch)
{
    struct waker *waker = dispatch->waker;
    struct destination *own = in_app_of(dispatch);
    int64_t now_ms = loop_now_ms(dispatch->loop);
    int64_t fresh_ms = take_due(waker, now_ms);
    size_t room;

    metric_set(waker->waiting, (double)users_of(waker));
    if (waker->waking || !own)
        return -1;
    if (!waker->turn.count)
        return fresh_ms;
    if (is_busy(waker, now_ms))
        return SLOT_MS; /* or sooner: what ends one brings the next turn */
    if (waker->next_ms > now_ms)
        return waker->next_ms - now_ms;
    if (destination_is_away(dispatch, own)) /* an admin has stopped it */
        return dispatch->config.poll_max_ms;
    /* As many dead letters again may come. */
    room = dispatch_room(dispatch, own) / 2;
    if (!room)
        return dispatch->config.poll_min_ms;
    ask(dispatch, own, room < TOTAL_MAX ? (unsigned)room : TOTAL_MAX);
    if (waker->waking)
        return -1; /* its answer will bring the next turn */
    return waker->turn.count ? FAILED_MS : fresh_ms;
}

/* SPDX-License-Identifier: MIT */
#include "io/loop.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include <uv.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/heap.h"
#include "base/log.h"

struct loop {
    uv_loop_t uv;
    uv_timer_t waiting;  /* bounds the coming wait */
    uv_async_t anchor;   /* keeps uv_run() waiting when nothing else is active */
    struct heap timers;  /* of struct timer, by boot clock */
    struct list signals; /* of struct signal_watch */
    struct list deferred;
    struct list watching; /* of struct watch: all */
    struct list fresh;    /* started since libuv last polled */
    struct list broken;   /* refused by the kernel; their owners are to be told */
    unsigned linger_us;   /* before the coming wait */
    size_t works;         /* queued and not done */
    int64_t now_ms;       /* 0: not read yet in this turn */
    uint64_t turns;       /* made by loop_run() */
    bool is_stopping, is_woken;
};

struct timer {
    struct heap_node node;
    struct loop *loop;
    void (*on_due)(void *ctx);
    void *ctx;
};

struct watch {
    uv_poll_t *poll;         /* NULL: never started, or broken; freed when libuv has let go of it */
    struct list_node node;   /* in loop->watching */
    struct list_node change; /* in list */
    struct list *list;       /* fresh, broken or none */
    struct loop *loop;
    int fd;
    int events; /* what libuv watches now */
    void (*on_ready)(void *ctx, int events);
    void *ctx;
};

struct work {
    uv_work_t req;
    struct loop *loop;
    void (*work)(void *ctx);
    void (*on_done)(void *ctx);
    void *ctx;
};

struct signal_watch {
    uv_signal_t signal;
    struct list_node node;
    void (*on_signal)(void *ctx, int signo);
    void *ctx;
};

/* libuv fails here only without memory or descriptors, or when we misuse it. */
static void must(int rc, const char *what)
{
    if (rc != 0) {
        log_error("loop.failed", LOG_STR("call", what), LOG_STR("why", uv_strerror(rc)));
        fatal("loop.broken", what);
    }
}

/*
 * uv_run() runs timers before it polls.  A wait that is over by then (the machine was slow, or the
 * millisecond just ended) would leave it polling without a limit: tell it not to wait at all.
 */
static void on_wait_over(uv_timer_t *handle)
{
    uv_stop(handle->loop);
}

static void on_nothing_sent(uv_async_t *handle)
{
    (void)handle;
}

/*
 * For loop_work().  A name whose resolution hangs keeps a thread for as long as half a minute, and
 * each connection may be resolving one: more threads than there are connections, so that one
 * hanging name delays only those that need it.  libuv has four otherwise.
 */
#define POOL_THREADS "16"

struct loop *loop_new(void)
{
    struct loop *loop = xcalloc(1, sizeof *loop);
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    sigaction(SIGPIPE, &ignore, NULL);
    setenv("UV_THREADPOOL_SIZE", POOL_THREADS, 0); /* read when the first work is queued */
    must(uv_loop_init(&loop->uv), "uv_loop_init");
    must(uv_timer_init(&loop->uv, &loop->waiting), "uv_timer_init");
    must(uv_async_init(&loop->uv, &loop->anchor, on_nothing_sent), "uv_async_init");
    list_init(&loop->signals);
    list_init(&loop->deferred);
    list_init(&loop->watching);
    list_init(&loop->fresh);
    list_init(&loop->broken);
    return loop;
}

static void on_signal_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void loop_free(struct loop *loop)
{
    struct list_node *node;

    ASSERT(loop->timers.count == 0);
    ASSERT(loop->watching.count == 0);
    ASSERT(loop->deferred.count == 0);
    while ((node = list_pop_front(&loop->signals))) {
        struct signal_watch *watch = CONTAINER_OF(node, struct signal_watch, node);

        uv_close((uv_handle_t *)&watch->signal, on_signal_closed);
    }
    uv_close((uv_handle_t *)&loop->waiting, NULL);
    uv_close((uv_handle_t *)&loop->anchor, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT); /* works under way and close callbacks */
    ASSERT(loop->works == 0 && loop->timers.count == 0 && loop->watching.count == 0);
    ASSERT(uv_loop_close(&loop->uv) == 0);
    heap_fini(&loop->timers);
    free(loop);
}

int64_t loop_now_ms(const struct loop *loop)
{
    if (loop->now_ms == 0)
        ((struct loop *)(uintptr_t)loop)->now_ms = clock_boot_ms(); /* a cache, not a change */
    return loop->now_ms;
}

void loop_wake(struct loop *loop)
{
    loop->is_woken = true;
}

uint64_t loop_turns(const struct loop *loop)
{
    return loop->turns;
}

void loop_linger(struct loop *loop, unsigned us)
{
    loop->linger_us = us;
}

void loop_stop(struct loop *loop)
{
    loop->is_stopping = true;
}

static void add_fresh(struct loop *loop);
static void run_broken(struct loop *loop);

/* Timers started by a callback wait for the next turn, so that none can starve the rest. */
static void run_timers(struct loop *loop)
{
    size_t budget = loop->timers.count;
    struct heap_node *node;

    while (budget-- && (node = heap_first(&loop->timers)) && node->key <= loop_now_ms(loop)) {
        struct timer *timer = CONTAINER_OF(node, struct timer, node);

        heap_remove(&loop->timers, node);
        timer->on_due(timer->ctx); /* may start, stop or forget its loop_timer */
    }
}

static void run_deferred(struct loop *loop)
{
    size_t budget = loop->deferred.count;
    struct list_node *node;

    while (budget-- && (node = list_pop_front(&loop->deferred))) {
        struct loop_deferred *deferred = CONTAINER_OF(node, struct loop_deferred, node);

        deferred->run(deferred->ctx);
    }
}

/* How long the coming wait may be; -1 for ever. */
static int64_t next_wait(struct loop *loop, int64_t wait_ms)
{
    struct heap_node *first = heap_first(&loop->timers);

    if (loop->is_woken || loop->is_stopping || loop->deferred.count || loop->broken.count)
        return 0;
    if (first) {
        int64_t left = first->key - clock_boot_ms();

        if (left < 0)
            left = 0;
        if (wait_ms < 0 || left < wait_ms)
            wait_ms = left;
    }
    return wait_ms;
}

static void wait_for_events(struct loop *loop, int64_t wait_ms)
{
    loop->is_woken = false;
    loop->now_ms = 0;
    if (loop->linger_us) {
        struct timespec nap = {0, (long)loop->linger_us * 1000};

        loop->linger_us = 0;
        nanosleep(&nap, NULL);
    }
    if (wait_ms == 0) {
        uv_run(&loop->uv, UV_RUN_NOWAIT);
        return;
    }
    if (wait_ms > 0) {
        uv_update_time(&loop->uv); /* it counts from the time that it last read */
        uv_timer_start(&loop->waiting, on_wait_over, (uint64_t)wait_ms, 0);
    } else {
        uv_timer_stop(&loop->waiting);
    }
    uv_run(&loop->uv, UV_RUN_ONCE);
}

void loop_run(struct loop *loop, int64_t (*turn)(void *ctx), void *ctx)
{
    loop->is_stopping = false;
    while (!loop->is_stopping) {
        int64_t wait_ms = turn ? turn(ctx) : -1;

        loop->turns++;
        run_deferred(loop);
        log_tick();
        add_fresh(loop);
        wait_for_events(loop, next_wait(loop, wait_ms));
        run_broken(loop);
        run_timers(loop);
    }
    run_deferred(loop);
}

/* ---- timers: a heap of ours, since a libuv timer can only die through a close callback ---- */

void loop_timer_start(struct loop *loop, struct loop_timer *handle, int64_t after_ms,
                      void (*on_due)(void *ctx), void *ctx)
{
    struct timer *timer = handle->handle;

    if (!timer) {
        timer = xcalloc(1, sizeof *timer);
        handle->handle = timer;
    } else if (heap_is_linked(&timer->node)) {
        heap_remove(&timer->loop->timers, &timer->node);
    }
    timer->loop = loop;
    timer->on_due = on_due;
    timer->ctx = ctx;
    heap_insert(&loop->timers, &timer->node, loop_now_ms(loop) + (after_ms > 0 ? after_ms : 0));
}

void loop_timer_stop(struct loop_timer *handle)
{
    struct timer *timer = handle->handle;

    if (!timer)
        return;
    if (heap_is_linked(&timer->node))
        heap_remove(&timer->loop->timers, &timer->node);
    handle->handle = NULL;
    free(timer);
}

bool loop_timer_is_armed(const struct loop_timer *handle)
{
    const struct timer *timer = handle->handle;

    return timer && heap_is_linked(&timer->node);
}

/*
 * ---- watches ----
 *
 * libuv calls abort(), without a word, when the kernel refuses a descriptor that it was told to
 * watch: one that a library has closed since, or one too many for the kernel.  So the loop adds
 * each new watch to libuv's epoll descriptor itself, right before libuv does; libuv finds it there
 * (EEXIST).  What the kernel refuses is LOOP_BROKEN for its owner, and all others go on.
 */

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = poll->data;
    int ready = 0;

    if (status < 0) { /* libuv has stopped it */
        watch->events = 0;
        ready = LOOP_READ | LOOP_WRITE;
    } else {
        if (events & (UV_READABLE | UV_DISCONNECT))
            ready |= LOOP_READ;
        if (events & UV_WRITABLE)
            ready |= LOOP_WRITE;
    }
    watch->on_ready(watch->ctx, ready); /* may stop the watch: touch nothing after */
}

static void on_poll_closed(uv_handle_t *handle)
{
    free(handle);
}

static void unlist(struct watch *watch)
{
    if (watch->list)
        list_remove(watch->list, &watch->change);
    watch->list = NULL;
}

static void enlist(struct watch *watch, struct list *list)
{
    if (watch->list == list)
        return;
    unlist(watch);
    watch->list = list;
    list_push_back(list, &watch->change);
}

static void close_poll(struct watch *watch)
{
    if (watch->poll)
        uv_close((uv_handle_t *)watch->poll, on_poll_closed);
    watch->poll = NULL;
    watch->events = 0;
    unlist(watch);
}

/* Its owner is told in this turn, when no function of the owner is on the stack. */
static void break_watch(struct watch *watch, const char *why)
{
    log_warn("watch.failed", LOG_INT("fd", watch->fd), LOG_STR("why", why));
    close_poll(watch);
    enlist(watch, &watch->loop->broken);
}

/*
 * The kernel has given the number of a watched descriptor to another one: the first was closed
 * while it was watched.  Its owner has to know of that end, and would only harm the new one.
 */
static void drop_stale(struct watch *fresh)
{
    struct list *watching = &fresh->loop->watching;

    for (struct list_node *node = list_first(watching); node; node = list_next(watching, node)) {
        struct watch *watch = CONTAINER_OF(node, struct watch, node);

        if (watch == fresh || watch->fd != fresh->fd || !watch->poll)
            continue;
        log_error("watch.stale", LOG_INT("fd", watch->fd),
                  LOG_STR("why", "the descriptor was closed while it was watched"));
        close_poll(watch);
    }
}

static int open_poll(struct watch *watch)
{
    uv_poll_t *poll;
    int rc;

    if (watch->poll)
        return 0;
    poll = xcalloc(1, sizeof *poll);
    rc = uv_poll_init(&watch->loop->uv, poll, watch->fd);
    if (rc == UV_EEXIST) {
        drop_stale(watch);
        rc = uv_poll_init(&watch->loop->uv, poll, watch->fd);
    }
    if (rc != 0) {
        free(poll);
        return rc;
    }
    poll->data = watch;
    watch->poll = poll;
    return 0;
}

static struct watch *watch_new(struct loop *loop, int fd)
{
    struct watch *watch = xcalloc(1, sizeof *watch);

    watch->loop = loop;
    watch->fd = fd;
    list_push_back(&loop->watching, &watch->node);
    return watch;
}

static void set_events(struct watch *watch, int events)
{
    int uv_events =
        (events & LOOP_READ ? UV_READABLE : 0) | (events & LOOP_WRITE ? UV_WRITABLE : 0);
    int rc;

    unlist(watch);
    watch->events = events;
    if (!events) {
        if (watch->poll)
            uv_poll_stop(watch->poll);
        return;
    }
    rc = open_poll(watch);
    if (rc == 0)
        rc = uv_poll_start(watch->poll, uv_events, on_poll);
    if (rc == 0)
        enlist(watch, &watch->loop->fresh);
    else
        break_watch(watch, uv_strerror(rc));
}

void loop_watch_start(struct loop *loop, struct loop_watch *handle, int fd, int events,
                      void (*on_ready)(void *ctx, int events), void *ctx)
{
    struct watch *watch;

    if (handle->handle && handle->fd != fd)
        loop_watch_stop(handle);
    if (!handle->handle) {
        handle->handle = watch_new(loop, fd);
        handle->fd = fd;
    }
    watch = handle->handle;
    watch->on_ready = on_ready;
    watch->ctx = ctx;
    if (watch->events != events) /* every uv_poll_start() costs system calls */
        set_events(watch, events);
}

void loop_watch_stop(struct loop_watch *handle)
{
    struct watch *watch = handle->handle;

    if (!watch)
        return;
    handle->handle = NULL;
    close_poll(watch);
    list_remove(&watch->loop->watching, &watch->node);
    free(watch);
}

/* Right before libuv does the same: nothing may come between that closes a descriptor. */
static void add_fresh(struct loop *loop)
{
    struct list_node *node;

    while ((node = list_first(&loop->fresh))) {
        struct watch *watch = CONTAINER_OF(node, struct watch, change);
        struct epoll_event event = {
            .events = (watch->events & LOOP_READ ? (unsigned)EPOLLIN : 0u) |
                      (watch->events & LOOP_WRITE ? (unsigned)EPOLLOUT : 0u),
            .data.fd = watch->fd,
        };

        unlist(watch);
        if (epoll_ctl(uv_backend_fd(&loop->uv), EPOLL_CTL_ADD, watch->fd, &event) &&
            errno != EEXIST)
            break_watch(watch, strerror(errno));
    }
}

static void run_broken(struct loop *loop)
{
    size_t budget = loop->broken.count;
    struct list_node *node;

    while (budget-- && (node = list_first(&loop->broken))) {
        struct watch *watch = CONTAINER_OF(node, struct watch, change);

        unlist(watch);
        watch->on_ready(watch->ctx, LOOP_READ | LOOP_WRITE | LOOP_BROKEN); /* may stop it */
    }
}

/* ---- work elsewhere ---- */

static void on_work(uv_work_t *req)
{
    struct work *work = req->data;

    work->work(work->ctx);
}

static void on_work_done(uv_work_t *req, int status)
{
    struct work *work = req->data;
    void (*on_done)(void *ctx) = work->on_done;
    void *ctx = work->ctx;

    (void)status; /* nothing here cancels */
    work->loop->works--;
    free(work);
    on_done(ctx);
}

void loop_work(struct loop *loop, void (*run)(void *ctx), void (*on_done)(void *ctx), void *ctx)
{
    struct work *work = xcalloc(1, sizeof *work);

    work->loop = loop;
    work->work = run;
    work->on_done = on_done;
    work->ctx = ctx;
    work->req.data = work;
    loop->works++;
    must(uv_queue_work(&loop->uv, &work->req, on_work, on_work_done), "uv_queue_work");
}

/* ---- the end of the turn ---- */

void loop_defer(struct loop *loop, struct loop_deferred *deferred)
{
    if (!list_is_linked(&deferred->node))
        list_push_back(&loop->deferred, &deferred->node);
}

void loop_defer_cancel(struct loop *loop, struct loop_deferred *deferred)
{
    (void)loop;
    if (list_is_linked(&deferred->node))
        list_remove(&loop->deferred, &deferred->node);
}

/* ---- signals ---- */

static void on_signal(uv_signal_t *handle, int signo)
{
    struct signal_watch *watch = handle->data;

    watch->on_signal(watch->ctx, signo);
}

void loop_on_signal(struct loop *loop, int signo, void (*on_arrival)(void *ctx, int signo),
                    void *ctx)
{
    struct signal_watch *watch = xcalloc(1, sizeof *watch);

    watch->on_signal = on_arrival;
    watch->ctx = ctx;
    watch->signal.data = watch;
    must(uv_signal_init(&loop->uv, &watch->signal), "uv_signal_init");
    must(uv_signal_start(&watch->signal, on_signal, signo), "uv_signal_start");
    list_push_back(&loop->signals, &watch->node);
}

/* SPDX-License-Identifier: MIT */
/*
 * loop - the one event loop; everything that waits, waits here
 *
 * Thread:    one.  loop_work() alone runs a function elsewhere (name resolution, file reads).
 * Units:     boot-clock milliseconds, read once per turn.
 * Ownership: timers, watchers and works live in their owner's struct; the owner stops them
 *            before it dies.  What libuv may still mention is freed in its own close callback,
 *            inside this file.
 * Order:     each turn handles events, then calls the turn function once, which returns how
 *            many milliseconds it can wait at most (or -1).
 */
#ifndef TOCSIN_IO_LOOP_H
#define TOCSIN_IO_LOOP_H
#include "base/err.h"
#include "base/list.h"
#include <stdbool.h>
#include <stdint.h>

struct loop;

/* Also ignores SIGPIPE: a peer that went away is an error of write(), not our end. */
struct loop *loop_new(void);
/*
 * Every timer and watcher must be stopped; panics when one is left.  Waits for loop_work()
 * under way, whose on_done still runs.  Signals are let go.
 */
void loop_free(struct loop *loop);
/* Runs until loop_stop(). */
void loop_run(struct loop *loop, int64_t (*turn)(void *ctx), void *ctx);
void loop_stop(struct loop *loop);
/* Boot clock at the start of this turn's events. */
int64_t loop_now_ms(const struct loop *loop);
/*
 * How often loop_run() has called its turn function since loop_new().  An idle process makes a
 * few turns a second; many with nothing taken in mean that some wait is always over at once.
 */
uint64_t loop_turns(const struct loop *loop);
/* Makes the coming wait not wait; for work queued outside an event. */
void loop_wake(struct loop *loop);

/*
 * Sleeps for up to us microseconds before the coming wait.  A peer that writes to a process
 * asleep in the kernel's poll pays for waking it, once per message; what it writes meanwhile
 * gathers instead.  For a busy loop only: it adds as much to the latency.
 */
void loop_linger(struct loop *loop, unsigned us);

/* A one-shot timer.  Zero-initialise; start again as often as wanted. */
struct loop_timer {
    void *handle; /* loop's */
};
void loop_timer_start(struct loop *loop, struct loop_timer *timer, int64_t after_ms,
                      void (*on_due)(void *ctx), void *ctx);
void loop_timer_stop(struct loop_timer *timer);
bool loop_timer_is_armed(const struct loop_timer *timer);

/*
 * Readiness of one descriptor.  Stop before the library that owns it closes it.
 *
 * LOOP_BROKEN, beside the other two: the descriptor cannot be watched, because it is closed or
 * the kernel has no room for another; `watch.failed` says why.  The watch has stopped.  The owner
 * ends the connection, or starts the watch again later: at once would be a loop without a wait.
 * A watch whose descriptor was closed, and whose number another watch has got, is told nothing.
 */
enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_BROKEN = 4 };
struct loop_watch {
    void *handle;
    int fd;
};
/* Starting again changes the events.  on_ready gets the ready subset (both on error). */
void loop_watch_start(struct loop *loop, struct loop_watch *watch, int fd, int events,
                      void (*on_ready)(void *ctx, int events), void *ctx);
void loop_watch_stop(struct loop_watch *watch);

/* Runs work() on a pool thread, then on_done() on the loop, exactly once. */
void loop_work(struct loop *loop, void (*work)(void *ctx), void (*on_done)(void *ctx), void *ctx);

/* Something to do once, at the end of this turn, after the turn function (flushing). */
struct loop_deferred {
    struct list_node node; /* loop's */
    void (*run)(void *ctx);
    void *ctx;
};
/* Does nothing when it is due already. */
void loop_defer(struct loop *loop, struct loop_deferred *deferred);
void loop_defer_cancel(struct loop *loop, struct loop_deferred *deferred);

/* Calls on_signal on the loop for each delivery of signo. */
void loop_on_signal(struct loop *loop, int signo, void (*on_signal)(void *ctx, int signo),
                    void *ctx);

#endif

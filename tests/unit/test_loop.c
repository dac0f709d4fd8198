/* SPDX-License-Identifier: MIT */
#include "io/loop.h"

#include "base/clock.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>
#include <cmocka.h>

#include "log_capture.h"

struct scene {
    struct loop *loop;
    struct loop_timer timers[4];
    struct loop_watch watch;
    struct loop_deferred deferred;
    char order[64];
    int fds[2];
    int turns, works, signals, last_events;
    int64_t turn_wait;
};

static void note(struct scene *scene, char c)
{
    size_t length = strlen(scene->order);

    if (length + 1 < sizeof scene->order) {
        scene->order[length] = c;
        scene->order[length + 1] = '\0';
    }
}

static int64_t turn(void *ctx)
{
    struct scene *scene = ctx;

    scene->turns++;
    return scene->turn_wait;
}

static void on_a(void *ctx)
{
    note(ctx, 'a');
}

static void on_b_restarts_a(void *ctx)
{
    struct scene *scene = ctx;

    note(scene, 'b');
    loop_timer_start(scene->loop, &scene->timers[0], 0, on_a, scene);
}

static void on_end(void *ctx)
{
    struct scene *scene = ctx;

    note(scene, 'e');
    loop_stop(scene->loop);
}

static void scene_open(struct scene *scene)
{
    memset(scene, 0, sizeof *scene);
    scene->loop = loop_new();
    scene->turn_wait = -1;
}

static void scene_close(struct scene *scene)
{
    for (size_t i = 0; i < 4; i++)
        loop_timer_stop(&scene->timers[i]);
    loop_watch_stop(&scene->watch);
    loop_free(scene->loop);
}

static void timers_fire_in_order_and_can_move(void **state)
{
    struct scene scene;
    int64_t start;

    (void)state;
    scene_open(&scene);
    start = clock_boot_ms();
    loop_timer_start(scene.loop, &scene.timers[0], 5000, on_a, &scene);
    loop_timer_start(scene.loop, &scene.timers[0], 10, on_a, &scene); /* moved, not doubled */
    loop_timer_start(scene.loop, &scene.timers[1], 20, on_b_restarts_a, &scene);
    loop_timer_start(scene.loop, &scene.timers[2], 400, on_end, &scene);
    loop_timer_start(scene.loop, &scene.timers[3], 15, on_a, &scene);
    assert_true(loop_timer_is_armed(&scene.timers[3]));
    loop_timer_stop(&scene.timers[3]);
    assert_false(loop_timer_is_armed(&scene.timers[3]));
    loop_run(scene.loop, turn, &scene);
    assert_string_equal(scene.order, "abae");
    assert_in_range(clock_boot_ms() - start, 400, 5000);
    assert_in_range(scene.turns, 1, 30); /* it waited, it did not spin */
    assert_false(loop_timer_is_armed(&scene.timers[0]));
    scene_close(&scene);
}

static void turn_bounds_the_wait(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    scene.turn_wait = 5;
    loop_timer_start(scene.loop, &scene.timers[0], 60, on_end, &scene);
    loop_run(scene.loop, turn, &scene);
    assert_in_range(scene.turns, 2, 20); /* 60 ms in waits of 5, on however slow a machine */
    scene_close(&scene);
}

static bool is_stalling;

/* Stands before libuv's: a machine that is slow just when a wait has been armed. */
int uv_timer_start(uv_timer_t *handle, uv_timer_cb on_due, uint64_t after_ms, uint64_t repeat_ms)
{
    typedef int start_fn(uv_timer_t * timer, uv_timer_cb callback, uint64_t after, uint64_t repeat);
    start_fn *start = (start_fn *)dlsym(RTLD_NEXT, "uv_timer_start");
    int rc = start(handle, on_due, after_ms, repeat_ms);

    if (is_stalling)
        usleep(5000);
    return rc;
}

static int64_t turn_counts(void *ctx)
{
    struct scene *scene = ctx;

    if (++scene->turns >= 20)
        loop_stop(scene->loop);
    return 2;
}

static void a_wait_that_is_over_before_it_begins_ends(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    is_stalling = true;
    alarm(30); /* nothing else would end a wait without a limit */
    loop_run(scene.loop, turn_counts, &scene);
    alarm(0);
    is_stalling = false;
    assert_int_equal(scene.turns, 20);
    scene_close(&scene);
}

static int64_t turn_wakes_once(void *ctx)
{
    struct scene *scene = ctx;

    if (++scene->turns == 1)
        loop_wake(scene->loop);
    else
        loop_stop(scene->loop);
    return 60000;
}

static void wake_skips_one_wait(void **state)
{
    struct scene scene;
    int64_t start = clock_boot_ms();

    (void)state;
    scene_open(&scene);
    loop_run(scene.loop, turn_wakes_once, &scene);
    assert_in_range(clock_boot_ms() - start, 0, 5000);
    scene_close(&scene);
}

static int64_t turn_lingers_once(void *ctx)
{
    struct scene *scene = ctx;

    if (++scene->turns == 1)
        loop_linger(scene->loop, 30000);
    else if (scene->turns == 3)
        loop_stop(scene->loop);
    return 0;
}

static void linger_sleeps_once(void **state)
{
    struct scene scene;
    int64_t start = clock_boot_ms();

    (void)state;
    scene_open(&scene);
    loop_run(scene.loop, turn_lingers_once, &scene);
    assert_in_range(clock_boot_ms() - start, 30, 2000);
    scene_close(&scene);
}

static void on_ready(void *ctx, int events)
{
    struct scene *scene = ctx;
    char byte;

    scene->last_events = events;
    if (events & LOOP_READ) {
        ssize_t got = read(scene->fds[0], &byte, 1);

        note(scene, got == 1 ? byte : '.');
        if (got != 1) {
            loop_watch_stop(&scene->watch);
            loop_stop(scene->loop);
        }
        return;
    }
    note(scene, 'w');
    loop_watch_start(scene->loop, &scene->watch, scene->fds[0], LOOP_READ, on_ready, scene);
    assert_int_equal(write(scene->fds[1], "xy", 2), 2);
    shutdown(scene->fds[1], SHUT_WR);
}

static void watches_follow_their_events(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, scene.fds), 0);
    loop_watch_start(scene.loop, &scene.watch, scene.fds[0], LOOP_WRITE, on_ready, &scene);
    loop_run(scene.loop, NULL, NULL);
    assert_string_equal(scene.order, "wxy.");
    close(scene.fds[0]);
    close(scene.fds[1]);
    scene_close(&scene);
}

static void on_disarm(void *ctx, int events)
{
    struct scene *scene = ctx;

    (void)events;
    note(scene, 'r');
    loop_watch_start(scene->loop, &scene->watch, scene->fds[0], 0, on_disarm, scene);
}

static void watch_without_events_is_silent(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, scene.fds), 0);
    assert_int_equal(write(scene.fds[1], "x", 1), 1);
    loop_watch_start(scene.loop, &scene.watch, scene.fds[0], LOOP_READ, on_disarm, &scene);
    loop_timer_start(scene.loop, &scene.timers[0], 30, on_end, &scene);
    loop_run(scene.loop, NULL, NULL);
    assert_string_equal(scene.order, "re");
    close(scene.fds[0]);
    close(scene.fds[1]);
    scene_close(&scene);
}

static void on_broken(void *ctx, int events)
{
    struct scene *scene = ctx;

    scene->last_events = events;
    note(scene, events & LOOP_BROKEN ? 'b' : 'r');
}

static void on_other(void *ctx, int events)
{
    struct scene *scene = ctx;

    (void)events;
    note(scene, 'o');
    loop_stop(scene->loop);
}

/* libuv would call abort() when it tells the kernel. */
static void a_descriptor_closed_before_the_wait_breaks_its_watch_alone(void **state)
{
    struct loop_watch other = {0};
    struct log_capture capture;
    struct scene scene;

    (void)state;
    log_capture_start(&capture);
    scene_open(&scene);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, scene.fds), 0);
    loop_watch_start(scene.loop, &scene.watch, scene.fds[1], LOOP_READ, on_broken, &scene);
    loop_watch_start(scene.loop, &other, scene.fds[0], LOOP_READ, on_other, &scene);
    close(scene.fds[1]); /* also makes the other end readable */
    loop_run(scene.loop, NULL, NULL);
    assert_string_equal(scene.order, "ob");
    assert_int_equal(scene.last_events, LOOP_READ | LOOP_WRITE | LOOP_BROKEN);
    loop_watch_stop(&other);
    loop_watch_stop(&scene.watch);
    close(scene.fds[0]);
    scene_close(&scene);
    assert_non_null(strstr(log_capture_end(&capture), " warn watch.failed fd="));
}

/* A regular file: epoll takes none. */
static void a_descriptor_that_cannot_be_watched_breaks_its_watch(void **state)
{
    struct scene scene;
    char name[] = "/tmp/tocsin-loop-XXXXXX";
    int fd = mkstemp(name);

    (void)state;
    assert_true(fd >= 0);
    unlink(name);
    scene_open(&scene);
    loop_watch_start(scene.loop, &scene.watch, fd, LOOP_READ, on_broken, &scene);
    loop_watch_start(scene.loop, &scene.watch, fd, LOOP_READ, on_broken, &scene);
    loop_timer_start(scene.loop, &scene.timers[0], 30, on_end, &scene);
    loop_run(scene.loop, NULL, NULL);
    assert_string_equal(scene.order, "be");
    loop_watch_start(scene.loop, &scene.watch, fd, LOOP_READ, on_broken, &scene);
    scene_close(&scene); /* with a watch that is about to be told */
    close(fd);
}

static void on_old(void *ctx, int events)
{
    (void)events;
    note(ctx, 'o');
}

/* As a library does that closes a socket without telling. */
static void a_number_given_anew_is_watched_for_its_new_owner(void **state)
{
    struct loop_watch old = {0};
    struct log_capture capture;
    struct scene scene;
    int number, pair[2];

    (void)state;
    log_capture_start(&capture);
    scene_open(&scene);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    number = pair[0];
    loop_watch_start(scene.loop, &old, number, LOOP_READ, on_old, &scene);
    loop_timer_start(scene.loop, &scene.timers[0], 10, on_end, &scene);
    loop_run(scene.loop, NULL, NULL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, scene.fds), 0);
    assert_int_equal(dup2(scene.fds[0], number), number); /* closes what it was */
    loop_watch_start(scene.loop, &scene.watch, number, LOOP_READ, on_broken, &scene);
    assert_int_equal(write(scene.fds[1], "x", 1), 1);
    loop_timer_start(scene.loop, &scene.timers[0], 0, on_end, &scene);
    loop_run(scene.loop, NULL, NULL);
    assert_string_equal(scene.order, "ere");
    loop_watch_stop(&old); /* takes nothing from the new one */
    loop_timer_start(scene.loop, &scene.timers[0], 0, on_end, &scene);
    loop_run(scene.loop, NULL, NULL);
    assert_string_equal(scene.order, "erere");
    close(number);
    close(pair[1]);
    close(scene.fds[0]);
    close(scene.fds[1]);
    scene_close(&scene);
    assert_non_null(strstr(log_capture_end(&capture), " error watch.stale fd="));
}

static void do_work(void *ctx)
{
    struct scene *scene = ctx;

    usleep(1000);
    scene->works++;
}

static void on_done(void *ctx)
{
    struct scene *scene = ctx;

    scene->works += 10;
    loop_stop(scene->loop);
}

static void work_runs_elsewhere_and_comes_back(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    loop_work(scene.loop, do_work, on_done, &scene);
    loop_run(scene.loop, NULL, NULL);
    assert_int_equal(scene.works, 11);
    loop_work(scene.loop, do_work, on_done, &scene);
    scene_close(&scene); /* waits for it */
    assert_int_equal(scene.works, 22);
}

static void on_deferred(void *ctx)
{
    struct scene *scene = ctx;

    note(scene, 'd');
    loop_timer_start(scene->loop, &scene->timers[1], 1, on_a, scene);
}

static void on_timer_defers(void *ctx)
{
    struct scene *scene = ctx;

    note(scene, 't');
    loop_defer(scene->loop, &scene->deferred);
    loop_defer(scene->loop, &scene->deferred);
}

static int64_t turn_notes(void *ctx)
{
    struct scene *scene = ctx;

    if (scene->order[0])
        note(scene, 'T');
    if (strlen(scene->order) >= 3)
        loop_stop(scene->loop);
    return -1;
}

static void deferred_runs_once_after_the_turn(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    scene.deferred.run = on_deferred;
    scene.deferred.ctx = &scene;
    loop_timer_start(scene.loop, &scene.timers[0], 1, on_timer_defers, &scene);
    loop_run(scene.loop, turn_notes, &scene);
    assert_string_equal(scene.order, "tTdaT");
    loop_defer(scene.loop, &scene.deferred);
    loop_defer_cancel(scene.loop, &scene.deferred);
    scene_close(&scene);
}

static void on_signal(void *ctx, int signo)
{
    struct scene *scene = ctx;

    assert_int_equal(signo, SIGUSR1);
    if (++scene->signals == 2)
        loop_stop(scene->loop);
    else
        raise(SIGUSR1);
}

static void signals_arrive_on_the_loop(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    loop_on_signal(scene.loop, SIGUSR1, on_signal, &scene);
    raise(SIGUSR1);
    loop_run(scene.loop, NULL, NULL);
    assert_int_equal(scene.signals, 2);
    scene_close(&scene);
}

static void time_stands_still_within_a_turn(void **state)
{
    struct loop *loop = loop_new();
    int64_t now = loop_now_ms(loop);

    (void)state;
    usleep(5000);
    assert_int_equal(loop_now_ms(loop), now);
    loop_free(loop);
}

static void a_timer_left_behind_panics(void **state)
{
    int status;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        struct loop *loop = loop_new();
        struct loop_timer timer = {0};

        signal(SIGABRT, SIG_DFL);
        dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
        loop_timer_start(loop, &timer, 10, on_a, NULL);
        loop_free(loop);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* What a name server that does not answer does to getaddrinfo(). */
struct hanging {
    struct loop *loop;
    int end[2];
    int hung, quick;
};

static void hang(void *ctx)
{
    struct hanging *hanging = ctx;
    char byte;

    (void)!read(hanging->end[0], &byte, 1);
}

static void on_hung(void *ctx)
{
    ((struct hanging *)ctx)->hung++;
}

static void be_quick(void *ctx)
{
    (void)ctx;
}

static void on_quick(void *ctx)
{
    struct hanging *hanging = ctx;

    hanging->quick++;
    loop_stop(hanging->loop);
}

static void on_limit(void *ctx)
{
    loop_stop(ctx);
}

static void works_that_hang_hold_up_no_other_work(void **state)
{
    struct hanging hanging = {.loop = loop_new()};
    struct loop_timer limit = {0};

    (void)state;
    assert_int_equal(pipe(hanging.end), 0);
    for (int i = 0; i < 8; i++) /* all connections of a bridge to one name */
        loop_work(hanging.loop, hang, on_hung, &hanging);
    loop_work(hanging.loop, be_quick, on_quick, &hanging);
    loop_timer_start(hanging.loop, &limit, 10000, on_limit, hanging.loop);
    loop_run(hanging.loop, NULL, NULL);
    assert_int_equal(hanging.quick, 1);
    assert_int_equal(hanging.hung, 0);
    assert_int_equal(write(hanging.end[1], "12345678", 8), 8);
    loop_timer_stop(&limit);
    loop_free(hanging.loop); /* waits for them */
    assert_int_equal(hanging.hung, 8);
    close(hanging.end[0]);
    close(hanging.end[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_in_order_and_can_move),
        cmocka_unit_test(turn_bounds_the_wait),
        cmocka_unit_test(a_wait_that_is_over_before_it_begins_ends),
        cmocka_unit_test(wake_skips_one_wait),
        cmocka_unit_test(linger_sleeps_once),
        cmocka_unit_test(watches_follow_their_events),
        cmocka_unit_test(watch_without_events_is_silent),
        cmocka_unit_test(a_descriptor_closed_before_the_wait_breaks_its_watch_alone),
        cmocka_unit_test(a_descriptor_that_cannot_be_watched_breaks_its_watch),
        cmocka_unit_test(a_number_given_anew_is_watched_for_its_new_owner),
        cmocka_unit_test(work_runs_elsewhere_and_comes_back),
        cmocka_unit_test(deferred_runs_once_after_the_turn),
        cmocka_unit_test(signals_arrive_on_the_loop),
        cmocka_unit_test(time_stands_still_within_a_turn),
        cmocka_unit_test(a_timer_left_behind_panics),
        cmocka_unit_test(works_that_hang_hold_up_no_other_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

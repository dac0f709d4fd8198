/* SPDX-License-Identifier: MIT */
#include "loop.h"

#include "ids.h"
#include "say.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

void loop_stop(struct loop *loop, enum cli_exit status)
{
    loop->status = loop->is_over ? exit_worse(loop->status, status) : status;
    loop->is_over = true;
}

static void on_signal(struct loop *loop)
{
    int number = signals_take(&loop->cli->signals);

    if (number)
        loop_stop(loop, number == SIGINT ? CLI_INT : CLI_TERM);
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < 0 ? b : b < 0 || a < b ? a : b;
}

static void turn(struct loop *loop, int64_t wait_ms)
{
    struct loop_hooks *hooks = &loop->hooks;
    struct pollfd fds[3] = {
        {.fd = signals_fd(&loop->cli->signals), .events = POLLIN},
        {.fd = link_fd(loop->link), .events = POLLIN},
        {.fd = hooks->input_fd ? hooks->input_fd(hooks->ctx) : -1, .events = POLLIN},
    };

    if (poll(fds, 3,
             wait_ms < 0       ? -1
             : wait_ms > 60000 ? 60000
                               : (int)wait_ms) < 0 &&
        errno != EINTR) {
        say_error("poll: %s", strerror(errno));
        loop_stop(loop, CLI_ERROR);
        return;
    }
    if (fds[0].revents)
        on_signal(loop);
    if (fds[1].revents)
        link_dispatch(loop->link);
    if (fds[2].revents && !loop->is_over)
        hooks->on_input(hooks->ctx);
}

enum cli_exit loop_run(struct loop *loop)
{
    while (!loop->is_over) {
        int64_t due = link_tick(loop->link);

        enum cli_exit written = say_flush();
        if (written != CLI_OK)
            loop_stop(loop, written);
        if (loop->hooks.tick && !loop->is_over)
            due = sooner(due, loop->hooks.tick(loop->hooks.ctx));
        if (!loop->is_over)
            turn(loop, due);
    }
    return exit_worse(loop->status, say_flush());
}

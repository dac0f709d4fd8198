/* SPDX-License-Identifier: MIT */
#include "signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define GRACE_MS 2000
#define LOOK_MS  50

static bool is_taken(const struct signals *sig)
{
    int waiting = 0;

    return ioctl(sig->pipe_fd[0], FIONREAD, &waiting) == 0 && waiting == 0;
}

static void *watch(void *ctx)
{
    struct signals *sig = ctx;
    struct timespec look = {.tv_nsec = LOOK_MS * 1000000L};
    struct signalfd_siginfo info;

    while (read(sig->source_fd, &info, sizeof(info)) == sizeof(info)) {
        unsigned char number = (unsigned char)info.ssi_signo;
        int waited_ms = 0;

        if (write(sig->pipe_fd[1], &number, 1) != 1)
            _exit(128 + number);
        for (; !is_taken(sig) && waited_ms < GRACE_MS; waited_ms += LOOK_MS)
            nanosleep(&look, NULL);
        if (!is_taken(sig))
            _exit(128 + number); /* stuck: nothing that it would still do is worth waiting for */
    }
    return NULL;
}

int signals_open(struct signals *sig)
{
    sigset_t set;

    *sig = (struct signals){.source_fd = -1, .pipe_fd = {-1, -1}};
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    sig->source_fd = signalfd(-1, &set, SFD_CLOEXEC);
    if (sig->source_fd < 0 || pipe2(sig->pipe_fd, O_CLOEXEC | O_NONBLOCK))
        return -1;
    errno = pthread_create(&sig->thread, NULL, watch, sig);
    sig->is_running = errno == 0;
    return sig->is_running ? 0 : -1;
}

int signals_fd(const struct signals *sig)
{
    return sig->pipe_fd[0];
}

int signals_take(struct signals *sig)
{
    unsigned char number;

    return read(sig->pipe_fd[0], &number, 1) == 1 ? number : 0;
}

void signals_close(struct signals *sig)
{
    if (sig->is_running) {
        pthread_cancel(sig->thread);
        pthread_join(sig->thread, NULL);
        close(sig->source_fd);
        close(sig->pipe_fd[0]);
        close(sig->pipe_fd[1]);
    }
    *sig = (struct signals){.source_fd = -1, .pipe_fd = {-1, -1}};
}

/* SPDX-License-Identifier: MIT */
/*
 * signals - SIGINT and SIGTERM as something to poll, and an end in any case
 *
 * A loop that polls for signals does not see them while it is stuck in a
 * write to a pipe that nobody reads. So a thread of its own takes them,
 * passes them on, and when the loop has not picked one up in two seconds,
 * ends the program as the signal would have.
 *
 * Order: signals_open() before any other thread is started, for they inherit
 *        the mask.
 */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H
#include "mem.h"

#include <pthread.h>
#include <stdbool.h>

struct signals {
    int source_fd;  /* a signalfd: the thread's */
    int pipe_fd[2]; /* from the thread to the loop */
    pthread_t thread;
    bool is_running;
};

/* -1 with errno set. The struct must stay where it is until signals_close(). */
int signals_open(struct signals *sig) NODISCARD;
/* To poll for reading. */
int signals_fd(const struct signals *sig);
/* The signal that came, or 0. */
int signals_take(struct signals *sig);
/* Fine also for a zeroed struct. */
void signals_close(struct signals *sig);
#endif

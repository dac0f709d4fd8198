/* SPDX-License-Identifier: MIT */
/*
 * log_capture - what is logged between start and end goes into a file without a name
 */
#ifndef TOCSIN_TESTS_LOG_CAPTURE_H
#define TOCSIN_TESTS_LOG_CAPTURE_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

struct log_capture {
    int fd, saved;
    char text[4000];
};

static inline void log_capture_start(struct log_capture *capture)
{
    memset(capture, 0, sizeof *capture);
    capture->fd = memfd_create("log", MFD_CLOEXEC);
    capture->saved = dup(STDERR_FILENO);
    assert_true(capture->fd >= 0 && capture->saved >= 0);
    dup2(capture->fd, STDERR_FILENO);
}

static inline const char *log_capture_end(struct log_capture *capture)
{
    dup2(capture->saved, STDERR_FILENO);
    assert_true(pread(capture->fd, capture->text, sizeof capture->text - 1, 0) >= 0);
    close(capture->fd);
    close(capture->saved);
    return capture->text;
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * loop - waits for the broker, the keyboard, the input and the clock
 *
 * One thread, one poll(). Each turn: signals, the link's events, input if it
 * is wanted and there, then the hook's tick, which says when it is next due.
 * stdout is flushed at the end of a turn, before acknowledgements go out.
 */
#ifndef CLI_LOOP_H
#define CLI_LOOP_H
#include "cli.h"
#include "link.h"

struct loop_hooks {
    void *ctx;
    /* May be NULL. Returns the ms until it wants to run again, -1 for never. */
    int64_t (*tick)(void *ctx);
    /* May be NULL. The descriptor to read from, or -1 while none is wanted. */
    int (*input_fd)(void *ctx);
    void (*on_input)(void *ctx);
};

struct loop {
    struct cli *cli;   /* borrowed */
    struct link *link; /* borrowed */
    struct loop_hooks hooks;
    bool is_over;
    enum cli_exit status;
};

/* Runs until loop_stop(); returns the status given to it, or a signal's. */
enum cli_exit loop_run(struct loop *loop) NODISCARD;
/* Ends the loop after the current turn. Of several calls the gravest status counts. */
void loop_stop(struct loop *loop, enum cli_exit status);
#endif

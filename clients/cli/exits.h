/* SPDX-License-Identifier: MIT */
/*
 * exits - what tocsin's exit status means
 *
 * Scripts depend on these numbers; they are documented in tocsin(1) and may
 * only grow.  When several apply, exit_worse() decides which one is shown.
 */
#ifndef CLI_EXITS_H
#define CLI_EXITS_H

enum cli_exit {
    CLI_OK = 0,
    CLI_ERROR = 1,       /* an unexpected local failure: disk, memory, a bug */
    CLI_USAGE = 2,       /* bad options, no token, unreadable file */
    CLI_REFUSED = 3,     /* the broker said no: login, subscription or publish */
    CLI_REJECTED = 4,    /* a request was rejected, or a call answered with an error */
    CLI_TIMEOUT = 5,     /* broker out of reach, or no answer in time */
    CLI_UNDELIVERED = 6, /* --wait final: dead, suppressed, expired or cancelled */
    CLI_BAD_INPUT = 7,   /* some input lines were no requests; the others went out */
    CLI_INT = 130,       /* SIGINT */
    CLI_PIPE = 141,      /* whoever read our output went away */
    CLI_TERM = 143       /* SIGTERM */
};

/* The graver of two outcomes: signals, then errors by how little got done. */
static inline enum cli_exit exit_worse(enum cli_exit a, enum cli_exit b)
{
    static const enum cli_exit gravity[] = {
        CLI_OK,    CLI_UNDELIVERED, CLI_BAD_INPUT, CLI_REJECTED, CLI_TIMEOUT, CLI_REFUSED,
        CLI_USAGE, CLI_ERROR,       CLI_PIPE,      CLI_TERM,     CLI_INT};
    enum cli_exit worst = CLI_OK;

    for (unsigned i = 0; i < sizeof(gravity) / sizeof(gravity[0]); i++)
        if (gravity[i] == a || gravity[i] == b)
            worst = gravity[i];
    return worst;
}
#endif

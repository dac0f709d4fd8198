/* SPDX-License-Identifier: MIT */
/*
 * cli - one invocation of tocsin: what every command is given
 *
 * Ownership: main() owns all of it; commands borrow.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H
#include "config.h"
#include "exits.h"
#include "signals.h"

#include <jansson.h>
#include <stdbool.h>

struct command;

struct cli {
    const struct command *command;
    json_t *args;       /* options, by name */
    json_t *words;      /* what followed the command's name */
    struct config conf; /* loaded before the command runs */
    struct signals signals;
    bool is_json, is_quiet;
};

struct command {
    const char *name;  /* "send", or "dlq list": a group and a name */
    unsigned kinds;    /* whose tokens will do */
    const char *words; /* how help names the arguments, e.g. "ID", or NULL */
    size_t min_words, max_words;
    const char *summary;            /* one line for help */
    const struct opt *options;      /* its own, or NULL */
    const struct opt *more_options; /* a shared table, or NULL */
    enum cli_exit (*run)(struct cli *cli);
    const struct desk_call *call; /* for desk_run() only, see desk.h */
};

enum cli_exit cmd_send(struct cli *cli);
enum cli_exit cmd_watch(struct cli *cli);
enum cli_exit cmd_receipts(struct cli *cli);
enum cli_exit cmd_stats(struct cli *cli);
enum cli_exit cmd_stop(struct cli *cli); /* provider|channel pause|resume */

extern const struct opt send_options[], watch_options[], receipts_options[], stats_options[],
    stop_options[];
#endif

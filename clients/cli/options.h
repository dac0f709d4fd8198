/* SPDX-License-Identifier: MIT */
/*
 * options - a command line read by tables
 *
 * Every command names one or more tables of options; the parser, the help
 * texts and the checks all come from them. The result is a JSON object by
 * option name, so that options which are also request or call parameters
 * need no code of their own.
 *
 * Ownership: the caller's json_t, to json_decref().
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H
#include "mem.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum opt_type {
    OPT_FLAG,     /* true */
    OPT_STRING,   /* a string */
    OPT_LIST,     /* repeatable, commas split: an array of strings */
    OPT_REPEAT,   /* repeatable, not split: an array of strings */
    OPT_INT,      /* a whole number >= 0 */
    OPT_DURATION, /* milliseconds, as a number */
    OPT_JSON      /* any JSON value */
};

struct opt {
    const char *name; /* without the dashes; NULL ends a table */
    enum opt_type type;
    const char *value;   /* how help names the value */
    const char *help;    /* NULL: not shown, since this version of the bridge does not serve it */
    const char *choices; /* "a|b|c" where only these are right, else NULL */
};

/*
 * Reads argv[1..] by the `tables` (NULL-terminated). What is no option goes
 * into *positional, a new array. New object, or NULL after saying on stderr
 * what is wrong.
 */
json_t *options_parse(const struct opt *const *tables, int argc, char **argv,
                      json_t **positional) NODISCARD;
void options_help(const struct opt *const *tables);

/* Borrowed; NULL when not given. */
const char *arg_str(const json_t *args, const char *name);
bool arg_flag(const json_t *args, const char *name);
int64_t arg_int(const json_t *args, const char *name, int64_t otherwise);
#endif

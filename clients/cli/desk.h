/* SPDX-License-Identifier: MIT */
/*
 * desk - every command that is one call and its answer
 *
 * Such a command is a row: the method, where its parameters come from, and
 * how to show the result. A new one is a row here, a row in main's table of
 * commands and a paragraph in tocsin(1); it needs code only if its result
 * wants a table of its own.
 */
#ifndef CLI_DESK_H
#define CLI_DESK_H
#include "cli.h"

/* The reasons of dead letters, as core/outcome.c of the bridge has them. */
#define DESK_REASONS                                                                         \
    "user_offline, ack_timeout, no_target, target_invalid, target_dead, provider_rejected, " \
    "provider_auth, provider_unavailable, network_timeout, connection_lost, rate_limited, "  \
    "content_invalid, payload_too_large, template_error, outcome_unknown, poison, internal"

enum desk_words {
    WORDS_NONE,
    WORDS_ID,  /* one: params.id */
    WORDS_IDS, /* any number: params.ids */
    WORDS_CALL /* a method and, maybe, its params as JSON */
};

enum desk_filter {
    FILTER_NONE,
    FILTER_FLAT,   /* each filter option is a parameter */
    FILTER_NESTED, /* they go under params.filter, unless ids are given */
    FILTER_AUDIT   /* as FLAT, by the audit's own options */
};

struct desk_call {
    const char *method; /* NULL with WORDS_CALL */
    enum desk_words words;
    enum desk_filter filter;
    const char *const *params; /* further options that are parameters as they are; NULL ends */
    int64_t timeout_ms;        /* 0: ten seconds */
    bool needs_choice;         /* nothing chosen is refused, short of --all */
    const char *list; /* the result's array, shown one JSON line each, and paged by `next` */
    bool is_whole;    /* but the result is shown as it is, one JSON line each page */
    void (*show)(const json_t *result); /* readable; for `list` called page by page */
};

extern const struct desk_call desk_status, desk_cancel, desk_dlq_list, desk_dlq_count,
    desk_dlq_stats, desk_dlq_show, desk_dlq_retry, desk_dlq_resolve, desk_dlq_ignore, desk_audit,
    desk_any, desk_providers;
extern const struct opt desk_options[], desk_filter_options[], desk_list_options[],
    desk_retry_options[], desk_verdict_options[], desk_audit_options[];

enum cli_exit desk_run(struct cli *cli);
/* The call's parameters from words and options. 0, or -1 after saying what is wrong. */
int desk_params(const struct cli *cli, const struct desk_call *call, json_t *params) NODISCARD;
#endif

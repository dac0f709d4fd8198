/* SPDX-License-Identifier: MIT */
#include "desk.h"

#include "dead.h"
#include "exact.h"
#include "ids.h"
#include "rpc.h"
#include "say.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

const struct opt desk_options[] = {
    {"timeout", OPT_DURATION, "TIME", "how long to wait for the answer (10s)", NULL},
    {NULL, OPT_FLAG, NULL, NULL, NULL}};

/* Parameters of the same name, in every call that takes a filter. */
const struct opt desk_filter_options[] = {
    {"channel", OPT_STRING, "CHANNEL", "only of this channel",
     "in_app|push|sms|email|chat|webhook"},
    {"reason", OPT_STRING, "REASON", "only those that died of this; a wrong one lists them", NULL},
    {"type", OPT_STRING, "TYPE", "only of this notification type", NULL},
    {"service", OPT_STRING, "SERVICE", "only those asked for by this service", NULL},
    {"user", OPT_STRING, "USER", "only those for this user", NULL},
    {"since", OPT_STRING, "TIME", "died since 2026-01-31T12:00:00Z, or 2h for two hours ago", NULL},
    {"until", OPT_STRING, "TIME", "died before, in the same forms", NULL},
    {"status", OPT_STRING, "STATUS", "only with this status, or any",
     "pending_review|retrying|resolved|ignored|any"},
    {NULL, OPT_FLAG, NULL, NULL, NULL}};

const struct opt desk_list_options[] = {
    {"limit", OPT_INT, "N", "entries in one answer", NULL},
    {"after", OPT_STRING, "CURSOR", "go on after an earlier answer", NULL},
    {"pages", OPT_FLAG, NULL, "fetch answer after answer until there are no more", NULL},
    {"timeout", OPT_DURATION, "TIME", "how long to wait for the answer (10s)", NULL},
    {NULL, OPT_FLAG, NULL, NULL, NULL}};

const struct opt desk_retry_options[] = {
    {"all", OPT_FLAG, NULL, "everything, where neither ids nor a filter are given", NULL},
    {"dry-run", OPT_FLAG, NULL, "change nothing: say how many it would be", NULL},
    {"note", OPT_STRING, "TEXT", "why, for those who look later", NULL},
    {"destination", OPT_STRING, "NAME", "by this destination of the channel", NULL},
    {"content", OPT_JSON, "JSON", "with this content, as dlq show prints it; for ids", NULL},
    {"timeout", OPT_DURATION, "TIME", "how long to wait for the answer (60s)", NULL},
    {NULL, OPT_FLAG, NULL, NULL, NULL}};

const struct opt desk_verdict_options[] = {
    {"all", OPT_FLAG, NULL, "everything, where neither ids nor a filter are given", NULL},
    {"dry-run", OPT_FLAG, NULL, "change nothing: say how many it would be", NULL},
    {"note", OPT_STRING, "TEXT", "why, for those who look later", NULL},
    {"timeout", OPT_DURATION, "TIME", "how long to wait for the answer (60s)", NULL},
    {NULL, OPT_FLAG, NULL, NULL, NULL}};

const struct opt desk_audit_options[] = {
    {"admin", OPT_STRING, "ADMIN", "only what this admin did", NULL},
    {"action", OPT_STRING, "METHOD", "only this action, dlq.retry say", NULL},
    {"since", OPT_STRING, "TIME", "since 2026-01-31T12:00:00Z, or 2h for two hours ago", NULL},
    {"until", OPT_STRING, "TIME", "before, in the same forms", NULL},
    {NULL, OPT_FLAG, NULL, NULL, NULL}};

/* ---- results ---- */

static void show_history(const json_t *delivery)
{
    json_t *attempt;
    size_t i;

    json_array_foreach(json_object_get(delivery, "history"), i, attempt)
    {
        char *at = clean_field(attempt, "at"), *outcome = clean_field(attempt, "outcome");
        char *reason = clean_field(attempt, "reason"), *detail = clean_field(attempt, "detail");
        char *provider = clean_field(attempt, "provider");

        json_int_t number = json_integer_value(json_object_get(attempt, "attempt"));

        if (number) /* what happened without an attempt, a cancellation say, has none */
            say("    attempt %lld  ", (long long)number);
        else
            say("    ");
        say("%s  %s%s%s%s%s%s%s\n", at, outcome, *provider ? "  by " : "", provider,
            *reason ? "  " : "", reason, *detail ? ": " : "", detail);
        free(at);
        free(outcome);
        free(reason);
        free(detail);
        free(provider);
    }
}

static void show_status(const json_t *result)
{
    json_t *deliveries = json_object_get(result, "deliveries"), *d;
    char *id = clean_field(result, "id"), *type = clean_field(result, "type");
    char *accepted_at = clean_field(result, "accepted_at");
    size_t i;

    say("%s  %s  accepted %s\n", id, type, *accepted_at ? accepted_at : "-");
    json_array_foreach(deliveries, i, d)
    {
        char *channel = clean_field(d, "channel"), *state = clean_field(d, "state");
        char *user = clean_field(d, "user"), *target = clean_field(d, "target");
        char *reason = clean_field(d, "reason"), *due = clean_field(d, "due_at");

        say("  %s  %s%s%s  %s", channel, user, *user && *target ? " " : "", target, state);
        if (*reason)
            say("  %s", reason);
        if (*due)
            say("  due %s", due);
        say("\n");
        show_history(d);
        free(channel);
        free(state);
        free(user);
        free(target);
        free(reason);
        free(due);
    }
    if (json_array_size(deliveries) == 0)
        say("  no deliveries\n");
    free(id);
    free(type);
    free(accepted_at);
}

static void show_cancelled(const json_t *result)
{
    say("%lld cancelled\n", (long long)json_integer_value(json_object_get(result, "cancelled")));
}

static void show_any(const json_t *result)
{
    char *text = exact_dump(result, JSON_INDENT(2) | JSON_ENCODE_ANY);
    /* Line by line, so that the layout survives the cleaning. */
    for (char *line = text, *end; line; line = end) {
        end = strchr(line, '\n');
        if (end)
            *end++ = '\0';
        char *clean = clean_text(line);
        say("%s\n", clean);
        free(clean);
    }
    free(text);
}

static const char *const paging[] = {"limit", "after", NULL};
static const char *const retrying[] = {"note", "destination", "content", NULL};
static const char *const verdict[] = {"note", NULL};
/* A change of very many is answered when all of it is accepted. */
#define CHANGE_TIMEOUT_MS 60000

const struct desk_call desk_status = {.method = "request.status",
                                      .words = WORDS_ID,
                                      .params = paging,
                                      .list = "deliveries",
                                      .is_whole = true,
                                      .show = show_status};
const struct desk_call desk_cancel = {
    .method = "request.cancel", .words = WORDS_ID, .show = show_cancelled};
const struct desk_call desk_dlq_list = {.method = "dlq.list",
                                        .filter = FILTER_FLAT,
                                        .params = paging,
                                        .list = "entries",
                                        .show = show_dead_list};
const struct desk_call desk_dlq_count = {
    .method = "dlq.count", .filter = FILTER_FLAT, .show = show_dead_count};
const struct desk_call desk_dlq_stats = {
    .method = "dlq.stats", .filter = FILTER_FLAT, .show = show_dead_stats};
const struct desk_call desk_dlq_show = {
    .method = "dlq.get", .words = WORDS_ID, .show = show_dead_entry};
const struct desk_call desk_dlq_retry = {.method = "dlq.retry",
                                         .words = WORDS_IDS,
                                         .filter = FILTER_NESTED,
                                         .params = retrying,
                                         .needs_choice = true,
                                         .timeout_ms = CHANGE_TIMEOUT_MS,
                                         .show = show_dead_change};
const struct desk_call desk_dlq_resolve = {.method = "dlq.resolve",
                                           .words = WORDS_IDS,
                                           .filter = FILTER_NESTED,
                                           .params = verdict,
                                           .needs_choice = true,
                                           .timeout_ms = CHANGE_TIMEOUT_MS,
                                           .show = show_dead_change};
const struct desk_call desk_dlq_ignore = {.method = "dlq.ignore",
                                          .words = WORDS_IDS,
                                          .filter = FILTER_NESTED,
                                          .params = verdict,
                                          .needs_choice = true,
                                          .timeout_ms = CHANGE_TIMEOUT_MS,
                                          .show = show_dead_change};
const struct desk_call desk_audit = {.method = "audit.list",
                                     .filter = FILTER_AUDIT,
                                     .params = paging,
                                     .list = "entries",
                                     .show = show_audit};
const struct desk_call desk_any = {.words = WORDS_CALL, .show = show_any};

/* ---- parameters ---- */

/* New: a time as given, or "2h" as the time two hours ago. */
static json_t *time_param(const char *text)
{
    int64_t ago_ms;
    char out[32];

    if (parse_duration(text, &ago_ms))
        return json_string(text);
    time_t at = (time_t)((wall_ms() - ago_ms) / 1000);
    struct tm tm;
    strftime(out, sizeof(out), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&at, &tm));
    return json_string(out);
}

/* The beginning of an RFC 3339 time: the bridge judges the rest. */
static bool is_time(const char *text)
{
    int year, month, day, used = 0;

    return sscanf(text, "%4d-%2d-%2d%n", &year, &month, &day, &used) == 3 && used == 10 &&
           strchr("Tt ", text[10]);
}

static int check_times(const json_t *args)
{
    static const char *const names[] = {"since", "until"};
    int64_t ago_ms;

    for (size_t i = 0; i < 2; i++) {
        const char *text = arg_str(args, names[i]);

        if (!text || is_time(text) || parse_duration(text, &ago_ms) == 0)
            continue;
        char *clean = clean_text(text);
        say_error(
            "--%s: '%s' must be a time such as 2026-01-31T12:00:00Z, or how long ago, such as "
            "30m, 2h or 7d",
            names[i], clean);
        free(clean);
        return -1;
    }
    return 0;
}

static void add_filters(json_t *to, const json_t *args, const struct opt *options)
{
    for (const struct opt *o = options; o->name; o++) {
        json_t *value = json_object_get(args, o->name);

        if (!value)
            continue;
        if (strcmp(o->name, "since") == 0 || strcmp(o->name, "until") == 0)
            json_object_set_new(to, o->name, time_param(json_string_value(value)));
        else
            json_object_set(to, o->name, value);
    }
}

static int add_raw(json_t *params, const json_t *words)
{
    const char *text = json_string_value(json_array_get(words, 1));
    json_error_t where;
    json_t *given =
        text ? exact_load(text, strlen(text), JSON_REJECT_DUPLICATES, &where) : json_object();
    int rc = 0;

    if (!json_is_object(given)) {
        say_error("the parameters are no JSON object%s%s", given ? "" : ": ",
                  given ? "" : where.text);
        rc = -1;
    } else {
        json_object_update(params, given);
    }
    json_decref(given);
    return rc;
}

int desk_params(const struct cli *cli, const struct desk_call *call, json_t *params)
{
    json_t *filter = json_object();
    int rc = 0;

    if (call->words == WORDS_ID)
        json_object_set(params, "id", json_array_get(cli->words, 0));
    if (call->words == WORDS_IDS && json_array_size(cli->words))
        json_object_set(params, "ids", cli->words);
    if (call->words == WORDS_CALL)
        rc = add_raw(params, cli->words);
    if (call->filter != FILTER_NONE)
        add_filters(filter, cli->args,
                    call->filter == FILTER_AUDIT ? desk_audit_options : desk_filter_options);
    for (const char *const *name = call->params; name && *name; name++)
        if (json_object_get(cli->args, *name))
            json_object_set(params, *name, json_object_get(cli->args, *name));
    if (check_times(cli->args))
        rc = -1;
    bool is_chosen = json_object_size(filter) || json_object_get(params, "ids");
    if (json_object_size(filter) && json_object_get(params, "ids")) {
        say_error("give ids or a filter, not both");
        rc = -1;
    } else if (call->needs_choice && is_chosen == arg_flag(cli->args, "all")) {
        say_error(is_chosen ? "--all with ids or a filter makes no sense"
                            : "which ones? give ids, a filter, or --all");
        rc = -1;
    }
    if (call->filter == FILTER_FLAT || call->filter == FILTER_AUDIT)
        json_object_update(params, filter);
    else if (call->filter == FILTER_NESTED && !json_object_get(params, "ids"))
        json_object_set(params, "filter", filter);
    json_decref(filter);
    return rc;
}

/* ---- the call ---- */

static void show(const struct cli *cli, const struct desk_call *call, const json_t *result)
{
    const json_t *list = call->list && !call->is_whole ? json_object_get(result, call->list) : NULL;
    json_t *item;
    size_t i;

    if (!cli->is_json) {
        call->show(result);
        return;
    }
    if (!list)
        say_json(result);
    json_array_foreach(list, i, item)
    {
        say_json(item);
    }
}

static enum cli_exit call_all(struct cli *cli, struct rpc *rpc, json_t *params)
{
    const struct desk_call *call = cli->command->call;
    const char *method =
        call->method ? call->method : json_string_value(json_array_get(cli->words, 0));
    enum cli_exit status;
    json_t *result;
    bool is_more;

    do {
        status = rpc_call(rpc, method, params, &result);
        if (status != CLI_OK)
            return status;
        show(cli, call, result);
        json_t *next = call->list ? json_object_get(result, "next") : NULL;
        is_more = next && !json_is_null(next);
        if (is_more && arg_flag(cli->args, "pages"))
            json_object_set(params, "after", next);
        else if (is_more && json_is_string(next))
            say_error("there are more: --after '%s', or --pages for all", json_string_value(next));
        json_decref(result);
    } while (is_more && arg_flag(cli->args, "pages"));
    return CLI_OK;
}

/* dlq.count takes the filter flat, and means what a change would move by `status`. */
static enum cli_exit count_only(struct cli *cli, struct rpc *rpc, const json_t *params)
{
    json_t *asked = json_object(), *result = NULL;
    json_t *ids = json_object_get(params, "ids");
    enum cli_exit status;

    json_object_update(asked, json_object_get(params, "filter"));
    if (ids)
        json_object_set(asked, "ids", ids);
    if (!json_object_get(asked, "status"))
        json_object_set_new(asked, "status", json_string(ids ? "any" : "pending_review"));
    status = rpc_call(rpc, "dlq.count", asked, &result);
    if (status == CLI_OK && cli->is_json)
        say_json(result);
    else if (status == CLI_OK)
        say("%lld dead letters, and nothing was changed\n",
            (long long)json_integer_value(json_object_get(result, "count")));
    json_decref(result);
    json_decref(asked);
    return status;
}

/* A method is one topic level of letters, digits, dots, dashes and underscores. */
static bool is_method(const char *text)
{
    return *text && text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789._-")] == '\0';
}

enum cli_exit desk_run(struct cli *cli)
{
    const struct desk_call *call = cli->command->call;
    json_t *params = json_object();
    struct rpc *rpc = NULL;
    enum cli_exit status = CLI_USAGE;

    if (call->words == WORDS_CALL && !is_method(json_string_value(json_array_get(cli->words, 0)))) {
        say_error("that is not the name of a method");
        goto out;
    }
    if (desk_params(cli, call, params))
        goto out;
    rpc = rpc_open(cli, arg_int(cli->args, "timeout", call->timeout_ms ? call->timeout_ms : 10000));
    if (!rpc)
        status = CLI_ERROR;
    else if (arg_flag(cli->args, "dry-run"))
        status = count_only(cli, rpc, params);
    else
        status = call_all(cli, rpc, params);
out:
    rpc_close(rpc);
    json_decref(params);
    return status;
}

/* SPDX-License-Identifier: MIT */
/*
 * queue - stats, and what stops and starts providers and channels
 */
#include "desk.h"
#include "exact.h"
#include "rpc.h"
#include "say.h"
#include "table.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct opt stats_options[] = {
    {"once", OPT_FLAG, NULL, "show it once and end", NULL},
    {"every", OPT_DURATION, "TIME", "how often to refresh (5s)", NULL},
    {"timeout", OPT_DURATION, "TIME", "how long to wait for an answer (10s)", NULL},
    {NULL, OPT_FLAG, NULL, NULL, NULL}};

const struct opt stop_options[] = {
    {"note", OPT_STRING, "TEXT", "why, for those who look", NULL},
    {"timeout", OPT_DURATION, "TIME", "how long to wait for the answer (10s)", NULL},
    {NULL, OPT_FLAG, NULL, NULL, NULL}};

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

/* ---- stats ---- */

static void add_count(struct table *t, const json_t *line, const char *key)
{
    char text[24];

    snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(json_object_get(line, key)));
    table_add(t, text);
}

static void add_percent(struct table *t, const json_t *line, const char *key)
{
    const json_t *value = json_object_get(line, key);
    char text[24] = "";
    double number;

    if (exact_number(value, &number))
        snprintf(text, sizeof(text), "%.1f%%", number * 100);
    table_add(t, text);
}

static void add_tries(struct table *t, const json_t *line)
{
    const json_t *value = json_object_get(line, "average_attempts");
    char text[24] = "";
    double number;

    if (exact_number(value, &number))
        snprintf(text, sizeof(text), "%.2f", number);
    table_add(t, text);
}

static void add_age(struct table *t, const json_t *line)
{
    const json_t *value = json_object_get(line, "oldest_waiting_s");
    double number = 0;
    bool is_number = exact_number(value, &number);
    long long s = (long long)number;
    char text[32] = "";

    if (is_number && s < 60)
        snprintf(text, sizeof(text), "%.1fs", number);
    else if (is_number && s < 3600)
        snprintf(text, sizeof(text), "%lldm%02llds", s / 60, s % 60);
    else if (is_number)
        snprintf(text, sizeof(text), "%lldh%02lldm", s / 3600, s / 60 % 60);
    table_add(t, text);
}

static void add_line(struct table *t, const char *channel, const char *provider, const json_t *line)
{
    static const char *const counts[] = {"waiting", "active",  "scheduled", "completed",
                                         "failed",  "stalled", "dead",      "per_minute"};
    bool is_shut = json_integer_value(json_object_get(line, "open_breakers")) > 0;

    table_add(t, channel);
    table_add(t, provider);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        add_count(t, line, counts[i]);
    add_percent(t, line, "success_rate");
    add_percent(t, line, "retry_rate");
    add_percent(t, line, "dead_rate");
    add_tries(t, line);
    add_age(t, line);
    if (json_is_true(json_object_get(line, "paused")))
        table_add(t, "paused");
    else
        table_add(t, is_shut ? "breaker" : "ok");
}

static void show_stats(const json_t *result)
{
    static const char *const headings[] = {
        "CHANNEL", "PROVIDER", "WAITING", "ACTIVE", "LATER", "DONE",  "FAILED", "STALLED",
        "DEAD",    "PER MIN",  "SUCCESS", "RETRY",  "DIED",  "TRIES", "OLDEST", "STATE"};
    json_t *line;
    struct table t;
    char *at = clean_field(result, "at");
    size_t i;

    long long bridges = (long long)json_integer_value(json_object_get(result, "bridges"));
    say("%s  %lld bridge%s  rates of the last hour\n", at, bridges, bridges == 1 ? "" : "s");
    free(at);
    table_init(&t, sizeof(headings) / sizeof(headings[0]), headings);
    t.ranks = "7999465882530169";
    json_array_foreach(json_object_get(result, "providers"), i, line)
    {
        add_line(&t, text_of(line, "channel"), text_of(line, "provider"), line);
    }
    add_line(&t, "total", NULL, json_object_get(result, "total"));
    table_print(&t);
}

/* A terminal shows one table that changes; anything else gets one after the other. */
static enum cli_exit refresh(struct cli *cli, struct rpc *rpc)
{
    json_t *none = json_object(), *result = NULL;
    enum cli_exit status = rpc_call(rpc, "queue.stats", none, &result);

    json_decref(none);
    if (status != CLI_OK)
        return status;
    if (cli->is_json) {
        say_json(result);
    } else {
        if (!arg_flag(cli->args, "once") && isatty(STDOUT_FILENO))
            say("\033[H\033[2J");
        show_stats(result);
    }
    json_decref(result);
    return say_flush();
}

enum cli_exit cmd_stats(struct cli *cli)
{
    struct rpc *rpc = rpc_open(cli, arg_int(cli->args, "timeout", 10000));
    enum cli_exit status;

    if (!rpc)
        return CLI_ERROR;
    do {
        status = refresh(cli, rpc);
        if (status != CLI_OK || arg_flag(cli->args, "once"))
            break;
        status = rpc_pause(rpc, arg_int(cli->args, "every", 5000));
    } while (status == CLI_OK);
    rpc_close(rpc);
    return status;
}

/* ---- provider list ---- */

static void show_providers(const json_t *result)
{
    static const char *const headings[] = {"CHANNEL", "PROVIDER", "ADAPTER", "STATE",
                                           "BY",      "SINCE",    "NOTE"};
    json_t *one;
    struct table t;
    size_t i;

    table_init(&t, sizeof(headings) / sizeof(headings[0]), headings);
    t.ranks = "8909~1~";
    json_array_foreach(json_object_get(result, "providers"), i, one)
    {
        const json_t *own = json_object_get(one, "provider_pause");
        const json_t *pause = own ? own : json_object_get(one, "channel_pause");

        table_add(&t, text_of(one, "channel"));
        table_add(&t, text_of(one, "provider"));
        table_add(&t, text_of(one, "adapter"));
        table_add(&t, json_is_true(json_object_get(one, "paused")) ? "paused" : "running");
        table_add(&t, text_of(pause, "by"));
        table_add(&t, text_of(pause, "at"));
        table_add(&t, text_of(pause, "note"));
    }
    table_print(&t);
}

const struct desk_call desk_providers = {
    .method = "provider.list", .list = "providers", .show = show_providers};

/* ---- pause and resume ---- */

/* "provider pause" is the method provider.pause, and takes a provider. */
enum cli_exit cmd_stop(struct cli *cli)
{
    const char *name = cli->command->name, *verb = strchr(name, ' ') + 1;
    char *what = xasprintf("%.*s", (int)(verb - name - 1), name);
    char *method = xasprintf("%s.%s", what, verb);
    json_t *params = json_object(), *result = NULL;
    struct rpc *rpc = NULL;
    enum cli_exit status = CLI_ERROR;

    json_object_set(params, what, json_array_get(cli->words, 0));
    if (json_object_get(cli->args, "note"))
        json_object_set(params, "note", json_object_get(cli->args, "note"));
    rpc = rpc_open(cli, arg_int(cli->args, "timeout", 10000));
    if (rpc)
        status = rpc_call(rpc, method, params, &result);
    if (status == CLI_OK && cli->is_json) {
        say_json(result);
    } else if (status == CLI_OK) {
        char *subject = clean_field(result, what);

        say("%s %sd%s\n", subject, verb,
            json_is_true(json_object_get(result, "changed")) ? "" : " (it was before)");
        free(subject);
    }
    json_decref(result);
    rpc_close(rpc);
    json_decref(params);
    free(method);
    free(what);
    return status;
}

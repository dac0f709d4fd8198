/* SPDX-License-Identifier: MIT */
#include "rpc.h"

#include "desk.h"
#include "exact.h"
#include "ids.h"
#include "loop.h"
#include "say.h"

#include <stdlib.h>
#include <string.h>

struct rpc {
    struct cli *cli;
    struct link *link;
    struct loop loop;
    char *reply_topic, *call_topic, *call_text; /* call_text: NULL when none is under way */
    char call_id[UUID_TEXT];
    bool is_published;
    json_t *reply;
    int64_t timeout_ms, end_ms; /* end_ms: 0 until the call could first be made */
};

static void on_up(void *ctx, bool again)
{
    struct rpc *rpc = ctx;

    (void)again;
    rpc->is_published = false;
}

static void on_down(void *ctx)
{
    (void)ctx;
}

static void on_message(void *ctx, const struct link_message *msg)
{
    struct rpc *rpc = ctx;
    json_t *reply;
    const char *id;

    if (strcmp(msg->topic, rpc->reply_topic) != 0 || rpc->reply || !rpc->call_text)
        return;
    reply = exact_load(msg->payload, msg->len, 0, NULL);
    id = json_string_value(json_object_get(reply, "rpc"));
    if (id && strcmp(id, rpc->call_id) == 0) {
        rpc->reply = reply;
        loop_stop(&rpc->loop, CLI_OK);
    } else {
        json_decref(reply); /* another client's of the same principal */
    }
}

static void on_published(void *ctx, uint64_t tag, int code)
{
    struct rpc *rpc = ctx;

    (void)tag;
    if (code >= 0x80) {
        say_error("the broker refused the call: %s", link_reason(code));
        loop_stop(&rpc->loop, CLI_REFUSED);
    }
}

static void on_failed(void *ctx, int status)
{
    struct rpc *rpc = ctx;

    loop_stop(&rpc->loop, (enum cli_exit)status);
}

static int64_t on_tick(void *ctx)
{
    struct rpc *rpc = ctx;
    int64_t now = now_ms();
    int64_t left;

    if (link_is_up(rpc->link) && rpc->end_ms == 0)
        rpc->end_ms = now + rpc->timeout_ms;
    left = rpc->end_ms - now;
    if (rpc->end_ms == 0)
        return -1; /* the link has its own limit for the first connection */
    if (left <= 0) {
        say_error("no answer in %.1f s: %s", (double)rpc->timeout_ms / 1000,
                  link_is_up(rpc->link) ? "is the bridge running?" : "not connected");
        loop_stop(&rpc->loop, CLI_TIMEOUT);
        return -1;
    }
    if (!rpc->is_published && link_is_up(rpc->link))
        rpc->is_published = link_publish(rpc->link, rpc->call_topic, rpc->call_text,
                                         strlen(rpc->call_text), 1) == 0;
    return left;
}

struct rpc *rpc_open(struct cli *cli, int64_t timeout_ms)
{
    struct rpc *rpc = xcalloc(1, sizeof(*rpc));
    struct link_handlers handlers = {rpc, on_up, on_down, on_message, on_published, on_failed};

    rpc->cli = cli;
    rpc->timeout_ms = timeout_ms;
    rpc->link = link_open(&cli->conf, NULL, &handlers);
    if (!rpc->link) {
        free(rpc);
        return NULL;
    }
    rpc->reply_topic = principal_topic(&cli->conf.principal, "down/reply");
    link_subscribe(rpc->link, rpc->reply_topic, false);
    return rpc;
}

/* "/params/filter/since" is what the command calls --since, where it has such an option. */
static char *name_field(const struct command *command, const char *pointer)
{
    const struct opt *const tables[] = {command->options, command->more_options};
    const char *last = strrchr(pointer, '/');
    bool is_param = strncmp(pointer, "/params/", 8) == 0;

    if (!is_param)
        return xasprintf("%s", pointer);
    for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
        for (const struct opt *o = tables[t]; o && o->name; o++)
            if (strcmp(o->name, last + 1) == 0)
                return xasprintf("--%s", o->name);
    if (strcmp(pointer, "/params/id") == 0 || strncmp(pointer, "/params/ids", 11) == 0)
        return xasprintf("ID");
    if (command->words && (strcmp(last, "/provider") == 0 || strcmp(last, "/channel") == 0))
        return xasprintf("%s", command->words);
    return xasprintf("%s", pointer);
}

/* Every reason that a dead letter can have: the bridge does not list them in its answer. */
static void say_reasons(void)
{
    say_error("reasons are " DESK_REASONS);
}

/* Sorts an answer into a result or an error that is said. */
static enum cli_exit read_reply(struct rpc *rpc, json_t **result)
{
    json_t *error = json_object_get(rpc->reply, "error");
    enum cli_exit status = CLI_OK;

    *result = json_incref(json_object_get(rpc->reply, "result"));
    if (!*result && !error) {
        say_error("the answer has neither a result nor an error");
        status = CLI_ERROR;
    } else if (error) {
        char *code = clean_field(error, "code"), *message = clean_field(error, "message");
        char *field = clean_field(error, "field");
        char *name = name_field(rpc->cli->command, field);
        bool is_named = *name && *name != '/'; /* by what the command line calls it */
        say_error("%s: %s%s%s%s%s", code, is_named ? name : "", is_named ? ": " : "", message,
                  is_named || !*name ? "" : " ", is_named ? "" : name);
        if (strcmp(name, "--reason") == 0)
            say_reasons();
        free(name);
        free(code);
        free(message);
        free(field);
        if (rpc->cli->is_json)
            say_json(rpc->reply);
        json_decref(*result);
        *result = NULL;
        status = CLI_REJECTED;
    }
    json_decref(rpc->reply);
    rpc->reply = NULL;
    return status;
}

enum cli_exit rpc_call(struct rpc *rpc, const char *method, json_t *params, json_t **result)
{
    char *rest = xasprintf("up/rpc/%s", method);
    enum cli_exit status;
    json_t *call;

    *result = NULL;
    uuid7(rpc->call_id);
    call = json_pack("{s:s, s:O}", "rpc", rpc->call_id, "params", params);
    rpc->call_text = exact_dump(call, JSON_COMPACT);
    rpc->call_topic = principal_topic(&rpc->cli->conf.principal, rest);
    rpc->is_published = false;
    rpc->end_ms = 0;
    rpc->loop =
        (struct loop){.cli = rpc->cli, .link = rpc->link, .hooks = {rpc, on_tick, NULL, NULL}};
    status = loop_run(&rpc->loop);
    if (status == CLI_OK)
        status = read_reply(rpc, result);
    json_decref(call);
    free(rest);
    free(rpc->call_topic);
    free(rpc->call_text);
    rpc->call_topic = rpc->call_text = NULL;
    return status;
}

static int64_t on_pause_tick(void *ctx)
{
    struct rpc *rpc = ctx;
    int64_t left = rpc->end_ms - now_ms();

    if (left > 0)
        return left;
    loop_stop(&rpc->loop, CLI_OK);
    return -1;
}

enum cli_exit rpc_pause(struct rpc *rpc, int64_t ms)
{
    rpc->end_ms = now_ms() + ms;
    rpc->loop = (struct loop){
        .cli = rpc->cli, .link = rpc->link, .hooks = {rpc, on_pause_tick, NULL, NULL}};
    return loop_run(&rpc->loop);
}

void rpc_close(struct rpc *rpc)
{
    if (!rpc)
        return;
    link_close(rpc->link);
    json_decref(rpc->reply);
    free(rpc->reply_topic);
    free(rpc);
}

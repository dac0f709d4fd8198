/* SPDX-License-Identifier: MIT */
/*
 * receipts - follow what becomes of a service's requests
 *
 * Every client of the service gets every receipt, so this can run beside the
 * service itself. With --session the broker keeps them while we are away.
 */
#include "ids.h"
#include "loop.h"
#include "receipt.h"
#include "say.h"

#include <stdlib.h>
#include <string.h>

const struct opt receipts_options[] = {
    {"id", OPT_LIST, "ID,..", "only of these requests", NULL},
    {"status", OPT_LIST, "STATUS,..", "only these, as dead,expired", NULL},
    {"count", OPT_INT, "N", "stop after so many", NULL},
    {"timeout", OPT_DURATION, "TIME", "stop after so long; status 5 if --count was not reached",
     NULL},
    {"session", OPT_STRING, "NAME", "have the broker keep receipts between runs, for a day", NULL},
    {NULL, OPT_FLAG, NULL, NULL, NULL}};

struct receipts {
    struct cli *cli;
    struct loop loop;
    char *topic;
    int64_t left; /* -1: no limit */
    int64_t end_ms;
};

static bool is_wanted(const struct receipts *r, const char *option, const json_t *receipt,
                      const char *field)
{
    const json_t *wanted = json_object_get(r->cli->args, option);
    const json_t *value = json_object_get(receipt, field);
    json_t *one;
    size_t i;

    if (!wanted)
        return true;
    json_array_foreach(wanted, i, one)
    {
        if (json_equal(one, value))
            return true;
    }
    return false;
}

static void on_receipt(void *ctx, const json_t *receipt)
{
    struct receipts *r = ctx;

    if (r->left == 0 || !is_wanted(r, "id", receipt, "id") ||
        !is_wanted(r, "status", receipt, "status"))
        return;
    receipt_show(receipt, r->cli->is_json);
    if (r->left > 0 && --r->left == 0)
        loop_stop(&r->loop, CLI_OK);
}

static void on_message(void *ctx, const struct link_message *msg)
{
    struct receipts *r = ctx;

    if (strcmp(msg->topic, r->topic) == 0 && receipt_each(msg->payload, msg->len, on_receipt, r))
        say_error("a receipt that is not JSON was ignored");
}

static void on_up(void *ctx, bool again)
{
    struct receipts *r = ctx;

    if (!again && !r->cli->is_quiet)
        say_error("following %s", r->topic);
}

static void on_down(void *ctx)
{
    (void)ctx;
}

static void on_published(void *ctx, uint64_t tag, int code)
{
    (void)ctx;
    (void)tag;
    (void)code;
}

static void on_failed(void *ctx, int status)
{
    struct receipts *r = ctx;

    loop_stop(&r->loop, (enum cli_exit)status);
}

static int64_t on_tick(void *ctx)
{
    struct receipts *r = ctx;
    int64_t left = r->end_ms - now_ms();

    if (r->end_ms == 0)
        return -1;
    if (left > 0)
        return left;
    loop_stop(&r->loop, r->left > 0 ? CLI_TIMEOUT : CLI_OK);
    return -1;
}

enum cli_exit cmd_receipts(struct cli *cli)
{
    int64_t timeout_ms = arg_int(cli->args, "timeout", 0);
    struct receipts r = {.cli = cli,
                         .left = arg_int(cli->args, "count", -1),
                         .end_ms = timeout_ms ? now_ms() + timeout_ms : 0};
    struct link_handlers handlers = {&r, on_up, on_down, on_message, on_published, on_failed};
    struct link *link = link_open(&cli->conf, arg_str(cli->args, "session"), &handlers);
    enum cli_exit status = CLI_ERROR;

    if (!link)
        return status;
    r.topic = principal_topic(&cli->conf.principal, "down/receipt");
    link_subscribe(link, r.topic, false);
    r.loop = (struct loop){.cli = cli, .link = link, .hooks = {&r, on_tick, NULL, NULL}};
    status = loop_run(&r.loop);
    link_close(link);
    free(r.topic);
    return status;
}

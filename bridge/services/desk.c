/* SPDX-License-Identifier: MIT */
#include "services/desk.h"

#include "base/alloc.h"
#include "core/channel.h"
#include "core/outcome.h"
#include "services/desk_internal.h"

#include <stdlib.h>
#include <string.h>

static const char *const channel_names[] = {"in_app", "push",    "sms", "email",
                                            "chat",   "webhook", NULL};

static bool read_status(struct rpc_call *call, const struct json *value, unsigned *statuses)
{
    static const char sentence[] =
        "this is pending_review, retrying, resolved, ignored, a list of them, or any";
    enum dead_status status;

    if (value->kind == JSON_KIND_STRING && strcmp(value->text, "any") == 0) {
        *statuses = 0;
        return true;
    }
    if (value->kind == JSON_KIND_STRING && dead_status_parse(value->text, &status) == 0) {
        *statuses = 1u << status;
        return true;
    }
    if (value->kind != JSON_KIND_ARRAY || !value->first)
        return rpc_fail(call, "bad_value", sentence, "status");
    *statuses = 0;
    for (const struct json *at = value->first; at; at = at->next) {
        if (at->kind != JSON_KIND_STRING || dead_status_parse(at->text, &status))
            return rpc_fail(call, "bad_value", sentence, "status");
        *statuses |= 1u << status;
    }
    return true;
}

bool desk_read_filter(struct rpc_call *call, unsigned statuses, struct dead_filter *filter)
{
    const struct json *status = NULL;
    const char *reason = NULL;
    size_t channel = 0;
    enum reason number;

    filter->statuses = statuses;
    filter->channel = -1;
    if (rpc_has(call, "channel")) {
        if (!rpc_choice(call, "channel", RPC_OPTIONAL, channel_names, &channel))
            return false;
        filter->channel = (int)channel;
    }
    if (!rpc_text(call, "reason", RPC_OPTIONAL, 64, &reason) ||
        !rpc_text(call, "type", RPC_OPTIONAL, 128, &filter->type) ||
        !rpc_principal(call, "service", RPC_OPTIONAL, &filter->service) ||
        !rpc_principal(call, "user", RPC_OPTIONAL, &filter->user) ||
        !rpc_time(call, "since", RPC_OPTIONAL, &filter->since_ms) ||
        !rpc_time(call, "until", RPC_OPTIONAL, &filter->until_ms) ||
        !rpc_json(call, "status", RPC_OPTIONAL, &status))
        return false;
    if (status && !read_status(call, status, &filter->statuses))
        return false;
    if (reason && reason_parse(reason, &number))
        return rpc_fail(call, "bad_value", "there is no such reason", "reason");
    filter->reason = reason ? (int)number : 0;
    return true;
}

static const struct method methods[] = {
    {"dlq.list", ASK_ADMINS, sizeof(struct desk_listing), desk_list},
    {"dlq.export", ASK_ADMINS, sizeof(struct desk_listing), desk_export},
    {"dlq.count", ASK_ADMINS, 0, desk_count},
    {"dlq.stats", ASK_ADMINS, sizeof(struct desk_listing), desk_stats},
    {"dlq.get", ASK_ADMINS, sizeof(struct desk_listing), desk_get},
    {"dlq.retry", ASK_ADMINS, sizeof(struct desk_changing), desk_retry},
    {"dlq.resolve", ASK_ADMINS, sizeof(struct desk_changing), desk_resolve},
    {"dlq.ignore", ASK_ADMINS, sizeof(struct desk_changing), desk_ignore},
};

struct desk *desk_new(struct loop *loop, struct asks *asks, struct store *store,
                      const struct fence *fence, const struct desk_ops *ops)
{
    struct desk *desk = xcalloc(1, sizeof(*desk));

    desk->loop = loop;
    desk->store = store;
    desk->fence = fence;
    desk->ops = *ops;
    asks_add(asks, methods, sizeof(methods) / sizeof(methods[0]), desk);
    desk_feed_start(desk);
    return desk;
}

void desk_free(struct desk *desk)
{
    desk_feed_stop(desk);
    free(desk->untold);
    free(desk);
}

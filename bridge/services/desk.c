/* SPDX-License-Identifier: MIT */
#include "services/desk.h"

#include "base/alloc.h"
#include "core/channel.h"
#include "core/id.h"
#include "core/outcome.h"
#include "store/questions.h"

#include <stdlib.h>

struct desk {
    struct store *store;
    struct desk_ops ops;
};

/* dlq.list's own. */
struct listing {
    int64_t limit, rows;
    uint64_t last;
    bool is_cut;
};

static const char *const channel_names[] = {"in_app", "push",    "sms", "email",
                                            "chat",   "webhook", NULL};

static bool read_filter(struct rpc_call *ask, struct dead_filter *filter)
{
    size_t channel = 0;
    const char *reason = NULL;
    enum reason number;

    if (rpc_has(ask, "channel")) {
        if (!rpc_choice(ask, "channel", RPC_OPTIONAL, channel_names, &channel))
            return false;
        filter->channel = (int)channel;
    }
    if (!rpc_text(ask, "reason", RPC_OPTIONAL, 64, &reason) ||
        !rpc_text(ask, "type", RPC_OPTIONAL, 128, &filter->type) ||
        !rpc_text(ask, "service", RPC_OPTIONAL, 128, &filter->service) ||
        !rpc_text(ask, "user", RPC_OPTIONAL, 128, &filter->user) ||
        !rpc_time(ask, "since", RPC_OPTIONAL, &filter->since_ms) ||
        !rpc_time(ask, "until", RPC_OPTIONAL, &filter->until_ms))
        return false;
    if (reason && reason_parse(reason, &number))
        return rpc_fail(ask, "bad_value", "there is no such reason", "reason");
    filter->reason = reason ? (int)number : 0;
    return true;
}

static void on_row(void *ctx, const struct dead_row *row)
{
    static const char *const statuses[] = {"pending_review", "retrying", "resolved", "ignored"};
    struct ask *ask = ctx;
    struct listing *list = ask->own;
    struct buf *out = &ask->out;
    char id[ID_TEXT_BYTES];

    /* One more was asked for than is shown: whether there are more. */
    if (list->rows == list->limit || out->length > ASK_ANSWER_BYTES) {
        list->is_cut = true;
        return;
    }
    buf_printf(out, "%s{\"delivery\":\"%s\"", list->rows++ ? "," : "",
               id_format(row->delivery, id));
    list->last = row->delivery;
    buf_printf(out, ",\"notification\":\"%s\"", id_format(row->notification, id));
    buf_add_member(out, "service", row->service);
    buf_add_member(out, "request", row->request);
    buf_add_member(out, "type", row->type);
    buf_add_member(out, "channel", channel_name((enum channel)row->channel));
    buf_add_member(out, "destination", row->destination);
    ask_add_recipient(ask, row->recipient_kind, row->recipient, row->user);
    buf_add_member(out, "reason", reason_name((enum reason)row->reason));
    buf_add_member(out, "code", row->code);
    buf_add_member(out, "detail", row->detail);
    buf_printf(out, ",\"attempts\":%d,\"status\":\"%s\"", row->attempts, statuses[row->status & 3]);
    ask_add_time(ask, "died_at", row->died_ms);
    buf_add_char(out, '}');
}

static void on_listed(void *ctx, int err)
{
    struct ask *ask = ctx;
    struct listing *list = ask->own;
    char id[ID_TEXT_BYTES];

    if (err) {
        ask_fail(ask, err);
        return;
    }
    buf_add_char(&ask->out, ']');
    if (list->is_cut)
        buf_printf(&ask->out, ",\"next\":\"%s\"", id_format(list->last, id));
    buf_add_char(&ask->out, '}');
    ask_end(ask);
}

static void dlq_list(struct ask *ask)
{
    struct desk *desk = ask->service;
    struct listing *list = ask->own;
    struct dead_filter filter = {.channel = -1};
    struct dead_call dead = {on_row, on_listed, ask};
    uint64_t after = 0;

    list->limit = ASK_LIST_DEFAULT;
    if (!read_filter(&ask->rpc, &filter) ||
        !rpc_int(&ask->rpc, "limit", RPC_OPTIONAL, 1, ASK_LIST_MAX, &list->limit) ||
        !rpc_id(&ask->rpc, "after", RPC_OPTIONAL, &after) || !rpc_done(&ask->rpc)) {
        ask_answer(ask);
        return;
    }
    ask_begin(ask);
    buf_add_text(&ask->out, "{\"entries\":[");
    if (store_dlq_list(desk->store, &filter, after, (int)list->limit + 1, &dead))
        ask_fail(ask, ERR_CLOSED);
}

static void on_retried(void *ctx, int err, int64_t count)
{
    struct ask *ask = ctx;
    struct desk *desk = ask->service;

    if (err) {
        ask_fail(ask, err);
        return;
    }
    desk->ops.poke(desk->ops.ctx);
    ask_changed(ask, "retried", count);
}

static void dlq_retry(struct ask *ask)
{
    struct desk *desk = ask->service;
    struct dead_filter filter = {.channel = -1};
    struct rpc_call inner;
    uint64_t *ids = NULL;
    size_t count = 0;

    if (rpc_has(&ask->rpc, "ids") == rpc_has(&ask->rpc, "filter"))
        (void)rpc_fail(&ask->rpc, "bad_value", "give either ids or a filter", "ids");
    else if (rpc_ids(&ask->rpc, "ids", RPC_OPTIONAL, ASK_LIST_MAX, &ids, &count) &&
             rpc_object(&ask->rpc, "filter", RPC_OPTIONAL, &inner) &&
             read_filter(&inner, &filter) && rpc_done(&inner))
        (void)rpc_done(&ask->rpc);
    if (ask->rpc.error->code) {
        ask_answer(ask);
        return;
    }
    filter.ids = ids;
    filter.id_count = count;
    if (store_dlq_retry(desk->store, &filter, ask->admin, on_retried, ask))
        ask_fail(ask, ERR_CLOSED);
}

static const struct method methods[] = {
    {"dlq.list", ASK_ADMINS, sizeof(struct listing), dlq_list},
    {"dlq.retry", ASK_ADMINS, 0, dlq_retry},
};

struct desk *desk_new(struct asks *asks, struct store *store, const struct desk_ops *ops)
{
    struct desk *desk = xcalloc(1, sizeof(*desk));

    desk->store = store;
    desk->ops = *ops;
    asks_add(asks, methods, sizeof(methods) / sizeof(methods[0]), desk);
    return desk;
}

void desk_free(struct desk *desk)
{
    free(desk);
}

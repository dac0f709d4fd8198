/* SPDX-License-Identifier: MIT */
#include "services/audit.h"

#include "core/id.h"
#include "store/audit.h"

/* audit.list's own. */
struct listing {
    int64_t limit, rows;
    uint64_t last;
    bool is_cut;
};

/* What is stored is JSON, or nothing. */
static void add_json(struct buf *out, const char *name, const char *json)
{
    if (json && json[0])
        buf_printf(out, ",\"%s\":%s", name, json);
}

static void on_entry(void *ctx, const struct audit_entry *entry)
{
    struct ask *ask = ctx;
    struct listing *list = ask->own;
    struct buf *out = &ask->out;
    size_t before = out->length;
    char id[ID_TEXT_BYTES];

    /* One more was asked for than is shown: whether there are more. */
    list->is_cut = list->is_cut || list->rows == list->limit;
    if (list->is_cut)
        return;
    buf_printf(out, "%s{\"id\":\"%s\"", list->rows ? "," : "", id_format(entry->id, id));
    ask_add_time(ask, "at", entry->at_ms);
    topic_add_id(out, "admin", entry->admin);
    topic_add_id(out, "service", entry->service);
    buf_add_member(out, "action", entry->action);
    buf_add_member(out, "call", entry->call);
    add_json(out, "params", entry->params);
    add_json(out, "before", entry->before);
    add_json(out, "after", entry->after);
    add_json(out, "result", entry->result);
    buf_add_char(out, '}');
    list->is_cut = !ask_keep_entry(ask, before, list->rows == 0);
    if (list->is_cut)
        return;
    list->rows++;
    list->last = entry->id;
}

static void on_listed(void *ctx, int err)
{
    struct ask *ask = ctx;
    struct listing *list = ask->own;

    if (err)
        ask_fail(ask, err);
    else
        ask_end_page(ask, list->is_cut ? list->last : 0);
}

static void audit_list(struct ask *ask)
{
    struct store *store = ask->service;
    struct listing *list = ask->own;
    struct audit_filter filter = {.admin = NULL};
    struct audit_call call = {on_entry, on_listed, ask};

    list->limit = ASK_LIST_DEFAULT;
    if (!rpc_principal(&ask->rpc, "admin", RPC_OPTIONAL, &filter.admin) ||
        !rpc_principal(&ask->rpc, "service", RPC_OPTIONAL, &filter.service) ||
        !rpc_text(&ask->rpc, "action", RPC_OPTIONAL, 64, &filter.action) ||
        !rpc_time(&ask->rpc, "since", RPC_OPTIONAL, &filter.since_ms) ||
        !rpc_time(&ask->rpc, "until", RPC_OPTIONAL, &filter.until_ms) ||
        !rpc_int(&ask->rpc, "limit", RPC_OPTIONAL, 1, ASK_LIST_MAX, &list->limit) ||
        !rpc_id(&ask->rpc, "after", RPC_OPTIONAL, &filter.before) || !rpc_done(&ask->rpc)) {
        ask_answer(ask);
        return;
    }
    filter.limit = (int)list->limit + 1;
    ask_begin(ask);
    buf_add_text(&ask->out, "{\"entries\":[");
    if (store_audit_list(store, &filter, &call))
        ask_fail(ask, ERR_CLOSED);
}

void audit_open(struct asks *asks, struct store *store)
{
    static const struct method methods[] = {
        {"audit.list", ASK_ADMINS, sizeof(struct listing), audit_list},
    };

    asks_add(asks, methods, sizeof(methods) / sizeof(methods[0]), store);
}

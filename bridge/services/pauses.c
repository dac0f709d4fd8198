/* SPDX-License-Identifier: MIT */
#include "services/pauses.h"

#include "base/alloc.h"
#include "store/pauses.h"

#include <stdlib.h>
#include <string.h>

#define NAME_MAX_CHARS 128
#define NOTE_MAX_CHARS 500

struct pauses {
    struct store *store;
    struct pauses_ops ops;
};

/* A change's own. */
struct changing {
    struct pause_change wanted;
};

struct listing {
    size_t rows;
};

static const char *const channel_names[] = {"in_app", "push",    "sms", "email",
                                            "chat",   "webhook", NULL};

/* ---- provider.list ---- */

static void add_pause(struct ask *ask, const char *name, const struct pause *pause)
{
    if (!pause->by)
        return;
    buf_printf(&ask->out, ",\"%s\":{\"by\":", name);
    buf_add_json(&ask->out, pause->by);
    ask_add_time(ask, "at", pause->at_ms);
    buf_add_member(&ask->out, "note", pause->note);
    buf_add_char(&ask->out, '}');
}

static void on_row(void *ctx, const struct destination_row *row)
{
    struct ask *ask = ctx;
    struct pauses *pauses = ask->service;
    struct listing *list = ask->own;
    bool is_paused = row->own.by || row->channels.by;

    if (!is_paused && !pauses->ops.is_configured(pauses->ops.ctx, row->id))
        return;
    buf_add_text(&ask->out, list->rows++ ? ",{\"provider\":" : "{\"provider\":");
    buf_add_json(&ask->out, row->name);
    buf_add_member(&ask->out, "channel", channel_name(row->channel));
    buf_add_member(&ask->out, "adapter", row->adapter);
    buf_printf(&ask->out, ",\"paused\":%s", is_paused ? "true" : "false");
    add_pause(ask, "provider_pause", &row->own);
    add_pause(ask, "channel_pause", &row->channels);
    if (row->waits_ms > 0)
        buf_printf(&ask->out, ",\"waits_ms\":%lld", (long long)row->waits_ms);
    buf_add_char(&ask->out, '}');
}

static void on_listed(void *ctx, int err)
{
    struct ask *ask = ctx;

    if (err) {
        ask_fail(ask, err);
        return;
    }
    buf_add_text(&ask->out, "]}");
    ask_end(ask);
}

static void provider_list(struct ask *ask)
{
    struct pauses *pauses = ask->service;
    struct destinations_call call = {on_row, on_listed, ask};

    if (!rpc_done(&ask->rpc)) {
        ask_answer(ask);
        return;
    }
    ask_begin(ask);
    buf_add_text(&ask->out, "{\"providers\":[");
    if (store_destinations(pauses->store, &call))
        ask_fail(ask, ERR_CLOSED);
}

/* ---- changes ---- */

static void on_changed(void *ctx, int err, bool did_change)
{
    struct ask *ask = ctx;
    struct changing *changing = ask->own;
    const struct pause_change *change = &changing->wanted;

    if (err == ERR_NOT_FOUND) {
        (void)rpc_fail(&ask->rpc, RPC_NOT_FOUND, "there is no such provider", "provider");
        ask_answer(ask);
        return;
    }
    if (err) {
        ask_fail(ask, err);
        return;
    }
    ask_begin(ask);
    buf_add_text(&ask->out, change->destination ? "{\"provider\":" : "{\"channel\":");
    buf_add_json(&ask->out,
                 change->destination ? change->destination : channel_name(change->channel));
    buf_printf(&ask->out, ",\"paused\":%s,\"changed\":%s}", change->is_pause ? "true" : "false",
               did_change ? "true" : "false");
    ask_end(ask);
}

static bool read_change(struct ask *ask, struct pause_change *change, bool is_channel)
{
    size_t channel = 0;

    if (is_channel) {
        if (!rpc_choice(&ask->rpc, "channel", RPC_REQUIRED, channel_names, &channel))
            return false;
        change->channel = (enum channel)channel;
    } else if (!rpc_text(&ask->rpc, "provider", RPC_REQUIRED, NAME_MAX_CHARS,
                         &change->destination)) {
        return false;
    }
    if (change->is_pause &&
        !rpc_text(&ask->rpc, "note", RPC_OPTIONAL, NOTE_MAX_CHARS, &change->note))
        return false;
    return rpc_done(&ask->rpc);
}

static void change(struct ask *ask, bool is_channel, bool is_pause)
{
    struct pauses *pauses = ask->service;
    struct changing *changing = ask->own;
    struct buf params = {0};
    int err;

    changing->wanted = (struct pause_change){.is_pause = is_pause,
                                             .admin = ask->admin,
                                             .method = ask->method->name,
                                             .call = ask->rpc.rpc};
    if (!read_change(ask, &changing->wanted, is_channel)) {
        ask_answer(ask);
        return;
    }
    json_write(ask->rpc.params, &params);
    changing->wanted.params = buf_text(&params);
    err = store_pause_change(pauses->store, &changing->wanted, on_changed, ask);
    buf_fini(&params);
    if (err)
        ask_fail(ask, ERR_CLOSED);
}

static void provider_pause(struct ask *ask)
{
    change(ask, false, true);
}

static void provider_resume(struct ask *ask)
{
    change(ask, false, false);
}

static void channel_pause(struct ask *ask)
{
    change(ask, true, true);
}

static void channel_resume(struct ask *ask)
{
    change(ask, true, false);
}

static const struct method methods[] = {
    {"provider.list", ASK_ADMINS, sizeof(struct listing), provider_list},
    {"provider.pause", ASK_ADMINS, sizeof(struct changing), provider_pause},
    {"provider.resume", ASK_ADMINS, sizeof(struct changing), provider_resume},
    {"channel.pause", ASK_ADMINS, sizeof(struct changing), channel_pause},
    {"channel.resume", ASK_ADMINS, sizeof(struct changing), channel_resume},
};

struct pauses *pauses_new(struct asks *asks, struct store *store, const struct pauses_ops *ops)
{
    struct pauses *pauses = xcalloc(1, sizeof(*pauses));

    pauses->store = store;
    pauses->ops = *ops;
    asks_add(asks, methods, sizeof(methods) / sizeof(methods[0]), pauses);
    return pauses;
}

void pauses_free(struct pauses *pauses)
{
    free(pauses);
}

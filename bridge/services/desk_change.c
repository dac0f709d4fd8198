/* SPDX-License-Identifier: MIT */
/*
 * dlq.retry, resolve and ignore.
 *
 * A change of many goes in bites, each one transaction with its own line in the audit, so that
 * memory and locks are bounded.  It is answered after the last of them.  Whoever got no answer
 * asks again: what was moved is moved, and the rest follows.
 */
#include "services/desk_internal.h"

#include "base/crash.h"
#include "core/edit.h"

#define BITE     2000
#define NOTE_MAX 1000

static void change(struct ask *ask);

static void fail(struct ask *ask, int err)
{
    struct desk *desk = ask->service;

    desk->changing--;
    ask_fail(ask, err);
}

static void finish(struct ask *ask)
{
    struct desk *desk = ask->service;
    struct desk_changing *own = ask->own;

    desk->changing--;
    if (own->mark.to == DEAD_RETRYING)
        desk_feed_poke(desk);
    ask_begin(ask);
    buf_printf(&ask->out, "{\"%s\":%lld", own->mark.word, (long long)own->total);
    if (own->id_count)
        buf_printf(&ask->out, ",\"skipped\":%lld", (long long)own->id_count - own->total);
    buf_add_char(&ask->out, '}');
    ask_end(ask);
}

static void on_marked(void *ctx, int err, int64_t count, uint64_t last, bool is_over)
{
    struct ask *ask = ctx;
    struct desk_changing *own = ask->own;

    if (err) {
        fail(ask, err);
        return;
    }
    crash_point("desk.marked");
    own->total += count;
    own->mark.after = last;
    own->mark.is_first = false;
    if (is_over)
        finish(ask);
    else
        change(ask);
}

static void change(struct ask *ask)
{
    struct desk *desk = ask->service;
    struct desk_changing *own = ask->own;
    struct dead_mark_call call = {on_marked, ask};

    if (store_dlq_mark(desk->store, &own->mark, &call))
        fail(ask, ERR_CLOSED);
}

/* Ids, each once; or a filter, where only what waits for review is meant unless it says otherwise.
 */
static bool read_choice(struct ask *ask, struct desk_changing *own)
{
    struct dead_filter *filter = &own->mark.filter;
    unsigned sources = dead_status_sources(own->mark.to);
    struct rpc_call inner;
    uint64_t *ids = NULL;

    filter->channel = -1;
    if (rpc_has(&ask->rpc, "ids") == rpc_has(&ask->rpc, "filter"))
        return rpc_fail(&ask->rpc, "bad_value", "give either ids or a filter", "ids");
    if (!rpc_ids(&ask->rpc, "ids", RPC_OPTIONAL, ASK_LIST_MAX, &ids, &own->id_count) ||
        !rpc_object(&ask->rpc, "filter", RPC_OPTIONAL, &inner) ||
        !desk_read_filter(&inner, ids ? 0 : 1u << DEAD_PENDING_REVIEW, filter) || !rpc_done(&inner))
        return false;
    filter->ids = ids;
    filter->id_count = own->id_count;
    filter->statuses = filter->statuses ? filter->statuses & sources : sources;
    if (!filter->statuses)
        return rpc_fail(&inner, "bad_value", "there is no such move from this status", "status");
    return rpc_text(&ask->rpc, "note", RPC_OPTIONAL, NOTE_MAX, &own->mark.note);
}

static bool read_content(struct ask *ask, struct dead_mark *mark)
{
    const struct json *content = NULL;
    struct edit edit;

    if (!rpc_json(&ask->rpc, "content", RPC_OPTIONAL, &content))
        return false;
    if (!content)
        return true;
    if (!rpc_has(&ask->rpc, "ids"))
        return rpc_fail(&ask->rpc, "bad_value", "edited content is for ids, not for a filter",
                        "content");
    if (edit_read(content, ask->arena, &edit))
        return rpc_fail(&ask->rpc, reject_name(edit.rejection.reason), edit.rejection.detail,
                        arena_printf(ask->arena, "content%s", edit.rejection.pointer));
    mark->content = edit.content;
    mark->content_bytes = edit.content_bytes;
    mark->content_type = edit.type;
    mark->fits_in_app = edit.fits_in_app;
    return true;
}

static bool read_retry(struct ask *ask, struct dead_mark *mark)
{
    struct desk *desk = ask->service;

    if (!rpc_text(&ask->rpc, "destination", RPC_OPTIONAL, 64, &mark->destination))
        return false;
    if (mark->destination && !desk->ops.destination_id(desk->ops.ctx, mark->destination))
        return rpc_fail(&ask->rpc, "bad_value", "there is no such destination", "destination");
    return read_content(ask, mark);
}

static void begin(struct ask *ask, enum dead_status to, const char *word)
{
    struct desk_changing *own = ask->own;

    own->mark = (struct dead_mark){
        .to = to,
        .limit = BITE,
        .fits_in_app = true,
        .admin = ask->admin,
        .action = ask->method->name,
        .call = ask->rpc.rpc,
        .word = word,
        .is_first = true,
    };
    if (!read_choice(ask, own) || (to == DEAD_RETRYING && !read_retry(ask, &own->mark)) ||
        !rpc_done(&ask->rpc)) {
        ask_answer(ask);
        return;
    }
    own->mark.params = ask_params(ask);
    ((struct desk *)ask->service)->changing++;
    change(ask);
}

void desk_retry(struct ask *ask)
{
    begin(ask, DEAD_RETRYING, "retried");
}

void desk_resolve(struct ask *ask)
{
    begin(ask, DEAD_RESOLVED, "resolved");
}

void desk_ignore(struct ask *ask)
{
    begin(ask, DEAD_IGNORED, "ignored");
}

/* SPDX-License-Identifier: MIT */
/* dlq.list, export, count, stats and get. */
#include "services/desk_internal.h"

#include "core/inbox.h"
#include "base/log.h"
#include "base/arena.h"
#include "base/timefmt.h"
#include "core/channel.h"
#include "core/delivery.h"
#include "core/id.h"
#include "core/outcome.h"

/* What an admin has not dealt with: meant where a question names no status. */
#define OPEN (1u << DEAD_PENDING_REVIEW | 1u << DEAD_RETRYING)
/* Entries of an export have content, of 64 KiB at most. */
#define EXPORT_MAX 100

/* ---- one entry ---- */

static void add_optional_time(struct ask *ask, const char *name, int64_t wall_ms)
{
    if (wall_ms)
        ask_add_time(ask, name, wall_ms);
}

/* One that is no JSON object is left out: it would make the whole answer unreadable. */
static void add_stored(struct buf *out, const char *name, const char *content, size_t bytes,
                       struct arena *scratch)
{
    if (!content)
        return;
    if (inbox_is_object(content, bytes, scratch)) {
        buf_printf(out, ",\"%s\":", name);
        buf_add(out, content, bytes);
    } else {
        log_warn("desk.content", LOG_STR("why", "the stored content is not a JSON object"));
    }
}

static void add_content(struct buf *out, const struct dead_row *row)
{
    struct arena *scratch;

    if (!row->content && !row->edited)
        return;
    scratch = arena_new(0);
    add_stored(out, "content", row->content, row->content_bytes, scratch);
    add_stored(out, "edited_content", row->edited, row->edited_bytes, scratch);
    arena_free(scratch);
}

/* {"delivery":...: open, so that a caller may add to it. */
static void open_entry(struct ask *ask, const struct dead_row *row)
{
    struct buf *out = &ask->out;
    char id[ID_TEXT_BYTES];

    buf_printf(out, "{\"delivery\":\"%s\"", id_format(row->delivery, id));
    buf_printf(out, ",\"notification\":\"%s\"", id_format(row->notification, id));
    topic_add_id(out, "service", row->service);
    buf_add_member(out, "request", row->request);
    buf_add_member(out, "type", row->type);
    buf_add_member(out, "priority", priority_name((enum priority)row->priority));
    buf_add_member(out, "channel", channel_name((enum channel)row->channel));
    buf_add_member(out, "destination", row->destination);
    ask_add_recipient(ask, row->recipient_kind, row->recipient, row->user);
    buf_add_member(out, "reason", reason_name((enum reason)row->reason));
    buf_add_member(out, "code", row->code);
    buf_add_member(out, "detail", row->detail);
    buf_printf(out, ",\"attempts\":%d,\"retries\":%d,\"status\":\"%s\"", row->attempts,
               row->retries, dead_status_name((enum dead_status)row->status));
    ask_add_time(ask, "died_at", row->died_ms);
    add_optional_time(ask, "changed_at", row->changed_ms);
    topic_add_id(out, "changed_by", row->changed_by);
    if (row->status == DEAD_RESOLVED)
        buf_add_member(out, "resolved_by", row->resolved_by);
    buf_add_member(out, "note", row->note);
    add_optional_time(ask, "created_at", row->created_ms);
    add_optional_time(ask, "expires_at", row->expires_ms);
    buf_add_member(out, "collapse_key", row->collapse_key);
    add_content(out, row);
}

/* ---- dlq.list, dlq.export ---- */

/* One whose content alone is more than a message can hold is shown without. */
static void write_entry(struct ask *ask, const struct dead_row *row)
{
    size_t before = ask->out.length;
    struct dead_row slim = *row;

    open_entry(ask, row);
    if ((row->content || row->edited) && ask->out.length - before > ask_answer_max(ask)) {
        ask->out.length = before;
        slim.content = slim.edited = NULL;
        open_entry(ask, &slim);
        buf_add_text(&ask->out, ",\"content_is_cut\":true");
    }
}

static void on_row(void *ctx, const struct dead_row *row)
{
    struct ask *ask = ctx;
    struct desk_listing *list = ask->own;
    size_t before = ask->out.length;

    /* One more was asked for than is shown: whether there are more. */
    list->is_cut = list->is_cut || list->rows == list->limit;
    if (list->is_cut)
        return;
    if (list->rows)
        buf_add_char(&ask->out, ',');
    write_entry(ask, row);
    buf_add_char(&ask->out, '}');
    list->is_cut = !ask_keep_entry(ask, before, list->rows == 0);
    if (list->is_cut)
        return;
    list->rows++;
    list->last = row->delivery;
}

static void on_listed(void *ctx, int err)
{
    struct ask *ask = ctx;
    struct desk_listing *list = ask->own;

    if (err)
        ask_fail(ask, err);
    else
        ask_end_page(ask, list->is_cut ? list->last : 0);
}

/* The ids that a question is limited to, if it is. */
static bool read_ids(struct ask *ask, struct dead_filter *filter)
{
    uint64_t *ids = NULL;

    if (!rpc_ids(&ask->rpc, "ids", RPC_OPTIONAL, ASK_LIST_MAX, &ids, &filter->id_count))
        return false;
    filter->ids = ids;
    return true;
}

static void list(struct ask *ask, int64_t max, bool has_content)
{
    struct desk *desk = ask->service;
    struct desk_listing *own = ask->own;
    struct dead_filter filter = {.channel = -1};
    struct dead_call call = {on_row, on_listed, ask};
    uint64_t after = 0;

    own->limit = ASK_LIST_DEFAULT;
    if (!desk_read_filter(&ask->rpc, rpc_has(&ask->rpc, "ids") ? 0 : OPEN, &filter) ||
        !read_ids(ask, &filter) ||
        !rpc_int(&ask->rpc, "limit", RPC_OPTIONAL, 1, max, &own->limit) ||
        !rpc_id(&ask->rpc, "after", RPC_OPTIONAL, &after) || !rpc_done(&ask->rpc)) {
        ask_answer(ask);
        return;
    }
    ask_begin(ask);
    buf_add_text(&ask->out, "{\"entries\":[");
    if (store_dlq_list(desk->store, &filter, after, (int)own->limit + 1, has_content, &call))
        ask_fail(ask, ERR_CLOSED);
}

void desk_list(struct ask *ask)
{
    list(ask, ASK_LIST_MAX, false);
}

void desk_export(struct ask *ask)
{
    list(ask, EXPORT_MAX, true);
}

/* ---- dlq.count, dlq.stats ---- */

static void on_counted(void *ctx, int err, int64_t count)
{
    struct ask *ask = ctx;

    if (err) {
        ask_fail(ask, err);
        return;
    }
    ask_begin(ask);
    buf_printf(&ask->out, "{\"count\":%lld}", (long long)count);
    ask_end(ask);
}

void desk_count(struct ask *ask)
{
    struct desk *desk = ask->service;
    struct dead_filter filter = {.channel = -1};

    if (!desk_read_filter(&ask->rpc, rpc_has(&ask->rpc, "ids") ? 0 : OPEN, &filter) ||
        !read_ids(ask, &filter) || !rpc_done(&ask->rpc))
        ask_answer(ask);
    else if (store_dlq_count(desk->store, &filter, on_counted, ask))
        ask_fail(ask, ERR_CLOSED);
}

/* Closes the groups before this one, also those that had no rows, and opens it. */
static void open_group(struct ask *ask, int group)
{
    static const char *const closes[] = {"", "}", "]", "]"};
    static const char *const opens[] = {"{", ",\"statuses\":{", ",\"reasons\":[", ",\"days\":["};
    struct desk_listing *own = ask->own;

    while (own->group < group) {
        buf_add_text(&ask->out, closes[own->group]);
        own->group++;
        buf_add_text(&ask->out, opens[own->group]);
        own->rows = 0;
    }
}

static void on_stat(void *ctx, const struct dead_stat *stat)
{
    struct ask *ask = ctx;
    struct desk_listing *own = ask->own;
    struct buf *out = &ask->out;
    char day[TIMEFMT_BYTES];

    open_group(ask, (int)stat->group);
    if (own->rows++)
        buf_add_char(out, ',');
    if (stat->group == DEAD_BY_STATUS) {
        buf_printf(out, "\"%s\":%lld", dead_status_name((enum dead_status)stat->status),
                   (long long)stat->count);
        return;
    }
    if (stat->group == DEAD_BY_REASON)
        buf_printf(out, "{\"channel\":\"%s\",\"reason\":\"%s\",",
                   channel_name((enum channel)stat->channel),
                   reason_name((enum reason)stat->reason));
    else if (stat->group == DEAD_BY_DAY)
        buf_printf(out, "{\"day\":\"%.10s\",", timefmt_wall(stat->day_ms, day));
    buf_printf(out, "\"count\":%lld,\"pending_review\":%lld%s", (long long)stat->count,
               (long long)stat->pending, stat->group == DEAD_BY_ALL ? "" : "}");
}

static void on_stats_done(void *ctx, int err)
{
    struct ask *ask = ctx;

    if (err) {
        ask_fail(ask, err);
        return;
    }
    open_group(ask, DEAD_BY_DAY);
    buf_add_text(&ask->out, "]}");
    ask_end(ask);
}

void desk_stats(struct ask *ask)
{
    struct desk *desk = ask->service;
    struct dead_filter filter = {.channel = -1};
    struct dead_stat_call call = {on_stat, on_stats_done, ask};

    if (!desk_read_filter(&ask->rpc, 0, &filter) || !rpc_done(&ask->rpc)) {
        ask_answer(ask);
        return;
    }
    ask_begin(ask);
    buf_add_char(&ask->out, '{');
    if (store_dlq_stats(desk->store, &filter, &call))
        ask_fail(ask, ERR_CLOSED);
}

/* ---- dlq.get ---- */

static void on_try(void *ctx, const struct dead_try *try)
{
    struct ask *ask = ctx;
    struct desk_listing *own = ask->own;
    struct buf *out = &ask->out;
    size_t before = out->length;

    if (own->is_cut)
        return;
    buf_printf(out, "%s{\"attempt\":%d,\"outcome\":\"%s\"", own->rows ? "," : "", try->number,
               outcome_name((enum outcome_kind)try->outcome));
    ask_add_time(ask, "at", try->at_ms);
    buf_add_member(out, "destination", try->destination);
    buf_add_member(out, "reason", reason_name((enum reason)try->reason));
    if (try->status_code)
        buf_printf(out, ",\"status_code\":%d", try->status_code);
    buf_add_member(out, "code", try->code);
    buf_add_member(out, "detail", try->detail);
    buf_add_member(out, "provider_id", try->provider_id);
    if (try->state >= 0)
        buf_add_member(out, "state", delivery_state_name((enum delivery_state)try->state));
    buf_add_char(out, '}');
    own->is_cut = !ask_keep_entry(ask, before, own->rows == 0);
    own->rows += !own->is_cut;
}

static void on_tries_done(void *ctx, int err)
{
    struct ask *ask = ctx;
    const struct desk_listing *own = ask->own;

    if (err) {
        ask_fail(ask, err);
        return;
    }
    buf_add_text(&ask->out, own->is_cut ? "],\"history_is_cut\":true}" : "]}");
    ask_end(ask);
}

static void on_got(void *ctx, const struct dead_row *row)
{
    struct ask *ask = ctx;
    struct desk_listing *own = ask->own;

    own->delivery = row->delivery;
    write_entry(ask, row);
}

static void on_got_done(void *ctx, int err)
{
    struct ask *ask = ctx;
    struct desk *desk = ask->service;
    struct desk_listing *own = ask->own;
    struct dead_try_call call = {on_try, on_tries_done, ask};

    if (!err && !own->delivery)
        err = ERR_NOT_FOUND;
    if (!err) {
        buf_add_text(&ask->out, ",\"history\":[");
        err = store_dlq_tries(desk->store, own->delivery, &call);
    }
    if (err)
        ask_fail(ask, err);
}

void desk_get(struct ask *ask)
{
    struct desk *desk = ask->service;
    uint64_t id = 0;
    struct dead_filter filter = {.channel = -1, .ids = &id, .id_count = 1};
    struct dead_call call = {on_got, on_got_done, ask};

    if (!rpc_id(&ask->rpc, "id", RPC_REQUIRED, &id) || !rpc_done(&ask->rpc)) {
        ask_answer(ask);
        return;
    }
    ask_begin(ask);
    if (store_dlq_list(desk->store, &filter, 0, 1, true, &call))
        ask_fail(ask, ERR_CLOSED);
}

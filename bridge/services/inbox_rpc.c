/* SPDX-License-Identifier: MIT */
#include "services/inbox.h"

#include "base/alloc.h"
#include "base/timefmt.h"
#include "core/cursor.h"
#include "core/id.h"
#include "core/inbox.h"
#include "core/mark.h"
#include "core/rpc.h"
#include "services/inbox_internal.h"
#include "store/inbox.h"

#include <string.h>

#define HISTORY_DEFAULT 50
#define HISTORY_MAX     100
/* An answer is one MQTT message: it ends before the entry that would make it longer. */
#define ANSWER_BYTES 60000

/* One question, waiting or under way; lives in its ask. */
struct want {
    struct list_node node;
    struct inbox *inbox;
    struct ask *ask;
    struct arena *scratch;
    bool is_history;
    struct inbox_query query;
    struct inbox_head head;
    struct cursor cursor;
    int64_t limit, count, last_rank; /* of the entries looked at */
    bool is_cut;                     /* there is more than this answer holds */
    bool is_holed;                   /* an entry's content is gone */
};

static void ask_waiting(struct inbox *inbox);

/* The database has answered. */
static void finish(struct want *want, int err)
{
    struct inbox *inbox = want->inbox;

    inbox->asking--;
    if (want->scratch)
        arena_free(want->scratch);
    if (err)
        ask_fail(want->ask, err);
    else
        ask_end(want->ask);
    ask_waiting(inbox);
}

/* ---- badge ---- */

static void on_badge(void *ctx, const char *user, int64_t unread, int64_t unseen)
{
    struct want *want = ctx;

    (void)user;
    want->count++;
    buf_printf(&want->ask->out, "{\"unread\":%lld,\"unseen\":%lld}", (long long)unread,
               (long long)unseen);
}

static void on_badge_done(void *ctx, int err)
{
    struct want *want = ctx;

    if (!want->count)
        buf_add_text(&want->ask->out, "{\"unread\":0,\"unseen\":0}");
    finish(want, err);
}

/* ---- history ---- */

static void on_head(void *ctx, const struct inbox_head *head)
{
    struct want *want = ctx;

    want->head = *head;
}

static void write_entry(struct want *want, const struct inbox_entry *entry, struct buf *out)
{
    char id[ID_TEXT_BYTES], text[TIMEFMT_BYTES];

    buf_printf(out, "{\"id\":\"%s\",\"seq\":%lld,\"state\":\"%s\",\"seen\":%s",
               id_format(entry->delivery, id), (long long)entry->seq,
               inbox_state_name(entry->state), entry->is_seen ? "true" : "false");
    buf_printf(out, ",\"created_at\":\"%s\"", timefmt_wall(entry->created_ms, text));
    if (entry->expires_ms)
        buf_printf(out, ",\"expires_at\":\"%s\"", timefmt_wall(entry->expires_ms, text));
    inbox_write_members(entry->content, entry->content_bytes, want->scratch, out);
    arena_reset(want->scratch);
    buf_add_char(out, '}');
}

static void on_entry(void *ctx, const struct inbox_entry *entry)
{
    struct want *want = ctx;
    size_t before = want->ask->out.length;

    if (want->is_cut)
        return;
    if (want->count == want->limit) {
        want->is_cut = true;
        return;
    }
    if (entry->content) {
        if (want->ask->out.data[before - 1] == '}')
            buf_add_char(&want->ask->out, ',');
        write_entry(want, entry, &want->ask->out);
    }
    if (want->count && want->ask->out.length > ANSWER_BYTES) {
        want->ask->out.length = before;
        want->ask->out.data[before] = '\0';
        want->is_cut = true;
        return;
    }
    want->is_holed = want->is_holed || !entry->content;
    want->count++;
    want->cursor.seq = entry->seq;
    want->last_rank = entry->rank;
}

/*
 * Is every number of which this answer speaks accounted for?  It speaks of those between the
 * bounds, or up to its last entry when there is more.
 */
static bool is_complete(const struct want *want)
{
    const struct inbox_query *query = &want->query;
    int64_t end =
        query->before_seq <= want->head.last_seq ? query->before_seq - 1 : want->head.last_seq;

    if (want->is_holed || query->since_seq > want->head.last_seq)
        return false;
    if (!want->is_cut)
        return want->head.total == (end > query->since_seq ? end - query->since_seq : 0);
    if (query->is_rising)
        return want->last_rank == want->cursor.seq - query->since_seq;
    return want->last_rank == end - want->cursor.seq + 1;
}

static void on_history_done(void *ctx, int err)
{
    struct want *want = ctx;
    char text[CURSOR_BYTES];

    buf_printf(&want->ask->out,
               "],\"complete\":%s,\"last_seq\":%lld,\"more\":%s,\"cursor\":\"%s\"}",
               !err && is_complete(want) ? "true" : "false", (long long)want->head.last_seq,
               want->is_cut ? "true" : "false", cursor_write(&want->cursor, text));
    finish(want, err);
}

/* before is a number of the sequence, or a time as in the events. */
static bool read_before(struct want *want)
{
    const struct json *value = NULL;
    int64_t before_ms = INT64_MAX;

    if (!rpc_json(&want->ask->rpc, "before", RPC_OPTIONAL, &value))
        return false;
    if (!value)
        return true;
    if (value->kind != JSON_KIND_STRING)
        return rpc_int(&want->ask->rpc, "before", RPC_OPTIONAL, 0, INT64_MAX,
                       &want->query.before_seq);
    if (!rpc_time(&want->ask->rpc, "before", RPC_OPTIONAL, &before_ms))
        return false;
    want->query.before = before_ms >> 41 ? (uint64_t)INT64_MAX : id_first_of(before_ms);
    if (before_ms < 0)
        want->query.before = 0;
    return true;
}

/* Where the page before ended; the other parameters stay as they were. */
static bool read_cursor(struct want *want)
{
    struct inbox_query *query = &want->query;
    const char *text = NULL;

    if (!rpc_text(&want->ask->rpc, "cursor", RPC_OPTIONAL, CURSOR_BYTES, &text))
        return false;
    if (text) {
        if (cursor_read(text, &want->cursor) ||
            (query->is_rising && want->cursor.is_rising != query->is_rising))
            return rpc_fail(&want->ask->rpc, "bad_value", "this is no cursor of such a call",
                            "cursor");
        query->is_rising = want->cursor.is_rising;
        if (query->is_rising && want->cursor.seq > query->since_seq)
            query->since_seq = want->cursor.seq;
        else if (!query->is_rising && want->cursor.seq < query->before_seq)
            query->before_seq = want->cursor.seq;
    }
    want->cursor.is_rising = query->is_rising;
    want->cursor.seq = query->is_rising ? query->since_seq : query->before_seq;
    return true;
}

static bool read_history(struct want *want)
{
    static const char *const states[] = {"unread", "read", "archived", NULL};
    size_t state = 0;

    want->query = (struct inbox_query){.user = want->ask->from,
                                       .before_seq = INT64_MAX,
                                       .before = (uint64_t)INT64_MAX,
                                       .state = -1,
                                       .is_rising = rpc_has(&want->ask->rpc, "since_seq")};
    want->limit = HISTORY_DEFAULT;
    if (!rpc_int(&want->ask->rpc, "since_seq", RPC_OPTIONAL, 0, INT64_MAX,
                 &want->query.since_seq) ||
        !read_before(want) || !read_cursor(want) ||
        !rpc_int(&want->ask->rpc, "limit", RPC_OPTIONAL, 1, HISTORY_MAX, &want->limit) ||
        !rpc_choice(&want->ask->rpc, "state", RPC_OPTIONAL, states, &state) ||
        !rpc_text(&want->ask->rpc, "type", RPC_OPTIONAL, 128, &want->query.type))
        return false;
    if (rpc_has(&want->ask->rpc, "state"))
        want->query.state = (int)state;
    /* One more than wanted, to know whether there is more. */
    want->query.limit = (int)want->limit + 1;
    return true;
}

/* ---- one after the other ---- */

static void put(struct want *want)
{
    struct inbox *inbox = want->inbox;
    struct inbox_history_call history = {on_head, on_entry, on_history_done, want};
    struct inbox_badge_call badge = {on_badge, on_badge_done, want};
    int err;

    ask_begin(want->ask);
    if (want->is_history) {
        want->scratch = arena_new(0);
        buf_add_text(&want->ask->out, "{\"items\":[");
        err = store_inbox_history(inbox->store, &want->query, &history);
    } else {
        err = store_inbox_badges(inbox->store, &want->ask->from, 1, &badge);
    }
    if (!err) {
        inbox->asking++;
        return;
    }
    if (want->scratch)
        arena_free(want->scratch);
    ask_fail(want->ask, err);
}

static void ask_waiting(struct inbox *inbox)
{
    struct list_node *node;

    while (inbox->asking < INBOX_ASKING && (node = list_pop_front(&inbox->waiting)))
        put(CONTAINER_OF(node, struct want, node));
}

static void queue(struct want *want)
{
    struct inbox *inbox = want->inbox;

    /* A badge that a bridge died before publishing is mended when its user comes. */
    inbox->ops.touch(inbox->ops.ctx, want->ask->from);
    list_push_back(&inbox->waiting, &want->node);
    ask_waiting(inbox);
}

static struct want *begin(struct ask *ask)
{
    struct want *want = ask->own;

    want->ask = ask;
    want->inbox = ask->service;
    return want;
}

static void history(struct ask *ask)
{
    struct want *want = begin(ask);

    want->is_history = true;
    if (read_history(want) && rpc_done(&ask->rpc))
        queue(want);
    else
        ask_answer(ask);
}

static void badge(struct ask *ask)
{
    if (rpc_done(&ask->rpc))
        queue(begin(ask));
    else
        ask_answer(ask);
}

static const struct method methods[] = {
    {"history", ASK_USERS, sizeof(struct want), history},
    {"badge", ASK_USERS, sizeof(struct want), badge},
};

void inbox_add_methods(struct inbox *inbox, struct asks *asks)
{
    asks_add(asks, methods, sizeof(methods) / sizeof(methods[0]), inbox);
}

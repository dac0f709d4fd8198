/* SPDX-License-Identifier: MIT */
#include "services/inbox.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/timefmt.h"
#include "core/cursor.h"
#include "core/id.h"
#include "core/inbox.h"
#include "core/mark.h"
#include "core/rpc.h"
#include "services/inbox_internal.h"
#include "store/inbox.h"
#include "store/shared.h"

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
    struct shared_query shared;
    struct kept *kept, **kept_last; /* what was told to many, not in the answer yet */
    int64_t shared_last;            /* the highest number of all of it */
    struct cursor cursor;
    int64_t limit, count, own_count;
    int64_t last_rank; /* of the last own entry */
    bool is_cut;       /* there is more than this answer holds */
    bool is_holed;     /* an entry's content is gone */
};

/* Something told to many; lives in the ask's arena. */
struct kept {
    struct kept *next;
    struct shared_entry entry;
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

/* As down/inbox brought it, with what the user made of it. */
static void write_common(struct want *want, enum inbox_state state, bool is_seen,
                         int64_t created_ms, int64_t expires_ms, const char *content, size_t bytes)
{
    struct buf *out = &want->ask->out;
    char text[TIMEFMT_BYTES];

    buf_printf(out, ",\"state\":\"%s\",\"seen\":%s,\"created_at\":\"%s\"", inbox_state_name(state),
               is_seen ? "true" : "false", timefmt_wall(created_ms, text));
    if (expires_ms)
        buf_printf(out, ",\"expires_at\":\"%s\"", timefmt_wall(expires_ms, text));
    if (!inbox_is_object(content, bytes, want->scratch) ||
        inbox_write_members(content, bytes, want->scratch, out))
        log_warn("inbox.content", LOG_STR("why", "the stored content is not a JSON object"));
    arena_reset(want->scratch);
    buf_add_char(out, '}');
}

/* false: the answer has as many entries as were wanted. */
static bool begin_entry(struct want *want, uint64_t delivery)
{
    struct buf *out = &want->ask->out;
    char id[ID_TEXT_BYTES];

    if (want->is_cut || want->count == want->limit) {
        want->is_cut = true;
        return false;
    }
    buf_printf(out, "%s{\"id\":\"%s\"", out->data[out->length - 1] == '}' ? "," : "",
               id_format(delivery, id));
    return true;
}

/* false: the message would be too long with it, and is as it was before. */
static bool end_entry(struct want *want, size_t before, bool has_content)
{
    struct buf *out = &want->ask->out;
    bool is_over = want->count && out->length > ANSWER_BYTES;

    if (is_over || !has_content) {
        out->length = before;
        out->data[before] = '\0';
    }
    want->is_cut = want->is_cut || is_over;
    want->is_holed = want->is_holed || (!is_over && !has_content);
    want->count += !is_over;
    return !is_over;
}

static void add_shared(struct want *want, const struct shared_entry *entry)
{
    struct buf *out = &want->ask->out;
    size_t before = out->length;

    if (!begin_entry(want, entry->delivery))
        return;
    if (entry->role[0])
        buf_add_member(out, "role", entry->role);
    else
        buf_add_text(out, ",\"broadcast\":true");
    if (entry->content)
        write_common(want, entry->state, entry->is_seen, entry->created_ms, entry->expires_ms,
                     entry->content, entry->content_bytes);
    if (end_entry(want, before, entry->content != NULL))
        want->cursor.shared = (uint64_t)entry->seq;
}

/* Those whose turn it is before something of this time. */
static void add_shared_until(struct want *want, int64_t created_ms)
{
    for (; want->kept; want->kept = want->kept->next) {
        int64_t ms = want->kept->entry.created_ms;

        if (want->query.is_rising ? ms > created_ms : ms < created_ms)
            return;
        add_shared(want, &want->kept->entry);
    }
}

static void on_entry(void *ctx, const struct inbox_entry *entry)
{
    struct want *want = ctx;
    struct buf *out = &want->ask->out;
    size_t before;

    add_shared_until(want, entry->created_ms);
    before = out->length;
    if (!begin_entry(want, entry->delivery))
        return;
    buf_printf(out, ",\"seq\":%lld", (long long)entry->seq);
    if (entry->content)
        write_common(want, entry->state, entry->is_seen, entry->created_ms, entry->expires_ms,
                     entry->content, entry->content_bytes);
    if (!end_entry(want, before, entry->content != NULL))
        return;
    want->own_count++;
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
    if (want->is_cut && !want->own_count)
        return true;
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

    add_shared_until(want, want->query.is_rising ? INT64_MAX : INT64_MIN);
    /* All of it was looked through: the next visit begins after it. */
    if (!want->is_cut && want->query.is_rising && want->cursor.shared < (uint64_t)want->shared_last)
        want->cursor.shared = (uint64_t)want->shared_last;
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
    if (!text)
        want->cursor.shared = query->is_rising ? 0 : INT64_MAX;
    return true;
}

/* The same of what was told to many; since and before are what the caller gave. */
static void fill_shared(struct want *want, int64_t since, int64_t before)
{
    const struct inbox_query *query = &want->query;
    struct inbox *inbox = want->inbox;

    want->shared = (struct shared_query){
        .user = query->user,
        .roles = arena_strdup(want->ask->arena, inbox->ops.roles(inbox->ops.ctx, query->user)),
        .after_seq = query->is_rising ? (int64_t)want->cursor.shared : 0,
        .before_seq = query->is_rising ? INT64_MAX : (int64_t)want->cursor.shared,
        .since_own = since,
        .before_own = before,
        .before = query->before,
        .state = query->state,
        .type = query->type,
        .limit = query->limit,
        .is_rising = query->is_rising,
    };
    want->kept_last = &want->kept;
}

static bool read_history(struct want *want)
{
    static const char *const states[] = {"unread", "read", "archived", NULL};
    size_t state = 0;
    int64_t since, before;

    want->query = (struct inbox_query){.user = want->ask->from,
                                       .before_seq = INT64_MAX,
                                       .before = (uint64_t)INT64_MAX,
                                       .state = -1,
                                       .is_rising = rpc_has(&want->ask->rpc, "since_seq")};
    want->limit = HISTORY_DEFAULT;
    if (!rpc_int(&want->ask->rpc, "since_seq", RPC_OPTIONAL, 0, INT64_MAX,
                 &want->query.since_seq) ||
        !read_before(want))
        return false;
    since = want->query.since_seq;
    before = want->query.before_seq;
    if (!read_cursor(want) ||
        !rpc_int(&want->ask->rpc, "limit", RPC_OPTIONAL, 1, HISTORY_MAX, &want->limit) ||
        !rpc_choice(&want->ask->rpc, "state", RPC_OPTIONAL, states, &state) ||
        !rpc_text(&want->ask->rpc, "type", RPC_OPTIONAL, 128, &want->query.type))
        return false;
    if (rpc_has(&want->ask->rpc, "state"))
        want->query.state = (int)state;
    /* One more than wanted, to know whether there is more. */
    want->query.limit = (int)want->limit + 1;
    fill_shared(want, since, before);
    return true;
}

/* ---- one after the other ---- */

static void on_shared_head(void *ctx, int64_t last_seq, bool is_cut)
{
    struct want *want = ctx;

    want->shared_last = last_seq;
    want->is_holed = is_cut;
}

static void on_shared_entry(void *ctx, const struct shared_entry *entry)
{
    struct want *want = ctx;
    struct arena *arena = want->ask->arena;
    struct kept *kept = arena_zalloc(arena, sizeof(*kept));

    kept->entry = *entry;
    kept->entry.role = arena_strdup(arena, entry->role);
    if (entry->content)
        kept->entry.content = arena_copy(arena, entry->content, entry->content_bytes);
    *want->kept_last = kept;
    want->kept_last = &kept->next;
}

static void on_shared_done(void *ctx, int err)
{
    struct want *want = ctx;
    struct inbox_history_call history = {on_head, on_entry, on_history_done, want};

    if (!err)
        err = store_inbox_history(want->inbox->store, &want->query, &history);
    if (err)
        finish(want, err);
}

static void put(struct want *want)
{
    struct inbox *inbox = want->inbox;
    struct shared_call shared = {on_shared_head, on_shared_entry, on_shared_done, want};
    struct inbox_badge_call badge = {on_badge, on_badge_done, want};
    int err;

    ask_begin(want->ask);
    if (want->is_history) {
        want->scratch = arena_new(0);
        buf_add_text(&want->ask->out, "{\"items\":[");
        err = store_shared(inbox->store, &want->shared, &shared);
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

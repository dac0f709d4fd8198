/* SPDX-License-Identifier: MIT */
#include "store/inbox.h"

#include "base/alloc.h"
#include "core/id.h"
#include "core/request.h"
#include "store/store_internal.h"

#include <stdlib.h>

/*
 * x is what a mark makes of an entry; y and c write it, entry and counters in one.  The counters
 * are moved by the difference, since ingest moves them as well.  1 is RECEIPTS_ALL.
 */
_Static_assert(RECEIPTS_ALL == 1, "as in the statements");
#define WRITE_MARKED                                                                           \
    "y AS (UPDATE inbox i SET state = x.state, is_seen = x.is_seen FROM x"                     \
    " WHERE i.user_id = x.user_id AND i.seq = x.seq"                                           \
    " AND (x.state <> x.old_state OR x.is_seen <> x.was_seen)),"                               \
    "c AS (UPDATE inbox_user c SET unread = greatest(c.unread + d.unread, 0),"                 \
    " unseen = greatest(c.unseen + d.unseen, 0) FROM (SELECT user_id,"                         \
    "   sum((state = 0)::int - (old_state = 0)::int) AS unread,"                               \
    "   sum((state < 3 AND NOT is_seen)::int - (old_state < 3 AND NOT was_seen)::int)"         \
    "     AS unseen FROM x GROUP BY user_id) d"                                                \
    " WHERE c.user_id = d.user_id AND (d.unread <> 0 OR d.unseen <> 0))"                       \
    "SELECT x.user_id, x.delivery, x.notification, x.seq, x.state::int, n.service, n.request," \
    " x.last_seq FROM x LEFT JOIN LATERAL (SELECT service, request FROM notification"          \
    "   WHERE x.is_told AND id = x.notification AND receipts = 1 LIMIT 1) n ON true"           \
    " ORDER BY x.user_id, x.seq"

const struct pg_statement store_sql_inbox_mark = {
    .place = PG_PLACE_KEPT,
    .name = "inbox_mark",
    .params = 7,
    .sql = "WITH m AS (SELECT * FROM unnest($1::text[], $2::bigint[], $3::smallint[],"
           "   $4::smallint[], $5::smallint[], $6::bool[], $7::bool[])"
           "   AS m(user_id, delivery, unread, read, archived, is_seen, is_told)),"
           "u AS (SELECT user_id, last_seq FROM inbox_user WHERE user_id = ANY ($1::text[])"
           "   ORDER BY user_id FOR UPDATE),"
           "x AS (SELECT i.user_id, i.seq, i.delivery, i.notification, i.state AS old_state,"
           "   i.is_seen AS was_seen, CASE i.state WHEN 0 THEN m.unread WHEN 1 THEN m.read"
           "   WHEN 2 THEN m.archived ELSE 3 END AS state, i.is_seen OR m.is_seen AS is_seen,"
           "   m.is_told, u.last_seq FROM inbox i"
           "   JOIN m ON m.user_id = i.user_id AND m.delivery = i.delivery"
           "   JOIN u ON u.user_id = i.user_id"
           "   WHERE i.delivery = ANY ($2::bigint[]) FOR UPDATE OF i)," WRITE_MARKED,
};

const struct pg_statement store_sql_inbox_mark_all = {
    .place = PG_PLACE_KEPT,
    .name = "inbox_mark_all",
    .params = 10,
    .sql = "WITH u AS (SELECT user_id, last_seq FROM inbox_user WHERE user_id = $1::text"
           "   FOR UPDATE),"
           "x AS (SELECT i.user_id, i.seq, i.delivery, i.notification, i.state AS old_state,"
           "   i.is_seen AS was_seen, CASE i.state WHEN 0 THEN $4::smallint WHEN 1 THEN"
           "   $5::smallint ELSE $6::smallint END AS state, i.is_seen OR $7::bool AS is_seen,"
           "   $8::bool AS is_told, u.last_seq FROM inbox i JOIN u ON u.user_id = i.user_id"
           "   WHERE i.user_id = $1::text AND i.notification < $2::bigint AND i.seq > $3::bigint"
           "   AND i.seq <= $10::bigint AND i.state < 3 AND (CASE i.state WHEN 0 THEN $4::smallint "
           "WHEN 1 THEN"
           "   $5::smallint ELSE $6::smallint END <> i.state OR ($7::bool AND NOT i.is_seen))"
           "   ORDER BY i.seq LIMIT $9::int FOR UPDATE OF i)," WRITE_MARKED,
};

const struct pg_statement store_sql_inbox_badges = {
    .name = "inbox_badges",
    .params = 1,
    .sql = "SELECT user_id, unread, unseen FROM inbox_user WHERE user_id = ANY ($1::text[])",
};

/* The window runs along the primary key and stops with the limit; it sees deleted ones too. */
#define HISTORY(order)                                                                     \
    "WITH w AS (SELECT seq, delivery, notification, state, is_seen,"                       \
    "   row_number() OVER (ORDER BY seq " order ") AS rank FROM inbox"                     \
    "   WHERE user_id = $1::text AND seq > $2::bigint AND seq < $3::bigint),"              \
    "p AS MATERIALIZED (SELECT w.*, n.expires_at, n.content"                               \
    "   FROM w LEFT JOIN LATERAL (SELECT id, type, expires_at, content"                    \
    "     FROM notification WHERE id = w.notification LIMIT 1) n ON true"                  \
    "   WHERE w.state < 3 AND w.notification < $4::bigint"                                 \
    "   AND ($5::smallint IS NULL OR w.state = $5::smallint)"                              \
    "   AND (n.expires_at IS NULL OR n.expires_at > now())"                                \
    "   AND ($6::text IS NULL OR n.id IS NULL OR n.type = $6::text)"                       \
    "   ORDER BY w.seq " order " LIMIT $7::int)"                                           \
    "SELECT h.last_seq, h.total, p.delivery, p.seq, p.rank, p.notification, p.expires_at," \
    " p.state::int, p.is_seen, p.content FROM (SELECT"                                     \
    "   coalesce((SELECT last_seq FROM inbox_user WHERE user_id = $1::text), 0)"           \
    "     AS last_seq,"                                                                    \
    "   CASE WHEN (SELECT count(*) FROM p) < $7::int THEN (SELECT count(*) FROM inbox"     \
    "     WHERE user_id = $1::text AND seq > $2::bigint AND seq < $3::bigint) ELSE -1 END" \
    "     AS total) h LEFT JOIN p ON true ORDER BY p.seq " order

const struct pg_statement store_sql_inbox_rising = {
    .place = PG_PLACE_CALL, .name = "inbox_rising", .params = 7, .sql = HISTORY("ASC")};
const struct pg_statement store_sql_inbox_falling = {
    .place = PG_PLACE_CALL, .name = "inbox_falling", .params = 7, .sql = HISTORY("DESC")};

/* ---- marking ---- */

static void on_marked(void *ctx, int err, const struct pg_result *result)
{
    struct inbox_mark_call *held = ctx;
    struct inbox_mark_call call = *held;
    int rows = err ? 0 : pg_rows(result);

    free(held);
    for (int i = 0; i < rows; i++) {
        struct inbox_marked marked = {
            .user = pg_text(result, i, 0),
            .delivery = (uint64_t)pg_int(result, i, 1),
            .notification = (uint64_t)pg_int(result, i, 2),
            .seq = pg_int(result, i, 3),
            .state = (enum inbox_state)store_enum(result, i, 4, INBOX_STATE_COUNT),
            .service = pg_text_or_null(result, i, 5),
            .request = pg_text_or_null(result, i, 6),
            .until_seq = pg_int(result, i, 7),
        };

        call.on_row(call.ctx, &marked);
    }
    call.on_done(call.ctx, err, (size_t)rows);
}

static int send_mark(struct store *store, const struct pg_statement *statement,
                     const struct inbox_mark_call *call)
{
    struct inbox_mark_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    err = pg_send(store->pg[STORE_CONTROL], statement, &store->params, on_marked, held);
    if (err)
        free(held);
    return err;
}

int store_mark_entries(struct store *store, const struct pg_statement *statement,
                       const struct inbox_mark *marks, size_t count, bool has_roles,
                       const struct inbox_mark_call *call)
{
    enum { COLUMNS = 8 };
    static const enum pg_type types[COLUMNS] = {PG_TEXT, PG_INT8, PG_INT2, PG_INT2,
                                                PG_INT2, PG_BOOL, PG_BOOL, PG_TEXT};
    struct pg_array column[COLUMNS];
    int err;

    for (int i = 0; i < COLUMNS; i++)
        pg_array_init(&column[i], types[i]);
    for (size_t i = 0; i < count; i++) {
        pg_array_add_text(&column[0], marks[i].user);
        pg_array_add_int(&column[1], (int64_t)marks[i].delivery);
        for (int state = 0; state < INBOX_DELETED; state++)
            pg_array_add_int(&column[2 + state], (int64_t)marks[i].mark.to[state]);
        pg_array_add_int(&column[5], marks[i].mark.is_seen);
        pg_array_add_int(&column[6], marks[i].mark.is_read);
        if (has_roles)
            pg_array_add_text(&column[7], marks[i].roles);
    }
    pg_params_clear(&store->params);
    for (int i = 0; i < COLUMNS - !has_roles; i++)
        pg_add_array(&store->params, &column[i]);
    err = send_mark(store, statement, call);
    for (int i = 0; i < COLUMNS; i++)
        pg_array_fini(&column[i]);
    return err;
}

int store_mark_range(struct store *store, const struct pg_statement *statement,
                     const struct inbox_range *range, const struct mark *mark, bool has_roles,
                     const struct inbox_mark_call *call)
{
    pg_params_clear(&store->params);
    pg_add_text(&store->params, range->user);
    pg_add_int8(&store->params, (int64_t)range->before);
    pg_add_int8(&store->params, range->after_seq);
    for (int state = 0; state < INBOX_DELETED; state++)
        pg_add_int2(&store->params, (int16_t)mark->to[state]);
    pg_add_bool(&store->params, mark->is_seen);
    pg_add_bool(&store->params, mark->is_read);
    pg_add_int4(&store->params, range->limit);
    pg_add_int8(&store->params, range->until_seq);
    if (has_roles)
        pg_add_text(&store->params, range->roles);
    return send_mark(store, statement, call);
}

int store_inbox_mark(struct store *store, const struct inbox_mark *marks, size_t count,
                     const struct inbox_mark_call *call)
{
    return store_mark_entries(store, &store_sql_inbox_mark, marks, count, false, call);
}

int store_inbox_mark_all(struct store *store, const struct inbox_range *range,
                         const struct mark *mark, const struct inbox_mark_call *call)
{
    return store_mark_range(store, &store_sql_inbox_mark_all, range, mark, false, call);
}

/* ---- counters ---- */

static void on_badges(void *ctx, int err, const struct pg_result *result)
{
    struct inbox_badge_call *held = ctx;
    struct inbox_badge_call call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++)
        call.on_row(call.ctx, pg_text(result, i, 0), pg_int(result, i, 1), pg_int(result, i, 2));
    call.on_done(call.ctx, err);
}

int store_inbox_badges(struct store *store, const char *const *users, size_t count,
                       const struct inbox_badge_call *call)
{
    struct inbox_badge_call *held = xmalloc(sizeof(*held));
    struct pg_array names;
    int err;

    *held = *call;
    pg_array_init(&names, PG_TEXT);
    for (size_t i = 0; i < count; i++)
        pg_array_add_text(&names, users[i]);
    pg_params_clear(&store->params);
    pg_add_array(&store->params, &names);
    err =
        pg_send(store->pg[STORE_CONTROL], &store_sql_inbox_badges, &store->params, on_badges, held);
    if (err)
        free(held);
    pg_array_fini(&names);
    return err;
}

/* ---- history ---- */

static void on_history(void *ctx, int err, const struct pg_result *result)
{
    struct inbox_history_call *held = ctx;
    struct inbox_history_call call = *held;

    free(held);
    if (!err) {
        struct inbox_head head = {pg_int(result, 0, 0), pg_int(result, 0, 1)};

        call.on_head(call.ctx, &head);
    }
    for (int i = 0; !err && i < pg_rows(result); i++) {
        struct inbox_entry entry = {
            .delivery = (uint64_t)pg_int(result, i, 2),
            .seq = pg_int(result, i, 3),
            .rank = pg_int(result, i, 4),
            .created_ms = id_wall_ms((uint64_t)pg_int(result, i, 5)),
            .expires_ms = pg_is_null(result, i, 6) ? 0 : pg_time_us(result, i, 6) / 1000,
            .state = (enum inbox_state)store_enum(result, i, 7, INBOX_STATE_COUNT),
            .is_seen = pg_int(result, i, 8) != 0,
        };

        if (pg_is_null(result, i, 2)) /* the head alone */
            break;
        if (!pg_is_null(result, i, 9))
            entry.content = pg_bytes(result, i, 9, &entry.content_bytes);
        call.on_entry(call.ctx, &entry);
    }
    call.on_done(call.ctx, err);
}

int store_inbox_history(struct store *store, const struct inbox_query *query,
                        const struct inbox_history_call *call)
{
    struct inbox_history_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    pg_add_text(&store->params, query->user);
    pg_add_int8(&store->params, query->since_seq);
    pg_add_int8(&store->params, query->before_seq);
    pg_add_int8(&store->params, (int64_t)query->before);
    if (query->state >= 0)
        pg_add_int2(&store->params, (int16_t)query->state);
    else
        pg_add_null(&store->params);
    pg_add_text(&store->params, query->type);
    pg_add_int4(&store->params, query->limit);
    err = pg_send(store->pg[STORE_CONTROL],
                  query->is_rising ? &store_sql_inbox_rising : &store_sql_inbox_falling,
                  &store->params, on_history, held);
    if (err)
        free(held);
    return err;
}

/* SPDX-License-Identifier: MIT */
#include "store/shared.h"

#include "base/alloc.h"
#include "core/id.h"
#include "store/store_internal.h"

#include <stdlib.h>

/* Two bridges' clocks, and an entry's way from its id to its number: more is told than is new. */
#define SLACK "interval '10 s'"
/* A notification's id starts with its milliseconds. */
#define TIME_OF(id) "to_timestamp((" id " >> 22) / 1000.0)"

/*
 * $1 user $2 roles $3, $4 numbers $5, $6 own numbers $7 notification $8 state $9 type $10 limit.
 * Walks the numbers from one end and stops with the limit.
 */
#define SHARED(order)                                                                              \
    "WITH b AS (SELECT " TIME_OF(                                                                  \
        "(SELECT notification FROM inbox WHERE user_id = $1::text"                                 \
        "   AND seq <= $5::bigint ORDER BY seq DESC LIMIT 1)") " - " SLACK                         \
                                                               "   AS since, coalesce((SELECT "    \
                                                               "notification FROM inbox WHERE "    \
                                                               "user_id = $1::text"                \
                                                               "   AND seq >= $6::bigint ORDER "   \
                                                               "BY seq LIMIT 1), "                 \
                                                               "9223372036854775807) AS below)"    \
                                                               "SELECT h.last_seq, CASE WHEN "     \
                                                               "$3::bigint > 0 THEN $3::bigint < " \
                                                               "h.cut_seq"                         \
                                                               "   ELSE $5::bigint > 0 AND "       \
                                                               "coalesce(b.since < h.cut_at, "     \
                                                               "h.cut_seq > 0) END,"               \
                                                               " p.seq, p.delivery, "              \
                                                               "p.notification, p.role, p.state, " \
                                                               "p.is_seen, p.expires_at, "         \
                                                               "p.content"                         \
                                                               " FROM shared_head h CROSS JOIN b " \
                                                               "LEFT JOIN LATERAL ("               \
                                                               "   SELECT s.seq, s.delivery, "     \
                                                               "s.notification, s.role, "          \
                                                               "coalesce(k.state, 0)::int AS "     \
                                                               "state,"                            \
                                                               "     coalesce(k.is_seen, false) "  \
                                                               "AS is_seen, n.expires_at, "        \
                                                               "n.content"                         \
                                                               "   FROM shared s LEFT JOIN "       \
                                                               "shared_mark k ON k.user_id = "     \
                                                               "$1::text AND k.seq = s.seq"        \
                                                               "   LEFT JOIN LATERAL (SELECT id, " \
                                                               "type, expires_at, content FROM "   \
                                                               "notification"                      \
                                                               "     WHERE id = s.notification "   \
                                                               "LIMIT 1) n ON true"                \
                                                               "   WHERE s.seq > $3::bigint AND "  \
                                                               "s.seq < $4::bigint AND NOT "       \
                                                               "s.is_gone"                         \
                                                               "   AND (s.role = '' OR s.role = "  \
                                                               "ANY (string_to_array($2::text, "   \
                                                               "',')))"                            \
                                                               "   AND (b.since IS NULL OR "       \
                                                               "s.shown_at >= b.since)"            \
                                                               "   AND s.notification < b.below "  \
                                                               "AND s.notification < $7::bigint"   \
                                                               "   AND coalesce(k.state, 0) < 3 "  \
                                                               "AND ($8::int IS NULL OR "          \
                                                               "coalesce(k.state, 0) = $8::int)"   \
                                                               "   AND ($9::text IS NULL OR n.id " \
                                                               "IS NULL OR n.type = $9::text)"     \
                                                               "   AND (n.expires_at IS NULL OR "  \
                                                               "n.expires_at > now())"             \
                                                               "   ORDER BY s.seq " order          \
                                                               " LIMIT $10::int) p ON true ORDER " \
                                                               "BY p.seq " order

const struct pg_statement store_sql_shared_rising = {
    .place = PG_PLACE_CALL, .name = "shared_rising", .params = 10, .sql = SHARED("ASC")};
const struct pg_statement store_sql_shared_falling = {
    .place = PG_PLACE_CALL, .name = "shared_falling", .params = 10, .sql = SHARED("DESC")};

/* As in store/inbox.c: x is what a mark makes of an entry. */
#define WRITE_MARKED                                                                              \
    "y AS (INSERT INTO shared_mark (user_id, seq, state, is_seen)"                                \
    " SELECT user_id, seq, state, is_seen FROM x WHERE state <> old_state OR is_seen <> was_seen" \
    " ORDER BY user_id, seq ON CONFLICT (user_id, seq) DO UPDATE SET state = excluded.state,"     \
    "   is_seen = excluded.is_seen)"                                                              \
    "SELECT x.user_id, x.delivery, x.notification, x.seq, x.state::int, n.service, n.request,"    \
    " x.last_seq FROM x LEFT JOIN LATERAL (SELECT service, request FROM notification"             \
    "   WHERE x.is_told AND id = x.notification AND receipts = 1 LIMIT 1) n ON true"              \
    " ORDER BY x.user_id, x.seq"

const struct pg_statement store_sql_shared_mark = {
    .place = PG_PLACE_KEPT,
    .name = "shared_mark",
    .params = 8,
    .sql = "WITH m AS (SELECT * FROM unnest($1::text[], $2::bigint[], $3::smallint[],"
           "   $4::smallint[], $5::smallint[], $6::bool[], $7::bool[], $8::text[])"
           "   AS m(user_id, delivery, unread, read, archived, is_seen, is_told, roles)),"
           "x AS (SELECT m.user_id, s.seq, s.delivery, s.notification,"
           "   coalesce(k.state, 0) AS old_state, coalesce(k.is_seen, false) AS was_seen,"
           "   CASE coalesce(k.state, 0) WHEN 0 THEN m.unread WHEN 1 THEN m.read"
           "   WHEN 2 THEN m.archived ELSE 3 END AS state,"
           "   coalesce(k.is_seen, false) OR m.is_seen AS is_seen, m.is_told, 0::bigint AS last_seq"
           "   FROM shared s JOIN m ON m.delivery = s.delivery"
           "   LEFT JOIN shared_mark k ON k.user_id = m.user_id AND k.seq = s.seq"
           "   WHERE s.delivery = ANY ($2::bigint[]) AND NOT s.is_gone"
           "   AND (s.role = '' OR s.role = ANY (string_to_array(m.roles, ','))))," WRITE_MARKED,
};

const struct pg_statement store_sql_shared_mark_all = {
    .place = PG_PLACE_KEPT,
    .name = "shared_mark_all",
    .params = 11,
    .sql = "WITH q AS (SELECT s.seq, s.delivery, s.notification,"
           "   coalesce(k.state, 0) AS old_state, coalesce(k.is_seen, false) AS was_seen"
           "   FROM shared s LEFT JOIN shared_mark k ON k.user_id = $1::text AND k.seq = s.seq"
           "   WHERE s.seq > $3::bigint AND s.seq <= $10::bigint AND s.notification < $2::bigint"
           "   AND NOT s.is_gone AND coalesce(k.state, 0) < 3"
           "   AND (s.role = '' OR s.role = ANY (string_to_array($11::text, ',')))),"
           "x AS (SELECT $1::text AS user_id, q.*, t.state, q.was_seen OR $7::bool AS is_seen,"
           "   $8::bool AS is_told, h.last_seq FROM q CROSS JOIN shared_head h"
           "   CROSS JOIN LATERAL (SELECT CASE q.old_state WHEN 0 THEN $4::smallint"
           "     WHEN 1 THEN $5::smallint ELSE $6::smallint END AS state) t"
           "   WHERE t.state <> q.old_state OR ($7::bool AND NOT q.was_seen)"
           "   ORDER BY q.seq LIMIT $9::int)," WRITE_MARKED,
};

/* ---- reading ---- */

static void on_shared(void *ctx, int err, const struct pg_result *result)
{
    struct shared_call *held = ctx;
    struct shared_call call = *held;

    free(held);
    if (!err)
        call.on_head(call.ctx, pg_int(result, 0, 0), pg_int(result, 0, 1) != 0);
    for (int i = 0; !err && i < pg_rows(result) && !pg_is_null(result, i, 2); i++) {
        struct shared_entry entry = {
            .seq = pg_int(result, i, 2),
            .delivery = (uint64_t)pg_int(result, i, 3),
            .created_ms = id_wall_ms((uint64_t)pg_int(result, i, 4)),
            .role = pg_text(result, i, 5),
            .state = (enum inbox_state)store_enum(result, i, 6, INBOX_STATE_COUNT),
            .is_seen = pg_int(result, i, 7) != 0,
            .expires_ms = pg_is_null(result, i, 8) ? 0 : pg_time_us(result, i, 8) / 1000,
        };

        if (!pg_is_null(result, i, 9))
            entry.content = pg_bytes(result, i, 9, &entry.content_bytes);
        call.on_entry(call.ctx, &entry);
    }
    call.on_done(call.ctx, err);
}

int store_shared(struct store *store, const struct shared_query *query,
                 const struct shared_call *call)
{
    struct shared_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    pg_add_text(&store->params, query->user);
    pg_add_text(&store->params, query->roles);
    pg_add_int8(&store->params, query->after_seq);
    pg_add_int8(&store->params, query->before_seq);
    pg_add_int8(&store->params, query->since_own);
    pg_add_int8(&store->params, query->before_own);
    pg_add_int8(&store->params, (int64_t)query->before);
    if (query->state >= 0)
        pg_add_int4(&store->params, query->state);
    else
        pg_add_null(&store->params);
    pg_add_text(&store->params, query->type);
    pg_add_int4(&store->params, query->limit);
    err = pg_send(store->pg[STORE_CONTROL],
                  query->is_rising ? &store_sql_shared_rising : &store_sql_shared_falling,
                  &store->params, on_shared, held);
    if (err)
        free(held);
    return err;
}

/* ---- marking ---- */

int store_shared_mark(struct store *store, const struct inbox_mark *marks, size_t count,
                      const struct inbox_mark_call *call)
{
    return store_mark_entries(store, &store_sql_shared_mark, marks, count, true, call);
}

int store_shared_mark_all(struct store *store, const struct inbox_range *range,
                          const struct mark *mark, const struct inbox_mark_call *call)
{
    return store_mark_range(store, &store_sql_shared_mark_all, range, mark, true, call);
}

/* SPDX-License-Identifier: MIT */
#include "store/upkeep.h"

#include "core/id.h"
#include "store/store_internal.h"

#include <stdlib.h>

/*
 * What becomes ready is due from now on, and not since it should have been: claims that follow
 * begin near the time of what was claimed last, and would pass over an older one.  One that is in
 * the queue already holds up no other: here, in dlq_feed and in wake.
 */
const struct pg_statement store_sql_stage = {
    .name = "stage",
    .params = 0,
    .sql =
        "WITH r AS (DELETE FROM scheduled WHERE id = ANY (ARRAY("
        "   SELECT id FROM scheduled WHERE due_at <= now() ORDER BY due_at LIMIT 1000"
        "   FOR UPDATE SKIP LOCKED))"
        " RETURNING *, channel = 0 AND recipient_kind = 0 AS is_inbox),"
        "u AS (INSERT INTO inbox_user AS c (user_id, last_seq, unread, unseen)"
        " SELECT recipient, count(*), count(*), count(*) FROM r WHERE is_inbox"
        " GROUP BY recipient ORDER BY recipient"
        " ON CONFLICT (user_id) DO UPDATE SET last_seq = c.last_seq + excluded.last_seq,"
        "   unread = c.unread + excluded.unread, unseen = c.unseen + excluded.unseen"
        " RETURNING user_id, last_seq),"
        "s AS (SELECT r.*, CASE WHEN r.is_inbox THEN u.last_seq + 1 - row_number() OVER"
        "   (PARTITION BY r.is_inbox, r.recipient ORDER BY r.id DESC) ELSE 0 END AS new_seq"
        " FROM r LEFT JOIN u ON r.is_inbox AND u.user_id = r.recipient),"
        "i AS (INSERT INTO inbox (user_id, seq, delivery, notification)"
        " SELECT recipient, new_seq, id, notification FROM s WHERE is_inbox),"
        "m AS (SELECT id, notification, CASE recipient_kind WHEN 1 THEN recipient ELSE '' END"
        "   AS role FROM s WHERE channel = 0 AND recipient_kind IN (1, 2))," STORE_SHARE(
            "m") ","
                 "d AS (INSERT INTO delivery (id, notification, due_at, seq, destination, channel,"
                 "   priority, state, attempts, crashes, last_reason, recipient_kind, recipient,"
                 "   user_id, head)"
                 " SELECT id, notification, now(), new_seq, destination, channel, priority, 0, "
                 "attempts,"
                 "   crashes, last_reason, recipient_kind, recipient, user_id, head FROM s"
                 " ON CONFLICT (id) DO NOTHING)"
                 "SELECT count(*) FROM r",
};

/* On intake, whose planner does not take a queue for empty; `state + 0` as in claim. */
const struct pg_statement store_sql_release = {
    .place = PG_PLACE_KEPT,
    .name = "release",
    .params = 0,
    .sql = "WITH x AS (UPDATE delivery SET state = 0, due_at = now() WHERE id = ANY (ARRAY("
           "   SELECT id FROM delivery WHERE state = 2 AND due_at <= now() ORDER BY due_at"
           "   LIMIT 1000 FOR UPDATE SKIP LOCKED)) AND state + 0 = 2 RETURNING 1)"
           "SELECT count(*) FROM x",
};

_Static_assert(KEYS_PURGE_BITE == 5000, "as in the statement");
const struct pg_statement store_sql_purge_keys = {
    .name = "purge_keys",
    .params = 1,
    .sql = "WITH x AS (DELETE FROM request_key_any WHERE (tableoid, ctid) IN ("
           "   SELECT tableoid, ctid FROM request_key_any WHERE notification < $1::bigint"
           "   LIMIT 5000) RETURNING 1)"
           "SELECT count(*) FROM x",
};

static int send(struct store *store, const struct pg_statement *statement, store_count_fn *on_done,
                void *ctx)
{
    return store_send(store, STORE_CONTROL, statement, &store->params, store_on_count,
                      (void (*)(void))on_done, ctx);
}

int store_stage(struct store *store, store_count_fn *on_done, void *ctx)
{
    pg_params_clear(&store->params);
    return send(store, &store_sql_stage, on_done, ctx);
}

int store_release(struct store *store, store_count_fn *on_done, void *ctx)
{
    pg_params_clear(&store->params);
    return store_send(store, STORE_INTAKE, &store_sql_release, &store->params, store_on_count,
                      (void (*)(void))on_done, ctx);
}

int store_purge_keys(struct store *store, int64_t now_wall_ms, store_count_fn *on_done, void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, (int64_t)id_first_of(now_wall_ms - 7 * 86400000LL));
    return send(store, &store_sql_purge_keys, on_done, ctx);
}

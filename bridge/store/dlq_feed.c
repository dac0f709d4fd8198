/* SPDX-License-Identifier: MIT */
/* Puts marked dead letters back into the queue, and clears away what is over. */
#include "store/dlq.h"

#include "base/alloc.h"
#include "store/store_internal.h"

#include <stdlib.h>

/*
 * A destination gets as many as its room exceeds what is ready for it and due: whatever its
 * priority, so that a retry of many takes what the rest leaves.  One whose notification has been
 * dropped cannot be sent any more.
 */
const struct pg_statement store_sql_dlq_feed = {
    .name = "dlq_feed",
    .params = 2,
    .sql =
        "WITH w AS (SELECT p.destination, p.room, q.waiting"
        "   FROM unnest($1::int[], $2::int[]) AS p(destination, room)"
        "   CROSS JOIN LATERAL (SELECT count(*)::int AS waiting FROM (SELECT 1"
        "     FROM generate_series(0, 3) AS y(priority) CROSS JOIN LATERAL (SELECT 1 FROM delivery"
        "       WHERE state = 0 AND destination = p.destination AND priority = y.priority"
        "       AND due_at <= now() LIMIT p.room) r LIMIT p.room) z) q"
        "   WHERE EXISTS (SELECT 1 FROM dead_letter WHERE destination = p.destination"
        "     AND status = 1 AND is_dead)),"
        "b AS (SELECT x.delivery, EXISTS (SELECT 1 FROM notification WHERE id = x.notification)"
        "     AS is_there"
        "   FROM w CROSS JOIN LATERAL (SELECT delivery, notification FROM dead_letter"
        "     WHERE destination = w.destination AND status = 1 AND is_dead"
        "     ORDER BY delivery LIMIT w.room - w.waiting FOR UPDATE SKIP LOCKED) x),"
        "g AS (UPDATE dead_letter SET status = 3, note = 'its notification is no longer kept'"
        "   WHERE delivery = ANY (ARRAY(SELECT delivery FROM b WHERE NOT is_there))),"
        "u AS (UPDATE dead_letter SET is_dead = false, retries = retries + 1"
        "   WHERE delivery = ANY (ARRAY(SELECT delivery FROM b WHERE is_there)) RETURNING *),"
        "i AS (INSERT INTO delivery (id, notification, due_at, seq, destination, channel,"
        "   priority, state, recipient_kind, recipient, user_id, desk)"
        "   SELECT delivery, notification, now(), seq, destination, channel, 0, 0, recipient_kind,"
        "   recipient, coalesce(user_id, ''), 1 + CASE WHEN is_pinned THEN 2 ELSE 0 END"
        "   + CASE WHEN edited IS NOT NULL THEN 4 ELSE 0 END FROM u"
        "   ON CONFLICT (id) DO NOTHING)"
        "SELECT w.destination, w.waiting, (SELECT count(*) FROM u"
        "   WHERE u.destination = w.destination)::int FROM w",
};

/*
 * What has ended without having resolved its dead letter in the same commit.  Only what was put
 * back can be in status 1 without being dead.  It is resolved as what it was found to be: died_at
 * says that it has not died, and been put back, once more meanwhile.
 */
const struct pg_statement store_sql_resolve_retried = {
    .name = "resolve_retried",
    .params = 0,
    .sql = "WITH ended AS MATERIALIZED (SELECT l.delivery, l.died_at FROM dead_letter l"
           "     WHERE l.status = 1 AND NOT l.is_dead"
           "     AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.id = l.delivery)"
           "     AND NOT EXISTS (SELECT 1 FROM scheduled d WHERE d.id = l.delivery)"
           "     ORDER BY l.delivery LIMIT 5000),"
           "free AS MATERIALIZED (SELECT delivery, died_at FROM dead_letter"
           "   WHERE delivery = ANY (ARRAY(SELECT delivery FROM ended))"
           "     AND status = 1 AND NOT is_dead ORDER BY delivery FOR UPDATE SKIP LOCKED),"
           "x AS (UPDATE dead_letter SET status = 2, changed_at = clock_timestamp(),"
           "   resolved_by = coalesce(resolved_by, 'retry')"
           "   WHERE delivery = ANY (ARRAY(SELECT delivery FROM free JOIN ended"
           "     USING (delivery, died_at))) AND status = 1 AND NOT is_dead RETURNING 1)"
           "SELECT count(*) FROM x",
};

const struct pg_statement store_sql_resolve_old = {
    .name = "resolve_old",
    .params = 1,
    .sql = "WITH x AS (UPDATE dead_letter SET status = 2, changed_at = clock_timestamp(),"
           "   resolved_by = 'age'"
           "   WHERE delivery = ANY (ARRAY(SELECT delivery FROM dead_letter WHERE status = 0"
           "     AND died_at < now() - $1::bigint * interval '1 millisecond'"
           "     ORDER BY died_at LIMIT 2000 FOR UPDATE SKIP LOCKED))"
           "   AND status = 0 RETURNING 1)"
           "SELECT count(*) FROM x",
};

/*
 * A day longer than its notification, which is dropped within the hour after its last.  What
 * conservation counts begins behind what is taken here, in the same commit.
 */
_Static_assert(DLQ_PURGE_BITE == 2000, "as in the statement");
const struct pg_statement store_sql_dlq_purge = {
    .name = "dlq_purge",
    .params = 1,
    .sql = "WITH k AS (SELECT date_trunc('day', now(), 'UTC')"
           "   - ($1::int + 1) * interval '1 day' AS first),"
           "x AS (DELETE FROM dead_letter WHERE delivery = ANY (ARRAY("
           "   SELECT delivery FROM dead_letter WHERE delivery <"
           "     (SELECT (extract(epoch FROM first) * 1000)::bigint << 22 FROM k)"
           "   AND (is_dead OR status <> 1) ORDER BY delivery LIMIT 2000"
           "   FOR UPDATE SKIP LOCKED)) RETURNING 1),"
           "since AS (UPDATE conservation_since SET first_id = c.id"
           "   FROM (SELECT (extract(epoch FROM first) * 1000)::bigint << 22 AS id FROM k) c"
           "   WHERE first_id < c.id AND EXISTS (SELECT FROM x)),"
           "e AS (DELETE FROM edited_content WHERE id = ANY (ARRAY("
           "   SELECT id FROM edited_content WHERE at < (SELECT first FROM k)"
           "   ORDER BY id LIMIT 2000)) RETURNING 1)"
           "SELECT greatest((SELECT count(*) FROM x), (SELECT count(*) FROM e))",
};

static void on_fed(void *ctx, int err, const struct pg_result *result)
{
    struct dead_feed_call *held = ctx;
    struct dead_feed_call call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++)
        call.on_fed(call.ctx, (int32_t)pg_int(result, i, 0), (int)pg_int(result, i, 1),
                    (int)pg_int(result, i, 2));
    call.on_done(call.ctx, err);
}

int store_dlq_feed(struct store *store, const struct dead_room *rooms, size_t count,
                   const struct dead_feed_call *call)
{
    struct dead_feed_call *held = xmalloc(sizeof(*held));
    struct pg_array destinations, room;
    int err;

    *held = *call;
    pg_array_init(&destinations, PG_INT4);
    pg_array_init(&room, PG_INT4);
    for (size_t i = 0; i < count; i++) {
        pg_array_add_int(&destinations, rooms[i].destination);
        pg_array_add_int(&room, rooms[i].room);
    }
    pg_params_clear(&store->params);
    pg_add_array(&store->params, &destinations);
    pg_add_array(&store->params, &room);
    err = pg_send(store->pg[STORE_DESK], &store_sql_dlq_feed, &store->params, on_fed, held);
    if (err)
        free(held);
    pg_array_fini(&destinations);
    pg_array_fini(&room);
    return err;
}

static void on_counted(void *ctx, int err, const struct pg_result *result)
{
    struct store_call *held = ctx;
    struct store_call call = *held;

    free(held);
    ((store_count_fn *)call.fn)(call.ctx, err, err ? 0 : pg_int(result, 0, 0));
}

static int send(struct store *store, const struct pg_statement *statement, store_count_fn *on_done,
                void *ctx)
{
    return store_send(store, STORE_DESK, statement, &store->params, on_counted,
                      (void (*)(void))on_done, ctx);
}

int store_dlq_resolve_retried(struct store *store, store_count_fn *on_done, void *ctx)
{
    pg_params_clear(&store->params);
    return send(store, &store_sql_resolve_retried, on_done, ctx);
}

int store_dlq_resolve_old(struct store *store, int64_t age_ms, store_count_fn *on_done, void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, age_ms);
    return send(store, &store_sql_resolve_old, on_done, ctx);
}

int store_dlq_purge(struct store *store, int keep_days, store_count_fn *on_done, void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_int4(&store->params, keep_days);
    return send(store, &store_sql_dlq_purge, on_done, ctx);
}

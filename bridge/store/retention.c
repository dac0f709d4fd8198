/* SPDX-License-Identifier: MIT */
#include "store/retention.h"

#include "base/alloc.h"
#include "core/id.h"
#include "store/store_internal.h"

#include <stdlib.h>

#define DAY_MS 86400000LL
/* How long a partition's making and dropping waits for its locks: as long as others wait. */
#define LOCK_WAIT_MS 100
#define BITE         "500"
_Static_assert(RETENTION_BITE == 500, "as in the statements");

const struct pg_statement store_sql_make_partitions = {
    .name = "make_partitions",
    .params = 1,
    .sql = "SELECT keep_partitions_gently($1::int)::bigint, partitions_ahead()::bigint",
};

const struct pg_statement store_sql_drop_partition = {
    .name = "drop_partition",
    .params = 2,
    .sql = "SELECT drop_old_partition($1::int, $2::int)::bigint",
};

/*
 * $1: ids of before; a notification's deliveries have the ids after its own, within 300 ms.  What
 * conservation counts begins behind what is taken here, in the same commit; ten minutes, since an
 * attempt may be of an id that was made later by its own clock.
 */
#define NEEDED(table, column)                                                          \
    " AND NOT EXISTS (SELECT FROM " table " x WHERE x." column " > n.id AND x." column \
    " < n.id + (300::bigint << 22) AND x.notification = n.id)"
const struct pg_statement store_sql_trim_leftovers = {
    .name = "trim_leftovers",
    .params = 2,
    .sql =
        "WITH old_notification AS (DELETE FROM notification_default WHERE ctid = ANY (ARRAY("
        "   SELECT n.ctid FROM notification_default n"
        "   WHERE n.id < $1::bigint" NEEDED("delivery", "id") NEEDED("scheduled", "id") NEEDED(
            "dead_letter",
            "delivery") " LIMIT " BITE ")) RETURNING 1),"
                        "old_attempt AS (DELETE FROM attempt_default WHERE ctid = ANY (ARRAY("
                        "   SELECT ctid FROM attempt_default WHERE at < $2::timestamptz LIMIT " BITE
                        "))"
                        "   RETURNING 1),"
                        "old_key AS (DELETE FROM request_key_default WHERE ctid = ANY (ARRAY("
                        "   SELECT ctid FROM request_key_default"
                        "   WHERE day < (now() AT TIME ZONE 'UTC')::date - 15 LIMIT " BITE
                        ")) RETURNING 1),"
                        "since AS (UPDATE conservation_since SET first_id = $1::bigint + "
                        "(600000::bigint << 22)"
                        "   WHERE first_id < $1::bigint + (600000::bigint << 22)"
                        "     AND (EXISTS (SELECT FROM old_notification) OR EXISTS (SELECT FROM "
                        "old_attempt)))"
                        "SELECT (SELECT count(*) FROM old_notification) + (SELECT count(*) FROM "
                        "old_attempt)"
                        " + (SELECT count(*) FROM old_key)",
};

/* Counters' rows first and in their order, as everywhere: nobody waits in a circle. */
const struct pg_statement store_sql_trim_inbox = {
    .name = "trim_inbox",
    .params = 1,
    .sql = "WITH d AS MATERIALIZED (SELECT user_id, seq FROM inbox WHERE delivery < $1::bigint"
           "   ORDER BY delivery LIMIT " BITE "),"
           "u AS MATERIALIZED (SELECT user_id FROM inbox_user"
           "   WHERE user_id = ANY (ARRAY(SELECT DISTINCT user_id FROM d))"
           "   ORDER BY user_id FOR UPDATE),"
           "x AS (DELETE FROM inbox i USING d JOIN u USING (user_id)"
           "   WHERE i.user_id = d.user_id AND i.seq = d.seq"
           "   RETURNING i.user_id, i.state, i.is_seen),"
           "s AS (SELECT user_id, count(*) AS rows, count(*) FILTER (WHERE state = 0) AS unread,"
           "   count(*) FILTER (WHERE state < 3 AND NOT is_seen) AS unseen FROM x"
           "   GROUP BY user_id),"
           "c AS (UPDATE inbox_user c SET unread = greatest(c.unread - s.unread, 0),"
           "   unseen = greatest(c.unseen - s.unseen, 0) FROM s"
           "   WHERE c.user_id = s.user_id AND (s.unread > 0 OR s.unseen > 0))"
           "SELECT user_id, rows, unread > 0 OR unseen > 0 FROM s",
};

const struct pg_statement store_sql_trim_rejects = {
    .name = "trim_rejects",
    .params = 1,
    .sql = "WITH x AS (DELETE FROM ingest_reject WHERE ctid = ANY (ARRAY("
           "   SELECT ctid FROM ingest_reject WHERE at < $1::timestamptz ORDER BY at"
           "   LIMIT " BITE ")) RETURNING 1)"
           "SELECT count(*) FROM x",
};

static int64_t days_ago_ms(const struct retention_terms *terms, int days)
{
    return terms->now_wall_ms - days * DAY_MS;
}

static int64_t ids_before(const struct retention_terms *terms, int days)
{
    return (int64_t)id_first_of(days_ago_ms(terms, days));
}

static int send(struct store *store, const struct pg_statement *statement, store_count_fn *on_done,
                void *ctx)
{
    return store_send(store, STORE_DESK, statement, &store->params, store_on_count,
                      (void (*)(void))on_done, ctx);
}

static void on_made(void *ctx, int err, const struct pg_result *result)
{
    struct made_call *held = ctx;
    struct made_call call = *held;

    free(held);
    if (!err)
        call.on_ahead(call.ctx, pg_int(result, 0, 1));
    call.on_done(call.ctx, err, err ? 0 : pg_int(result, 0, 0));
}

int store_make_partitions(struct store *store, const struct made_call *call)
{
    struct made_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    pg_add_int4(&store->params, LOCK_WAIT_MS);
    err = pg_send(store->pg[STORE_DESK], &store_sql_make_partitions, &store->params, on_made, held);
    if (err)
        free(held);
    return err;
}

int store_drop_partition(struct store *store, const struct retention_terms *terms,
                         store_count_fn *on_done, void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_int4(&store->params, terms->keep_days);
    pg_add_int4(&store->params, LOCK_WAIT_MS);
    return send(store, &store_sql_drop_partition, on_done, ctx);
}

int store_trim_leftovers(struct store *store, const struct retention_terms *terms,
                         store_count_fn *on_done, void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, ids_before(terms, terms->keep_days));
    pg_add_time(&store->params, days_ago_ms(terms, terms->keep_days) * 1000);
    return send(store, &store_sql_trim_leftovers, on_done, ctx);
}

int store_trim_rejects(struct store *store, const struct retention_terms *terms,
                       store_count_fn *on_done, void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_time(&store->params, days_ago_ms(terms, terms->reject_days) * 1000);
    return send(store, &store_sql_trim_rejects, on_done, ctx);
}

static void on_trimmed(void *ctx, int err, const struct pg_result *result)
{
    struct trim_call *held = ctx;
    struct trim_call call = *held;
    int64_t count = 0;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        count += pg_int(result, i, 1);
        if (pg_int(result, i, 2))
            call.on_user(call.ctx, pg_text(result, i, 0));
    }
    call.on_done(call.ctx, err, count);
}

int store_trim_inbox(struct store *store, const struct retention_terms *terms,
                     const struct trim_call *call)
{
    struct trim_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, ids_before(terms, terms->inbox_days));
    err = pg_send(store->pg[STORE_DESK], &store_sql_trim_inbox, &store->params, on_trimmed, held);
    if (err)
        free(held);
    return err;
}

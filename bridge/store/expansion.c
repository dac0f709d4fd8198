/* SPDX-License-Identifier: MIT */
#include "store/expansion.h"

#include "base/alloc.h"
#include "store/ingest_sql.h"
#include "store/store_internal.h"

#include <stdlib.h>

/*
 * Accepts requests whose deliveries are made later: keys, notifications without deliveries, and
 * expansions.  $1 when they were read, $2.. as in `ingest`, $16 the first ids, $17 the requests,
 * $18 and $19 the other keys.
 */
const struct pg_statement store_sql_defer = {
    .name = "defer",
    .is_durable = true,
    .params = 1 + INGEST_NOTIFICATION_COLUMNS + INGEST_DEFERRED_COLUMNS + 2,
    .sql = INGEST_KEYS(
        INGEST_KEYED_OTHER("$18", "$19"),
        "") "deferred AS ("
            " INSERT INTO expansion (notification, service, priority, accepted_ms, next, next_id,"
            "   request)"
            " SELECT k.notification, x.service, x.priority, $1::bigint, 0, x.next_id, x.request"
            " FROM unnest($2::bigint[], $6::text[], $9::smallint[], $16::bigint[], $17::bytea[])"
            "   AS x(id, service, priority, next_id, request)"
            " JOIN k ON k.notification = x.id)"
            "SELECT true, notification, 0::bigint, false FROM k",
};

/*
 * One slice of an expansion: $2 the notification, $3 and $4 its first recipient and the one after
 * its last, $5 the next id, $6 whether it is the last slice, $7 how many deliveries it has.  Where
 * another has made it, or the request was cancelled, nothing happens.
 */
const struct pg_statement store_sql_expand = {
    .name = "expand",
    .is_durable = true,
    .params = 7 + INGEST_DELIVERY_COLUMNS,
    .sql = "WITH finished AS ("
           " DELETE FROM expansion"
           " WHERE notification = $2::bigint AND next = $3::int AND $6::bool"
           " RETURNING notification),"
           "advanced AS ("
           " UPDATE expansion SET next = $4::int, next_id = $5::bigint"
           " WHERE notification = $2::bigint AND next = $3::int AND NOT $6::bool"
           " RETURNING notification),"
           "k AS (SELECT notification FROM finished UNION ALL SELECT notification FROM advanced),"
           "n AS ("
           " UPDATE notification SET deliveries = deliveries + $7::int"
           " WHERE id = $2::bigint AND EXISTS (SELECT FROM k)"
           " RETURNING id, service, expires_at, collapse_key)," INGEST_DELIVERIES(
               "$8::bigint[], $9::bigint[], $10::timestamptz[], $11::int[], $12::smallint[],"
               " $13::smallint[], $14::smallint[], $15::smallint[], $16::text[], $17::text[],"
               " $18::bigint[]",
               INGEST_MORE),
};

/* Of the highest priority that waits: the oldest of the service after $1, in turns. */
const struct pg_statement store_sql_expansion_next = {
    .name = "expansion_next",
    .params = 1,
    .sql = "WITH first AS ("
           " SELECT priority"
           " FROM expansion"
           " ORDER BY priority"
           " LIMIT 1)"
           " (SELECT 0 AS turn, notification, service, accepted_ms, next, next_id, request"
           " FROM expansion"
           " WHERE priority = (SELECT priority FROM first) AND service > $1::text"
           " ORDER BY service, notification"
           " LIMIT 1)"
           " UNION ALL"
           " (SELECT 1, notification, service, accepted_ms, next, next_id, request"
           " FROM expansion"
           " WHERE priority = (SELECT priority FROM first)"
           " ORDER BY service, notification"
           " LIMIT 1)"
           " ORDER BY turn"
           " LIMIT 1",
};

/* Before what is there already is cancelled: a slice under way is waited for, none follows. */
const struct pg_statement store_sql_expansion_drop = {
    .name = "expansion_drop",
    .params = 1,
    .sql = "DELETE FROM expansion WHERE notification = $1::bigint",
};

int store_defer(struct store *store, int64_t accepted_ms, const struct ingest_rows *rows,
                const struct ingest_answer *answer)
{
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, accepted_ms);
    for (unsigned i = 0; i < INGEST_NOTIFICATION_COLUMNS; i++)
        pg_add_array(&store->params, &rows->notification[i]);
    for (unsigned i = 0; i < INGEST_DEFERRED_COLUMNS; i++)
        pg_add_array(&store->params, &rows->deferred[i]);
    for (unsigned i = 0; i < 2; i++)
        pg_add_array(&store->params, &rows->other[i]);
    return store_send_ingest(store, &store_sql_defer, answer);
}

int store_expand(struct store *store, int64_t epoch, const struct expansion_slice *slice,
                 const struct ingest_rows *rows, const struct ingest_answer *answer)
{
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, epoch);
    pg_add_int8(&store->params, (int64_t)slice->notification);
    pg_add_int4(&store->params, slice->from);
    pg_add_int4(&store->params, slice->to);
    pg_add_int8(&store->params, (int64_t)slice->next_id);
    pg_add_bool(&store->params, slice->is_last);
    pg_add_int4(&store->params, rows->delivery[0].count);
    for (unsigned i = 0; i < INGEST_DELIVERY_COLUMNS; i++)
        pg_add_array(&store->params, &rows->delivery[i]);
    return store_send_ingest(store, &store_sql_expand, answer);
}

static void on_next(void *ctx, int err, const struct pg_result *result)
{
    struct expansion_call *held = ctx;
    struct expansion_call call = *held;

    free(held);
    if (!err && pg_rows(result)) {
        struct expansion_row row = {
            .notification = (uint64_t)pg_int(result, 0, 1),
            .service = pg_text(result, 0, 2),
            .accepted_ms = pg_int(result, 0, 3),
            .next = (int32_t)pg_int(result, 0, 4),
            .next_id = (uint64_t)pg_int(result, 0, 5),
        };

        row.request = pg_bytes(result, 0, 6, &row.request_bytes);
        call.on_row(call.ctx, &row);
    }
    call.on_done(call.ctx, err);
}

int store_expansion_next(struct store *store, const char *after_service,
                         const struct expansion_call *call)
{
    struct expansion_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    pg_add_text(&store->params, after_service);
    err =
        pg_send(store->pg[STORE_INTAKE], &store_sql_expansion_next, &store->params, on_next, held);
    if (err)
        free(held);
    return err;
}

int store_expansion_drop(struct store *store, uint64_t notification, store_done_fn *on_done,
                         void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, (int64_t)notification);
    return store_send(store, STORE_CONTROL, &store_sql_expansion_drop, &store->params,
                      store_on_done, (void (*)(void))on_done, ctx);
}

/* SPDX-License-Identifier: MIT */
#include "store/rates.h"

#include "base/alloc.h"
#include "store/store_internal.h"

#include <stdlib.h>

const struct pg_statement store_sql_take_slots = {
    .name = "take_slots",
    .params = 3,
    .sql = "WITH o AS (SELECT id, greatest(next_slot, clock_timestamp()) AS first"
           "   FROM destination WHERE id = $1::int FOR UPDATE)"
           " UPDATE destination d"
           " SET next_slot = o.first + $2::bigint * $3::bigint * interval '1 microsecond'"
           " FROM o WHERE d.id = o.id"
           " RETURNING (extract(epoch FROM o.first - clock_timestamp()) * 1000000)::bigint",
};

const struct pg_statement store_sql_pause = {
    .name = "pause",
    .params = 2,
    .sql = "UPDATE destination SET paused_until = greatest(paused_until,"
           " clock_timestamp() + $2::bigint * interval '1 millisecond') WHERE id = $1::int",
};

const struct pg_statement store_sql_pauses = {
    .name = "pauses",
    .params = 0,
    .sql = "SELECT d.id, greatest(0, (extract(epoch FROM CASE WHEN d.paused_until > '-infinity'"
           "   THEN d.paused_until - clock_timestamp() ELSE interval '0' END) * 1000)::bigint),"
           " p.id IS NOT NULL"
           " FROM destination d LEFT JOIN LATERAL (SELECT id FROM admin_pause"
           "   WHERE destination = d.id OR channel = d.channel LIMIT 1) p ON true"
           " WHERE d.paused_until > clock_timestamp() OR p.id IS NOT NULL",
};

static void on_taken(void *ctx, int err, const struct pg_result *result)
{
    struct store_call *held = ctx;
    struct store_call call = *held;

    free(held);
    if (!err && pg_rows(result) != 1)
        err = ERR_NOT_FOUND;
    ((void (*)(void *, int, int64_t))call.fn)(call.ctx, err, err ? 0 : pg_int(result, 0, 0));
}

int store_take_slots(struct store *store, int32_t destination, unsigned count, int64_t spacing_us,
                     void (*on_done)(void *ctx, int err, int64_t in_us), void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_int4(&store->params, destination);
    pg_add_int8(&store->params, count);
    pg_add_int8(&store->params, spacing_us);
    return store_send(store, STORE_CONTROL, &store_sql_take_slots, &store->params, on_taken,
                      (void (*)(void))on_done, ctx);
}

int store_pause(struct store *store, int32_t destination, int64_t for_ms)
{
    pg_params_clear(&store->params);
    pg_add_int4(&store->params, destination);
    pg_add_int8(&store->params, for_ms);
    return store_send(store, STORE_CONTROL, &store_sql_pause, &store->params, store_on_done, NULL,
                      NULL);
}

static void on_pauses(void *ctx, int err, const struct pg_result *result)
{
    struct pauses_call *held = ctx;
    struct pauses_call call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++)
        call.on_row(call.ctx, (int32_t)pg_int(result, i, 0), pg_int(result, i, 1),
                    pg_int(result, i, 2) != 0);
    call.on_done(call.ctx, err);
}

int store_pauses(struct store *store, const struct pauses_call *call)
{
    struct pauses_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    err = pg_send(store->pg[STORE_CONTROL], &store_sql_pauses, &store->params, on_pauses, held);
    if (err)
        free(held);
    return err;
}

/* SPDX-License-Identifier: MIT */
#include "store/recall.h"

#include "base/alloc.h"
#include "store/store_internal.h"

#include <stdlib.h>

const struct pg_statement store_sql_recalled_since = {
    .name = "recalled_since",
    .params = 2,
    .sql = "SELECT id, reason::int, at FROM recall"
           " WHERE at > coalesce($1::timestamptz, clock_timestamp() - interval '1 minute')"
           " ORDER BY at, id LIMIT $2::int",
};

static void on_recalled(void *ctx, int err, const struct pg_result *result)
{
    struct recall_call *held = ctx;
    struct recall_call call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++)
        call.on_row(call.ctx, (uint64_t)pg_int(result, i, 0),
                    (enum reason)store_enum(result, i, 1, REASON_COUNT), pg_time_us(result, i, 2));
    call.on_done(call.ctx, err);
}

int store_recalled_since(struct store *store, int64_t since_us, int limit,
                         const struct recall_call *call)
{
    struct recall_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    if (since_us)
        pg_add_time(&store->params, since_us);
    else
        pg_add_null(&store->params);
    pg_add_int4(&store->params, limit);
    err = pg_send(store->pg[STORE_CONTROL], &store_sql_recalled_since, &store->params, on_recalled,
                  held);
    if (err)
        free(held);
    return err;
}

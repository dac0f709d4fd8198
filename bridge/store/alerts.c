/* SPDX-License-Identifier: MIT */
#include "store/alerts.h"

#include "base/alloc.h"
#include "store/store_internal.h"

#include <stdlib.h>

const struct pg_statement store_sql_alerts = {
    .name = "alerts",
    .params = 0,
    .sql = "SELECT kind, provider, is_firing, since, value, threshold FROM alert",
};

const struct pg_statement store_sql_alert_save = {
    .name = "alert_save",
    .params = 7,
    .sql = "WITH x AS (INSERT INTO alert AS a (name, kind, provider, is_firing, since, value,"
           "   threshold) VALUES ($1::text, $2::smallint, $3::text, $4::boolean,"
           "   $5::timestamptz, $6::bigint / 1000.0, $7::bigint / 1000.0)"
           " ON CONFLICT (name) DO UPDATE SET is_firing = excluded.is_firing,"
           "   since = excluded.since, value = excluded.value, threshold = excluded.threshold"
           "   WHERE a.is_firing <> excluded.is_firing RETURNING 1)"
           "SELECT count(*) FROM x",
};

static void on_alerts(void *ctx, int err, const struct pg_result *result)
{
    struct alerts_call *held = ctx;
    struct alerts_call call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        int64_t kind = pg_int(result, i, 0);
        struct alert alert;

        if (kind < 0 || kind >= ALERT_KINDS)
            continue; /* of a newer version */
        alert_init(&alert, (enum alert_kind)kind, pg_text_or_null(result, i, 1));
        alert.is_firing = pg_int(result, i, 2) != 0;
        alert.since_ms = pg_time_us(result, i, 3) / 1000;
        alert.value = pg_float(result, i, 4);
        alert.threshold = pg_float(result, i, 5);
        call.on_row(call.ctx, &alert);
    }
    call.on_done(call.ctx, err);
}

int store_alerts(struct store *store, const struct alerts_call *call)
{
    struct alerts_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    err = pg_send(store->pg[STORE_DESK], &store_sql_alerts, &store->params, on_alerts, held);
    if (err)
        free(held);
    return err;
}

static void on_saved(void *ctx, int err, const struct pg_result *result)
{
    struct store_call *held = ctx;
    struct store_call call = *held;

    free(held);
    ((void (*)(void *, int, bool))call.fn)(call.ctx, err, !err && pg_int(result, 0, 0) != 0);
}

int store_alert_save(struct store *store, const struct alert *alert,
                     void (*on_done)(void *ctx, int err, bool did_change), void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_text(&store->params, alert->name);
    pg_add_int2(&store->params, (int16_t)alert->kind);
    pg_add_text(&store->params, alert->provider);
    pg_add_bool(&store->params, alert->is_firing);
    pg_add_time(&store->params, alert->since_ms * 1000);
    pg_add_int8(&store->params, (int64_t)(alert->value * 1000));
    pg_add_int8(&store->params, (int64_t)(alert->threshold * 1000));
    return store_send(store, STORE_DESK, &store_sql_alert_save, &store->params, on_saved,
                      (void (*)(void))on_done, ctx);
}

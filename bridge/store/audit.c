/* SPDX-License-Identifier: MIT */
#include "store/audit.h"

#include "base/alloc.h"
#include "store/store_internal.h"

#include <stdlib.h>

const struct pg_statement store_sql_audit_list = {
    .place = PG_PLACE_CALL,
    .name = "audit_list",
    .params = 7,
    .sql = "SELECT id, at, admin, action, call, params, before, after, result, service FROM audit"
           " WHERE ($1::text IS NULL OR admin = $1::text)"
           " AND ($2::text IS NULL OR action = $2::text)"
           " AND ($3::timestamptz IS NULL OR at >= $3::timestamptz)"
           " AND ($4::timestamptz IS NULL OR at < $4::timestamptz)"
           " AND ($5::bigint IS NULL OR id < $5::bigint)"
           " AND ($7::text IS NULL OR service = $7::text)"
           " ORDER BY id DESC LIMIT $6::int",
};

void store_add_audited(struct store *store, const struct audited *audited)
{
    static const struct audited nobody = {.author = NULL};
    struct pg_params *params = &store->params;

    audited = audited ? audited : &nobody;
    pg_add_text(params, audited->author);
    pg_add_text(params, audited->action);
    pg_add_text(params, audited->call);
    pg_add_text(params, audited->params);
    pg_add_text(params, audited->before);
    pg_add_text(params, audited->after);
    pg_add_text(params, audited->counted);
}

static void on_listed(void *ctx, int err, const struct pg_result *result)
{
    struct audit_call *held = ctx;
    struct audit_call call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        struct audit_entry entry = {
            .id = (uint64_t)pg_int(result, i, 0),
            .at_ms = pg_time_us(result, i, 1) / 1000,
            .admin = pg_text_or_null(result, i, 2),
            .service = pg_text_or_null(result, i, 9),
            .action = pg_text(result, i, 3),
            .call = pg_text_or_null(result, i, 4),
            .params = pg_text(result, i, 5),
            .before = pg_text_or_null(result, i, 6),
            .after = pg_text_or_null(result, i, 7),
            .result = pg_text(result, i, 8),
        };

        call.on_entry(call.ctx, &entry);
    }
    call.on_done(call.ctx, err);
}

int store_audit_list(struct store *store, const struct audit_filter *filter,
                     const struct audit_call *call)
{
    struct audit_call *held = xmalloc(sizeof(*held));
    struct pg_params *params = &store->params;
    int err;

    *held = *call;
    pg_params_clear(params);
    pg_add_text(params, filter->admin);
    pg_add_text(params, filter->action);
    pg_add_time(params, filter->since_ms ? filter->since_ms * 1000 : INT64_MIN);
    pg_add_time(params, filter->until_ms ? filter->until_ms * 1000 : INT64_MIN);
    if (filter->before)
        pg_add_int8(params, (int64_t)filter->before);
    else
        pg_add_null(params);
    pg_add_int4(params, filter->limit);
    pg_add_text(params, filter->service);
    err = pg_send(store->pg[STORE_DESK], &store_sql_audit_list, params, on_listed, held);
    if (err)
        free(held);
    return err;
}

/* SPDX-License-Identifier: MIT */
#include "store/untold.h"

#include "base/alloc.h"
#include "core/request.h"
#include "store/store_internal.h"

#include <stdlib.h>

/* Only the last end of each delivery: one that was dead and came back is not told as dead again. */
const struct pg_statement store_sql_unsent = {
    .place = PG_PLACE_KEPT,
    .name = "unsent",
    .params = 5,
    .sql = "SELECT a.delivery, a.notification, a.state, a.outcome, a.reason, a.number, n.receipts,"
           " a.channel, n.service, n.request, d.name, a.provider_id, a.detail, a.segments, a.at,"
           " a.recipient_kind, a.recipient, a.user_id"
           " FROM (SELECT DISTINCT ON (delivery) * FROM attempt"
           "   WHERE at >= $2::timestamptz AND state IS NOT NULL ORDER BY delivery, at DESC) a"
           " JOIN destination d ON d.id = a.destination"
           " CROSS JOIN LATERAL (SELECT * FROM notification WHERE id = a.notification LIMIT 1) n"
           " WHERE a.epoch = $1::bigint AND (a.at, a.delivery) > ($2::timestamptz, $3::bigint)"
           " AND a.at <= coalesce($4::timestamptz, 'infinity')"
           " ORDER BY a.at, a.delivery LIMIT $5::int",
};

const struct pg_statement store_sql_told = {
    .place = PG_PLACE_KEPT,
    .name = "told",
    .params = 2,
    .sql = "DELETE FROM untold WHERE epoch = $1::bigint AND teller = $2::bigint",
};

static void on_unsent(void *ctx, int err, const struct pg_result *result)
{
    struct endings_call *held = ctx;
    struct endings_call call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        struct ending ending = {
            .delivery = (uint64_t)pg_int(result, i, 0),
            .notification = (uint64_t)pg_int(result, i, 1),
            .state = (int)pg_int(result, i, 2),
            .outcome = (int)pg_int(result, i, 3),
            .reason = (int)pg_int(result, i, 4),
            .number = (int)pg_int(result, i, 5),
            .receipts = (int)pg_int(result, i, 6),
            .channel = (enum channel)store_enum(result, i, 7, CHANNEL_COUNT),
            .service = pg_text(result, i, 8),
            .request = pg_text(result, i, 9),
            .provider = pg_text(result, i, 10),
            .provider_id = pg_text_or_null(result, i, 11),
            .detail = pg_text_or_null(result, i, 12),
            .segments = (int)pg_int(result, i, 13),
            .at_us = pg_time_us(result, i, 14),
            .recipient_kind = store_enum(result, i, 15, RECIPIENT_URL + 1),
            .recipient = pg_text(result, i, 16),
            .user = pg_text_or_null(result, i, 17),
        };

        call.on_row(call.ctx, &ending);
    }
    call.on_done(call.ctx, err);
}

int store_unsent(struct store *store, int64_t epoch, const struct unsent_place *behind,
                 int64_t until_us, int limit, const struct endings_call *call)
{
    struct endings_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, epoch);
    pg_add_time(&store->params, behind->at_us);
    pg_add_int8(&store->params, (int64_t)behind->delivery);
    pg_add_time(&store->params, until_us);
    pg_add_int4(&store->params, limit);
    err = pg_send(store->pg[STORE_CONTROL], &store_sql_unsent, &store->params, on_unsent, held);
    if (err)
        free(held);
    return err;
}

int store_told(struct store *store, int64_t epoch, int64_t teller, store_done_fn *on_done,
               void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, epoch);
    pg_add_int8(&store->params, teller);
    return store_send(store, STORE_CONTROL, &store_sql_told, &store->params, store_on_done,
                      (void (*)(void))on_done, ctx);
}

/* SPDX-License-Identifier: MIT */
#include "store/questions.h"

#include "base/alloc.h"
#include "core/id.h"
#include "store/expansion.h"
#include "store/store_internal.h"

#include <stdlib.h>

const struct pg_statement store_sql_status_head = {
    .place = PG_PLACE_CALL,
    .name = "status_head",
    .params = 2,
    .sql = "SELECT n.id, n.created_at, n.deliveries, n.type,"
           " EXISTS (SELECT FROM expansion WHERE notification = n.id)"
           " FROM unnest($1::date[], $2::uuid[]) AS x(day, key)"
           " CROSS JOIN LATERAL (SELECT notification FROM request_key"
           "   WHERE day = x.day AND key = x.key LIMIT 1) k"
           " CROSS JOIN LATERAL (SELECT * FROM notification WHERE id = k.notification LIMIT 1) n"
           " LIMIT 1",
};

/*
 * A notification's deliveries have the ids after its own: $2 is past the last.  Shows $5 of them at
 * most, those above $4.
 */
const struct pg_statement store_sql_status = {
    .place = PG_PLACE_CALL,
    .name = "status",
    .params = 5,
    .sql =
        "WITH page AS ("
        "SELECT max(shown.id) AS last FROM (SELECT id FROM ("
        "  (SELECT id FROM delivery WHERE id > $4::bigint AND id < $2::bigint"
        "    AND notification = $1::bigint ORDER BY id LIMIT $5::int)"
        "  UNION (SELECT id FROM scheduled WHERE id > $4::bigint AND id < $2::bigint"
        "    AND notification = $1::bigint ORDER BY id LIMIT $5::int)"
        "  UNION (SELECT DISTINCT delivery FROM attempt WHERE delivery > $4::bigint"
        "    AND delivery < $2::bigint AND notification = $1::bigint AND at >= $3::timestamptz"
        "    ORDER BY delivery LIMIT $5::int)"
        "  UNION (SELECT delivery FROM dead_letter WHERE delivery > $4::bigint"
        "    AND delivery < $2::bigint AND notification = $1::bigint AND is_dead"
        "    ORDER BY delivery LIMIT $5::int)) every ORDER BY id LIMIT $5::int) shown),"
        " q AS ("
        "SELECT 0 AS kind, id, channel, recipient_kind, state, attempts AS number, 0 AS outcome,"
        " last_reason AS reason, 0 AS segments, due_at AS at, recipient, destination,"
        " NULL::text AS code, NULL::text AS provider_id, NULL::text AS detail,"
        " nullif(user_id, '') AS user_id"
        " FROM delivery WHERE id > $4::bigint AND id <= (SELECT last FROM page) AND notification = "
        "$1::bigint"
        " UNION ALL SELECT 0, id, channel, recipient_kind, state, attempts, 0, last_reason, 0,"
        " due_at, recipient, destination, NULL, NULL, NULL, nullif(user_id, '')"
        " FROM scheduled WHERE id > $4::bigint AND id <= (SELECT last FROM page) AND notification "
        "= $1::bigint"
        " UNION ALL SELECT 1, delivery, channel, recipient_kind, coalesce(state, -1), number,"
        " outcome, reason, segments, at, recipient, destination, code, provider_id, detail,"
        " user_id"
        " FROM attempt WHERE delivery > $4::bigint AND delivery <= (SELECT last FROM page)"
        " AND notification = $1::bigint AND at >= $3::timestamptz"
        " UNION ALL SELECT 2, delivery, channel, recipient_kind, 5, attempts, 0, reason, 0,"
        " died_at, recipient, destination, code, NULL, detail, user_id"
        " FROM dead_letter WHERE delivery > $4::bigint AND delivery <= (SELECT last FROM page)"
        " AND notification = $1::bigint AND is_dead)"
        "SELECT q.kind, q.id, q.channel::int, q.recipient_kind::int, q.state::int, q.number::int,"
        " q.outcome::int, q.reason::int, q.segments::int, q.at, q.recipient, d.name, q.code,"
        " q.provider_id, q.detail, coalesce(s.report, 0)::int, coalesce(s.reason, 0)::int,"
        " q.user_id"
        " FROM q JOIN destination d ON d.id = q.destination"
        " LEFT JOIN LATERAL (SELECT report, reason FROM sent WHERE q.state IN (3, 4)"
        "   AND delivery = q.id AND ((provider_id = q.provider_id AND destination = q.destination)"
        "     OR (provider_id = q.id::text AND destination = 0))"
        "   ORDER BY report DESC LIMIT 1) s ON true"
        " ORDER BY q.id, q.at, q.kind",
};

static void on_status_head(void *ctx, int err, const struct pg_result *result)
{
    struct status_call *held = ctx;
    struct status_call call = *held;

    free(held);
    if (!err && pg_rows(result) < 1)
        err = ERR_NOT_FOUND;
    if (!err) {
        struct status_head head = {
            .notification = (uint64_t)pg_int(result, 0, 0),
            .accepted_ms = pg_time_us(result, 0, 1) / 1000,
            .deliveries = (int)pg_int(result, 0, 2),
            .type = pg_text(result, 0, 3),
            .is_expanding = pg_int(result, 0, 4) != 0,
        };

        call.on_head(call.ctx, &head);
    }
    call.on_done(call.ctx, err);
}

int store_status_head(struct store *store, const struct request_key *key,
                      const struct status_call *call)
{
    struct status_call *held = xmalloc(sizeof(*held));
    struct pg_array days, keys;
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    pg_array_init(&days, PG_DATE);
    pg_array_init(&keys, PG_UUID);
    pg_array_add_date(&days, key->day);
    pg_array_add_bytes(&keys, key->key, sizeof(key->key));
    if (key->has_other) {
        pg_array_add_date(&days, key->other_day);
        pg_array_add_bytes(&keys, key->other_key, sizeof(key->other_key));
    }
    pg_add_array(&store->params, &days);
    pg_add_array(&store->params, &keys);
    pg_array_fini(&days);
    pg_array_fini(&keys);
    err = pg_send(store->pg[STORE_CONTROL], &store_sql_status_head, &store->params, on_status_head,
                  held);
    if (err)
        free(held);
    return err;
}

/* A step that is never due of itself has no time: infinity is none to show. */
static int64_t time_or_0(const struct pg_result *result, int row, int column)
{
    int64_t us = pg_time_us(result, row, column);

    return us == INT64_MAX ? 0 : us / 1000;
}

static void on_status(void *ctx, int err, const struct pg_result *result)
{
    struct status_call *held = ctx;
    struct status_call call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        struct status_row row = {
            .kind = (enum status_kind)pg_int(result, i, 0),
            .delivery = (uint64_t)pg_int(result, i, 1),
            .channel = (int)pg_int(result, i, 2),
            .recipient_kind = (int)pg_int(result, i, 3),
            .state = (int)pg_int(result, i, 4),
            .number = (int)pg_int(result, i, 5),
            .outcome = (int)pg_int(result, i, 6),
            .reason = (int)pg_int(result, i, 7),
            .segments = (int)pg_int(result, i, 8),
            .at_ms = time_or_0(result, i, 9),
            .recipient = pg_text_or_null(result, i, 10),
            .destination = pg_text_or_null(result, i, 11),
            .code = pg_text_or_null(result, i, 12),
            .provider_id = pg_text_or_null(result, i, 13),
            .detail = pg_text_or_null(result, i, 14),
            .report = (int)pg_int(result, i, 15),
            .report_reason = (int)pg_int(result, i, 16),
            .user = pg_text_or_null(result, i, 17),
        };

        call.on_row(call.ctx, &row);
    }
    call.on_done(call.ctx, err);
}

uint64_t store_run_end(uint64_t notification)
{
    return id_first_of(id_wall_ms(notification) + ID_RUN_MAX / 4096 + 2);
}

int store_status(struct store *store, uint64_t notification, uint64_t after, int limit,
                 const struct status_call *call)
{
    struct status_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, (int64_t)notification);
    pg_add_int8(&store->params, (int64_t)store_run_end(notification));
    /* A bridge's clock made the id, the database's the attempt: allow for a day between them. */
    pg_add_time(&store->params, (id_wall_ms(notification) - 86400000) * 1000);
    pg_add_int8(&store->params, (int64_t)(after > notification ? after : notification));
    pg_add_int4(&store->params, limit);
    err = pg_send(store->pg[STORE_CONTROL], &store_sql_status, &store->params, on_status, held);
    if (err)
        free(held);
    return err;
}

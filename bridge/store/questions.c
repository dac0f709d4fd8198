/* SPDX-License-Identifier: MIT */
#include "store/questions.h"

#include "base/alloc.h"
#include "core/id.h"
#include "store/store_internal.h"

#include <stdlib.h>

const struct pg_statement store_sql_status_head = {
    .name = "status_head",
    .params = 2,
    .sql = "SELECT n.id, n.created_at, n.deliveries, n.type FROM request_key k"
           " CROSS JOIN LATERAL (SELECT * FROM notification WHERE id = k.notification LIMIT 1) n"
           " WHERE k.day = $1::int + '1970-01-01'::date AND k.key = $2::uuid",
};

/* A notification's deliveries have the ids after its own: $2 is past the last. */
const struct pg_statement store_sql_status = {
    .name = "status",
    .params = 3,
    .sql =
        "WITH q AS ("
        "SELECT 0 AS kind, id, channel, recipient_kind, state, attempts AS number, 0 AS outcome,"
        " last_reason AS reason, 0 AS segments, due_at AS at, recipient, destination,"
        " NULL::text AS code, NULL::text AS provider_id, NULL::text AS detail,"
        " nullif(user_id, '') AS user_id"
        " FROM delivery WHERE id > $1::bigint AND id < $2::bigint AND notification = $1::bigint"
        " UNION ALL SELECT 0, id, channel, recipient_kind, state, attempts, 0, last_reason, 0,"
        " due_at, recipient, destination, NULL, NULL, NULL, nullif(user_id, '')"
        " FROM scheduled WHERE id > $1::bigint AND id < $2::bigint AND notification = $1::bigint"
        " UNION ALL SELECT 1, delivery, channel, recipient_kind, coalesce(state, -1), number,"
        " outcome, reason, segments, at, recipient, destination, code, provider_id, detail,"
        " user_id"
        " FROM attempt WHERE delivery > $1::bigint AND delivery < $2::bigint"
        " AND notification = $1::bigint AND at >= $3::timestamptz"
        " UNION ALL SELECT 2, delivery, channel, recipient_kind, 5, attempts, 0, reason, 0,"
        " died_at, recipient, destination, code, NULL, detail, user_id"
        " FROM dead_letter WHERE delivery > $1::bigint AND delivery < $2::bigint"
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

const struct pg_statement store_sql_cancel = {
    .name = "cancel",
    .params = 3,
    .sql = "WITH x AS (DELETE FROM delivery WHERE id > $2::bigint AND id < $3::bigint"
           "   AND notification = $2::bigint AND state IN (0, 2) RETURNING *),"
           "y AS (DELETE FROM scheduled WHERE id > $2::bigint AND id < $3::bigint"
           "   AND notification = $2::bigint RETURNING *),"
           "h AS (INSERT INTO attempt (at, delivery, notification, epoch, destination, status,"
           "   number, channel, outcome, reason, segments, state, recipient_kind, recipient,"
           "   user_id)"
           " SELECT clock_timestamp(), id, notification, $1::bigint, destination, 0, attempts,"
           "   channel, 10, 0, 0, 8, recipient_kind, recipient, nullif(user_id, '')"
           "   FROM (SELECT * FROM x UNION ALL SELECT * FROM y) z RETURNING 1)"
           "SELECT count(*) FROM h",
};

#define DEAD_FILTER                                                            \
    " l.is_dead AND ($1::bigint[] IS NULL OR l.delivery = ANY ($1::bigint[]))" \
    " AND ($2::smallint IS NULL OR l.channel = $2::smallint)"                  \
    " AND ($3::smallint IS NULL OR l.reason = $3::smallint)"                   \
    " AND ($4::text IS NULL OR l.type = $4::text)"                             \
    " AND ($5::text IS NULL OR l.service = $5::text)"                          \
    " AND ($6::text IS NULL OR l.user_id = $6::text"                           \
    "   OR (l.recipient = $6::text AND l.recipient_kind = 0))"                 \
    " AND ($7::timestamptz IS NULL OR l.died_at >= $7::timestamptz)"           \
    " AND ($8::timestamptz IS NULL OR l.died_at < $8::timestamptz)"

const struct pg_statement store_sql_dlq_list = {
    .name = "dlq_list",
    .params = 10,
    .sql = "SELECT l.delivery, l.notification, l.channel, l.reason, l.status, l.attempts,"
           " l.recipient_kind, l.died_at, l.service, l.request, l.type, d.name, l.recipient,"
           " l.code, l.detail, l.user_id"
           " FROM dead_letter l JOIN destination d ON d.id = l.destination WHERE" DEAD_FILTER
           " AND l.delivery > $9::bigint ORDER BY l.delivery LIMIT $10::int",
};

const struct pg_statement store_sql_dlq_retry = {
    .name = "dlq_retry",
    .params = 9,
    .sql = "WITH x AS (UPDATE dead_letter l SET is_dead = false, status = 1, changed_at = now(),"
           " changed_by = $9::text WHERE" DEAD_FILTER " RETURNING *),"
           "i AS (INSERT INTO delivery (id, notification, due_at, seq, destination, channel,"
           " priority, state, recipient_kind, recipient, user_id)"
           " SELECT delivery, notification, now(), seq, destination, channel, 0, 0,"
           " recipient_kind, recipient, coalesce(user_id, '') FROM x)"
           "SELECT count(*) FROM x",
};

/* A retried dead letter whose delivery has come to a good end is resolved. */
const struct pg_statement store_sql_resolve_retried = {
    .name = "resolve_retried",
    .params = 0,
    .sql = "UPDATE dead_letter l SET status = 2 WHERE status = 1 AND NOT is_dead"
           " AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.id = l.delivery)",
};

const struct pg_statement store_sql_audit = {
    .name = "audit",
    .params = 4,
    .sql = "INSERT INTO audit (admin, action, params, result)"
           " VALUES ($1::text, $2::text, $3::text, $4::text)",
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
        };

        call.on_head(call.ctx, &head);
    }
    call.on_done(call.ctx, err);
}

int store_status_head(struct store *store, const struct request_key *key,
                      const struct status_call *call)
{
    struct status_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    pg_add_int4(&store->params, key->day);
    pg_add_bytes(&store->params, key->key, sizeof(key->key));
    err = pg_send(store->pg[STORE_CONTROL], &store_sql_status_head, &store->params, on_status_head,
                  held);
    if (err)
        free(held);
    return err;
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
            .at_ms = pg_time_us(result, i, 9) / 1000,
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

/* A run of ids is no longer than the requests' bound, and 4,096 of them take a millisecond. */
static uint64_t run_end(uint64_t notification)
{
    return id_first_of(id_wall_ms(notification) + ID_RUN_MAX / 4096 + 2);
}

int store_status(struct store *store, uint64_t notification, const struct status_call *call)
{
    struct status_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, (int64_t)notification);
    pg_add_int8(&store->params, (int64_t)run_end(notification));
    /* A bridge's clock made the id, the database's the attempt: allow for a day between them. */
    pg_add_time(&store->params, (id_wall_ms(notification) - 86400000) * 1000);
    err = pg_send(store->pg[STORE_CONTROL], &store_sql_status, &store->params, on_status, held);
    if (err)
        free(held);
    return err;
}

static void on_count(void *ctx, int err, const struct pg_result *result)
{
    struct store_call *held = ctx;
    struct store_call call = *held;
    void (*on_done)(void *, int, int64_t) = (void (*)(void *, int, int64_t))call.fn;

    free(held);
    on_done(call.ctx, err, err ? 0 : pg_int(result, 0, 0));
}

int store_cancel(struct store *store, int64_t epoch, uint64_t notification,
                 void (*on_done)(void *ctx, int err, int64_t count), void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, epoch);
    pg_add_int8(&store->params, (int64_t)notification);
    pg_add_int8(&store->params, (int64_t)run_end(notification));
    return store_send(store, STORE_CONTROL, &store_sql_cancel, &store->params, on_count,
                      (void (*)(void))on_done, ctx);
}

static void add_filter(struct pg_params *params, const struct dead_filter *filter)
{
    if (filter->ids) {
        struct pg_array ids;

        pg_array_init(&ids, PG_INT8);
        for (size_t i = 0; i < filter->id_count; i++)
            pg_array_add_int(&ids, (int64_t)filter->ids[i]);
        pg_add_array(params, &ids);
        pg_array_fini(&ids);
    } else {
        pg_add_null(params);
    }
    if (filter->channel >= 0)
        pg_add_int2(params, (int16_t)filter->channel);
    else
        pg_add_null(params);
    if (filter->reason > 0)
        pg_add_int2(params, (int16_t)filter->reason);
    else
        pg_add_null(params);
    pg_add_text(params, filter->type);
    pg_add_text(params, filter->service);
    pg_add_text(params, filter->user);
    pg_add_time(params, filter->since_ms ? filter->since_ms * 1000 : INT64_MIN);
    pg_add_time(params, filter->until_ms ? filter->until_ms * 1000 : INT64_MIN);
}

static void on_dead_rows(void *ctx, int err, const struct pg_result *result)
{
    struct dead_call *held = ctx;
    struct dead_call call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        struct dead_row row = {
            .delivery = (uint64_t)pg_int(result, i, 0),
            .notification = (uint64_t)pg_int(result, i, 1),
            .channel = (int)pg_int(result, i, 2),
            .reason = (int)pg_int(result, i, 3),
            .status = (int)pg_int(result, i, 4),
            .attempts = (int)pg_int(result, i, 5),
            .recipient_kind = (int)pg_int(result, i, 6),
            .died_ms = pg_time_us(result, i, 7) / 1000,
            .service = pg_text_or_null(result, i, 8),
            .request = pg_text_or_null(result, i, 9),
            .type = pg_text_or_null(result, i, 10),
            .destination = pg_text_or_null(result, i, 11),
            .recipient = pg_text_or_null(result, i, 12),
            .code = pg_text_or_null(result, i, 13),
            .detail = pg_text_or_null(result, i, 14),
            .user = pg_text_or_null(result, i, 15),
        };

        call.on_row(call.ctx, &row);
    }
    call.on_done(call.ctx, err);
}

int store_dlq_list(struct store *store, const struct dead_filter *filter, uint64_t after, int limit,
                   const struct dead_call *call)
{
    struct dead_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    add_filter(&store->params, filter);
    pg_add_int8(&store->params, (int64_t)after);
    pg_add_int4(&store->params, limit);
    err =
        pg_send(store->pg[STORE_CONTROL], &store_sql_dlq_list, &store->params, on_dead_rows, held);
    if (err)
        free(held);
    return err;
}

int store_dlq_retry(struct store *store, const struct dead_filter *filter, const char *admin,
                    void (*on_done)(void *ctx, int err, int64_t count), void *ctx)
{
    pg_params_clear(&store->params);
    add_filter(&store->params, filter);
    pg_add_text(&store->params, admin);
    return store_send(store, STORE_CONTROL, &store_sql_dlq_retry, &store->params, on_count,
                      (void (*)(void))on_done, ctx);
}

int store_audit(struct store *store, const char *admin, const char *action, const char *params,
                const char *result)
{
    pg_params_clear(&store->params);
    pg_add_text(&store->params, admin);
    pg_add_text(&store->params, action);
    pg_add_text(&store->params, params);
    pg_add_text(&store->params, result);
    return store_send(store, STORE_CONTROL, &store_sql_audit, &store->params, store_on_done, NULL,
                      NULL);
}

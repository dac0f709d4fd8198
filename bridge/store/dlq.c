/* SPDX-License-Identifier: MIT */
/* Dead letters as people see and mark them; dlq_feed.c puts them back and clears them away. */
#include "store/dlq.h"

#include "base/alloc.h"
#include "core/id.h"
#include "core/outcome.h"
#include "core/request.h"
#include "store/store_internal.h"

#include <stdlib.h>

/* Planned anew each time: what is not asked for falls out, and an index is used if one fits. */
#define FILTER                                                       \
    " ($1::bigint[] IS NULL OR l.delivery = ANY ($1::bigint[]))"     \
    " AND ($2::smallint IS NULL OR l.channel = $2::smallint)"        \
    " AND ($3::smallint IS NULL OR l.reason = $3::smallint)"         \
    " AND ($4::text IS NULL OR l.type = $4::text)"                   \
    " AND ($5::text IS NULL OR l.service = $5::text)"                \
    " AND ($6::text IS NULL OR l.user_id = $6::text"                 \
    "   OR (l.recipient = $6::text AND l.recipient_kind = 0))"       \
    " AND ($7::timestamptz IS NULL OR l.died_at >= $7::timestamptz)" \
    " AND ($8::timestamptz IS NULL OR l.died_at < $8::timestamptz)"  \
    " AND ($9::smallint[] IS NULL OR l.status = ANY ($9::smallint[]))"

const struct pg_statement store_sql_dlq_list = {
    .place = PG_PLACE_CALL,
    .name = "dlq_list",
    .params = 12,
    .sql = "SELECT l.delivery, l.notification, l.channel, l.reason, l.status, l.attempts,"
           " l.retries, l.recipient_kind, l.priority, l.died_at, l.changed_at, n.created_at,"
           " n.expires_at, l.service, l.request, l.type, d.name, l.recipient, l.code, l.detail,"
           " l.changed_by, l.note, l.resolved_by, n.collapse_key, n.content,"
           " CASE WHEN $12::boolean THEN (SELECT content FROM edited_content WHERE id = l.edited)"
           "   END, l.user_id"
           " FROM dead_letter l JOIN destination d ON d.id = l.destination"
           " LEFT JOIN LATERAL (SELECT created_at, expires_at, collapse_key, content"
           "   FROM notification WHERE $12::boolean AND id = l.notification LIMIT 1) n ON true"
           " WHERE" FILTER " AND l.delivery > $10::bigint ORDER BY l.delivery LIMIT $11::int",
};

const struct pg_statement store_sql_dlq_count = {
    .place = PG_PLACE_CALL,
    .name = "dlq_count",
    .params = 9,
    .sql = "SELECT count(*) FROM dead_letter l WHERE" FILTER,
};

const struct pg_statement store_sql_dlq_stats = {
    .place = PG_PLACE_CALL,
    .name = "dlq_stats",
    .params = 10,
    .sql = "SELECT g, channel, reason, status, day, n, pending FROM ("
           " SELECT CASE grouping(status, channel, day) WHEN 3 THEN 1 WHEN 5 THEN 2 WHEN 6 THEN 3"
           "     ELSE 0 END AS g, channel, reason, status, day, count(*) AS n,"
           "   count(*) FILTER (WHERE is_pending) AS pending"
           " FROM (SELECT l.channel, l.reason, l.status, l.status = 0 AS is_pending,"
           "   date_trunc('day', l.died_at, 'UTC') AS day FROM dead_letter l WHERE" FILTER ") x"
           " GROUP BY GROUPING SETS ((), (status), (channel, reason), (day))) y"
           " ORDER BY g, day DESC, n DESC, channel, reason, status LIMIT $10::int",
};

const struct pg_statement store_sql_dlq_tries = {
    .place = PG_PLACE_CALL,
    .name = "dlq_tries",
    .params = 3,
    .sql = "SELECT a.number, a.outcome, a.reason, a.status, coalesce(a.state, -1)::int, a.at,"
           " d.name, a.code, a.provider_id, a.detail"
           " FROM attempt a JOIN destination d ON d.id = a.destination"
           " WHERE a.delivery = $1::bigint AND a.at >= $2::timestamptz"
           " ORDER BY a.at, a.number LIMIT $3::int",
};

/*
 * $15 destination, $16 content, $17 its type, $18 whether it fits in_app.
 *
 * A few are found by their ids or their user, many by a walk in the order of ids that looks at a
 * bounded number a bite: what the planner believes of the table does not matter.  They are locked
 * in that order, so that two never wait for each other's rows, and looked at again once they are:
 * what the first has moved the second does not.
 */
#define MARKABLE                                                      \
    " AND l.is_dead AND l.delivery > $10::bigint"                     \
    " AND ($15::text IS NULL OR l.channel = (SELECT channel FROM o))" \
    " AND ($17::text IS NULL OR l.type = $17::text)"                  \
    " AND ($18::boolean OR l.channel <> 0) ORDER BY l.delivery LIMIT $11::int"
#define FEW      "($1::bigint[] IS NOT NULL OR $6::text IS NOT NULL)"
#define WALK_MAX "5000"

const struct pg_statement store_sql_dlq_mark = {
    .place = PG_PLACE_CALL,
    .name = "dlq_mark",
    .params = 23,
    .is_durable = true,
    .sql =
        "WITH o AS (SELECT id, channel FROM destination WHERE name = $15::text),"
        "w AS (SELECT delivery, channel, reason, type, service, user_id, recipient, recipient_kind,"
        "   died_at, status, is_dead FROM dead_letter WHERE NOT " FEW
        "   AND delivery > $10::bigint ORDER BY delivery LIMIT " WALK_MAX "),"
        "f AS ((SELECT l.delivery FROM w l WHERE" FILTER MARKABLE ")"
        "   UNION ALL (SELECT l.delivery FROM dead_letter l WHERE " FEW " AND" FILTER MARKABLE ")),"
        "s AS (SELECT delivery, status FROM dead_letter"
        "   WHERE delivery = ANY (ARRAY(SELECT delivery FROM f))"
        "   AND status + 0 = ANY ($9::smallint[]) AND is_dead ORDER BY delivery FOR UPDATE),"
        "e AS (INSERT INTO edited_content (admin, content) SELECT $13::text, $16::bytea"
        "   WHERE $16::bytea IS NOT NULL AND EXISTS (SELECT 1 FROM s) RETURNING id),"
        "u AS (UPDATE dead_letter SET status = $12::smallint, changed_at = clock_timestamp(),"
        "   changed_by = $13::text, note = coalesce($14::text, note),"
        "   resolved_by = CASE $12::smallint WHEN 2 THEN 'admin' END,"
        "   destination = coalesce((SELECT id FROM o), destination),"
        "   is_pinned = CASE $12::smallint WHEN 1 THEN $15::text IS NOT NULL ELSE is_pinned END,"
        "   edited = CASE $12::smallint WHEN 1 THEN (SELECT id FROM e) ELSE edited END"
        "   WHERE delivery = ANY (ARRAY(SELECT delivery FROM s))),"
        "a AS (INSERT INTO audit (admin, action, params, call, before, after, result)"
        "   SELECT $13::text, $19::text, $20::text, $21::text,"
        "   (SELECT coalesce(json_object_agg(name, n), '{}')::text FROM (SELECT"
        "     (ARRAY['pending_review', 'retrying', 'resolved', 'ignored'])[status + 1] AS name,"
        "     count(*) AS n FROM s GROUP BY status) c),"
        "   json_build_object((ARRAY['pending_review', 'retrying', 'resolved', 'ignored'])"
        "     [$12::smallint + 1], (SELECT count(*) FROM s))::text,"
        "   json_build_object($22::text, (SELECT count(*) FROM s))::text"
        "   WHERE $23::boolean OR EXISTS (SELECT 1 FROM s))"
        "SELECT (SELECT count(*) FROM s),"
        " CASE WHEN n = $11::int OR " FEW " THEN last ELSE (SELECT max(delivery) FROM w) END,"
        " n < $11::int AND (" FEW " OR (SELECT count(*) FROM w) < " WALK_MAX ")"
        " FROM (SELECT count(*) AS n, max(delivery) AS last FROM f) x",
};

/* FILTER's parameters. */
static void add_filter(struct pg_params *params, const struct dead_filter *filter)
{
    struct pg_array array;

    pg_array_init(&array, PG_INT8);
    for (size_t i = 0; i < filter->id_count; i++)
        pg_array_add_int(&array, (int64_t)filter->ids[i]);
    if (filter->ids)
        pg_add_array(params, &array);
    else
        pg_add_null(params);
    pg_array_fini(&array);
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
    pg_array_init(&array, PG_INT2);
    for (int status = 0; status < DEAD_STATUS_COUNT; status++)
        if (filter->statuses & 1u << status)
            pg_array_add_int(&array, status);
    if (filter->statuses)
        pg_add_array(params, &array);
    else
        pg_add_null(params);
    pg_array_fini(&array);
}

static int64_t ms_or_0(const struct pg_result *result, int row, int column)
{
    return pg_is_null(result, row, column) ? 0 : pg_time_us(result, row, column) / 1000;
}

static void on_listed(void *ctx, int err, const struct pg_result *result)
{
    struct dead_call *held = ctx;
    struct dead_call call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        struct dead_row row = {
            .delivery = (uint64_t)pg_int(result, i, 0),
            .notification = (uint64_t)pg_int(result, i, 1),
            .channel = store_enum(result, i, 2, CHANNEL_COUNT),
            .reason = store_enum(result, i, 3, REASON_COUNT),
            .status = (int)pg_int(result, i, 4),
            .attempts = (int)pg_int(result, i, 5),
            .retries = (int)pg_int(result, i, 6),
            .recipient_kind = store_enum(result, i, 7, RECIPIENT_URL + 1),
            .priority = store_enum(result, i, 8, PRIORITY_COUNT),
            .died_ms = ms_or_0(result, i, 9),
            .changed_ms = ms_or_0(result, i, 10),
            .created_ms = ms_or_0(result, i, 11),
            .expires_ms = ms_or_0(result, i, 12),
            .service = pg_text_or_null(result, i, 13),
            .request = pg_text_or_null(result, i, 14),
            .type = pg_text_or_null(result, i, 15),
            .destination = pg_text_or_null(result, i, 16),
            .recipient = pg_text_or_null(result, i, 17),
            .code = pg_text_or_null(result, i, 18),
            .detail = pg_text_or_null(result, i, 19),
            .changed_by = pg_text_or_null(result, i, 20),
            .note = pg_text_or_null(result, i, 21),
            .resolved_by = pg_text_or_null(result, i, 22),
            .collapse_key = pg_text_or_null(result, i, 23),
            .user = pg_text_or_null(result, i, 26),
        };

        if (!pg_is_null(result, i, 24))
            row.content = pg_bytes(result, i, 24, &row.content_bytes);
        if (!pg_is_null(result, i, 25))
            row.edited = pg_bytes(result, i, 25, &row.edited_bytes);
        call.on_row(call.ctx, &row);
    }
    call.on_done(call.ctx, err);
}

int store_dlq_list(struct store *store, const struct dead_filter *filter, uint64_t after, int limit,
                   bool with_content, const struct dead_call *call)
{
    struct dead_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    add_filter(&store->params, filter);
    pg_add_int8(&store->params, (int64_t)after);
    pg_add_int4(&store->params, limit);
    pg_add_bool(&store->params, with_content);
    err = pg_send(store->pg[STORE_DESK], &store_sql_dlq_list, &store->params, on_listed, held);
    if (err)
        free(held);
    return err;
}

static void on_counted(void *ctx, int err, const struct pg_result *result)
{
    struct store_call *held = ctx;
    struct store_call call = *held;

    free(held);
    ((store_count_fn *)call.fn)(call.ctx, err, err ? 0 : pg_int(result, 0, 0));
}

int store_dlq_count(struct store *store, const struct dead_filter *filter, store_count_fn *on_done,
                    void *ctx)
{
    pg_params_clear(&store->params);
    add_filter(&store->params, filter);
    return store_send(store, STORE_DESK, &store_sql_dlq_count, &store->params, on_counted,
                      (void (*)(void))on_done, ctx);
}

static void on_stats(void *ctx, int err, const struct pg_result *result)
{
    struct dead_stat_call *held = ctx;
    struct dead_stat_call call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        struct dead_stat stat = {
            .group = (enum dead_group)pg_int(result, i, 0),
            .channel = (int)pg_int(result, i, 1),
            .reason = (int)pg_int(result, i, 2),
            .status = (int)pg_int(result, i, 3),
            .day_ms = ms_or_0(result, i, 4),
            .count = pg_int(result, i, 5),
            .pending = pg_int(result, i, 6),
        };

        call.on_stat(call.ctx, &stat);
    }
    call.on_done(call.ctx, err);
}

int store_dlq_stats(struct store *store, const struct dead_filter *filter,
                    const struct dead_stat_call *call)
{
    struct dead_stat_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    add_filter(&store->params, filter);
    /* Besides the days: all, four statuses, each channel's reasons. */
    pg_add_int4(&store->params, STORE_DLQ_DAYS_MAX + 500);
    err = pg_send(store->pg[STORE_DESK], &store_sql_dlq_stats, &store->params, on_stats, held);
    if (err)
        free(held);
    return err;
}

static void on_tries(void *ctx, int err, const struct pg_result *result)
{
    struct dead_try_call *held = ctx;
    struct dead_try_call call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        struct dead_try try = {
            .number = (int)pg_int(result, i, 0),
            .outcome = (int)pg_int(result, i, 1),
            .reason = (int)pg_int(result, i, 2),
            .status_code = (int)pg_int(result, i, 3),
            .state = (int)pg_int(result, i, 4),
            .at_ms = pg_time_us(result, i, 5) / 1000,
            .destination = pg_text_or_null(result, i, 6),
            .code = pg_text_or_null(result, i, 7),
            .provider_id = pg_text_or_null(result, i, 8),
            .detail = pg_text_or_null(result, i, 9),
        };

        call.on_try(call.ctx, &try);
    }
    call.on_done(call.ctx, err);
}

int store_dlq_tries(struct store *store, uint64_t delivery, const struct dead_try_call *call)
{
    struct dead_try_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, (int64_t)delivery);
    /* A bridge's clock made the id, the database's the attempt: allow for a day between them. */
    pg_add_time(&store->params, (id_wall_ms(delivery) - 86400000) * 1000);
    pg_add_int4(&store->params, STORE_DLQ_TRIES_MAX);
    err = pg_send(store->pg[STORE_DESK], &store_sql_dlq_tries, &store->params, on_tries, held);
    if (err)
        free(held);
    return err;
}

static void on_marked(void *ctx, int err, const struct pg_result *result)
{
    struct dead_mark_call *held = ctx;
    struct dead_mark_call call = *held;

    free(held);
    if (err)
        call.on_done(call.ctx, err, 0, 0, false);
    else
        call.on_done(call.ctx, 0, pg_int(result, 0, 0), (uint64_t)pg_int(result, 0, 1),
                     pg_int(result, 0, 2) != 0);
}

int store_dlq_mark(struct store *store, const struct dead_mark *mark,
                   const struct dead_mark_call *call)
{
    struct pg_params *params = &store->params;
    struct dead_mark_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(params);
    add_filter(params, &mark->filter);
    pg_add_int8(params, (int64_t)mark->after);
    pg_add_int4(params, mark->limit);
    pg_add_int2(params, (int16_t)mark->to);
    pg_add_text(params, mark->admin);
    pg_add_text(params, mark->note);
    pg_add_text(params, mark->destination);
    if (mark->content)
        pg_add_bytes(params, mark->content, mark->content_bytes);
    else
        pg_add_null(params);
    pg_add_text(params, mark->content_type);
    pg_add_bool(params, mark->fits_in_app);
    pg_add_text(params, mark->action);
    pg_add_text(params, mark->params);
    pg_add_text(params, mark->call);
    pg_add_text(params, mark->word);
    pg_add_bool(params, mark->is_first);
    err = pg_send(store->pg[STORE_DESK], &store_sql_dlq_mark, params, on_marked, held);
    if (err)
        free(held);
    return err;
}

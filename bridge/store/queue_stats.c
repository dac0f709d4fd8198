/* SPDX-License-Identifier: MIT */
#include "store/queue_stats.h"

#include "base/alloc.h"
#include "store/store_internal.h"

#include <stdlib.h>

/* In the order of destinations, so that two bridges cannot wait for each other's rows. */
const struct pg_statement store_sql_report_flows = {
    .name = "report_flows",
    .params = 9,
    .sql = "WITH r AS MATERIALIZED (SELECT * FROM unnest($2::int[], $3::smallint[], $4::bigint[],"
           "   $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[])"
           "   AS r(destination, breaker, completed, failed, other, retried, attempts, tries)"
           "   ORDER BY destination),"
           "b AS (INSERT INTO bridge_destination AS o (epoch, destination, breaker)"
           "   SELECT $1::bigint, destination, breaker FROM r"
           "   ON CONFLICT (epoch, destination) DO UPDATE SET breaker = excluded.breaker"
           "   WHERE o.breaker <> excluded.breaker)"
           "INSERT INTO queue_flow AS f"
           " SELECT date_bin('10 seconds', clock_timestamp(), '2000-01-01Z'), destination,"
           "   completed, failed, other, retried, attempts, tries FROM r"
           "   WHERE completed + failed + other + attempts > 0"
           " ON CONFLICT (at, destination) DO UPDATE SET"
           " completed = f.completed + excluded.completed, failed = f.failed + excluded.failed,"
           " other = f.other + excluded.other, retried = f.retried + excluded.retried,"
           " attempts = f.attempts + excluded.attempts, tries = f.tries + excluded.tries",
};

/*
 * One look at each row: an index on what changes with every step would cost more than this.  What a
 * bridge has in memory waits too.
 */
const struct pg_statement store_sql_queue_counts = {
    .name = "queue_counts",
    .params = 0,
    .sql = "WITH live AS MATERIALIZED"
           "   (SELECT epoch FROM bridge WHERE lease_until > clock_timestamp()),"
           "q AS (SELECT destination,"
           "   count(*) FILTER (WHERE state = 0 AND due_at <= now()) AS waiting,"
           "   count(*) FILTER (WHERE state = 1 AND epoch = ANY (ARRAY(TABLE live))) AS active,"
           "   count(*) FILTER (WHERE state = 2 OR (state = 0 AND due_at > now())) AS scheduled,"
           "   count(*) FILTER (WHERE state = 1) AS leased, 0::bigint AS dead,"
           "   min(due_at) FILTER (WHERE state IN (0, 1) AND due_at <= now()) AS oldest"
           "   FROM delivery GROUP BY destination"
           " UNION ALL SELECT destination, 0, 0, count(*), 0, 0, NULL FROM scheduled"
           "   GROUP BY destination"
           " UNION ALL SELECT destination, 0, 0, 0, 0, count(*), NULL FROM dead_letter"
           "   WHERE is_dead AND status = 0 GROUP BY destination)"
           "SELECT destination, sum(waiting)::bigint, sum(active)::bigint, sum(scheduled)::bigint,"
           " (sum(leased) - sum(active))::bigint, sum(dead)::bigint, min(oldest), now()"
           " FROM q GROUP BY destination"
           " UNION ALL SELECT 0, 0, 0, 0, 0, 0, NULL, now()",
};

/* The last minute is that of whole steps: what is told later belongs to a later step. */
const struct pg_statement store_sql_queue_flows = {
    .name = "queue_flows",
    .params = 0,
    .sql = "WITH t AS MATERIALIZED (SELECT now() - interval '5 minutes' AS recent,"
           "   date_bin('10 seconds', now(), '2000-01-01Z') AS step),"
           "x AS MATERIALIZED (SELECT destination, sum(completed)::bigint AS completed,"
           "   sum(failed)::bigint AS failed, sum(other)::bigint AS other,"
           "   sum(retried)::bigint AS retried, sum(attempts)::bigint AS attempts,"
           "   sum(tries)::bigint AS tries,"
           "   sum(completed) FILTER (WHERE at >= recent)::bigint AS recent_completed,"
           "   sum(failed) FILTER (WHERE at >= recent)::bigint AS recent_failed,"
           "   sum(completed + failed + other) FILTER (WHERE at >= step - interval '60 seconds'"
           "     AND at < step)::bigint AS minute"
           "   FROM queue_flow, t WHERE at >= now() - interval '1 hour' GROUP BY destination)"
           "SELECT d.id, d.name, d.channel, EXISTS (SELECT FROM admin_pause p"
           "   WHERE p.destination = d.id OR p.channel = d.channel), l.shut,"
           " x.completed, x.failed, x.other, x.retried, x.attempts, x.tries,"
           " x.recent_completed, x.recent_failed, x.minute, now(),"
           " (SELECT count(*) FROM bridge WHERE lease_until > clock_timestamp())"
           " FROM destination d"
           " CROSS JOIN LATERAL (SELECT count(*) AS bridges,"
           "   count(*) FILTER (WHERE b.breaker <> 0) AS shut"
           "   FROM bridge_destination b JOIN bridge USING (epoch) WHERE b.destination = d.id) l"
           " LEFT JOIN x ON x.destination = d.id"
           " WHERE l.bridges > 0 OR EXISTS (SELECT FROM delivery WHERE destination = d.id"
           "   AND state = 0) ORDER BY d.channel, d.id",
};

const struct pg_statement store_sql_forget_flows = {
    .name = "forget_flows",
    .params = 0,
    .sql = "WITH b AS (DELETE FROM bridge_destination o"
           "   WHERE NOT EXISTS (SELECT FROM bridge WHERE epoch = o.epoch))"
           "DELETE FROM queue_flow WHERE at < now() - interval '3 hours'",
};

int store_report_flows(struct store *store, int64_t epoch, const struct flow_report *reports,
                       size_t count, store_done_fn *on_done, void *ctx)
{
    static const enum pg_type types[] = {PG_INT4, PG_INT2, PG_INT8, PG_INT8,
                                         PG_INT8, PG_INT8, PG_INT8, PG_INT8};
    enum { COLUMNS = sizeof(types) / sizeof(types[0]) };
    struct pg_array columns[COLUMNS];
    int err;

    for (unsigned c = 0; c < COLUMNS; c++)
        pg_array_init(&columns[c], types[c]);
    for (size_t i = 0; i < count; i++) {
        const struct flow_report *report = &reports[i];
        const int64_t values[COLUMNS] = {
            report->destination, report->breaker,      report->flow.completed, report->flow.failed,
            report->flow.other,  report->flow.retried, report->flow.attempts,  report->flow.tries};

        for (unsigned c = 0; c < COLUMNS; c++)
            pg_array_add_int(&columns[c], values[c]);
    }
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, epoch);
    for (unsigned c = 0; c < COLUMNS; c++)
        pg_add_array(&store->params, &columns[c]);
    err = store_send(store, STORE_DESK, &store_sql_report_flows, &store->params, store_on_done,
                     (void (*)(void))on_done, ctx);
    for (unsigned c = 0; c < COLUMNS; c++)
        pg_array_fini(&columns[c]);
    return err;
}

static void on_counts(void *ctx, int err, const struct pg_result *result)
{
    struct counts_call *held = ctx;
    struct counts_call call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        struct queue_counts counts = {
            .waiting = pg_int(result, i, 1),
            .active = pg_int(result, i, 2),
            .scheduled = pg_int(result, i, 3),
            .stalled = pg_int(result, i, 4),
            .dead = pg_int(result, i, 5),
            .oldest_ms = pg_is_null(result, i, 6) ? 0 : pg_time_us(result, i, 6) / 1000,
        };

        if (pg_int(result, i, 0)) /* 0 brings nothing but the time */
            call.on_row(call.ctx, (int32_t)pg_int(result, i, 0), &counts);
    }
    call.on_done(call.ctx, err, err ? 0 : pg_time_us(result, 0, 7) / 1000);
}

int store_queue_counts(struct store *store, const struct counts_call *call)
{
    struct counts_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    err = pg_send(store->pg[STORE_DESK], &store_sql_queue_counts, &store->params, on_counts, held);
    if (err)
        free(held);
    return err;
}

static void on_flows(void *ctx, int err, const struct pg_result *result)
{
    struct flows_call *held = ctx;
    struct flows_call call = *held;
    bool is_any = !err && pg_rows(result) > 0;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        struct queue_line line = {
            .id = (int32_t)pg_int(result, i, 0),
            .name = pg_text(result, i, 1),
            .channel = (enum channel)store_enum(result, i, 2, CHANNEL_COUNT),
            .is_paused = pg_int(result, i, 3) != 0,
            .open_breakers = (int)pg_int(result, i, 4),
            .hour = {.completed = pg_int(result, i, 5),
                     .failed = pg_int(result, i, 6),
                     .other = pg_int(result, i, 7),
                     .retried = pg_int(result, i, 8),
                     .attempts = pg_int(result, i, 9),
                     .tries = pg_int(result, i, 10)},
            .recent = {.completed = pg_int(result, i, 11), .failed = pg_int(result, i, 12)},
            .ended_minute = pg_int(result, i, 13),
        };

        call.on_row(call.ctx, &line);
    }
    call.on_done(call.ctx, err, is_any ? pg_time_us(result, 0, 14) / 1000 : 0,
                 is_any ? (int)pg_int(result, 0, 15) : 0);
}

int store_queue_flows(struct store *store, const struct flows_call *call)
{
    struct flows_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    err = pg_send(store->pg[STORE_DESK], &store_sql_queue_flows, &store->params, on_flows, held);
    if (err)
        free(held);
    return err;
}

int store_forget_flows(struct store *store)
{
    pg_params_clear(&store->params);
    return store_send(store, STORE_DESK, &store_sql_forget_flows, &store->params, store_on_done,
                      NULL, NULL);
}

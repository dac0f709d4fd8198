/* SPDX-License-Identifier: MIT */
#include "store/callbacks.h"

#include "base/alloc.h"
#include "store/store_internal.h"

#include <stdlib.h>

const struct pg_statement store_sql_callbacks_keep = {
    .name = "callbacks_keep",
    .params = 9,
    .sql = "WITH n AS (INSERT INTO callback_event (destination, report, reason, at, key,"
           "   provider_id, name, code, raw)"
           " SELECT * FROM unnest($1::int[], $2::smallint[], $3::smallint[], $4::timestamptz[],"
           "   $5::text[], $6::text[], $7::text[], $8::text[], $9::bytea[])"
           " ON CONFLICT (destination, key) DO NOTHING RETURNING 1)"
           "SELECT count(*) FROM n",
};

/*
 * e: events that are due.  m: those whose message is known, which is locked, so that two bridges
 * cannot both believe that they moved it.  The fold is `report` only growing; what was there
 * before is handed out with each event, so that every step is told once.  a: what bounced, opted
 * out or complained is not sent to any more (reports from 50 up; the target and the suppression
 * are as in the statement that settles a refusal; what our own links bring is suppressed there).
 */
const struct pg_statement store_sql_callbacks_fold = {
    .name = "callbacks_fold",
    .params = 1,
    .sql =
        "WITH e AS MATERIALIZED (SELECT id, received_at, at, destination, report, reason,"
        "   provider_id, code FROM callback_event WHERE fold_at <= clock_timestamp()"
        "   ORDER BY fold_at LIMIT $1::int FOR UPDATE SKIP LOCKED),"
        "m AS MATERIALIZED (SELECT e.*, s.delivery, s.notification, s.number, s.channel,"
        "   s.recipient_kind, s.recipient, s.user_id, s.report AS before"
        " FROM e CROSS JOIN LATERAL (SELECT * FROM sent WHERE provider_id = e.provider_id"
        "   AND destination = e.destination LIMIT 1 FOR UPDATE) s),"
        "b AS MATERIALIZED (SELECT DISTINCT ON (provider_id, destination) * FROM m"
        "   ORDER BY provider_id, destination, report DESC, id),"
        "u AS (UPDATE sent s SET report = b.report, reason = b.reason, code = b.code,"
        "   changed_at = clock_timestamp() FROM b"
        " WHERE s.provider_id = ANY (ARRAY(SELECT provider_id FROM b))"
        "   AND s.provider_id = b.provider_id AND s.destination = b.destination"
        "   AND s.report < b.report),"
        "a AS MATERIALIZED (SELECT channel, recipient, max(reason) AS reason FROM b"
        "   WHERE report >= 50 AND report > before AND recipient_kind >= 4 AND destination <> 0"
        "   AND reason BETWEEN 19 AND 21 AND length(recipient) <= 2048"
        "   GROUP BY channel, recipient),"
        "t AS (UPDATE target AS t SET is_active = false, changed_at = now(), reason = a.reason"
        "   FROM a WHERE t.address = ANY (ARRAY(SELECT recipient FROM a)) AND t.is_active"
        "   AND t.channel = a.channel AND t.address = a.recipient),"
        "w AS (INSERT INTO suppression (channel, address, reason, source)"
        "   SELECT channel, CASE channel WHEN 3 THEN lower(recipient COLLATE \"C\")"
        "     ELSE recipient END, reason, 'provider' FROM a ORDER BY 1, 2"
        "   ON CONFLICT DO NOTHING),"
        "f AS (UPDATE callback_event c SET fold_at = CASE"
        "   WHEN c.id = ANY (ARRAY(SELECT id FROM m)) THEN NULL"
        "   WHEN e.received_at < clock_timestamp() - interval '10 minutes' THEN NULL"
        "   ELSE clock_timestamp() + greatest(interval '200 milliseconds',"
        "     clock_timestamp() - e.received_at) END"
        " FROM e WHERE c.id = ANY (ARRAY(SELECT id FROM e)) AND c.id = e.id)"
        "SELECT m.delivery, m.notification, m.before::int, m.report::int, m.reason::int,"
        " m.destination, m.channel::int, m.recipient_kind::int, m.number::int,"
        " n.receipts::int, coalesce(m.at, m.received_at), m.recipient, m.provider_id, m.code,"
        " n.service, n.request, m.user_id, (SELECT count(*) FROM e)"
        " FROM m LEFT JOIN LATERAL (SELECT receipts, service, request FROM notification"
        "   WHERE id = m.notification LIMIT 1) n ON true"
        " UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,"
        " NULL, NULL, NULL, NULL, NULL, (SELECT count(*) FROM e)"
        " ORDER BY 1, 4",
};

/* The 41 bits above 22 of an id are its time; our clock and the database's may differ by a day. */
const struct pg_statement store_sql_callbacks_adopt = {
    .name = "callbacks_adopt",
    .params = 0,
    .sql =
        "INSERT INTO sent (provider_id, destination, delivery, notification, at, number, channel,"
        "   recipient_kind, recipient, user_id)"
        " SELECT e.provider_id, 0, a.delivery, a.notification, a.at, a.number, a.channel,"
        "   a.recipient_kind, a.recipient, a.user_id"
        " FROM (SELECT DISTINCT provider_id FROM callback_event c WHERE destination = 0"
        "     AND fold_at <= clock_timestamp() AND NOT EXISTS (SELECT FROM sent s"
        "       WHERE s.provider_id = c.provider_id AND s.destination = 0) LIMIT 100) e"
        " CROSS JOIN LATERAL (SELECT * FROM attempt WHERE delivery = e.provider_id::bigint"
        "     AND state IN (3, 4)"
        "     AND at >= to_timestamp((e.provider_id::bigint >> 22) / 1000.0 - 86400)"
        "     ORDER BY at DESC LIMIT 1) a"
        " ON CONFLICT (provider_id, destination) DO NOTHING",
};

/*
 * Channel 2 is sms, reason 19 opted_out.  START takes back what the recipient said, to us or to
 * the provider, and not what a service or an admin wrote.  The text is not kept: the name says it.
 */
const struct pg_statement store_sql_heard = {
    .name = "heard",
    .params = 5,
    .sql = "WITH n AS (INSERT INTO callback_event (destination, report, reason, at, key,"
           "   provider_id, name, raw, fold_at)"
           "   VALUES ($1::int, CASE WHEN $2::boolean THEN 60 ELSE 0 END, 19, $5::timestamptz,"
           "     $4::text, '', CASE WHEN $2::boolean THEN 'STOP' ELSE 'START' END, '', NULL)"
           "   ON CONFLICT (destination, key) DO NOTHING RETURNING 1),"
           "w AS (INSERT INTO suppression (channel, address, reason, source)"
           "   SELECT 2, $3::text, 19, 'keyword' FROM n WHERE $2::boolean ON CONFLICT DO NOTHING),"
           "d AS (DELETE FROM suppression WHERE channel = 2 AND address = $3::text AND scope = ''"
           "   AND reason = 19 AND source IN ('keyword', 'provider') AND NOT $2::boolean"
           "   AND EXISTS (SELECT FROM n)),"
           "t AS (UPDATE target SET is_active = true, reason = 0, changed_at = now()"
           "   WHERE channel = 2 AND address = $3::text AND reason = 19 AND NOT is_active"
           "   AND NOT $2::boolean AND EXISTS (SELECT FROM n))"
           "SELECT count(*) FROM n",
};

/* The address is kept as STORE_SUPPRESSED looks it up; reason 19 is opted_out. */
const struct pg_statement store_sql_unsubscribe = {
    .name = "unsubscribe",
    .params = 4,
    .sql =
        "WITH w AS (INSERT INTO suppression (channel, address, scope, reason, source)"
        "   VALUES ($2::smallint, CASE $2::smallint WHEN 3 THEN lower($3::text COLLATE \"C\")"
        "     ELSE $3::text END, $4::text, 19, 'unsubscribe') ON CONFLICT DO NOTHING)"
        "INSERT INTO callback_event (destination, report, reason, at, key, provider_id, name, raw)"
        " VALUES (0, 60, 19, now(), 'unsubscribe ' || $1::bigint, $1::bigint::text,"
        "   'unsubscribe', '') ON CONFLICT (destination, key) DO NOTHING",
};

const struct pg_statement store_sql_callbacks_purge = {
    .name = "callbacks_purge",
    .params = 2,
    .sql = "WITH s AS (DELETE FROM sent WHERE ctid = ANY (ARRAY(SELECT ctid FROM sent"
           "   WHERE at < now() - $1::int * interval '1 day' ORDER BY at LIMIT 5000))"
           "   RETURNING 1),"
           "e AS (DELETE FROM callback_event WHERE ctid = ANY (ARRAY("
           "   SELECT ctid FROM callback_event"
           "   WHERE received_at < now() - $2::int * interval '1 day'"
           "   ORDER BY received_at LIMIT 5000)) RETURNING 1)"
           "SELECT (SELECT count(*) FROM s) + (SELECT count(*) FROM e)",
};

static void on_count(void *ctx, int err, const struct pg_result *result)
{
    struct store_call *held = ctx;
    struct store_call call = *held;
    void (*on_done)(void *, int, int64_t) = (void (*)(void *, int, int64_t))call.fn;

    free(held);
    on_done(call.ctx, err, err ? 0 : pg_int(result, 0, 0));
}

/* The columns of callbacks_keep, in order. */
enum { KEEP_ARRAYS = 9 };

static void fill(struct pg_array *column, const struct callback_row *row)
{
    pg_array_add_int(&column[0], row->destination);
    pg_array_add_int(&column[1], row->report);
    pg_array_add_int(&column[2], row->reason);
    pg_array_add_time(&column[3], row->at_ms ? row->at_ms * 1000 : INT64_MIN);
    pg_array_add_text(&column[4], row->key);
    pg_array_add_text(&column[5], row->provider_id);
    pg_array_add_text(&column[6], row->name);
    pg_array_add_text(&column[7], row->code);
    pg_array_add_bytes(&column[8], row->raw, row->raw_bytes);
}

int store_callbacks_keep(struct store *store, const struct callback_row *rows, size_t count,
                         void (*on_done)(void *ctx, int err, int64_t count), void *ctx)
{
    static const enum pg_type types[KEEP_ARRAYS] = {
        PG_INT4, PG_INT2, PG_INT2, PG_TIMESTAMPTZ, PG_TEXT, PG_TEXT, PG_TEXT, PG_TEXT, PG_BYTEA};
    struct pg_array columns[KEEP_ARRAYS];
    int err;

    for (unsigned i = 0; i < KEEP_ARRAYS; i++)
        pg_array_init(&columns[i], types[i]);
    for (size_t i = 0; i < count; i++)
        fill(columns, &rows[i]);
    pg_params_clear(&store->params);
    for (unsigned i = 0; i < KEEP_ARRAYS; i++)
        pg_add_array(&store->params, &columns[i]);
    err = store_send(store, STORE_CONTROL, &store_sql_callbacks_keep, &store->params, on_count,
                     (void (*)(void))on_done, ctx);
    for (unsigned i = 0; i < KEEP_ARRAYS; i++)
        pg_array_fini(&columns[i]);
    return err;
}

static void on_folded(void *ctx, int err, const struct pg_result *result)
{
    struct fold_call *held = ctx;
    struct fold_call call = *held;
    int64_t seen = 0;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        struct folded row = {
            .delivery = (uint64_t)pg_int(result, i, 0),
            .notification = (uint64_t)pg_int(result, i, 1),
            .before = (enum report)pg_int(result, i, 2),
            .report = (enum report)pg_int(result, i, 3),
            .reason = (enum reason)pg_int(result, i, 4),
            .destination = (int32_t)pg_int(result, i, 5),
            .channel = (int)pg_int(result, i, 6),
            .recipient_kind = (int)pg_int(result, i, 7),
            .number = (int)pg_int(result, i, 8),
            .receipts = (int)pg_int(result, i, 9),
            .at_ms = pg_time_us(result, i, 10) / 1000,
            .recipient = pg_text_or_null(result, i, 11),
            .provider_id = pg_text_or_null(result, i, 12),
            .code = pg_text_or_null(result, i, 13),
            .service = pg_text_or_null(result, i, 14),
            .request = pg_text_or_null(result, i, 15),
            .user = pg_text_or_null(result, i, 16),
        };

        seen = pg_int(result, i, 17);
        if (!pg_is_null(result, i, 0) && report_is_known((int)row.before) &&
            report_is_known((int)row.report))
            call.on_row(call.ctx, &row);
    }
    call.on_done(call.ctx, err, seen >= STORE_FOLD_BITE);
}

int store_callbacks_fold(struct store *store, const struct fold_call *call)
{
    struct fold_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    pg_add_int4(&store->params, STORE_FOLD_BITE);
    err = pg_send(store->pg[STORE_CONTROL], &store_sql_callbacks_fold, &store->params, on_folded,
                  held);
    if (err)
        free(held);
    return err;
}

void store_callbacks_adopt(struct store *store)
{
    pg_params_clear(&store->params);
    if (store_send(store, STORE_CONTROL, &store_sql_callbacks_adopt, &store->params, store_on_done,
                   NULL, NULL))
        return; /* the fold that follows will not be sent either */
}

int store_heard(struct store *store, const struct heard *heard, store_done_fn *on_done, void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_int4(&store->params, heard->destination);
    pg_add_bool(&store->params, heard->is_stop);
    pg_add_text(&store->params, heard->address);
    pg_add_text(&store->params, heard->key);
    pg_add_time(&store->params, heard->at_ms ? heard->at_ms * 1000 : INT64_MIN);
    return store_send(store, STORE_CONTROL, &store_sql_heard, &store->params, store_on_done,
                      (void (*)(void))on_done, ctx);
}

int store_unsubscribe(struct store *store, const struct unsubscription *what,
                      store_done_fn *on_done, void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, (int64_t)what->delivery);
    pg_add_int2(&store->params, (int16_t)what->channel);
    pg_add_text(&store->params, what->address);
    pg_add_text(&store->params, what->type);
    return store_send(store, STORE_CONTROL, &store_sql_unsubscribe, &store->params, store_on_done,
                      (void (*)(void))on_done, ctx);
}

int store_callbacks_purge(struct store *store, int sent_days, int event_days,
                          void (*on_done)(void *ctx, int err, int64_t count), void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_int4(&store->params, sent_days);
    pg_add_int4(&store->params, event_days);
    return store_send(store, STORE_CONTROL, &store_sql_callbacks_purge, &store->params, on_count,
                      (void (*)(void))on_done, ctx);
}

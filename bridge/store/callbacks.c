/* SPDX-License-Identifier: MIT */
#include "store/callbacks.h"

#include "base/alloc.h"
#include "core/request.h"
#include "store/store_internal.h"

#include <stdlib.h>

#define STORE_REPORTED "'the provider took it, and reported this later'"

const struct pg_statement store_sql_callbacks_keep = {
    .place = PG_PLACE_CALL,
    .name = "callbacks_keep",
    .params = 11,
    .sql = "WITH n AS (INSERT INTO callback_event (destination, report, reason, at, key,"
           "   provider_id, name, code, raw, delivery, is_unread, fold_at)"
           " SELECT destination, report, reason, at, key, provider_id, name, code, raw, delivery,"
           "   is_unread, CASE WHEN NOT is_unread THEN clock_timestamp() END"
           " FROM unnest($1::int[], $2::smallint[], $3::smallint[], $4::timestamptz[],"
           "   $5::text[], $6::text[], $7::text[], $8::text[], $9::bytea[], $10::bigint[],"
           "   $11::boolean[])"
           "   AS n(destination, report, reason, at, key, provider_id, name, code, raw, delivery,"
           "     is_unread)"
           " ON CONFLICT (destination, key) DO NOTHING RETURNING 1)"
           "SELECT count(*) FROM n",
};

/* Of m (an event with its message) and n (its notification, which may be gone by now). */
#define FOLD_COLUMNS                                                                        \
    " m.id, m.delivery, m.notification, m.report::int, m.reason::int, m.destination,"       \
    " m.channel::int, m.recipient_kind::int, m.number::int, coalesce(m.at, m.received_at)," \
    " m.recipient, m.user_id, m.provider_id, m.code, n.receipts::int, n.service, n.request,"
#define FOLD_DEAD " n.type, n.priority::int, n.created_at, n.content"
#define FOLD_NOTIFICATION                                                    \
    " LEFT JOIN LATERAL (SELECT receipts, service, request, type, priority," \
    "   created_at, content FROM notification WHERE id = m.notification LIMIT 1) n ON true"

#define STEPS                                                                                    \
    "oe AS MATERIALIZED (SELECT DISTINCT head FROM b WHERE head <> 0 AND destination <> 0"       \
    "   AND report BETWEEN 30 AND 45 AND before < 30),"                                          \
    "oc AS (DELETE FROM scheduled s WHERE s.head = ANY (ARRAY(SELECT head FROM oe))"             \
    "   AND s.head <> 0 RETURNING s.*),"                                                         \
    "fx AS MATERIALIZED (SELECT DISTINCT b.head, b.channel, f.channel AS next, f.due_at FROM b"  \
    "   CROSS JOIN LATERAL (SELECT s.channel, s.due_at, s.reached FROM scheduled s"              \
    "     WHERE s.head = b.head AND s.head <> 0 ORDER BY s.id LIMIT 1) f"                        \
    "   WHERE b.head <> 0 AND b.destination <> 0 AND b.report IN (20, 50) AND b.before < 20"     \
    "   AND f.reached = b.channel AND f.due_at < 'infinity'"                                     \
    "   AND NOT EXISTS (SELECT FROM sent s WHERE s.head = b.head AND s.head <> 0"                \
    "     AND s.channel = b.channel AND s.report NOT IN (20, 50)"                                \
    "     AND s.delivery <> ALL (ARRAY(SELECT delivery FROM b WHERE report IN (20, 50))))"       \
    "   AND NOT EXISTS (SELECT FROM delivery d WHERE d.head = b.head AND d.head <> 0"            \
    "     AND d.state <> 2)),"                                                                   \
    "ft AS (UPDATE scheduled s SET due_at = CASE WHEN s.channel = fx.next THEN least(s.due_at, " \
    "now())"                                                                                     \
    "     WHEN s.due_at = 'infinity' THEN s.due_at"                                              \
    "     ELSE s.due_at - greatest(fx.due_at - now(), interval '0') END"                         \
    "   FROM fx WHERE s.head = ANY (ARRAY(SELECT head FROM fx)) AND s.head <> 0"                 \
    "   AND s.head = fx.head),"

/*
 * e: events that are due.  Where the provider names our delivery and no message of ours has its id,
 * the id is that of the attempt which sent the delivery (the 41 bits above 22 of an id are its
 * time).  m: those whose
 * message is known, which is locked, so that two bridges cannot both believe that they moved it.
 * The fold is `report` only growing; g: of each step the event that made it, which is ours ($2) to
 * tell.  a: what bounced, opted out or complained is not sent to any more (reports from 50 up; the
 * target and the suppression are as in the statement that settles a refusal; what our own links
 * bring is suppressed there).
 *
 * Steps that are to come (store/steps.c), by head: oe, what has arrived (30 to 45), calls them off,
 * oc; of what has not (20, 50), and after which the next waits for its time, fx, that is due now,
 * ft, unless another of the same step has been sent or any is under way.
 *
 * x: what failed (20) after it was taken is dead, l; y: what was dead by that and arrived after
 * all is not, r.  Where somebody had sent it once more meanwhile, v, what comes of that message
 * does not make it dead again.  An attempt of outcome 12 says so (h) and keeps the books even: see
 * conservation.
 */
const struct pg_statement store_sql_callbacks_fold = {
    .name = "callbacks_fold",
    .params = 2,
    .is_watched = true,
    .sql =
        "WITH e AS MATERIALIZED (SELECT id, received_at, at, destination, report, reason,"
        "   CASE WHEN c.delivery IS NULL OR EXISTS (SELECT FROM sent s"
        "       WHERE s.provider_id = c.provider_id AND s.destination = c.destination)"
        "     THEN provider_id ELSE coalesce((SELECT t.provider_id"
        "       FROM attempt t WHERE t.delivery = c.delivery AND t.destination = c.destination"
        "       AND t.state = 3 AND t.provider_id IS NOT NULL"
        "       AND t.at >= to_timestamp((c.delivery >> 22) / 1000.0 - 86400)"
        "       ORDER BY t.at DESC LIMIT 1), provider_id) END AS provider_id,"
        "   code FROM callback_event c WHERE fold_at <= clock_timestamp()"
        "   ORDER BY fold_at LIMIT $1::int FOR UPDATE SKIP LOCKED),"
        "m AS MATERIALIZED (SELECT e.*, s.delivery, s.notification, s.number, s.channel,"
        "   s.recipient_kind, s.recipient, s.user_id, s.head, s.report AS before"
        " FROM e CROSS JOIN LATERAL (SELECT * FROM sent WHERE provider_id = e.provider_id"
        "   AND destination = e.destination LIMIT 1 FOR UPDATE) s),"
        "b AS MATERIALIZED (SELECT DISTINCT ON (provider_id, destination) * FROM m"
        "   ORDER BY provider_id, destination, report DESC, id),"
        "g AS MATERIALIZED (SELECT DISTINCT ON (provider_id, destination, report) id FROM m"
        "   WHERE report > before ORDER BY provider_id, destination, report, id),"
        "u AS (UPDATE sent s SET report = b.report, reason = b.reason, code = b.code,"
        "   changed_at = clock_timestamp() FROM b"
        " WHERE s.provider_id = ANY (ARRAY(SELECT provider_id FROM b))"
        "   AND s.provider_id = b.provider_id AND s.destination = b.destination"
        "   AND s.report < b.report),"
        "a AS MATERIALIZED (SELECT channel, address_key(channel, recipient) AS address,"
        "   max(reason) AS reason FROM b"
        "   WHERE report >= 50 AND report > before AND recipient_kind >= 4 AND destination <> 0"
        "   AND reason BETWEEN 19 AND 21 AND length(recipient) <= 2048"
        "   GROUP BY 1, 2),"
        "t AS (UPDATE target AS t SET is_active = false, changed_at = now(), reason = a.reason"
        "   FROM a WHERE address_key(t.channel, t.address) = ANY (ARRAY(SELECT address FROM a))"
        "   AND t.is_active AND t.channel = a.channel"
        "   AND address_key(t.channel, t.address) = a.address),"
        "w AS (INSERT INTO suppression (channel, address, reason, source)"
        "   SELECT channel, address, reason, 'provider' FROM a"
        "   ORDER BY 1, 2" STORE_SUPPRESS_ABOVE_SERVICES "),"
        "x AS MATERIALIZED (SELECT DISTINCT ON (delivery) * FROM b WHERE report = 20"
        "   AND before < 20 AND destination <> 0 ORDER BY delivery, id),"
        "y AS MATERIALIZED (SELECT DISTINCT ON (delivery) * FROM b WHERE report BETWEEN 30 AND 45"
        "   AND before = 20 AND destination <> 0 ORDER BY delivery, id),"
        "l AS (INSERT INTO dead_letter AS o (delivery, notification, service, request, type, seq,"
        "   destination, channel, priority, attempts, reason, recipient_kind, recipient, died_at,"
        "   code, detail, user_id)"
        "   SELECT x.delivery, x.notification, n.service, n.request, n.type, 0, x.destination,"
        "   x.channel, n.priority, x.number, x.reason, x.recipient_kind, x.recipient,"
        "   clock_timestamp(), x.code, " STORE_REPORTED ", x.user_id"
        "   FROM x CROSS JOIN LATERAL (SELECT service, request, type, priority FROM notification"
        "     WHERE id = x.notification LIMIT 1) n ORDER BY x.delivery"
        "   ON CONFLICT (delivery) DO UPDATE SET is_dead = true, status = 0,"
        "   attempts = excluded.attempts, reason = excluded.reason,"
        "   died_at = excluded.died_at, destination = excluded.destination,"
        "   code = excluded.code, detail = excluded.detail, resolved_by = NULL,"
        "   is_pinned = false WHERE NOT o.is_dead AND o.resolved_by IS DISTINCT FROM 'provider'"
        "   RETURNING delivery),"
        "v AS (UPDATE dead_letter o SET resolved_by = 'provider'"
        "   WHERE o.delivery = ANY (ARRAY(SELECT delivery FROM y)) AND NOT o.is_dead),"
        "r AS (UPDATE dead_letter o SET is_dead = false, status = 2, changed_at = now(),"
        "   resolved_by = 'provider' WHERE o.delivery = ANY (ARRAY(SELECT delivery FROM y))"
        "   AND o.is_dead RETURNING o.delivery)," STEPS
        "h AS (INSERT INTO attempt (at, delivery, notification, epoch, destination, status,"
        "   number, channel, outcome, reason, segments, state, recipient_kind, recipient, code,"
        "   provider_id, detail, user_id)"
        "   SELECT clock_timestamp(), z.delivery, z.notification, $2::bigint, z.destination, 0,"
        "   z.number, z.channel, 12, z.reason, 0, z.state, z.recipient_kind, z.recipient, z.code,"
        "   z.provider_id, " STORE_REPORTED ", z.user_id"
        "   FROM (SELECT x.*, 5 AS state FROM x WHERE delivery IN (SELECT delivery FROM l)"
        "     UNION ALL SELECT y.*, 4 FROM y WHERE delivery IN (SELECT delivery FROM r)) z"
        "   UNION ALL SELECT clock_timestamp(), id, notification, $2::bigint, destination, 0,"
        "   attempts, channel, 10, 0, 0, 8, recipient_kind, recipient, NULL, NULL, NULL,"
        "   nullif(user_id, '') FROM oc),"
        "f AS (UPDATE callback_event c SET provider_id = e.provider_id, teller = CASE"
        "   WHEN c.id = ANY (ARRAY(SELECT id FROM g)) THEN $2::bigint END, fold_at = CASE"
        "   WHEN c.id = ANY (ARRAY(SELECT id FROM m)) THEN NULL"
        "   WHEN e.received_at < clock_timestamp() - interval '10 minutes' THEN NULL"
        "   ELSE clock_timestamp() + greatest(interval '200 milliseconds',"
        "     clock_timestamp() - e.received_at) END"
        " FROM e WHERE c.id = ANY (ARRAY(SELECT id FROM e)) AND c.id = e.id)"
        "SELECT" FOLD_COLUMNS FOLD_DEAD
        ", m.id = ANY (ARRAY(SELECT x.id FROM x JOIN l USING (delivery))),"
        " (SELECT count(*) FROM e)"
        " FROM m" FOLD_NOTIFICATION " WHERE m.id = ANY (ARRAY(SELECT id FROM g))"
        " UNION ALL SELECT NULL, m.id, m.notification, 0, 0, m.destination, m.channel::int,"
        " m.recipient_kind::int, m.attempts::int, clock_timestamp(), m.recipient,"
        " nullif(m.user_id, ''), NULL, NULL, n.receipts::int, n.service, n.request, n.type,"
        " n.priority::int, n.created_at, NULL, false, (SELECT count(*) FROM e)"
        " FROM oc m" FOLD_NOTIFICATION
        " UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,"
        " NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,"
        " (SELECT count(*) FROM e) ORDER BY 2, 4",
};

/* What a bridge that is gone has left untold; with $2 also our own, after a doubt. */
const struct pg_statement store_sql_callbacks_untold = {
    .name = "callbacks_untold",
    .params = 3,
    .sql = "WITH c AS (UPDATE callback_event SET teller = $1::bigint WHERE id = ANY (ARRAY("
           "   SELECT id FROM callback_event WHERE teller IS NOT NULL"
           "   AND (($2::boolean AND teller = $1::bigint)"
           "     OR teller = ANY (ARRAY(SELECT t.teller FROM (SELECT DISTINCT teller"
           "       FROM callback_event WHERE teller IS NOT NULL) t"
           "       WHERE NOT EXISTS (SELECT FROM bridge b WHERE b.epoch = t.teller))))"
           "   ORDER BY id LIMIT $3::int FOR UPDATE SKIP LOCKED)) RETURNING id, received_at, at,"
           "   destination, report, reason, provider_id, code),"
           "m AS (SELECT c.*, s.delivery, s.notification, s.number, s.channel, s.recipient_kind,"
           "   s.recipient, s.user_id FROM c CROSS JOIN LATERAL (SELECT * FROM sent"
           "     WHERE provider_id = c.provider_id AND destination = c.destination LIMIT 1) s)"
           "SELECT" FOLD_COLUMNS FOLD_DEAD
           ", m.report = 20 AND EXISTS (SELECT FROM dead_letter d WHERE d.delivery = m.delivery"
           "   AND d.is_dead), 0::bigint FROM m" FOLD_NOTIFICATION " ORDER BY 2, 4",
};

const struct pg_statement store_sql_callbacks_told = {
    .name = "callbacks_told",
    .params = 1,
    .sql = "UPDATE callback_event SET teller = NULL WHERE id = ANY ($1::bigint[])",
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
           "   SELECT 2, $3::text, 19, 'keyword' FROM n"
           "   WHERE $2::boolean" STORE_SUPPRESS_ABOVE_SERVICES "),"
           "d AS (DELETE FROM suppression WHERE channel = 2 AND address = $3::text AND scope = ''"
           "   AND reason = 19 AND source IN ('keyword', 'provider') AND NOT $2::boolean"
           "   AND EXISTS (SELECT FROM n)),"
           "t AS (UPDATE target SET is_active = true, reason = 0, changed_at = now()"
           "   WHERE channel = 2 AND address_key(channel, address) = $3::text AND reason = 19"
           "   AND NOT is_active"
           "   AND NOT $2::boolean AND EXISTS (SELECT FROM n))"
           "SELECT count(*) FROM n",
};

/* The address is kept as STORE_SUPPRESSED looks it up; reason 19 is opted_out. */
const struct pg_statement store_sql_unsubscribe = {
    .place = PG_PLACE_CALL,
    .name = "unsubscribe",
    .params = 4,
    .sql =
        "WITH w AS (INSERT INTO suppression (channel, address, scope, reason, source)"
        "   SELECT $2::smallint, $3::text, $4::text, 19,"
        "   'unsubscribe'" STORE_SUPPRESS_ABOVE_SERVICES ")"
        "INSERT INTO callback_event (destination, report, reason, at, key, provider_id, name, raw)"
        " VALUES (0, 60, 19, now(), 'unsubscribe ' || $1::bigint, $1::bigint::text,"
        "   'unsubscribe', '') ON CONFLICT (destination, key) DO NOTHING",
};

_Static_assert(CALLBACKS_PURGE_BITE == 5000, "as in the statement");
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
           "SELECT greatest((SELECT count(*) FROM s), (SELECT count(*) FROM e))",
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
enum { KEEP_ARRAYS = 11 };

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
    if (row->delivery)
        pg_array_add_int(&column[9], (int64_t)row->delivery);
    else
        pg_array_add_null(&column[9]);
    pg_array_add_int(&column[10], row->is_unread);
}

int store_callbacks_keep(struct store *store, const struct callback_row *rows, size_t count,
                         void (*on_done)(void *ctx, int err, int64_t count), void *ctx)
{
    static const enum pg_type types[KEEP_ARRAYS] = {PG_INT4,  PG_INT2, PG_INT2, PG_TIMESTAMPTZ,
                                                    PG_TEXT,  PG_TEXT, PG_TEXT, PG_TEXT,
                                                    PG_BYTEA, PG_INT8, PG_BOOL};
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
            .event = pg_int(result, i, 0),
            .delivery = (uint64_t)pg_int(result, i, 1),
            .notification = (uint64_t)pg_int(result, i, 2),
            .report = (enum report)pg_int(result, i, 3),
            .reason = (enum reason)store_enum(result, i, 4, REASON_COUNT),
            .destination = (int32_t)pg_int(result, i, 5),
            .channel = (enum channel)store_enum(result, i, 6, CHANNEL_COUNT),
            .recipient_kind = store_enum(result, i, 7, RECIPIENT_URL + 1),
            .number = (int)pg_int(result, i, 8),
            .at_ms = pg_time_us(result, i, 9) / 1000,
            .recipient = pg_text_or_null(result, i, 10),
            .user = pg_text_or_null(result, i, 11),
            .provider_id = pg_text_or_null(result, i, 12),
            .code = pg_text_or_null(result, i, 13),
            .receipts = (int)pg_int(result, i, 14),
            .service = pg_text_or_null(result, i, 15),
            .request = pg_text_or_null(result, i, 16),
            .type = pg_text_or_null(result, i, 17),
            .priority = (enum priority)store_enum(result, i, 18, PRIORITY_COUNT),
            .created_ms = pg_time_us(result, i, 19) / 1000,
            .is_dead = pg_int(result, i, 21) != 0,
        };

        if (pg_is_null(result, i, 0) && !pg_is_null(result, i, 1))
            call.on_off(call.ctx, &row);
        row.content = pg_bytes(result, i, 20, &row.content_bytes);
        seen = pg_int(result, i, 22);
        if (!pg_is_null(result, i, 0) && report_is_known((int)row.report))
            call.on_row(call.ctx, &row);
    }
    call.on_done(call.ctx, err, seen >= STORE_FOLD_BITE);
}

static int send_fold(struct store *store, const struct pg_statement *statement,
                     const struct fold_call *call)
{
    struct fold_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    err = pg_send(store->pg[STORE_CONTROL], statement, &store->params, on_folded, held);
    if (err)
        free(held);
    return err;
}

int store_callbacks_fold(struct store *store, int64_t epoch, const struct fold_call *call)
{
    pg_params_clear(&store->params);
    pg_add_int4(&store->params, STORE_FOLD_BITE);
    pg_add_int8(&store->params, epoch);
    return send_fold(store, &store_sql_callbacks_fold, call);
}

int store_callbacks_untold(struct store *store, int64_t epoch, bool is_own_too,
                           const struct fold_call *call)
{
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, epoch);
    pg_add_bool(&store->params, is_own_too);
    pg_add_int4(&store->params, STORE_FOLD_BITE);
    return send_fold(store, &store_sql_callbacks_untold, call);
}

int store_callbacks_told(struct store *store, const int64_t *events, size_t count,
                         store_done_fn *on_done, void *ctx)
{
    struct pg_array ids;
    int err;

    pg_array_init(&ids, PG_INT8);
    for (size_t i = 0; i < count; i++)
        pg_array_add_int(&ids, events[i]);
    pg_params_clear(&store->params);
    pg_add_array(&store->params, &ids);
    err = store_send(store, STORE_CONTROL, &store_sql_callbacks_told, &store->params, store_on_done,
                     (void (*)(void))on_done, ctx);
    pg_array_fini(&ids);
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

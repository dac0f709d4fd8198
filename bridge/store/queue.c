/* SPDX-License-Identifier: MIT */
#include "store/queue.h"

#include "base/alloc.h"
#include "store/queue_sql.h"
#include "core/request.h"
#include "store/store_internal.h"

#include <stdlib.h>

_Static_assert(REASON_COLLAPSED == 24, "as in CLAIMED_COLUMNS");

#define CLAIM_SUPPRESSED STORE_SUPPRESSED("u.channel", "u.recipient", "n.type")
#define CLAIM_SAME       STORE_SAME_RECIPIENT("c.recipient", "address_key(u.channel, u.recipient)")
/* 24: a newer one of its collapse_key came while a bridge had it. */
#define CLAIMED_COLUMNS                                                                   \
    "u.id, u.notification, u.seq, u.due_at, n.created_at, n.expires_at, u.attempts,"      \
    " u.crashes, n.receipts, u.recipient_kind, u.channel, u.priority, u.recipient,"       \
    " n.service, n.request, n.type, n.collapse_key, n.retry,"                             \
    " CASE WHEN u.desk & 4 = 0 THEN n.content ELSE (SELECT e.content FROM dead_letter l"  \
    "   JOIN edited_content e ON e.id = l.edited WHERE l.delivery = u.id LIMIT 1) END,"   \
    " CASE WHEN u.crashes > 0 THEN (SELECT a.destination FROM attempt a"                  \
    "   WHERE a.delivery = u.id AND a.number = u.attempts + 1 AND a.outcome = 8"          \
    "   AND a.state IS NULL LIMIT 1) END,"                                                \
    " CASE WHEN n.collapse_key IS NOT NULL AND EXISTS (SELECT FROM collapse c"            \
    "   WHERE c.service = n.service AND c.key = n.collapse_key AND c.channel = u.channel" \
    "   AND c.recipient_kind = u.recipient_kind AND " CLAIM_SAME                          \
    "   AND c.delivery > u.id) THEN 24 WHEN u.recipient_kind >= 4 THEN " CLAIM_SUPPRESSED \
    " END, u.user_id, u.is_unsure, u.desk, u.last_reason <> 0, u.head <> 0, u.deferrals," \
    " EXISTS (SELECT FROM recall r WHERE r.reason = 0 AND (r.id = u.id"                   \
    "   OR (r.id = u.notification AND u.desk & 1 = 0)))"
#define CLAIMED_NOTIFICATION \
    " CROSS JOIN LATERAL"    \
    " (SELECT * FROM notification WHERE id = u.notification LIMIT 1) n"

/*
 * Equality on (destination, priority) and a limit for each: one scan ordered by both would walk
 * all future urgent rows before the first low one.  ARRAY() keeps the planner on the index.
 * `state + 0` keeps the update off delivery_ready, which it would walk whole: id is the way in.
 * Nothing is claimed under an epoch that is over.
 */
const struct pg_statement store_sql_claim = {
    .name = "claim",
    .params = 7,
    .sql = "WITH u AS (UPDATE delivery d SET state = 1, epoch = $1::bigint"
           " WHERE d.id = ANY (ARRAY("
           "   SELECT q.id FROM unnest($3::smallint[], $4::int[], $5::timestamptz[])"
           "     AS p(priority, room, since)"
           "   CROSS JOIN LATERAL (SELECT id FROM delivery"
           "     WHERE state = 0 AND destination = $2::int AND priority = p.priority"
           "     AND due_at >= p.since AND due_at <= now()"
           "     AND crashes BETWEEN $6::smallint AND $7::smallint"
           "     ORDER BY due_at, id LIMIT p.room FOR UPDATE SKIP LOCKED) q))"
           " AND d.state + 0 = 0"
           " AND EXISTS (SELECT 1 FROM bridge"
           "   WHERE epoch = $1::bigint AND lease_until > clock_timestamp())"
           " RETURNING d.*)"
           "SELECT " CLAIMED_COLUMNS ", false FROM u" CLAIMED_NOTIFICATION
           " ORDER BY u.priority, u.due_at, u.id",
};

/* Not what they have deleted, or what was replaced, retracted or has expired: state 3. */
#define SHOWABLE(id) \
    " AND coalesce((SELECT i.state FROM inbox i WHERE i.delivery = " id " LIMIT 1), 0) < 3"
/* What waits for a user of p: see delivery_waiting in schemas/sql. */
#define WAITING                                                           \
    "recipient = p.user_id AND last_reason IN (1, 2) AND state IN (0, 2)" \
    " AND channel = 0 AND recipient_kind = 0 AND crashes < $5::smallint" SHOWABLE("delivery.id")
#define WAITING_DEAD                                                                 \
    "l.recipient = p.user_id AND l.is_dead AND l.reason IN (1, 2) AND l.channel = 0" \
    " AND l.recipient_kind = 0 AND l.status IN (0, 3)"                               \
    " AND (SELECT coalesce(n.expires_at > now(), true) FROM notification n"          \
    "   WHERE n.id = l.notification LIMIT 1)" SHOWABLE("l.delivery")

/*
 * User by user, so that a limit cuts the last ones off and no others.  Rows that another bridge is
 * at are passed over.  A woken delivery has its attempts before it again; its dead letter is
 * resolved when it has come to a good end, or dies again.
 */
const struct pg_statement store_sql_wake = {
    .name = "wake",
    .params = 7,
    .sql =
        "WITH l AS (SELECT 1 FROM bridge"
        "   WHERE epoch = $1::bigint AND lease_until > clock_timestamp()),"
        "w AS (UPDATE delivery d SET state = 1, epoch = $1::bigint, attempts = 0, due_at = now()"
        " WHERE d.id = ANY (ARRAY(SELECT q.id FROM unnest($2::text[], $6::bigint[]) AS p(user_id, "
        "after)"
        "   CROSS JOIN LATERAL (SELECT id FROM delivery WHERE " WAITING
        "     AND id > p.after ORDER BY id LIMIT $3::int FOR UPDATE SKIP LOCKED) q LIMIT $4::int))"
        " AND d.state + 0 <> 1 AND EXISTS (SELECT 1 FROM l) RETURNING d.*),"
        "x AS (UPDATE dead_letter d SET is_dead = false, status = 1, changed_at = now(),"
        "   resolved_by = 'reconnect'"
        " WHERE d.delivery = ANY (ARRAY(SELECT q.delivery"
        "   FROM unnest($2::text[], $7::bigint[]) AS p(user_id, after)"
        "   CROSS JOIN LATERAL (SELECT l.delivery FROM dead_letter l WHERE " WAITING_DEAD
        "     AND l.delivery > p.after ORDER BY l.delivery LIMIT $3::int FOR UPDATE SKIP LOCKED) q "
        "LIMIT $4::int))"
        " AND d.is_dead AND EXISTS (SELECT 1 FROM l) RETURNING d.*),"
        "i AS (INSERT INTO delivery (id, notification, due_at, epoch, seq, destination, channel,"
        "   priority, state, last_reason, recipient_kind, recipient, desk)"
        " SELECT delivery, notification, now(), $1::bigint, seq, destination, channel, priority,"
        "   1, reason, recipient_kind, recipient, 8 + CASE WHEN edited IS NULL THEN 0 ELSE 4 END"
        " FROM x ON CONFLICT (id) DO NOTHING RETURNING *),"
        "u AS (SELECT false AS was_dead, w.* FROM w UNION ALL SELECT true, i.* FROM i)"
        "SELECT " CLAIMED_COLUMNS ", u.was_dead FROM u" CLAIMED_NOTIFICATION " ORDER BY u.id",
};

const struct pg_statement store_sql_reconcile = {
    .place = PG_PLACE_KEPT,
    .name = "reconcile",
    .params = 2,
    .sql = "UPDATE delivery SET state = 0, epoch = NULL"
           " WHERE state = 1 AND epoch = $1::bigint AND NOT EXISTS"
           " (SELECT FROM unnest($2::bigint[]) AS k(id) WHERE k.id = delivery.id)",
};

const struct pg_statement store_sql_settle = {
    .place = PG_PLACE_KEPT,
    .name = "settle",
    .params = 15,
    .is_watched = true,
    .sql = QUEUE_SETTLE QUEUE_PLAIN,
};

const struct pg_statement store_sql_retry = {
    .place = PG_PLACE_KEPT,
    .name = "retry",
    .params = 14,
    .is_watched = true,
    .sql = QUEUE_RETRY QUEUE_PLAIN,
};

/* Says that the request of an attempt may have left, before it does. */
const struct pg_statement store_sql_start = {
    .place = PG_PLACE_KEPT,
    .name = "start",
    .params = 14,
    .is_durable = true,
    .sql = "WITH x AS (SELECT d.notification, d.channel, d.recipient_kind, d.recipient,"
           "   d.user_id, r.*"
           " FROM delivery d, " SETTLE_COLUMNS " WHERE d.id = ANY ($2::bigint[]) AND d.id = r.id"
           " AND d.epoch = $1::bigint AND d.state = 1 FOR UPDATE OF d),"
           "h AS (INSERT INTO " ATTEMPT_COLUMNS
           " SELECT clock_timestamp(), id, notification, $1::bigint, via, 0, number,"
           " channel, outcome, reason, 0, NULL, recipient_kind, recipient, NULL, NULL, detail,"
           " nullif(user_id, '') FROM x)"
           "SELECT id, notification, tries FROM x",
};

const struct pg_statement store_sql_bury = {
    .place = PG_PLACE_KEPT,
    .name = "bury",
    .params = 14,
    .is_watched = true,
    .sql = QUEUE_BURY QUEUE_PLAIN,
};

const struct pg_statement store_sql_ack = {
    .place = PG_PLACE_KEPT,
    .name = "ack",
    .params = 3,
    .is_watched = true,
    .sql = QUEUE_ACK "SELECT id, notification, attempts + 1, recipient, 4, 0 FROM x",
};

const struct pg_statement store_sql_ended = {
    .place = PG_PLACE_KEPT,
    .name = "ended",
    .params = 2,
    .sql = "SELECT delivery, notification, number, recipient, 4, 0 FROM attempt"
           " WHERE delivery = ANY ($2::bigint[]) AND epoch = $1::bigint AND state = 4"
           " AND at > now() - interval '1 hour'",
};

const struct pg_statement store_sql_recorded = {
    .place = PG_PLACE_KEPT,
    .name = "recorded",
    .params = 2,
    .sql = "SELECT delivery, number, coalesce(state, -1) FROM attempt"
           " WHERE delivery = ANY ($2::bigint[]) AND epoch = $1::bigint"
           " AND at > now() - interval '1 hour'",
};

const struct pg_statement store_sql_about = {
    .place = PG_PLACE_KEPT,
    .name = "about",
    .params = 1,
    .sql = "SELECT n.id, n.receipts, n.service, n.request FROM unnest($1::bigint[]) AS x(id)"
           " CROSS JOIN LATERAL (SELECT * FROM notification WHERE id = x.id LIMIT 1) n",
};

static void on_claimed(void *ctx, int err, const struct pg_result *result)
{
    struct claim *call = ctx;
    struct claim claim = *call;

    free(call);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        struct claimed row = {
            .id = (uint64_t)pg_int(result, i, 0),
            .notification = (uint64_t)pg_int(result, i, 1),
            .seq = pg_int(result, i, 2),
            .due_ms = pg_time_us(result, i, 3) / 1000,
            .created_ms = pg_time_us(result, i, 4) / 1000,
            .expires_ms = pg_is_null(result, i, 5) ? 0 : pg_time_us(result, i, 5) / 1000,
            .attempts = (int)pg_int(result, i, 6),
            .crashes = (int)pg_int(result, i, 7),
            .receipts = (int)pg_int(result, i, 8),
            .recipient_kind = store_enum(result, i, 9, RECIPIENT_URL + 1),
            .channel = (enum channel)store_enum(result, i, 10, CHANNEL_COUNT),
            .priority = (enum priority)store_enum(result, i, 11, PRIORITY_COUNT),
            .recipient = pg_text(result, i, 12),
            .service = pg_text(result, i, 13),
            .request = pg_text(result, i, 14),
            .type = pg_text(result, i, 15),
            .collapse_key = pg_is_null(result, i, 16) ? NULL : pg_text(result, i, 16),
            .retry = pg_is_null(result, i, 17) ? NULL : pg_text(result, i, 17),
            .started_via = (int32_t)pg_int(result, i, 19),
            .is_unsure = pg_int(result, i, 22) != 0,
        };

        row.content = pg_bytes(result, i, 18, &row.content_bytes);
        row.suppressed = (enum reason)store_enum(result, i, 20, REASON_COUNT);
        row.user = pg_text(result, i, 21);
        row.desk = (unsigned)pg_int(result, i, 23);
        row.is_replay = row.attempts > 0 || pg_int(result, i, 24) != 0;
        row.is_step = pg_int(result, i, 25) != 0;
        row.deferrals = (int)pg_int(result, i, 26);
        row.is_recalled = pg_int(result, i, 27) != 0;
        row.was_dead = pg_int(result, i, 28) != 0;
        claim.on_row(claim.ctx, &row);
    }
    claim.on_done(claim.ctx, err);
}

int store_claim(struct store *store, int64_t epoch, int32_t destination,
                const unsigned room[PRIORITY_COUNT], const int64_t since_ms[PRIORITY_COUNT],
                bool is_suspect, const struct claim *claim)
{
    struct pg_array priorities, rooms, since;
    struct claim *call = xmalloc(sizeof(*call));
    int err;

    *call = *claim;
    pg_array_init(&priorities, PG_INT2);
    pg_array_init(&rooms, PG_INT4);
    pg_array_init(&since, PG_TIMESTAMPTZ);
    for (int p = 0; p < PRIORITY_COUNT; p++) {
        if (!room[p])
            continue;
        pg_array_add_int(&priorities, p);
        pg_array_add_int(&rooms, room[p]);
        pg_array_add_time(&since, since_ms[p] * 1000);
    }
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, epoch);
    pg_add_int4(&store->params, destination);
    pg_add_array(&store->params, &priorities);
    pg_add_array(&store->params, &rooms);
    pg_add_array(&store->params, &since);
    pg_add_int2(&store->params, is_suspect ? STORE_SUSPECT_CRASHES : 0);
    pg_add_int2(&store->params, is_suspect ? INT16_MAX : STORE_SUSPECT_CRASHES - 1);
    err = pg_send(store->pg[STORE_INTAKE], &store_sql_claim, &store->params, on_claimed, call);
    if (err)
        free(call);
    pg_array_fini(&priorities);
    pg_array_fini(&rooms);
    pg_array_fini(&since);
    return err;
}

int store_wake(struct store *store, int64_t epoch, const struct wake_user *users, size_t count,
               unsigned each, unsigned total, const struct claim *claim)
{
    struct claim *call = xmalloc(sizeof(*call));
    struct pg_array names, after[2];
    int err;

    *call = *claim;
    pg_array_init(&names, PG_TEXT);
    for (int kind = 0; kind < 2; kind++)
        pg_array_init(&after[kind], PG_INT8);
    for (size_t i = 0; i < count; i++) {
        pg_array_add_text(&names, users[i].name);
        for (int kind = 0; kind < 2; kind++)
            pg_array_add_int(&after[kind], (int64_t)users[i].after[kind]);
    }
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, epoch);
    pg_add_array(&store->params, &names);
    pg_add_int4(&store->params, (int32_t)each);
    pg_add_int4(&store->params, (int32_t)total);
    pg_add_int2(&store->params, STORE_SUSPECT_CRASHES);
    for (int kind = 0; kind < 2; kind++)
        pg_add_array(&store->params, &after[kind]);
    err = pg_send(store->pg[STORE_INTAKE], &store_sql_wake, &store->params, on_claimed, call);
    if (err)
        free(call);
    pg_array_fini(&names);
    for (int kind = 0; kind < 2; kind++)
        pg_array_fini(&after[kind]);
    return err;
}

int store_reconcile(struct store *store, int64_t epoch, const uint64_t *known, size_t count,
                    void (*on_done)(void *ctx, int err), void *ctx)
{
    struct pg_array ids;
    int err;

    pg_array_init(&ids, PG_INT8);
    for (size_t i = 0; i < count; i++)
        pg_array_add_int(&ids, (int64_t)known[i]);
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, epoch);
    pg_add_array(&store->params, &ids);
    err = store_send(store, STORE_INTAKE, &store_sql_reconcile, &store->params, store_on_done,
                     (void (*)(void))on_done, ctx);
    pg_array_fini(&ids);
    return err;
}

/* A call, and whether its statement also names what it has called off. */
struct settle_call {
    struct settled settled;
    bool has_steps;
};

static void on_settled(void *ctx, int err, const struct pg_result *result)
{
    struct settle_call *held = ctx;
    struct settle_call call = *held;
    struct settled *settled = &call.settled;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        struct called_off off = {.id = (uint64_t)pg_int(result, i, 0),
                                 .notification = (uint64_t)pg_int(result, i, 1)};

        if (!call.has_steps || pg_is_null(result, i, 3)) {
            settled->on_row(settled->ctx, off.id, off.notification, (int)pg_int(result, i, 2));
            continue;
        }
        off.channel = (enum channel)store_enum(result, i, 3, CHANNEL_COUNT);
        off.user = pg_text(result, i, 4);
        settled->on_off(settled->ctx, &off);
    }
    settled->on_done(settled->ctx, err);
}

static void on_acked(void *ctx, int err, const struct pg_result *result)
{
    struct acked *call = ctx;
    struct acked acked = *call;

    free(call);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        struct acked_row row = {
            .id = (uint64_t)pg_int(result, i, 0),
            .notification = (uint64_t)pg_int(result, i, 1),
            .attempts = (int)pg_int(result, i, 2),
            .user = pg_text(result, i, 3),
            .state = (enum delivery_state)store_enum(result, i, 4, DELIVERY_STATE_COUNT),
            .channel = (enum channel)store_enum(result, i, 5, CHANNEL_COUNT),
        };

        acked.on_row(acked.ctx, &row);
    }
    acked.on_done(acked.ctx, err);
}

static const char *or_null(const char *text)
{
    return text[0] ? text : NULL;
}

/* The columns of SETTLE_COLUMNS, in order. */
enum { SETTLE_ARRAYS = 13 };

/* `due` of what comes again; of what has ended, since when its target is dead. */
static int64_t when_us(const struct settlement *item)
{
    if (item->state == DELIVERY_READY || item->state == DELIVERY_HELD)
        return item->due_ms * 1000;
    return item->dead_since_ms ? item->dead_since_ms * 1000 : INT64_MIN;
}

static void fill_settlement(struct pg_array *column, const struct settlement *item)
{
    const struct outcome *outcome = item->outcome;

    pg_array_add_int(&column[0], (int64_t)item->id);
    pg_array_add_int(&column[1], item->state);
    pg_array_add_int(&column[2], item->attempts);
    pg_array_add_int(&column[3], item->number);
    pg_array_add_time(&column[4], when_us(item));
    pg_array_add_int(&column[5], outcome->kind);
    pg_array_add_int(&column[6], outcome->reason);
    pg_array_add_int(&column[7], outcome->status);
    pg_array_add_int(&column[8], outcome->segments);
    pg_array_add_text(&column[9], or_null(outcome->code));
    pg_array_add_text(&column[10], or_null(outcome->provider_id));
    pg_array_add_text(&column[11], or_null(outcome->detail));
    pg_array_add_int(&column[12], item->destination);
}

/* The destinations of what is awaited, each once: few, so that the statement looks at few. */
static void fill_awaited(struct pg_array *out, const struct settlement *items, size_t count)
{
    int32_t seen[64];
    size_t seen_count = 0;

    pg_array_init(out, PG_INT4);
    for (size_t i = 0; i < count; i++) {
        size_t at = 0;

        if (!items[i].is_awaited)
            continue;
        while (at < seen_count && seen[at] != items[i].destination)
            at++;
        if (at < seen_count || seen_count == sizeof(seen) / sizeof(seen[0]))
            continue;
        seen[seen_count++] = items[i].destination;
        pg_array_add_int(out, items[i].destination);
    }
}

static bool has_steps(const struct settlement *items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (items[i].is_step && items[i].state != DELIVERY_READY)
            return true;
    return false;
}

/* The form of a statement that also moves the steps that follow; false: it has none. */
static bool with_steps(const struct pg_statement **statement)
{
    static const struct pg_statement *const forms[][2] = {
        {&store_sql_settle, &store_sql_settle_steps},
        {&store_sql_retry, &store_sql_retry_steps},
        {&store_sql_bury, &store_sql_bury_steps},
    };

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (forms[i][0] != *statement)
            continue;
        *statement = forms[i][1];
        return true;
    }
    return false;
}

static int send_settlements(struct store *store, const struct pg_statement *statement,
                            int64_t epoch, const struct settlement *items, size_t count,
                            const struct settled *settled)
{
    static const enum pg_type types[SETTLE_ARRAYS] = {
        PG_INT8, PG_INT2, PG_INT2, PG_INT2, PG_TIMESTAMPTZ, PG_INT2, PG_INT2,
        PG_INT4, PG_INT2, PG_TEXT, PG_TEXT, PG_TEXT,        PG_INT4};
    struct pg_array columns[SETTLE_ARRAYS];
    struct settle_call *call = xmalloc(sizeof(*call));
    int err;

    *call = (struct settle_call){*settled, has_steps(items, count) && with_steps(&statement)};
    for (unsigned i = 0; i < SETTLE_ARRAYS; i++)
        pg_array_init(&columns[i], types[i]);
    for (size_t i = 0; i < count; i++)
        fill_settlement(columns, &items[i]);
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, epoch);
    for (unsigned i = 0; i < SETTLE_ARRAYS; i++)
        pg_add_array(&store->params, &columns[i]);
    if (statement->params == SETTLE_ARRAYS + 2) {
        struct pg_array awaited;

        fill_awaited(&awaited, items, count);
        pg_add_array(&store->params, &awaited);
        pg_array_fini(&awaited);
    }
    err = pg_send(store->pg[STORE_SETTLE], statement, &store->params, on_settled, call);
    if (err)
        free(call);
    for (unsigned i = 0; i < SETTLE_ARRAYS; i++)
        pg_array_fini(&columns[i]);
    return err;
}

int store_settle(struct store *store, int64_t epoch, const struct settlement *items, size_t count,
                 const struct settled *settled)
{
    return send_settlements(store, &store_sql_settle, epoch, items, count, settled);
}

int store_retry(struct store *store, int64_t epoch, const struct settlement *items, size_t count,
                const struct settled *settled)
{
    return send_settlements(store, &store_sql_retry, epoch, items, count, settled);
}

int store_start(struct store *store, int64_t epoch, const struct settlement *items, size_t count,
                const struct settled *settled)
{
    return send_settlements(store, &store_sql_start, epoch, items, count, settled);
}

int store_bury(struct store *store, int64_t epoch, const struct settlement *items, size_t count,
               const struct settled *settled)
{
    return send_settlements(store, &store_sql_bury, epoch, items, count, settled);
}

int store_ack(struct store *store, int64_t epoch, const struct ack_item *items, size_t count,
              const struct acked *acked)
{
    struct pg_array ids, users;
    struct acked *call = xmalloc(sizeof(*call));
    bool is_plain = true;
    int err;

    *call = *acked;
    pg_array_init(&ids, PG_INT8);
    pg_array_init(&users, PG_TEXT);
    for (size_t i = 0; i < count; i++) {
        pg_array_add_int(&ids, (int64_t)items[i].id);
        pg_array_add_text(&users, items[i].user);
        is_plain = is_plain && items[i].is_plain;
    }
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, epoch);
    pg_add_array(&store->params, &ids);
    pg_add_array(&store->params, &users);
    err = pg_send(store->pg[STORE_SETTLE], is_plain ? &store_sql_ack : &store_sql_ack_steps,
                  &store->params, on_acked, call);
    if (err)
        free(call);
    pg_array_fini(&ids);
    pg_array_fini(&users);
    return err;
}

/* A question about deliveries under our epoch; takes call when it was sent. */
static int ask_of(struct store *store, const struct pg_statement *statement, int64_t epoch,
                  const uint64_t *ids, size_t count, pg_result_fn *on_result, void *call)
{
    struct pg_array array;
    int err;

    pg_array_init(&array, PG_INT8);
    for (size_t i = 0; i < count; i++)
        pg_array_add_int(&array, (int64_t)ids[i]);
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, epoch);
    pg_add_array(&store->params, &array);
    err = pg_send(store->pg[STORE_SETTLE], statement, &store->params, on_result, call);
    if (err)
        free(call);
    pg_array_fini(&array);
    return err;
}

int store_ended(struct store *store, int64_t epoch, const uint64_t *ids, size_t count,
                const struct acked *ended)
{
    struct acked *call = xmalloc(sizeof(*call));

    *call = *ended;
    return ask_of(store, &store_sql_ended, epoch, ids, count, on_acked, call);
}

static void on_recorded(void *ctx, int err, const struct pg_result *result)
{
    struct recorded *held = ctx;
    struct recorded call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++)
        call.on_row(call.ctx, (uint64_t)pg_int(result, i, 0), (int)pg_int(result, i, 1),
                    (int)pg_int(result, i, 2));
    call.on_done(call.ctx, err);
}

int store_recorded(struct store *store, int64_t epoch, const uint64_t *ids, size_t count,
                   const struct recorded *recorded)
{
    struct recorded *call = xmalloc(sizeof(*call));

    *call = *recorded;
    return ask_of(store, &store_sql_recorded, epoch, ids, count, on_recorded, call);
}

static void on_about(void *ctx, int err, const struct pg_result *result)
{
    struct about_call *held = ctx;
    struct about_call call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        struct about about = {
            .notification = (uint64_t)pg_int(result, i, 0),
            .receipts = (int)pg_int(result, i, 1),
            .service = pg_text(result, i, 2),
            .request = pg_text(result, i, 3),
        };

        call.on_row(call.ctx, &about);
    }
    call.on_done(call.ctx, err);
}

int store_about(struct store *store, const uint64_t *notifications, size_t count,
                const struct about_call *call)
{
    struct pg_array ids;
    struct about_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_array_init(&ids, PG_INT8);
    for (size_t i = 0; i < count; i++)
        pg_array_add_int(&ids, (int64_t)notifications[i]);
    pg_params_clear(&store->params);
    pg_add_array(&store->params, &ids);
    err = pg_send(store->pg[STORE_SETTLE], &store_sql_about, &store->params, on_about, held);
    if (err)
        free(held);
    pg_array_fini(&ids);
    return err;
}

/* SPDX-License-Identifier: MIT */
/*
 * steps - channels one after the other: what the end of one does to those that follow
 *
 * A step that is to come lies in `scheduled` as held, due when the one before was not acknowledged
 * for so long, or never of itself (infinity).  In the transaction that records how a delivery
 * ended:
 *
 *   delivered             what is to come is called off
 *   sent                  the same where nothing is due of itself; else that is waited for
 *   dead, held, expired,  the next step is due now, and those after it as much earlier; unless
 *   suppressed            another delivery of the same step has been sent, or is still under way
 *
 * All of one recipient have the same head.  Whether another is under way is what the statement's
 * snapshot says: two bridges that end the last two at once may each see the other's; what nobody
 * has released then, store_steps_sweep() does.
 */
#include "base/alloc.h"
#include "store/queue.h"
#include "store/queue_sql.h"
#include "store/store_internal.h"
#include "store/upkeep.h"

#include <stdlib.h>

#define OF_HEADS(row, from) \
    row ".head = ANY (ARRAY(SELECT head FROM " from ")) AND " row ".head <> 0"

/* e: how each step ended, by head; n: the step that is due next. */
#define STEPS                                                                                      \
    ",e AS (SELECT head, channel, bool_or(to_state = 4) AS is_done, bool_or(to_state = 3) AS "     \
    "is_sent"                                                                                      \
    " FROM x WHERE head <> 0 AND to_state NOT IN (0, 8) GROUP BY head, channel),"                  \
    "c AS (DELETE FROM scheduled s USING e WHERE " OF_HEADS(                                       \
        "s",                                                                                       \
        "e") " AND s.head = e.head"                                                                \
             " AND (e.is_done OR (e.is_sent AND s.due_at = 'infinity')) RETURNING s.*),"           \
             "m AS (UPDATE scheduled s SET reached = e.channel FROM e WHERE " OF_HEADS(            \
                 "s",                                                                              \
                 "e") " AND s.head = e.head AND e.is_sent AND NOT e.is_done AND s.due_at < "       \
                      "'infinity'),"                                                               \
                      "n AS (SELECT e.head, f.channel, f.due_at FROM e CROSS JOIN LATERAL"         \
                      "   (SELECT s.channel, s.due_at, s.reached FROM scheduled s WHERE s.head = " \
                      "e.head"                                                                     \
                      "     AND s.head <> 0 ORDER BY s.id LIMIT 1) f"                              \
                      "   WHERE NOT e.is_done AND NOT e.is_sent AND f.reached <> e.channel"        \
                      "   AND (SELECT d.id FROM delivery d WHERE d.head = e.head AND d.head <> 0 " \
                      "AND d.state <> 2"                                                           \
                      "     AND d.id <> ALL ($2::bigint[]) LIMIT 1) IS NULL),"                     \
                      "p AS (UPDATE scheduled s SET due_at = CASE WHEN s.channel = n.channel"      \
                      "     THEN least(s.due_at, now()) WHEN s.due_at = 'infinity' THEN s.due_at"  \
                      "     ELSE s.due_at - greatest(n.due_at - now(), interval '0') END"          \
                      "   FROM n WHERE " OF_HEADS(                                                 \
                          "s", "n") " AND s.head = n.head),"                                       \
                                    "y AS (INSERT INTO " ATTEMPT_COLUMNS                           \
                                    " SELECT clock_timestamp(), id, notification, $1::bigint, "    \
                                    "destination, 0, attempts, channel,"                           \
                                    " 10, 0, 0, 8, recipient_kind, recipient, NULL, NULL, NULL, "  \
                                    "nullif(user_id, '') FROM c)"                                  \
                                    "SELECT id, notification, attempts::int, channel,"             \
                                    " CASE WHEN recipient_kind = 0 THEN recipient ELSE user_id "   \
                                    "END FROM c"                                                   \
                                    " UNION ALL SELECT id, notification, tries, NULL, NULL FROM x"

const struct pg_statement store_sql_settle_steps = {
    .place = PG_PLACE_KEPT,
    .name = "settle_steps",
    .params = 15,
    .is_watched = true,
    .sql = QUEUE_SETTLE STEPS,
};

const struct pg_statement store_sql_retry_steps = {
    .place = PG_PLACE_KEPT,
    .name = "retry_steps",
    .params = 14,
    .is_watched = true,
    .sql = QUEUE_RETRY STEPS,
};

const struct pg_statement store_sql_bury_steps = {
    .place = PG_PLACE_KEPT,
    .name = "bury_steps",
    .params = 14,
    .is_watched = true,
    .sql = QUEUE_BURY STEPS,
};

/*
 * An acknowledgement calls off what is to come and what is between two tries: found by their head,
 * which is the delivery acknowledged, whether that is still there or not; of the same user.
 */
#define WHOSE(row) \
    "CASE WHEN " row ".recipient_kind = 0 THEN " row ".recipient ELSE " row ".user_id END"
#define STEPS_OF_ACKED " USING unnest($2::bigint[], $3::text[]) AS r(id, recipient)" WHERE_ACKED
#define WHERE_ACKED                                                                    \
    " WHERE s.head = ANY ($2::bigint[]) AND s.head <> 0 AND s.head = r.id AND " WHOSE( \
        "s") " = r.recipient"
#define CALLED_OFF \
    "id, notification, destination, attempts, channel, recipient_kind, recipient, user_id"

const struct pg_statement store_sql_ack_steps = {
    .place = PG_PLACE_KEPT,
    .name = "ack_steps",
    .params = 3,
    .is_watched = true,
    .sql = QUEUE_ACK
    ",c AS (DELETE FROM scheduled s" STEPS_OF_ACKED " RETURNING s.*),"
    "e AS (DELETE FROM delivery s" STEPS_OF_ACKED
    " AND s.id <> r.id AND s.state IN (0, 2) RETURNING s.*),"
    "marked AS (INSERT INTO recall (id, reason, at) SELECT s.id, 0, clock_timestamp()"
    "   FROM delivery s, unnest($2::bigint[], $3::text[]) AS r(id, recipient) " WHERE_ACKED
    "   AND s.id <> r.id AND s.state = 1 AND s.channel <> 0 ON CONFLICT (id) DO NOTHING),"
    "y AS (SELECT " CALLED_OFF " FROM c UNION ALL SELECT " CALLED_OFF " FROM e),"
    "resolved_step AS (UPDATE dead_letter SET status = 2, changed_at = clock_timestamp(),"
    "   resolved_by = coalesce(resolved_by, 'retry')"
    "   WHERE delivery = ANY (ARRAY(SELECT id FROM e WHERE desk <> 0))"
    "   AND status = 1 AND NOT is_dead),"
    "o AS (INSERT INTO " ATTEMPT_COLUMNS
    " SELECT clock_timestamp(), id, notification, $1::bigint, destination, 0, attempts,"
    " channel, 10, 0, 0, 8, recipient_kind, recipient, NULL, NULL, NULL,"
    " nullif(user_id, '') FROM y)"
    "SELECT id, notification, attempts + 1, recipient, 4, 0 FROM x"
    " UNION ALL SELECT id, notification, attempts, " WHOSE("y") ", 8, channel FROM y",
};

/* What an acknowledgement of one of these would end or call off; most have nothing left. */
const struct pg_statement store_sql_unread = {
    .place = PG_PLACE_KEPT,
    .name = "unread",
    .params = 3,
    .sql =
        "SELECT i.delivery, w.user_id FROM unnest($1::text[], $2::bigint[]) AS w(user_id, before)"
        " CROSS JOIN LATERAL (SELECT delivery FROM inbox i WHERE i.user_id = w.user_id"
        "   AND i.state = 0 AND i.notification < w.before"
        "   AND ((SELECT d.id FROM delivery d WHERE d.id = i.delivery LIMIT 1) IS NOT NULL"
        "     OR (SELECT s.id FROM scheduled s WHERE s.head = i.delivery AND s.head <> 0 LIMIT 1)"
        "       IS NOT NULL"
        "     OR (SELECT d.id FROM delivery d WHERE d.head = i.delivery AND d.head <> 0"
        "       AND d.state IN (0, 2) LIMIT 1) IS NOT NULL)"
        "   ORDER BY i.seq LIMIT $3::int) i",
};

/* A first step that is itself still to come is in `scheduled` with a time of its own. */
const struct pg_statement store_sql_steps_sweep = {
    .name = "steps_sweep",
    .params = 0,
    .sql = "WITH g AS (SELECT DISTINCT head FROM scheduled WHERE head <> 0 AND due_at = 'infinity'"
           "   LIMIT 10000),"
           "n AS (SELECT g.head, f.channel FROM g CROSS JOIN LATERAL"
           "   (SELECT s.channel FROM scheduled s WHERE s.head = g.head AND s.head <> 0"
           "     ORDER BY s.id LIMIT 1) f"
           "   WHERE (SELECT d.id FROM delivery d WHERE d.head = g.head AND d.head <> 0"
           "     AND d.state <> 2 LIMIT 1) IS NULL"
           "   AND (SELECT s.id FROM scheduled s WHERE s.head = g.head AND s.head <> 0"
           "     AND s.due_at < 'infinity' LIMIT 1) IS NULL),"
           "p AS (UPDATE scheduled s SET due_at = now() FROM n WHERE " OF_HEADS(
               "s", "n") " AND s.head = n.head AND s.channel = n.channel AND s.due_at = 'infinity' "
                         "RETURNING 1)"
                         "SELECT count(*) FROM p",
};

static void on_unread(void *ctx, int err, const struct pg_result *result)
{
    struct unread_call *held = ctx;
    struct unread_call call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++)
        call.on_row(call.ctx, (uint64_t)pg_int(result, i, 0), pg_text(result, i, 1));
    call.on_done(call.ctx, err);
}

int store_unread(struct store *store, const struct unread_of *users, size_t count,
                 const struct unread_call *call)
{
    struct unread_call *held = xmalloc(sizeof(*held));
    struct pg_array names, befores;
    int err;

    *held = *call;
    pg_array_init(&names, PG_TEXT);
    pg_array_init(&befores, PG_INT8);
    for (size_t i = 0; i < count; i++) {
        pg_array_add_text(&names, users[i].user);
        pg_array_add_int(&befores, (int64_t)users[i].before);
    }
    pg_params_clear(&store->params);
    pg_add_array(&store->params, &names);
    pg_add_array(&store->params, &befores);
    pg_add_int4(&store->params, STORE_UNREAD_MAX);
    err = pg_send(store->pg[STORE_SETTLE], &store_sql_unread, &store->params, on_unread, held);
    if (err)
        free(held);
    pg_array_fini(&names);
    pg_array_fini(&befores);
    return err;
}

int store_steps_sweep(struct store *store, store_count_fn *on_done, void *ctx)
{
    pg_params_clear(&store->params);
    return store_send(store, STORE_INTAKE, &store_sql_steps_sweep, &store->params, store_on_count,
                      (void (*)(void))on_done, ctx);
}

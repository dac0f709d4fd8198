/* SPDX-License-Identifier: MIT */
#include "store/fleet.h"

#include "base/alloc.h"
#include "store/store_internal.h"

#include <stdlib.h>

/*
 * The last millisecond of which a row with an id of this node exists, from a second ago on.  A run
 * of ids that begins with a notification ends within 246 ms.
 */
#define IDS_AFTER(node, ahead)                                                                \
    "(SELECT max(ids.ms) + 246"                                                               \
    " FROM ("                                                                                 \
    "   SELECT max(id >> 22) AS ms"                                                           \
    "   FROM notification"                                                                    \
    "   WHERE id >= ((extract(epoch FROM now()) * 1000)::bigint - 1000) << 22"                \
    "     AND id < ((extract(epoch FROM now() + interval '" ahead "') * 1000)::bigint) << 22" \
    "     AND (id >> 12) & 1023 = " node "   UNION ALL"                                       \
    "   SELECT max(id >> 22)"                                                                 \
    "   FROM delivery"                                                                        \
    "   WHERE id >= ((extract(epoch FROM now()) * 1000)::bigint - 1000) << 22"                \
    "     AND id < ((extract(epoch FROM now() + interval '" ahead "') * 1000)::bigint) << 22" \
    "     AND (id >> 12) & 1023 = " node ") AS ids)"

/*
 * Nodes go round by the epoch's counter, so that the one of a process that has just ended is not
 * the next: its ids may lie ahead of the database's clock.
 */
const struct pg_statement store_sql_register = {
    .place = PG_PLACE_KEPT,
    .name = "register",
    .params = 4,
    .sql = "WITH next AS MATERIALIZED (SELECT next_epoch() AS epoch)"
           " INSERT INTO bridge (epoch, node, name, host, lease_until)"
           " SELECT next.epoch,"
           "   CASE WHEN $3::int > 0 THEN $3::int ELSE"
           "     (SELECT n FROM generate_series(1, 1023) AS n"
           "      WHERE NOT EXISTS (SELECT 1 FROM bridge WHERE node = n)"
           "      ORDER BY (n - 1 - (next.epoch & 65535)::int % 1023 + 1023) % 1023"
           "      LIMIT 1) END,"
           "   $1::text, $2::text, clock_timestamp() + $4::bigint * interval '1 millisecond'"
           " FROM next"
           " RETURNING epoch, node, clock_timestamp(), " IDS_AFTER("node", "10 minutes"),
};

const struct pg_statement store_sql_ids_after = {
    .name = "ids_after",
    .params = 1,
    .sql = "SELECT coalesce(" IDS_AFTER("$1::int", "1 day") ", 0)",
};

const struct pg_statement store_sql_heartbeat = {
    .place = PG_PLACE_KEPT,
    .name = "heartbeat",
    .params = 3,
    .sql =
        "UPDATE bridge SET lease_until = clock_timestamp() + $2::bigint * interval '1 millisecond',"
        " told_until = coalesce($3::timestamptz, told_until),"
        " is_told_exact = is_told_exact OR $3::timestamptz IS NOT NULL"
        " WHERE epoch = $1::bigint RETURNING clock_timestamp()",
};

/*
 * The epochs that are over are values here and below: a row that another has changed meanwhile is
 * looked at again with the bridges of before, among whom one that has joined since is not.
 */
const struct pg_statement store_sql_lanes = {
    .place = PG_PLACE_KEPT,
    .name = "lanes",
    .params = 2,
    .sql = "WITH live AS (SELECT epoch FROM bridge WHERE lease_until > clock_timestamp()),"
           "t AS (UPDATE lane SET epoch = $1::bigint,"
           "   crashes = crashes + CASE WHEN epoch IS NULL OR epoch = $2::bigint"
           "     THEN 0 ELSE 1 END,"
           "   in_hand_crashes = in_hand_crashes + CASE WHEN epoch IS NULL OR epoch = $2::bigint"
           "     OR in_hand IS NULL THEN 0 ELSE 1 END"
           "   WHERE name IN ("
           "   SELECT name FROM lane WHERE epoch IS NULL OR epoch = ANY (ARRAY("
           "     SELECT l.epoch FROM lane l WHERE NOT EXISTS"
           "       (SELECT FROM bridge b WHERE b.epoch = l.epoch)))"
           "   ORDER BY name FOR UPDATE SKIP LOCKED"
           "   LIMIT greatest(0, ceil((SELECT count(*) FROM lane)::numeric"
           "     / greatest(1, (SELECT count(*) FROM live)))"
           "     - (SELECT count(*) FROM lane WHERE epoch = $1::bigint)))"
           " AND EXISTS (SELECT 1 FROM live WHERE epoch = $1::bigint) RETURNING name, crashes)"
           "SELECT name, crashes FROM t"
           " UNION SELECT name, crashes FROM lane WHERE epoch = $1::bigint",
};

const struct pg_statement store_sql_lane_calm = {
    .name = "lane_calm",
    .params = 2,
    .sql = "UPDATE lane SET crashes = 0, in_hand = NULL, in_hand_crashes = 0"
           " WHERE epoch = $1::bigint AND name = $2::text",
};

const struct pg_statement store_sql_lane_in_hand = {
    .name = "lane_in_hand",
    .is_durable = true,
    .params = 3,
    .sql = "UPDATE lane SET in_hand = $3::bytea,"
           " in_hand_crashes = CASE WHEN in_hand = $3::bytea THEN in_hand_crashes ELSE 0 END"
           " WHERE epoch = $1::bigint AND name = $2::text"
           " RETURNING in_hand_crashes",
};

const struct pg_statement store_sql_lane_drop = {
    .place = PG_PLACE_KEPT,
    .name = "lane_drop",
    .params = 2,
    .sql = "UPDATE lane SET epoch = NULL WHERE epoch = $1::bigint AND name = $2::text",
};

/*
 * Only those before us: a statement of ours that comes late must not end our own successor.  Rows
 * of kind 0 are the dead, of kind 1 what we have to tell: a statement sees nothing of what its
 * parts have changed, so the three come together.
 */
const struct pg_statement store_sql_reap = {
    .place = PG_PLACE_KEPT,
    .name = "reap",
    .params = 4,
    .sql = "WITH x AS (DELETE FROM bridge WHERE epoch <> $1::bigint"
           " AND (name = $4::text AND epoch < $1::bigint"
           "   OR lease_until < clock_timestamp() - $3::bigint * interval '1 millisecond')"
           " RETURNING epoch, CASE WHEN is_told_exact THEN told_until"
           "   ELSE least(lease_until - $2::bigint * interval '1 millisecond', told_until)"
           "     - interval '5 seconds' END AS since),"
           "i AS (INSERT INTO untold (epoch, since, teller) SELECT epoch, since, $1::bigint FROM x"
           "   ON CONFLICT (epoch) DO NOTHING),"
           "u AS (UPDATE untold SET teller = $1::bigint WHERE epoch = ANY (ARRAY("
           "   SELECT epoch FROM untold WHERE teller <> $1::bigint"
           "     AND (teller IN (SELECT epoch FROM x) OR teller = ANY (ARRAY("
           "       SELECT m.teller FROM untold m WHERE NOT EXISTS"
           "         (SELECT FROM bridge b WHERE b.epoch = m.teller))))"
           "   FOR UPDATE SKIP LOCKED)) RETURNING epoch, since)"
           "SELECT 0, epoch, since FROM x UNION ALL SELECT 1, epoch, since FROM x"
           " UNION ALL SELECT 1, epoch, since FROM u"
           " UNION ALL SELECT 1, epoch, since FROM untold WHERE teller = $1::bigint",
};

/*
 * The dead epochs are values, since a row that another sweep gave back and a live bridge then
 * claimed is looked at again by its own columns alone: NOT EXISTS would be true of its new epoch
 * too.  An epoch that is over never comes back.
 */
const struct pg_statement store_sql_sweep = {
    .place = PG_PLACE_KEPT,
    .name = "sweep",
    .params = 0,
    .sql = "WITH orphan AS MATERIALIZED (SELECT o.id, o.epoch FROM delivery o WHERE o.state = 1"
           "   AND NOT EXISTS (SELECT 1 FROM bridge b WHERE b.epoch = o.epoch))"
           " UPDATE delivery d SET state = 0, epoch = NULL, crashes = crashes + 1"
           " WHERE d.id = ANY (ARRAY(SELECT id FROM orphan)) AND d.state = 1"
           " AND d.epoch = ANY (ARRAY(SELECT DISTINCT epoch FROM orphan))",
};

const struct pg_statement store_sql_leave = {
    .place = PG_PLACE_KEPT,
    .name = "leave",
    .params = 2,
    .sql = "WITH d AS (UPDATE delivery SET state = 0, epoch = NULL"
           "   WHERE state = 1 AND epoch = $1::bigint),"
           "l AS (UPDATE lane SET epoch = NULL WHERE epoch = $1::bigint),"
           "u AS (INSERT INTO untold (epoch, since, teller) SELECT epoch, $2::timestamptz, epoch"
           "   FROM bridge WHERE epoch = $1::bigint AND $2::timestamptz IS NOT NULL"
           "   ON CONFLICT (epoch) DO NOTHING)"
           "DELETE FROM bridge WHERE epoch = $1::bigint",
};

const struct pg_statement store_sql_destination = {
    .place = PG_PLACE_KEPT,
    .name = "destination",
    .params = 3,
    .sql = "WITH i AS (INSERT INTO destination (name, channel, adapter)"
           " SELECT $1::text, $2::smallint, $3::text"
           " WHERE NOT EXISTS (SELECT 1 FROM destination WHERE name = $1::text)"
           " ON CONFLICT (name) DO NOTHING RETURNING id)"
           "SELECT id FROM i UNION ALL SELECT id FROM destination WHERE name = $1::text",
};

static void on_registered(void *ctx, int err, const struct pg_result *result)
{
    struct store_call *held = ctx;
    struct store_call call = *held;
    void (*on_done)(void *, int, const struct registered *) =
        (void (*)(void *, int, const struct registered *))call.fn;
    struct registered registered;

    free(held);
    if (!err && pg_rows(result) != 1)
        err = ERR_REFUSED;
    if (err) {
        on_done(call.ctx, err, NULL);
        return;
    }
    registered = (struct registered){.epoch = pg_int(result, 0, 0),
                                     .node = (int)pg_int(result, 0, 1),
                                     .wall_us = pg_time_us(result, 0, 2),
                                     .ids_after_ms = pg_int(result, 0, 3)};
    on_done(call.ctx, 0, &registered);
}

int store_register(struct store *store, const char *name, const char *host, int node,
                   int64_t lease_ms,
                   void (*on_done)(void *ctx, int err, const struct registered *registered),
                   void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_text(&store->params, name);
    pg_add_text(&store->params, host);
    pg_add_int4(&store->params, node);
    pg_add_int8(&store->params, lease_ms);
    return store_send(store, STORE_CONTROL, &store_sql_register, &store->params, on_registered,
                      (void (*)(void))on_done, ctx);
}

int store_ids_after(struct store *store, unsigned node,
                    void (*on_done)(void *ctx, int err, int64_t ms), void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_int4(&store->params, (int32_t)node);
    return store_send(store, STORE_INTAKE, &store_sql_ids_after, &store->params, store_on_count,
                      (void (*)(void))on_done, ctx);
}

static void on_heartbeat(void *ctx, int err, const struct pg_result *result)
{
    struct store_call *held = ctx;
    struct store_call call = *held;

    free(held);
    if (!err && pg_rows(result) != 1)
        err = ERR_FENCED;
    ((void (*)(void *, int, int64_t))call.fn)(call.ctx, err, err ? 0 : pg_time_us(result, 0, 0));
}

int store_heartbeat(struct store *store, int64_t epoch, int64_t lease_ms, int64_t told_until_us,
                    void (*on_done)(void *ctx, int err, int64_t wall_us), void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, epoch);
    pg_add_int8(&store->params, lease_ms);
    pg_add_time(&store->params, told_until_us);
    return store_send(store, STORE_CONTROL, &store_sql_heartbeat, &store->params, on_heartbeat,
                      (void (*)(void))on_done, ctx);
}

static void on_lanes(void *ctx, int err, const struct pg_result *result)
{
    struct lanes_call *held = ctx;
    struct lanes_call call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++)
        call.on_lane(call.ctx, pg_text(result, i, 0), (unsigned)pg_int(result, i, 1));
    call.on_done(call.ctx, err);
}

int store_lanes(struct store *store, int64_t epoch, int64_t own_before,
                const struct lanes_call *call)
{
    struct lanes_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, epoch);
    pg_add_int8(&store->params, own_before);
    err = pg_send(store->pg[STORE_CONTROL], &store_sql_lanes, &store->params, on_lanes, held);
    if (err)
        free(held);
    return err;
}

int store_lane_calm(struct store *store, int64_t epoch, const char *name)
{
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, epoch);
    pg_add_text(&store->params, name);
    return store_send(store, STORE_CONTROL, &store_sql_lane_calm, &store->params, store_on_done,
                      NULL, NULL);
}

static void on_in_hand(void *ctx, int err, const struct pg_result *result)
{
    struct store_call *held = ctx;
    struct store_call call = *held;
    void (*on_done)(void *, int, unsigned) = (void (*)(void *, int, unsigned))call.fn;

    free(held);
    if (!err && pg_rows(result) < 1)
        err = ERR_FENCED;
    on_done(call.ctx, err, err ? 0 : (unsigned)pg_int(result, 0, 0));
}

int store_lane_in_hand(struct store *store, int64_t epoch, const char *name, const void *digest,
                       size_t digest_bytes, void (*on_done)(void *ctx, int err, unsigned crashes),
                       void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, epoch);
    pg_add_text(&store->params, name);
    pg_add_bytes(&store->params, digest, digest_bytes);
    return store_send(store, STORE_CONTROL, &store_sql_lane_in_hand, &store->params, on_in_hand,
                      (void (*)(void))on_done, ctx);
}

int store_lane_drop(struct store *store, int64_t epoch, const char *name)
{
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, epoch);
    pg_add_text(&store->params, name);
    return store_send(store, STORE_CONTROL, &store_sql_lane_drop, &store->params, store_on_done,
                      NULL, NULL);
}

static void on_reaped(void *ctx, int err, const struct pg_result *result)
{
    struct reap_call *held = ctx;
    struct reap_call call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        if (pg_int(result, i, 0) == 0)
            call.on_dead(call.ctx, pg_int(result, i, 1));
        else
            call.on_untold(call.ctx, pg_int(result, i, 1), pg_time_us(result, i, 2));
    }
    call.on_done(call.ctx, err);
}

int store_reap(struct store *store, int64_t epoch, int64_t lease_ms, int64_t grace_ms,
               const char *name, const struct reap_call *call)
{
    struct reap_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, epoch);
    pg_add_int8(&store->params, lease_ms);
    pg_add_int8(&store->params, grace_ms);
    pg_add_text(&store->params, name);
    err = pg_send(store->pg[STORE_CONTROL], &store_sql_reap, &store->params, on_reaped, held);
    if (err)
        free(held);
    return err;
}

int store_sweep(struct store *store, store_done_fn *on_done, void *ctx)
{
    pg_params_clear(&store->params);
    return store_send(store, STORE_CONTROL, &store_sql_sweep, &store->params, store_on_done,
                      (void (*)(void))on_done, ctx);
}

int store_leave(struct store *store, int64_t epoch, int64_t untold_us, store_done_fn *on_done,
                void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_int8(&store->params, epoch);
    pg_add_time(&store->params, untold_us);
    return store_send(store, STORE_CONTROL, &store_sql_leave, &store->params, store_on_done,
                      (void (*)(void))on_done, ctx);
}

static void on_destination(void *ctx, int err, const struct pg_result *result)
{
    struct store_call *held = ctx;
    struct store_call call = *held;
    void (*on_done)(void *, int, int32_t) = (void (*)(void *, int, int32_t))call.fn;

    free(held);
    /* No row: another bridge inserted it this very moment; asking again will find it. */
    if (!err && pg_rows(result) < 1)
        err = ERR_AGAIN;
    on_done(call.ctx, err, err ? 0 : (int32_t)pg_int(result, 0, 0));
}

int store_destination(struct store *store, const char *name, enum channel channel,
                      const char *adapter, void (*on_done)(void *ctx, int err, int32_t id),
                      void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_text(&store->params, name);
    pg_add_int2(&store->params, (int16_t)channel);
    pg_add_text(&store->params, adapter);
    return store_send(store, STORE_CONTROL, &store_sql_destination, &store->params, on_destination,
                      (void (*)(void))on_done, ctx);
}

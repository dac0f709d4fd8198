/* SPDX-License-Identifier: MIT */
#include "store/people.h"

#include "base/alloc.h"
#include "store/audit.h"
#include "store/store_internal.h"

#include <stdlib.h>

const struct pg_statement store_sql_targets_put = {
    .place = PG_PLACE_CALL,
    .name = "targets_put",
    .params = 14,
    .sql = "WITH n AS (SELECT * FROM unnest($2::smallint[], $3::smallint[], $4::text[],"
           "   $5::text[], $6::text[]) WITH ORDINALITY"
           "   AS n(channel, kind, platform, token, address, place)),"
           "g AS (DELETE FROM target t WHERE t.user_id = $1::text"
           "   AND t.channel = ANY ($7::smallint[])"
           "   AND NOT EXISTS (SELECT FROM n WHERE n.channel = t.channel AND n.token = t.token)),"
           "o AS (DELETE FROM target t WHERE t.channel = 1 AND t.user_id <> $1::text"
           "   AND address_key(t.channel, t.address) = ANY (ARRAY("
           "     SELECT address FROM n WHERE channel = 1))),"
           "k AS (DELETE FROM target t WHERE t.user_id = $1::text AND t.channel = 1"
           "   AND NOT 1 = ANY ($7::smallint[]) AND t.token = ANY (ARRAY("
           "     SELECT token FROM target WHERE user_id = $1::text AND channel = 1"
           "     AND token <> ALL ($5::text[]) ORDER BY last_seen DESC OFFSET 15))),"
           "p AS (INSERT INTO target AS t (user_id, channel, kind, platform, token, address)"
           " SELECT DISTINCT ON (channel, token) $1::text, channel, kind, platform, token, address"
           " FROM n ORDER BY channel, token, place"
           " ON CONFLICT (user_id, channel, token) DO UPDATE SET kind = excluded.kind,"
           "   platform = excluded.platform, address = excluded.address, last_seen = now(),"
           "   changed_at = CASE WHEN t.is_active AND t.address = excluded.address"
           "     THEN t.changed_at ELSE now() END,"
           "   is_active = true, reason = 0)," STORE_AUDIT(
               "$8", "$9", "$10", "$11", "$12", "$13", "$14",
               "SELECT count(*) FROM n") "SELECT count(*) FROM n",
};

const struct pg_statement store_sql_targets = {
    .place = PG_PLACE_CALL,
    .name = "targets",
    .params = 1,
    .sql = "SELECT channel, kind, platform, token, address, is_active, reason, created_at,"
           " changed_at, last_seen FROM target WHERE user_id = $1::text"
           " ORDER BY channel, created_at, token LIMIT 200",
};

const struct pg_statement store_sql_targets_drop = {
    .place = PG_PLACE_CALL,
    .name = "targets_drop",
    .params = 10,
    .sql = "WITH x AS (DELETE FROM target WHERE user_id = $1::text"
           "   AND ($2::smallint IS NULL OR channel = $2::smallint)"
           "   AND ($3::text IS NULL OR token = $3::text) RETURNING 1)," STORE_AUDIT(
               "$4", "$5", "$6", "$7", "$8", "$9", "$10",
               "SELECT count(*) FROM x") "SELECT count(*) FROM x",
};

/*
 * $1.. the questions about users, $5.. those about addresses.  Each is a lookup by LATERAL: with
 * a join the planner would walk the table.  A target that is out of use because its owner wants
 * nothing is named too, so that the answer is "suppressed" and not "no target".
 */
const struct pg_statement store_sql_reach = {
    .name = "reach",
    .params = 8,
    .sql = "SELECT x.i, t.kind, t.platform, t.address, coalesce(" STORE_SUPPRESSED(
        "t.channel", "t.address",
        "x.type") ", t.reason) AS suppressed"
                  " FROM unnest($1::int[], $2::text[], $3::smallint[], $4::text[])"
                  "   AS x(i, user_id, channel, type)"
                  " CROSS JOIN LATERAL (SELECT kind, platform, address, channel, reason FROM target"
                  "   WHERE user_id = x.user_id AND channel = x.channel"
                  "   AND (is_active OR reason BETWEEN 19 AND 21)"
                  "   ORDER BY last_seen DESC LIMIT 16) t"
                  " UNION ALL"
                  " SELECT x.i, 0::smallint, '', '', " STORE_SUPPRESSED(
                      "x.channel", "x.address",
                      "x.type") " FROM unnest($5::int[], $6::text[], $7::smallint[], $8::text[])"
                                "   AS x(i, address, channel, type) ORDER BY 1",
};

/* How many more deliveries than one each these users have on these channels. */
const struct pg_statement store_sql_reach_count = {
    .name = "reach_count",
    .params = 2,
    .sql = "SELECT coalesce(sum(least(found.targets, 16) - 1), 0)::bigint"
           " FROM ("
           "   SELECT count(*) AS targets"
           "   FROM target"
           "   WHERE user_id = ANY ($1::text[]) AND channel = ANY ($2::smallint[])"
           "     AND (is_active OR reason BETWEEN 19 AND 21)"
           "   GROUP BY user_id, channel) AS found",
};

const struct pg_statement store_sql_suppress = {
    .place = PG_PLACE_CALL,
    .name = "suppress",
    .params = 12,
    .sql = "WITH x AS (INSERT INTO suppression (channel, address, scope, reason, source)"
           "   VALUES ($1::smallint, $2::text, $3::text, $4::smallint, "
           "$5::text)" STORE_SUPPRESS_ABOVE_SERVICES
           " RETURNING 1)," STORE_AUDIT("$6", "$7", "$8", "$9", "$10", "$11", "$12",
                                        "SELECT count(*) FROM x") "SELECT count(*) FROM x",
};

/*
 * $4 the only source whose entries may be removed; NULL: any.  One of another source, and nothing
 * is removed: the answer is -1 then.
 */
const struct pg_statement store_sql_unsuppress = {
    .place = PG_PLACE_CALL,
    .name = "unsuppress",
    .params = 11,
    .sql = "WITH others AS (SELECT 1 FROM suppression WHERE channel = $1::smallint"
           "   AND address = $2::text AND ($3::text IS NULL OR scope = $3::text)"
           "   AND source <> $4::text LIMIT 1),"
           "x AS (DELETE FROM suppression WHERE channel = $1::smallint AND address = $2::text"
           "   AND ($3::text IS NULL OR scope = $3::text) AND NOT EXISTS (SELECT FROM others)"
           "   AND ($4::text IS NULL OR source = $4::text) RETURNING 1),"
           "t AS (UPDATE target SET is_active = true, reason = 0, changed_at = now()"
           "   WHERE channel = $1::smallint AND address_key(channel, address) = $2::text"
           "   AND NOT is_active"
           "   AND reason BETWEEN 19 AND 21 AND NOT EXISTS (SELECT FROM others))," STORE_AUDIT(
               "$5", "$6", "$7", "$8", "$9", "$10", "$11",
               "SELECT count(*) FROM x") "SELECT CASE WHEN EXISTS (SELECT FROM others) THEN -1"
                                         "   ELSE (SELECT count(*) FROM x) END",
};

const struct pg_statement store_sql_suppressions = {
    .place = PG_PLACE_CALL,
    .name = "suppressions",
    .params = 4,
    .sql = "SELECT id, channel, address, scope, reason, source, created_at FROM suppression"
           " WHERE ($1::smallint IS NULL OR channel = $1::smallint)"
           " AND ($2::text IS NULL OR address = $2::text)"
           " AND id > $3::bigint ORDER BY id LIMIT $4::int",
};

/* Without $1 the newest: whoever asks for the first time has read the older ones otherwise. */
const struct pg_statement store_sql_suppressed_since = {
    .name = "suppressed_since",
    .params = 2,
    .sql = "SELECT id, channel, address, scope, reason, source, created_at FROM suppression"
           " WHERE id > coalesce($1::bigint, (SELECT max(id) FROM suppression) - $2::int)"
           " ORDER BY id LIMIT $2::int",
};

static void on_count(void *ctx, int err, const struct pg_result *result)
{
    struct store_call *held = ctx;
    struct store_call call = *held;

    free(held);
    ((store_people_count_fn *)call.fn)(call.ctx, err, err ? 0 : pg_int(result, 0, 0));
}

/* ---- targets ---- */

int store_targets_put(struct store *store, const char *user, const struct target *targets,
                      size_t count, unsigned replaced, const struct audited *audited,
                      store_people_count_fn *on_done, void *ctx)
{
    static const enum pg_type types[] = {PG_INT2, PG_INT2, PG_TEXT, PG_TEXT, PG_TEXT, PG_INT2};
    struct pg_array columns[6];
    int err;

    for (unsigned i = 0; i < 6; i++)
        pg_array_init(&columns[i], types[i]);
    for (size_t i = 0; i < count; i++) {
        pg_array_add_int(&columns[0], targets[i].channel);
        pg_array_add_int(&columns[1], targets[i].kind);
        pg_array_add_text(&columns[2], targets[i].platform);
        pg_array_add_text(&columns[3], targets[i].token);
        pg_array_add_text(&columns[4], targets[i].address);
    }
    for (int channel = 0; channel < CHANNEL_COUNT; channel++)
        if (replaced & 1u << channel)
            pg_array_add_int(&columns[5], channel);
    pg_params_clear(&store->params);
    pg_add_text(&store->params, user);
    for (unsigned i = 0; i < 6; i++)
        pg_add_array(&store->params, &columns[i]);
    store_add_audited(store, audited);
    err = store_send(store, STORE_CONTROL, &store_sql_targets_put, &store->params, on_count,
                     (void (*)(void))on_done, ctx);
    for (unsigned i = 0; i < 6; i++)
        pg_array_fini(&columns[i]);
    return err;
}

static void on_targets(void *ctx, int err, const struct pg_result *result)
{
    struct targets_call *held = ctx;
    struct targets_call call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        struct target target = {
            .channel = (enum channel)store_enum(result, i, 0, CHANNEL_COUNT),
            .kind = (enum recipient_kind)store_enum(result, i, 1, RECIPIENT_URL + 1),
            .platform = pg_text(result, i, 2),
            .token = pg_text(result, i, 3),
            .address = pg_text(result, i, 4),
            .is_active = pg_int(result, i, 5) != 0,
            .reason = (enum reason)store_enum(result, i, 6, REASON_COUNT),
            .created_ms = pg_time_us(result, i, 7) / 1000,
            .changed_ms = pg_time_us(result, i, 8) / 1000,
            .last_seen_ms = pg_time_us(result, i, 9) / 1000,
        };

        call.on_row(call.ctx, &target);
    }
    call.on_done(call.ctx, err);
}

int store_targets(struct store *store, const char *user, const struct targets_call *call)
{
    struct targets_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    pg_add_text(&store->params, user);
    err = pg_send(store->pg[STORE_CONTROL], &store_sql_targets, &store->params, on_targets, held);
    if (err)
        free(held);
    return err;
}

int store_targets_drop(struct store *store, const char *user, int channel, const char *token,
                       const struct audited *audited, store_people_count_fn *on_done, void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_text(&store->params, user);
    if (channel >= 0)
        pg_add_int2(&store->params, (int16_t)channel);
    else
        pg_add_null(&store->params);
    pg_add_text(&store->params, token);
    store_add_audited(store, audited);
    return store_send(store, STORE_CONTROL, &store_sql_targets_drop, &store->params, on_count,
                      (void (*)(void))on_done, ctx);
}

/* ---- reach ---- */

static void on_reach(void *ctx, int err, const struct pg_result *result)
{
    struct reach_call *held = ctx;
    struct reach_call call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        struct reach_row row = {
            .index = (size_t)pg_int(result, i, 0),
            .kind = (enum recipient_kind)store_enum(result, i, 1, RECIPIENT_URL + 1),
            .platform = pg_text(result, i, 2),
            .address = pg_text(result, i, 3),
            .suppressed = (enum reason)store_enum(result, i, 4, REASON_COUNT),
        };

        call.on_row(call.ctx, &row);
    }
    call.on_done(call.ctx, err);
}

int store_reach(struct store *store, const struct reach_ask *asks, size_t count,
                const struct reach_call *call)
{
    static const enum pg_type types[] = {PG_INT4, PG_TEXT, PG_INT2, PG_TEXT};
    struct reach_call *held = xmalloc(sizeof(*held));
    struct pg_array columns[8];
    int err;

    *held = *call;
    for (unsigned i = 0; i < 8; i++)
        pg_array_init(&columns[i], types[i % 4]);
    for (size_t i = 0; i < count; i++) {
        struct pg_array *column = asks[i].user ? columns : columns + 4;

        pg_array_add_int(&column[0], (int64_t)i);
        pg_array_add_text(&column[1], asks[i].user ? asks[i].user : asks[i].address);
        pg_array_add_int(&column[2], asks[i].channel);
        pg_array_add_text(&column[3], asks[i].type);
    }
    pg_params_clear(&store->params);
    for (unsigned i = 0; i < 8; i++)
        pg_add_array(&store->params, &columns[i]);
    err = pg_send(store->pg[STORE_INTAKE], &store_sql_reach, &store->params, on_reach, held);
    if (err)
        free(held);
    for (unsigned i = 0; i < 8; i++)
        pg_array_fini(&columns[i]);
    return err;
}

int store_reach_count(struct store *store, const struct reach_many *many, store_count_fn *on_done,
                      void *ctx)
{
    struct pg_array users, channels;
    int err;

    pg_array_init(&users, PG_TEXT);
    pg_array_init(&channels, PG_INT2);
    for (size_t i = 0; i < many->user_count; i++)
        pg_array_add_text(&users, many->users[i]);
    for (int channel = 0; channel < CHANNEL_COUNT; channel++)
        if (many->channels & 1u << channel)
            pg_array_add_int(&channels, channel);
    pg_params_clear(&store->params);
    pg_add_array(&store->params, &users);
    pg_add_array(&store->params, &channels);
    err = store_send(store, STORE_INTAKE, &store_sql_reach_count, &store->params, store_on_count,
                     (void (*)(void))on_done, ctx);
    pg_array_fini(&users);
    pg_array_fini(&channels);
    return err;
}

/* ---- suppression ---- */

int store_suppress(struct store *store, const struct suppression *suppression,
                   const struct audited *audited, store_people_count_fn *on_done, void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_int2(&store->params, (int16_t)suppression->channel);
    pg_add_text(&store->params, suppression->address);
    pg_add_text(&store->params, suppression->scope ? suppression->scope : "");
    pg_add_int2(&store->params, (int16_t)suppression->reason);
    pg_add_text(&store->params, suppression->source);
    store_add_audited(store, audited);
    return store_send(store, STORE_CONTROL, &store_sql_suppress, &store->params, on_count,
                      (void (*)(void))on_done, ctx);
}

int store_unsuppress(struct store *store, enum channel channel, const char *address,
                     const char *scope, const char *source, const struct audited *audited,
                     store_people_count_fn *on_done, void *ctx)
{
    pg_params_clear(&store->params);
    pg_add_int2(&store->params, (int16_t)channel);
    pg_add_text(&store->params, address);
    pg_add_text(&store->params, scope);
    pg_add_text(&store->params, source);
    store_add_audited(store, audited);
    return store_send(store, STORE_CONTROL, &store_sql_unsuppress, &store->params, on_count,
                      (void (*)(void))on_done, ctx);
}

static void on_suppressions(void *ctx, int err, const struct pg_result *result)
{
    struct suppression_call *held = ctx;
    struct suppression_call call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        struct suppression row = {
            .id = (uint64_t)pg_int(result, i, 0),
            .channel = (enum channel)store_enum(result, i, 1, CHANNEL_COUNT),
            .address = pg_text(result, i, 2),
            .scope = pg_text(result, i, 3),
            .reason = (enum reason)store_enum(result, i, 4, REASON_COUNT),
            .source = pg_text(result, i, 5),
            .created_ms = pg_time_us(result, i, 6) / 1000,
        };

        call.on_row(call.ctx, &row);
    }
    call.on_done(call.ctx, err);
}

int store_suppressions(struct store *store, const struct suppression_filter *filter,
                       const struct suppression_call *call)
{
    struct suppression_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    if (filter->channel >= 0)
        pg_add_int2(&store->params, (int16_t)filter->channel);
    else
        pg_add_null(&store->params);
    pg_add_text(&store->params, filter->address);
    pg_add_int8(&store->params, (int64_t)filter->after);
    pg_add_int4(&store->params, filter->limit);
    err = pg_send(store->pg[STORE_CONTROL], &store_sql_suppressions, &store->params,
                  on_suppressions, held);
    if (err)
        free(held);
    return err;
}

int store_suppressed_since(struct store *store, int64_t after, int limit,
                           const struct suppression_call *call)
{
    struct suppression_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    if (after >= 0)
        pg_add_int8(&store->params, after);
    else
        pg_add_null(&store->params);
    pg_add_int4(&store->params, limit);
    err = pg_send(store->pg[STORE_CONTROL], &store_sql_suppressed_since, &store->params,
                  on_suppressions, held);
    if (err)
        free(held);
    return err;
}

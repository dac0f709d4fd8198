/* SPDX-License-Identifier: MIT */
#include "store/pauses.h"

#include "base/alloc.h"
#include "store/store_internal.h"

#include <stdlib.h>

const struct pg_statement store_sql_destinations = {
    .place = PG_PLACE_CALL,
    .name = "destinations",
    .params = 0,
    .sql = "SELECT d.id, d.name, d.adapter, d.channel,"
           " CASE WHEN d.paused_until > clock_timestamp() THEN"
           "   (extract(epoch FROM d.paused_until - clock_timestamp()) * 1000)::bigint"
           " ELSE 0 END, o.paused_by, o.note, o.paused_at, c.paused_by, c.note, c.paused_at"
           " FROM destination d LEFT JOIN admin_pause o ON o.destination = d.id"
           " LEFT JOIN admin_pause c ON c.channel = d.channel"
           " ORDER BY d.channel, d.name",
};

/*
 * Each answers with how many there are to stop, and how many were not stopped (resumed) before.
 * $1 what, $2 admin, $3 note, $4 method, $5 params, $6 call.
 */
#define PAUSED(is) "'{\"paused\":" is "}'"
#define AUDIT(before, after)                                                                     \
    "a AS (INSERT INTO audit (admin, action, params, call, before, after, result)"               \
    "   SELECT $2::text, $4::text, $5::text, $6::text, CASE WHEN EXISTS (SELECT FROM x)"         \
    "   THEN " PAUSED(before) " ELSE " PAUSED(after) " END, " PAUSED(                            \
        after) ","                                                                               \
               "   '{\"changed\":' || EXISTS (SELECT FROM x)::text || '}' WHERE EXISTS (SELECT " \
               "FROM d))"                                                                        \
               "SELECT (SELECT count(*) FROM d), (SELECT count(*) FROM x)"
#define ONE_DESTINATION "WITH d AS (SELECT id FROM destination WHERE name = $1::text),"
#define ONE_CHANNEL     "WITH d AS (SELECT $1::smallint AS id),"

const struct pg_statement store_sql_pause_destination = {
    .place = PG_PLACE_CALL,
    .name = "pause_destination",
    .params = 6,
    .sql = ONE_DESTINATION "x AS (INSERT INTO admin_pause (destination, paused_by, note)"
                           " SELECT id, $2::text, $3::text FROM d ON CONFLICT (destination) DO "
                           "NOTHING RETURNING 1)," AUDIT("false", "true"),
};

const struct pg_statement store_sql_pause_channel = {
    .place = PG_PLACE_CALL,
    .name = "pause_channel",
    .params = 6,
    .sql = ONE_CHANNEL
    "x AS (INSERT INTO admin_pause (channel, paused_by, note)"
    " SELECT id, $2::text, $3::text FROM d ON CONFLICT (channel) DO NOTHING RETURNING 1)," AUDIT(
        "false", "true"),
};

const struct pg_statement store_sql_resume_destination = {
    .place = PG_PLACE_CALL,
    .name = "resume_destination",
    .params = 6,
    .sql = ONE_DESTINATION
    "x AS (DELETE FROM admin_pause WHERE destination = (SELECT id FROM d) AND $3::text IS NULL"
    " RETURNING 1)," AUDIT("true", "false"),
};

const struct pg_statement store_sql_resume_channel = {
    .place = PG_PLACE_CALL,
    .name = "resume_channel",
    .params = 6,
    .sql = ONE_CHANNEL
    "x AS (DELETE FROM admin_pause WHERE channel = (SELECT id FROM d) AND $3::text IS NULL"
    " RETURNING 1)," AUDIT("true", "false"),
};

static struct pause read_pause(const struct pg_result *result, int row, int column)
{
    struct pause pause = {pg_text_or_null(result, row, column),
                          pg_text_or_null(result, row, column + 1), 0};

    if (pause.by)
        pause.at_ms = pg_time_us(result, row, column + 2) / 1000;
    return pause;
}

static void on_destinations(void *ctx, int err, const struct pg_result *result)
{
    struct destinations_call *held = ctx;
    struct destinations_call call = *held;

    free(held);
    for (int i = 0; !err && i < pg_rows(result); i++) {
        struct destination_row row = {
            .id = (int32_t)pg_int(result, i, 0),
            .name = pg_text(result, i, 1),
            .adapter = pg_text(result, i, 2),
            .channel = (enum channel)store_enum(result, i, 3, CHANNEL_COUNT),
            .waits_ms = pg_int(result, i, 4),
            .own = read_pause(result, i, 5),
            .channels = read_pause(result, i, 8),
        };

        call.on_row(call.ctx, &row);
    }
    call.on_done(call.ctx, err);
}

int store_destinations(struct store *store, const struct destinations_call *call)
{
    struct destinations_call *held = xmalloc(sizeof(*held));
    int err;

    *held = *call;
    pg_params_clear(&store->params);
    err = pg_send(store->pg[STORE_DESK], &store_sql_destinations, &store->params, on_destinations,
                  held);
    if (err)
        free(held);
    return err;
}

static void on_changed(void *ctx, int err, const struct pg_result *result)
{
    struct store_call *held = ctx;
    struct store_call call = *held;
    bool did_change = !err && pg_int(result, 0, 1) != 0;

    free(held);
    if (!err && !pg_int(result, 0, 0))
        err = ERR_NOT_FOUND;
    ((void (*)(void *, int, bool))call.fn)(call.ctx, err, did_change);
}

int store_pause_change(struct store *store, const struct pause_change *change,
                       void (*on_done)(void *ctx, int err, bool did_change), void *ctx)
{
    static const struct pg_statement *const statements[2][2] = {
        {&store_sql_resume_channel, &store_sql_resume_destination},
        {&store_sql_pause_channel, &store_sql_pause_destination}};

    pg_params_clear(&store->params);
    if (change->destination)
        pg_add_text(&store->params, change->destination);
    else
        pg_add_int2(&store->params, (int16_t)change->channel);
    pg_add_text(&store->params, change->admin);
    pg_add_text(&store->params, change->is_pause ? change->note : NULL);
    pg_add_text(&store->params, change->method);
    pg_add_text(&store->params, change->params);
    pg_add_text(&store->params, change->call);
    return store_send(store, STORE_DESK, statements[change->is_pause][change->destination != NULL],
                      &store->params, on_changed, (void (*)(void))on_done, ctx);
}

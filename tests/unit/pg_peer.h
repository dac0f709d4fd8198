/* SPDX-License-Identifier: MIT */
/*
 * pg_peer - a Postgres server of our own, statements for it, and a connection's scene
 *
 * Shared by the tests of io/pg.h.
 */
#ifndef TOCSIN_TESTS_PG_PEER_H
#define TOCSIN_TESTS_PG_PEER_H
#include "io/pg.h"

#include "base/clock.h"
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server_fixture.h"

static const struct pg_statement echo = {
    .name = "echo",
    .sql = "SELECT $1::bool, $2::int2, $3::int4, $4::int8, $5::text, $6::bytea, $7::timestamptz, "
           "$8::uuid, $9::text, $10::float8",
    .params = 10};
static const struct pg_statement arrays = {
    .name = "arrays",
    .sql = "SELECT a, b, c, d, e, f FROM unnest($1::int8[], $2::text[], $3::bool[], "
           "$4::timestamptz[], $5::uuid[], $6::date[]) u(a, b, c, d, e, f)",
    .params = 6};
static const struct pg_statement pid = {.name = "pid", .sql = "SELECT pg_backend_pid()"};
static const struct pg_statement number = {.name = "number", .sql = "SELECT $1::int4", .params = 1};
static const struct pg_statement nap = {
    .name = "nap", .sql = "SELECT pg_sleep($1::int4 / 1000.0)::text", .params = 1};
static const struct pg_statement raise_state = {
    .name = "raise", .sql = "SELECT fail_with($1::text)", .params = 1};
static const struct pg_statement warn = {
    .name = "warn", .sql = "SELECT warn($1::text)", .params = 1, .is_durable = true};
static const struct pg_statement warn_softly = {
    .name = "warn_softly", .sql = "SELECT warn($1::text)", .params = 1};
static const struct pg_statement put = {
    .name = "put", .sql = "INSERT INTO thing (id) VALUES ($1)", .params = 1, .is_durable = true};
static const struct pg_statement tally = {.name = "tally", .sql = "SELECT count(*) FROM thing"};
static const struct pg_statement setting = {.name = "setting",
                                            .sql = "SELECT current_setting('work_mem')"};
static const struct pg_statement large = {
    .name = "large",
    .sql = "SELECT repeat('x', 1000000) FROM generate_series(1, $1::int4)",
    .params = 1};
static const struct pg_statement wide = {
    .name = "wide", .sql = "SELECT repeat('y', $1::int4)", .params = 1};
static const struct pg_statement *const statements[] = {
    &wide, &echo,        &arrays, &pid,   &number,  &nap,   &raise_state,
    &warn, &warn_softly, &put,    &tally, &setting, &large, NULL};

static const char schema[] =
    "CREATE FUNCTION fail_with(state text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN "
    "RAISE EXCEPTION 'on purpose' USING ERRCODE = state; END $$;"
    "CREATE FUNCTION warn(what text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN "
    "RAISE WARNING '%', what; RETURN what; END $$;"
    "CREATE TABLE thing (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);";

/* One server for all tests of this program. */
static struct {
    struct fixture fixture;
    pid_t postgres;
    int port;
    char bin[128];
    char conninfo[256], tcp_conninfo[256], tls_conninfo[400];
    bool has_tls;
} server;

struct outcome {
    int err, rows, calls, order;
    int64_t value;
    char sqlstate[8], text[64];
};

struct scene {
    struct loop *loop;
    struct pg *pg;
    int ups, downs, calls;
    char why[256];
    struct outcome last;
    bool close_in_callback, send_in_callback;
    int64_t until_ms;
    bool (*is_done)(const struct scene *scene);
};

static int64_t turn(void *ctx)
{
    struct scene *scene = ctx;

    if (scene->is_done(scene) || clock_boot_ms() > scene->until_ms)
        loop_stop(scene->loop);
    return 50;
}

/* The limit is that of a quiet machine: any other has FIXTURE_PATIENCE times as long. */
static inline void run_until(struct scene *scene, bool (*is_done)(const struct scene *),
                             int64_t within_ms)
{
    scene->is_done = is_done;
    scene->until_ms = clock_boot_ms() + within_ms * FIXTURE_PATIENCE;
    loop_run(scene->loop, turn, scene);
    assert_true(is_done(scene));
}

static inline bool is_up(const struct scene *scene)
{
    return scene->pg && pg_is_up(scene->pg);
}

static inline bool is_idle(const struct scene *scene)
{
    return !scene->pg || pg_pending(scene->pg) == 0;
}

static inline bool has_gone_down(const struct scene *scene)
{
    return scene->downs > 0;
}

static inline void on_up(void *ctx)
{
    struct scene *scene = ctx;

    scene->ups++;
}

static inline void on_down(void *ctx, const char *why)
{
    struct scene *scene = ctx;

    scene->downs++;
    snprintf(scene->why, sizeof scene->why, "%s", why);
}

static inline struct pg_config config_for(const char *conninfo)
{
    return (struct pg_config){.conninfo = conninfo,
                              .name = "unit",
                              .settings = "SET work_mem = '1234kB'; SET lc_messages = 'C'",
                              .statements = statements,
                              .deadline_ms = 15000,
                              .connect_ms = 2000,
                              .backoff_min_ms = 10,
                              .backoff_max_ms = 100,
                              .queue_max = 64};
}

static inline void scene_open_config(struct scene *scene, const struct pg_config *config)
{
    struct pg_handlers handlers = {.on_up = on_up, .on_down = on_down};

    memset(scene, 0, sizeof *scene);
    scene->loop = loop_new();
    scene->pg = pg_open(scene->loop, config, &handlers, scene);
}

static inline void scene_open(struct scene *scene)
{
    struct pg_config config = config_for(server.conninfo);

    scene_open_config(scene, &config);
    run_until(scene, is_up, 10000);
}

static inline void scene_close(struct scene *scene)
{
    pg_close(scene->pg);
    loop_free(scene->loop);
}

static inline void on_result(void *ctx, int err, const struct pg_result *result)
{
    struct scene *scene = ctx;
    size_t length = 0;

    scene->calls++;
    scene->last.err = err;
    scene->last.rows = pg_rows(result);
    snprintf(scene->last.sqlstate, sizeof scene->last.sqlstate, "%s", pg_sqlstate(result));
    if (!err && pg_rows(result) > 0)
        pg_bytes(result, 0, 0, &length);
    if (length == 4 || length == 8) /* the others are texts of another length */
        scene->last.value = pg_int(result, 0, 0);
}

static inline int send_int(struct scene *scene, const struct pg_statement *statement, int value,
                           pg_result_fn *callback, void *ctx)
{
    struct pg_params params;
    int err;

    pg_params_init(&params);
    if (statement->params == 1)
        pg_add_int4(&params, value);
    err = pg_send(scene->pg, statement, &params, callback, ctx);
    pg_params_fini(&params);
    return err;
}

static inline int send_text(struct scene *scene, const struct pg_statement *statement,
                            const char *text)
{
    struct pg_params params;
    int err;

    pg_params_init(&params);
    pg_add_text(&params, text);
    err = pg_send(scene->pg, statement, &params, on_result, scene);
    pg_params_fini(&params);
    return err;
}

/* ---- the server ---- */

static inline int start_server(void **state)
{
    char initdb[160], postgres[160], path[160], why[256], conf[700];
    struct pg_script *script;

    (void)state;
    log_init(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    if (!fixture_open(&server.fixture))
        return -1;
    snprintf(initdb, sizeof initdb, "%s/initdb", server.bin);
    snprintf(postgres, sizeof postgres, "%s/postgres", server.bin);
    server.port = fixture_free_port();
    if (fixture_run(&server.fixture,
                    (const char *[]){initdb, "-D", "data", "-U", "unit", "-A", "trust", "--no-sync",
                                     "--no-instructions", "-E", "UTF8", "--locale=C", NULL}) != 0)
        return -1;
    server.has_tls = fixture_make_certificate(&server.fixture);
    snprintf(conf, sizeof conf,
             "unix_socket_directories = '%s'\nport = %d\nlisten_addresses = '127.0.0.1'\n"
             "fsync = off\nshared_buffers = 16MB\nssl = %s\nssl_cert_file = '%s/cert.pem'\n"
             "ssl_key_file = '%s/key.pem'\n",
             server.fixture.dir, server.port, server.has_tls ? "on" : "off", server.fixture.dir,
             server.fixture.dir);
    fixture_write(&server.fixture, "data/postgresql.conf", conf);
    server.postgres =
        fixture_spawn(&server.fixture, (const char *[]){postgres, "-D", "data", NULL});
    snprintf(path, sizeof path, "%s/.s.PGSQL.%d", server.fixture.dir, server.port);
    snprintf(server.conninfo, sizeof server.conninfo, "host=%s port=%d user=unit dbname=postgres",
             server.fixture.dir, server.port);
    snprintf(server.tls_conninfo, sizeof server.tls_conninfo,
             "host=localhost port=%d user=unit dbname=postgres sslmode=verify-full "
             "sslrootcert=%s/cert.pem",
             server.port, server.fixture.dir);
    snprintf(server.tcp_conninfo, sizeof server.tcp_conninfo,
             "postgresql://unit@localhost:%d/postgres", server.port);
    if (!fixture_wait_socket(path, 20000))
        return -1;
    for (int64_t end = fixture_now_ms() + 20000; fixture_now_ms() < end; fixture_pause()) {
        if (pg_script_open(server.conninfo, NULL, &script, why, sizeof why) != 0)
            continue; /* "starting up" */
        int err = pg_script_run(script, schema, NULL, why, sizeof why);

        pg_script_close(script);
        return err;
    }
    return -1;
}

static inline int stop_server(void **state)
{
    (void)state;
    fixture_end(server.postgres, SIGQUIT);
    fixture_remove(&server.fixture);
    return 0;
}

static inline bool find_server(void)
{
    char found[128];

    if (!fixture_find("/usr/lib/postgresql/*/bin/initdb", found, sizeof found)) {
        printf("SKIPPED: no Postgres server under /usr/lib/postgresql\n");
        return false;
    }
    snprintf(server.bin, sizeof server.bin, "%.*s", (int)(strlen(found) - strlen("/initdb")),
             found);
    return true;
}

#endif

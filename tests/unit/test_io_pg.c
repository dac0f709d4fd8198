/* SPDX-License-Identifier: MIT */
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
static const struct pg_statement *const statements[] = {
    &echo,        &arrays, &pid,   &number,  &nap,   &raise_state, &warn,
    &warn_softly, &put,    &tally, &setting, &large, NULL};

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
    char conninfo[256], tcp_conninfo[256];
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

static void run_until(struct scene *scene, bool (*is_done)(const struct scene *), int64_t within_ms)
{
    scene->is_done = is_done;
    scene->until_ms = clock_boot_ms() + within_ms;
    loop_run(scene->loop, turn, scene);
    assert_true(is_done(scene));
}

static bool is_up(const struct scene *scene)
{
    return scene->pg && pg_is_up(scene->pg);
}

static bool is_idle(const struct scene *scene)
{
    return !scene->pg || pg_pending(scene->pg) == 0;
}

static bool has_gone_down(const struct scene *scene)
{
    return scene->downs > 0;
}

static void on_up(void *ctx)
{
    struct scene *scene = ctx;

    scene->ups++;
}

static void on_down(void *ctx, const char *why)
{
    struct scene *scene = ctx;

    scene->downs++;
    snprintf(scene->why, sizeof scene->why, "%s", why);
}

static struct pg_config config_for(const char *conninfo)
{
    return (struct pg_config){.conninfo = conninfo,
                              .name = "unit",
                              .settings = "SET work_mem = '1234kB'; SET lc_messages = 'C'",
                              .statements = statements,
                              .deadline_ms = 3000,
                              .connect_ms = 2000,
                              .backoff_min_ms = 10,
                              .backoff_max_ms = 100,
                              .queue_max = 64};
}

static void scene_open_config(struct scene *scene, const struct pg_config *config)
{
    struct pg_handlers handlers = {.on_up = on_up, .on_down = on_down};

    memset(scene, 0, sizeof *scene);
    scene->loop = loop_new();
    scene->pg = pg_open(scene->loop, config, &handlers, scene);
}

static void scene_open(struct scene *scene)
{
    struct pg_config config = config_for(server.conninfo);

    scene_open_config(scene, &config);
    run_until(scene, is_up, 10000);
}

static void scene_close(struct scene *scene)
{
    pg_close(scene->pg);
    loop_free(scene->loop);
}

static void on_result(void *ctx, int err, const struct pg_result *result)
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

static int send_int(struct scene *scene, const struct pg_statement *statement, int value,
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

static int send_text(struct scene *scene, const struct pg_statement *statement, const char *text)
{
    struct pg_params params;
    int err;

    pg_params_init(&params);
    pg_add_text(&params, text);
    err = pg_send(scene->pg, statement, &params, on_result, scene);
    pg_params_fini(&params);
    return err;
}

/* ---- formats ---- */

static void check_echo(void *ctx, int err, const struct pg_result *result)
{
    struct scene *scene = ctx;
    size_t length;

    scene->calls++;
    assert_int_equal(err, 0);
    assert_int_equal(pg_rows(result), 1);
    assert_int_equal(pg_int(result, 0, 0), 1);
    assert_int_equal(pg_int(result, 0, 1), -32768);
    assert_int_equal(pg_int(result, 0, 2), INT32_MIN);
    assert_int_equal(pg_int(result, 0, 3), INT64_MAX);
    assert_string_equal(pg_text(result, 0, 4), "gr\xc3\xbc\xc3\x9f");
    assert_memory_equal(pg_bytes(result, 0, 5, &length), "\0\1\xff", 3);
    assert_int_equal(length, 3);
    assert_int_equal(pg_time_us(result, 0, 6), 1795178096789123);
    assert_memory_equal(pg_bytes(result, 0, 7, &length), "0123456789abcdef", 16);
    assert_true(pg_is_null(result, 0, 8));
    assert_false(pg_is_null(result, 0, 4));
    assert_string_equal(pg_text(result, 0, 8), "");
    assert_true(pg_float(result, 0, 9) > 2.49 && pg_float(result, 0, 9) < 2.51);
    assert_string_equal(pg_sqlstate(result), "");
}

static void values_survive_the_round_trip(void **state)
{
    struct pg_params params;
    struct scene scene;
    double half = 2.5;
    uint64_t bits;
    unsigned char bytes[8];

    (void)state;
    scene_open(&scene);
    pg_params_init(&params);
    for (int round = 0; round < 2; round++) { /* the second over cleared memory */
        pg_params_clear(&params);
        pg_add_bool(&params, true);
        pg_add_int2(&params, INT16_MIN);
        pg_add_int4(&params, INT32_MIN);
        pg_add_int8(&params, INT64_MAX);
        pg_add_text(&params, "gr\xc3\xbc\xc3\x9f");
        pg_add_bytes(&params, "\0\1\xff", 3);
        pg_add_time(&params, 1795178096789123);
        pg_add_bytes(&params, "0123456789abcdef", 16);
        pg_add_null(&params);
        memcpy(&bits, &half, 8);
        for (size_t i = 0; i < 8; i++)
            bytes[i] = (unsigned char)(bits >> (56 - 8 * i));
        pg_add_bytes(&params, bytes, 8);
        assert_int_equal(pg_send(scene.pg, &echo, &params, check_echo, &scene), 0);
    }
    pg_params_fini(&params);
    assert_int_equal(scene.calls, 0); /* never before pg_send() returned */
    run_until(&scene, is_idle, 5000);
    assert_int_equal(scene.calls, 2);
    scene_close(&scene);
}

static void check_arrays(void *ctx, int err, const struct pg_result *result)
{
    struct scene *scene = ctx;
    size_t length;

    scene->calls++;
    assert_int_equal(err, 0);
    assert_int_equal(pg_rows(result), 3);
    for (int row = 0; row < 3; row++) {
        assert_int_equal(pg_int(result, row, 0), row - 1);
        assert_int_equal(pg_int(result, row, 2), row == 1);
        assert_memory_equal(pg_bytes(result, row, 4, &length), "0123456789abcdef", 16);
        assert_int_equal(pg_int(result, row, 5), 20777 - 10957 + row);
    }
    assert_string_equal(pg_text(result, 0, 1), "one");
    assert_true(pg_is_null(result, 1, 1));
    assert_string_equal(pg_text(result, 2, 1), "");
    assert_int_equal(pg_time_us(result, 0, 3), 0);
    assert_int_equal(pg_time_us(result, 1, 3), INT64_MIN);
    assert_int_equal(pg_time_us(result, 2, 3), -5);
}

static void check_no_rows(void *ctx, int err, const struct pg_result *result)
{
    struct scene *scene = ctx;

    scene->calls++;
    assert_int_equal(err, 0);
    assert_int_equal(pg_rows(result), 0);
}

static void arrays_go_column_by_column(void **state)
{
    static const enum pg_type types[] = {PG_INT8,        PG_TEXT, PG_BOOL,
                                         PG_TIMESTAMPTZ, PG_UUID, PG_DATE};
    struct pg_array columns[6];
    struct pg_params params;
    struct scene scene;

    (void)state;
    scene_open(&scene);
    pg_params_init(&params);
    for (size_t i = 0; i < 6; i++) {
        pg_array_init(&columns[i], types[i]);
        pg_add_array(&params, &columns[i]);
    }
    assert_int_equal(pg_send(scene.pg, &arrays, &params, check_no_rows, &scene), 0);
    for (int row = 0; row < 3; row++) {
        pg_array_add_int(&columns[0], row - 1);
        pg_array_add_text(&columns[1], row == 0 ? "one" : row == 1 ? NULL : "");
        pg_array_add_int(&columns[2], row == 1);
        pg_array_add_time(&columns[3], row == 0 ? 0 : row == 1 ? INT64_MIN : -5);
        pg_array_add_bytes(&columns[4], "0123456789abcdef", 16);
        pg_array_add_date(&columns[5], 20777 + row);
    }
    pg_params_clear(&params);
    for (size_t i = 0; i < 6; i++) {
        pg_add_array(&params, &columns[i]);
        pg_array_fini(&columns[i]);
    }
    assert_int_equal(pg_send(scene.pg, &arrays, &params, check_arrays, &scene), 0);
    pg_params_fini(&params);
    run_until(&scene, is_idle, 5000);
    assert_int_equal(scene.calls, 2);
    scene_close(&scene);
}

/* ---- the queue ---- */

static void check_order(void *ctx, int err, const struct pg_result *result)
{
    struct scene *scene = ctx;

    assert_int_equal(err, 0);
    assert_int_equal(pg_int(result, 0, 0), scene->calls++);
}

static void answers_come_in_order_and_the_queue_is_bounded(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    for (int i = 0; i < 64; i++)
        assert_int_equal(send_int(&scene, &number, i, check_order, &scene), 0);
    assert_int_equal(send_int(&scene, &number, 64, check_order, &scene), ERR_FULL);
    assert_int_equal(pg_pending(scene.pg), 64);
    run_until(&scene, is_idle, 5000);
    assert_int_equal(scene.calls, 64);
    assert_int_equal(send_int(&scene, &number, 64, check_order, &scene), 0);
    run_until(&scene, is_idle, 5000);
    assert_int_equal(scene.calls, 65);
    scene_close(&scene);
}

static void send_more(void *ctx, int err, const struct pg_result *result)
{
    struct scene *scene = ctx;

    assert_int_equal(err, 0);
    assert_int_equal(pg_int(result, 0, 0), scene->calls++);
    if (scene->calls < 200)
        assert_int_equal(send_int(scene, &number, scene->calls, send_more, scene), 0);
}

static void callbacks_may_send(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    assert_int_equal(send_int(&scene, &number, 0, send_more, &scene), 0);
    run_until(&scene, is_idle, 10000);
    assert_int_equal(scene.calls, 200);
    scene_close(&scene);
}

static void close_it(void *ctx, int err, const struct pg_result *result)
{
    struct scene *scene = ctx;
    struct pg *pg = scene->pg;

    (void)result;
    scene->calls++;
    scene->last.err = err;
    if (pg) {
        scene->pg = NULL;
        pg_close(pg);
    }
}

static void callbacks_may_close(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    for (int i = 0; i < 3; i++)
        assert_int_equal(send_int(&scene, &number, i, close_it, &scene), 0);
    run_until(&scene, is_idle, 5000);
    assert_int_equal(scene.calls, 3);
    assert_int_equal(scene.last.err, ERR_DOUBT);
    assert_int_equal(scene.downs, 0); /* no callback after the close */
    scene_close(&scene);
}

static void closing_answers_what_is_under_way(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    assert_int_equal(send_int(&scene, &nap, 2000, on_result, &scene), 0);
    pg_close(scene.pg);
    scene.pg = NULL;
    assert_int_equal(scene.calls, 1);
    assert_int_equal(scene.last.err, ERR_DOUBT);
    loop_free(scene.loop);
}

static void large_answers_and_parameters_pass(void **state)
{
    char *text = malloc(3000001);
    struct scene scene;

    (void)state;
    assert_non_null(text);
    scene_open(&scene);
    assert_int_equal(send_int(&scene, &large, 20, on_result, &scene), 0);
    run_until(&scene, is_idle, 20000);
    assert_int_equal(scene.last.err, 0);
    assert_int_equal(scene.last.rows, 20);
    memset(text, 'y', 3000000);
    text[3000000] = '\0';
    for (int i = 0; i < 5; i++) /* more than the socket takes at once */
        assert_int_equal(send_text(&scene, &warn_softly, text), 0);
    run_until(&scene, is_idle, 30000);
    assert_int_equal(scene.calls, 6);
    assert_int_equal(scene.last.err, 0);
    free(text);
    scene_close(&scene);
}

static void check_setting(void *ctx, int err, const struct pg_result *result)
{
    struct scene *scene = ctx;

    scene->calls++;
    assert_int_equal(err, 0);
    assert_string_equal(pg_text(result, 0, 0), "1234kB");
}

static void settings_are_made_before_up(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    assert_int_equal(send_int(&scene, &setting, 0, check_setting, &scene), 0);
    run_until(&scene, is_idle, 5000);
    assert_int_equal(scene.calls, 1);
    scene_close(&scene);
}

/* ---- errors ---- */

static void errors_are_classified(void **state)
{
    static const struct {
        const char *sqlstate;
        int want;
        bool want_reset;
    } cases[] = {
        {"22021", ERR_DATA, false},  {"23505", ERR_DATA, false},    {"54000", ERR_DATA, false},
        {"40001", ERR_AGAIN, false}, {"40P01", ERR_AGAIN, false},   {"55P03", ERR_AGAIN, false},
        {"57014", ERR_AGAIN, false}, {"42P01", ERR_REFUSED, false}, {"P0001", ERR_REFUSED, false},
        {"53100", ERR_CLOSED, true}, {"25006", ERR_CLOSED, true},   {"0A000", ERR_CLOSED, true},
        {"40003", ERR_DOUBT, true},  {"57P01", ERR_DOUBT, true},
    };
    struct scene scene;

    (void)state;
    scene_open(&scene);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run_until(&scene, is_up, 5000);
        scene.downs = 0;
        assert_int_equal(send_text(&scene, &raise_state, cases[i].sqlstate), 0);
        run_until(&scene, is_idle, 5000);
        if (scene.last.err != cases[i].want || (scene.downs == 1) != cases[i].want_reset)
            fail_msg("%s: %d, %d downs", cases[i].sqlstate, scene.last.err, scene.downs);
        assert_string_equal(scene.last.sqlstate, cases[i].sqlstate);
    }
    scene_close(&scene);
}

static void an_error_spares_its_neighbours(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    assert_int_equal(send_int(&scene, &number, 0, check_order, &scene), 0);
    assert_int_equal(send_text(&scene, &raise_state, "22000"), 0);
    assert_int_equal(send_int(&scene, &number, 2, check_order, &scene), 0);
    run_until(&scene, is_idle, 5000);
    assert_int_equal(scene.calls, 3);
    assert_int_equal(scene.last.err, ERR_DATA);
    assert_int_equal(scene.downs, 0);
    scene_close(&scene);
}

/* The INSERT is answered with success; only the commit behind it fails. */
static void a_failing_commit_is_an_error(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    assert_int_equal(send_int(&scene, &put, 7, on_result, &scene), 0);
    run_until(&scene, is_idle, 5000);
    assert_int_equal(scene.last.err, 0);
    assert_int_equal(send_int(&scene, &put, 7, on_result, &scene), 0);
    run_until(&scene, is_idle, 5000);
    assert_int_equal(scene.last.err, ERR_DATA);
    assert_string_equal(scene.last.sqlstate, "23505");
    assert_int_equal(send_int(&scene, &tally, 0, on_result, &scene), 0);
    run_until(&scene, is_idle, 5000);
    assert_int_equal(scene.last.err, 0);
    assert_int_equal(scene.last.value, 1);
    scene_close(&scene);
}

static void a_warning_puts_a_durable_statement_in_doubt(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    assert_int_equal(send_text(&scene, &warn_softly, "x"), 0);
    run_until(&scene, is_idle, 5000);
    assert_int_equal(scene.last.err, 0);
    assert_int_equal(send_text(&scene, &warn, "x"), 0);
    run_until(&scene, is_idle, 5000);
    assert_int_equal(scene.last.err, ERR_DOUBT);
    assert_int_equal(scene.downs, 0);
    scene_close(&scene);
}

/* ---- lost and found ---- */

static void a_killed_backend_means_doubt_then_reconnect(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    assert_int_equal(send_int(&scene, &pid, 0, on_result, &scene), 0);
    run_until(&scene, is_idle, 5000);
    assert_int_equal(send_int(&scene, &nap, 5000, on_result, &scene), 0);
    assert_int_equal(send_int(&scene, &number, 1, on_result, &scene), 0);
    assert_int_equal(kill((pid_t)scene.last.value, SIGTERM), 0);
    run_until(&scene, has_gone_down, 5000);
    assert_int_equal(scene.calls, 3);
    assert_int_equal(scene.last.err, ERR_DOUBT);
    assert_int_equal(send_int(&scene, &number, 1, on_result, &scene), ERR_CLOSED);
    run_until(&scene, is_up, 5000);
    assert_int_equal(scene.ups, 2);
    scene_close(&scene);
}

static void a_stopped_server_means_doubt_at_the_deadline(void **state)
{
    struct pg_config config = config_for(server.conninfo);
    struct scene scene;
    int64_t sent_ms;
    pid_t backend;

    (void)state;
    config.deadline_ms = 300;
    config.connect_ms = 200;
    scene_open_config(&scene, &config);
    run_until(&scene, is_up, 10000);
    assert_int_equal(send_int(&scene, &pid, 0, on_result, &scene), 0);
    run_until(&scene, is_idle, 5000);
    backend = (pid_t)scene.last.value;
    assert_int_equal(kill(server.postgres, SIGSTOP), 0);
    assert_int_equal(kill(backend, SIGSTOP), 0);
    sent_ms = clock_boot_ms();
    assert_int_equal(send_int(&scene, &put, 100, on_result, &scene), 0);
    run_until(&scene, has_gone_down, 5000);
    assert_in_range(clock_boot_ms() - sent_ms, 300, 1500);
    assert_int_equal(scene.last.err, ERR_DOUBT);
    assert_non_null(strstr(scene.why, "deadline"));
    /* The postmaster does not answer either: attempts time out and go on. */
    scene.until_ms = clock_boot_ms() + 700;
    scene.is_done = is_up;
    loop_run(scene.loop, turn, &scene);
    assert_false(is_up(&scene));
    kill(server.postgres, SIGCONT);
    kill(backend, SIGCONT);
    run_until(&scene, is_up, 10000);
    assert_int_equal(scene.ups, 2);
    scene_close(&scene);
}

static void reset_starts_over(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene);
    assert_int_equal(send_int(&scene, &nap, 2000, on_result, &scene), 0);
    pg_reset(scene.pg, "on purpose");
    assert_int_equal(scene.last.err, ERR_DOUBT);
    assert_int_equal(scene.downs, 1);
    assert_string_equal(scene.why, "on purpose");
    run_until(&scene, is_up, 5000);
    scene_close(&scene);
}

static void names_are_resolved_and_dead_hosts_passed_over(void **state)
{
    struct pg_config config;
    struct scene scene;
    char conninfo[400];
    int silent = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;

    (void)state;
    /* A host that accepts and never answers, a port where nobody is, then the server. */
    assert_int_equal(bind(silent, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(silent, 8), 0);
    assert_int_equal(getsockname(silent, (struct sockaddr *)&address, &length), 0);
    snprintf(conninfo, sizeof conninfo,
             "host=no-such-host.invalid,localhost,127.0.0.1,localhost port=1,%d,%d,%d user=unit "
             "dbname=postgres target_session_attrs=read-write",
             ntohs(address.sin_port), fixture_free_port(), server.port);
    config = config_for(conninfo);
    config.connect_ms = 300;
    scene_open_config(&scene, &config);
    run_until(&scene, is_up, 20000);
    scene_close(&scene);
    close(silent);
}

static void standbys_are_not_taken_for_primaries(void **state)
{
    struct pg_config config;
    struct scene scene;
    char conninfo[300];

    (void)state;
    snprintf(conninfo, sizeof conninfo, "%s target_session_attrs=standby", server.conninfo);
    config = config_for(conninfo);
    scene_open_config(&scene, &config);
    scene.until_ms = clock_boot_ms() + 500;
    scene.is_done = is_up;
    loop_run(scene.loop, turn, &scene);
    assert_false(is_up(&scene));
    scene_close(&scene);
}

static void closing_while_connecting_is_quiet(void **state)
{
    struct pg_config config = config_for(server.tcp_conninfo);
    struct scene scene;

    (void)state;
    for (int i = 0; i < 5; i++) {
        scene_open_config(&scene, &config);
        scene.until_ms = clock_boot_ms() + i;
        scene.is_done = is_up;
        loop_run(scene.loop, turn, &scene);
        scene_close(&scene);
        assert_int_equal(scene.downs, 0);
    }
}

static void a_bad_string_or_password_file_keeps_it_down(void **state)
{
    struct pg_config config = config_for("postgresql://[broken");
    struct scene scene;

    (void)state;
    scene_open_config(&scene, &config);
    scene.until_ms = clock_boot_ms() + 100;
    scene.is_done = is_up;
    loop_run(scene.loop, turn, &scene);
    assert_false(is_up(&scene));
    scene_close(&scene);
    config = config_for(server.conninfo);
    config.password_file = "/does/not/exist";
    scene_open_config(&scene, &config);
    scene.until_ms = clock_boot_ms() + 100;
    scene.is_done = is_up;
    loop_run(scene.loop, turn, &scene);
    assert_false(is_up(&scene));
    scene_close(&scene);
}

static void scripts_run_and_report(void **state)
{
    struct pg_script *script = NULL;
    char why[256] = "", *value = NULL;

    (void)state;
    assert_int_equal(pg_script_open(server.tcp_conninfo, NULL, &script, why, sizeof why), 0);
    assert_int_equal(pg_script_run(script,
                                   "CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (5);"
                                   "SELECT a FROM t",
                                   &value, why, sizeof why),
                     0);
    assert_string_equal(value, "5");
    free(value);
    assert_int_equal(pg_script_run(script, "SELECT 1 WHERE false", &value, why, sizeof why), 0);
    assert_null(value);
    assert_int_equal(pg_script_run(script, "SELECT nothing", &value, why, sizeof why), ERR_REFUSED);
    assert_non_null(strstr(why, "nothing"));
    pg_script_close(script);
    assert_int_not_equal(pg_script_open("host=127.0.0.1 port=1", NULL, &script, why, sizeof why),
                         0);
}

/* ---- the server ---- */

static int start_server(void **state)
{
    char initdb[160], postgres[160], port[16], path[160], why[256];
    struct pg_script *script;

    (void)state;
    log_init(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    if (!fixture_open(&server.fixture))
        return -1;
    snprintf(initdb, sizeof initdb, "%s/initdb", server.bin);
    snprintf(postgres, sizeof postgres, "%s/postgres", server.bin);
    server.port = fixture_free_port();
    snprintf(port, sizeof port, "%d", server.port);
    if (fixture_run(&server.fixture,
                    (const char *[]){initdb, "-D", "data", "-U", "unit", "-A", "trust", "--no-sync",
                                     "--no-instructions", "-E", "UTF8", "--locale=C", NULL}) != 0)
        return -1;
    server.postgres =
        fixture_spawn(&server.fixture,
                      (const char *[]){postgres, "-D", "data", "-k", server.fixture.dir, "-p", port,
                                       "-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-c",
                                       "shared_buffers=16MB", NULL});
    snprintf(path, sizeof path, "%s/.s.PGSQL.%d", server.fixture.dir, server.port);
    snprintf(server.conninfo, sizeof server.conninfo, "host=%s port=%d user=unit dbname=postgres",
             server.fixture.dir, server.port);
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

static int stop_server(void **state)
{
    (void)state;
    fixture_end(server.postgres, SIGQUIT);
    fixture_remove(&server.fixture);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_survive_the_round_trip),
        cmocka_unit_test(arrays_go_column_by_column),
        cmocka_unit_test(answers_come_in_order_and_the_queue_is_bounded),
        cmocka_unit_test(callbacks_may_send),
        cmocka_unit_test(callbacks_may_close),
        cmocka_unit_test(closing_answers_what_is_under_way),
        cmocka_unit_test(large_answers_and_parameters_pass),
        cmocka_unit_test(settings_are_made_before_up),
        cmocka_unit_test(errors_are_classified),
        cmocka_unit_test(an_error_spares_its_neighbours),
        cmocka_unit_test(a_failing_commit_is_an_error),
        cmocka_unit_test(a_warning_puts_a_durable_statement_in_doubt),
        cmocka_unit_test(a_killed_backend_means_doubt_then_reconnect),
        cmocka_unit_test(a_stopped_server_means_doubt_at_the_deadline),
        cmocka_unit_test(reset_starts_over),
        cmocka_unit_test(names_are_resolved_and_dead_hosts_passed_over),
        cmocka_unit_test(standbys_are_not_taken_for_primaries),
        cmocka_unit_test(closing_while_connecting_is_quiet),
        cmocka_unit_test(a_bad_string_or_password_file_keeps_it_down),
        cmocka_unit_test(scripts_run_and_report),
    };
    char found[128];

    if (!fixture_find("/usr/lib/postgresql/*/bin/initdb", found, sizeof found)) {
        printf("SKIPPED: no Postgres server under /usr/lib/postgresql\n");
        return 77;
    }
    snprintf(server.bin, sizeof server.bin, "%.*s", (int)(strlen(found) - strlen("/initdb")),
             found);
    return cmocka_run_group_tests(tests, start_server, stop_server);
}

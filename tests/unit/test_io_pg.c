/* SPDX-License-Identifier: MIT */
#include "pg_peer.h"

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
    struct pg_statement call = number, common = number, kept = number;
    struct scene scene;

    (void)state;
    call.place = PG_PLACE_CALL;
    common.place = PG_PLACE_COMMON;
    kept.place = PG_PLACE_KEPT;
    scene_open(&scene);
    for (int i = 0; i < 48; i++)
        assert_int_equal(send_int(&scene, &call, i, check_order, &scene), 0);
    assert_int_equal(send_int(&scene, &call, 48, check_order, &scene), ERR_FULL);
    for (int i = 48; i < 56; i++)
        assert_int_equal(send_int(&scene, &common, i, check_order, &scene), 0);
    assert_int_equal(send_int(&scene, &common, 56, check_order, &scene), ERR_FULL);
    for (int i = 56; i < 64; i++)
        assert_int_equal(send_int(&scene, &kept, i, check_order, &scene), 0);
    assert_int_equal(send_int(&scene, &kept, 64, check_order, &scene), ERR_FULL);
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

/* Records of TLS are larger than what libpq asks for at once. */
static void tls_hides_nothing(void **state)
{
    struct pg_config config = config_for(server.tls_conninfo);
    struct scene scene;

    (void)state;
    if (!server.has_tls)
        skip();
    scene_open_config(&scene, &config);
    run_until(&scene, is_up, 10000);
    for (int i = 1; i <= 20; i++) {
        assert_int_equal(send_int(&scene, &large, i % 4, on_result, &scene), 0);
        assert_int_equal(send_int(&scene, &wide, 250 * i, on_result, &scene), 0);
        run_until(&scene, is_idle, 12000);
        assert_int_equal(scene.last.err, 0);
    }
    scene_close(&scene);
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
        {"22021", ERR_DATA, false},  {"23505", ERR_COLLISION, false}, {"54000", ERR_DATA, false},
        {"40001", ERR_AGAIN, false}, {"40P01", ERR_AGAIN, false},     {"55P03", ERR_AGAIN, false},
        {"57014", ERR_AGAIN, false}, {"42P01", ERR_REFUSED, false},   {"P0001", ERR_REFUSED, false},
        {"53100", ERR_CLOSED, true}, {"25006", ERR_CLOSED, true},     {"0A000", ERR_CLOSED, true},
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
    assert_int_equal(scene.last.err, ERR_COLLISION);
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
        cmocka_unit_test(tls_hides_nothing),
        cmocka_unit_test(settings_are_made_before_up),
        cmocka_unit_test(errors_are_classified),
        cmocka_unit_test(an_error_spares_its_neighbours),
        cmocka_unit_test(a_failing_commit_is_an_error),
        cmocka_unit_test(a_warning_puts_a_durable_statement_in_doubt),
    };

    return find_server() ? cmocka_run_group_tests(tests, start_server, stop_server) : 77;
}

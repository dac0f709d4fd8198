/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/rpc.h"

static int setup(void **state)
{
    *state = arena_new(0);
    return 0;
}

static int teardown(void **state)
{
    arena_free(*state);
    return 0;
}

static int read_call(struct rpc_call *call, struct arena *arena, const char *payload)
{
    return rpc_read(call, payload, strlen(payload), arena);
}

static void the_envelope_is_strict(void **state)
{
    static const struct {
        const char *payload, *code, *field;
    } cases[] = {
        {"{\"rpc\":\"a\"}", NULL, NULL},
        {"{\"rpc\":\"a\",\"params\":{}}", NULL, NULL},
        {"", "malformed", NULL},
        {"[]", "malformed", NULL},
        {"{}", "missing_field", "/rpc"},
        {"{\"rpc\":7}", "bad_value", "/rpc"},
        {"{\"rpc\":\"\"}", "bad_value", "/rpc"},
        {"{\"rpc\":\"a\",\"params\":[]}", "bad_value", "/params"},
        {"{\"rpc\":\"a\",\"param\":{}}", "unknown_field", "/param"},
        {"{\"rpc\":\"a\",\"params\":{\"x\":1,\"x\":2}}", "malformed", "/params/x"},
        {"{\"rpc\":\"a\",\"params\":{\"x\":\"\\u0000\"}}", "bad_value", "/params/x"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rpc_call call;

        assert_int_equal(read_call(&call, *state, cases[i].payload),
                         cases[i].code ? ERR_INVALID : 0);
        if (!cases[i].code) {
            assert_null(call.error->code);
            assert_string_equal(call.rpc, "a");
            continue;
        }
        assert_string_equal(call.error->code, cases[i].code);
        if (cases[i].field)
            assert_string_equal(call.error->field, cases[i].field);
        else
            assert_null(call.error->field);
    }
}

static void an_error_keeps_the_id_of_a_call_with_an_unreadable_value(void **state)
{
    static const struct {
        const char *payload, *id;
    } cases[] = {
        {"{\"rpc\":\"a\",\"params\":{\"limit\":18446744073709551616}}", "a"},
        {"{\"rpc\":\"a\",\"params\":{\"x\":1e999}}", "a"},
        {"{\"params\":{\"x\":\"\\u0000\"},\"rpc\":\"\\u0061\"}", "a"},
        {"{\"params\":{\"x\":\"\\ud800\"},\"rpc\":\"a\"}", "a"},
        {"{\"rpc\":\"a\",\"params\":{\"x\":\"\xff\"}}", "a"},
        {"{\"rpc\":\"a\",\"params\":{\"x\":1,\"x\":2}}", "a"},
        {"{\"rpc\":\"a\",\"params\":{\"x\":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}}", "a"},
        {"{\"rpc\":\"a\",\"rpc\":\"b\"}", NULL},
        {"{\"rpc\":\"a\\u0000\",\"params\":{}}", NULL},
        {"{\"rpc\":\"\\ud800\",\"params\":{}}", NULL},
        {"{\"rpc\":18446744073709551616,\"params\":{}}", NULL},
        {"{\"rpc\":\"\",\"params\":{\"x\":1e999}}", NULL},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rpc_call call;

        assert_int_equal(read_call(&call, *state, cases[i].payload), ERR_INVALID);
        assert_non_null(call.error->code);
        if (!cases[i].id)
            assert_null(call.rpc);
        else if (!call.rpc || strcmp(call.rpc, cases[i].id) != 0)
            fail_msg("%s: %s", cases[i].payload, call.rpc ? call.rpc : "no id");
    }
}

static void a_payload_with_a_nul_is_refused_as_a_whole(void **state)
{
    static const char payload[] = "{\"rp\0c\":\"1\",\"params\":{\"filter\":{\"text\":7}}}";
    struct rpc_call call;

    assert_int_equal(rpc_read(&call, payload, sizeof payload - 1, *state), ERR_INVALID);
    assert_string_equal(call.error->code, "malformed");
}

static void good_parameters_are_read(void **state)
{
    static const char *const names[] = {"asc", "desc", NULL};
    struct rpc_call call, filter, absent;
    const char *text = NULL, **texts = NULL;
    const struct json *json = NULL;
    int64_t number = 0, wall_ms = 0, ms = 0;
    uint64_t id = 0, *ids = NULL;
    size_t count = 0, text_count = 0, place = 0;
    bool flag = false;

    assert_int_equal(
        read_call(&call, *state,
                  "{\"rpc\":\"r\",\"params\":{\"text\":\"Gr\\u00fc\xC3\x9F e\",\"n\":7,\"t\":"
                  "\"1970-01-01T00:00:02Z\",\"d\":\"3s\",\"id\":\"0123456789abcdef\",\"ids\":"
                  "[\"0000000000000001\",\"0000000000000002\"],\"list\":[\"a\",\"b\"],\"order\":"
                  "\"desc\",\"flag\":true,\"any\":[1,{}],\"filter\":{\"type\":\"x.y\"}}}"),
        0);
    assert_true(rpc_text(&call, "text", RPC_REQUIRED, 6, &text));
    assert_string_equal(text, "Gr\xC3\xBC\xC3\x9F e");
    assert_true(rpc_int(&call, "n", RPC_REQUIRED, 7, 7, &number) && number == 7);
    assert_true(rpc_time(&call, "t", RPC_REQUIRED, &wall_ms) && wall_ms == 2000);
    assert_true(rpc_duration(&call, "d", RPC_REQUIRED, 0, 3000, &ms) && ms == 3000);
    assert_true(rpc_id(&call, "id", RPC_REQUIRED, &id) && id == UINT64_C(0x0123456789abcdef));
    assert_true(rpc_ids(&call, "ids", RPC_REQUIRED, 2, &ids, &count) && count == 2 && ids[1] == 2);
    assert_true(rpc_texts(&call, "list", RPC_REQUIRED, 2, 1, &texts, &text_count));
    assert_true(text_count == 2 && strcmp(texts[1], "b") == 0);
    assert_true(rpc_choice(&call, "order", RPC_REQUIRED, names, &place) && place == 1);
    assert_true(rpc_bool(&call, "flag", RPC_REQUIRED, &flag) && flag);
    assert_true(rpc_json(&call, "any", RPC_REQUIRED, &json) && json->count == 2);
    assert_true(rpc_object(&call, "filter", RPC_OPTIONAL, &filter));
    assert_true(rpc_text(&filter, "type", RPC_REQUIRED, 9, &text));
    assert_true(rpc_object(&call, "nothing", RPC_OPTIONAL, &absent));
    assert_true(rpc_text(&absent, "type", RPC_OPTIONAL, 9, &text));
    assert_string_equal(text, "x.y");
    assert_true(rpc_done(&absent) && rpc_done(&filter) && rpc_done(&call));
    assert_true(rpc_has(&call, "n") && !rpc_has(&call, "m"));
}

static void objects_in_a_list_have_parameters_of_their_own(void **state)
{
    static const struct {
        const char *payload, *field; /* NULL: good */
    } cases[] = {
        {"{\"rpc\":\"r\",\"params\":{\"l\":[]}}", NULL},
        {"{\"rpc\":\"r\",\"params\":{\"l\":[{\"a\":1},{\"a\":2}]}}", NULL},
        {"{\"rpc\":\"r\",\"params\":{\"l\":[{\"a\":1},{\"a\":\"x\"}]}}", "/params/l/1/a"},
        {"{\"rpc\":\"r\",\"params\":{\"l\":[{\"a\":1},{}]}}", "/params/l/1/a"},
        {"{\"rpc\":\"r\",\"params\":{\"l\":[{\"a\":1,\"b\":1}]}}", "/params/l/0/b"},
        {"{\"rpc\":\"r\",\"params\":{\"l\":[7]}}", "/params/l/0"},
        {"{\"rpc\":\"r\",\"params\":{\"l\":{}}}", "/params/l"},
        {"{\"rpc\":\"r\",\"params\":{\"l\":[{\"a\":1},{\"a\":1},{\"a\":1}]}}", "/params/l"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rpc_call call, *inner = NULL;
        size_t count = 0;
        int64_t number = 0;
        bool is_good;

        assert_int_equal(read_call(&call, *state, cases[i].payload), 0);
        is_good = rpc_objects(&call, "l", RPC_REQUIRED, 2, &inner, &count);
        for (size_t k = 0; is_good && k < count; k++)
            is_good = rpc_int(&inner[k], "a", RPC_REQUIRED, 1, 9, &number) && rpc_done(&inner[k]);
        assert_int_equal(is_good, !cases[i].field);
        if (cases[i].field)
            assert_string_equal(call.error->field, cases[i].field);
    }
}

static void what_is_absent_leaves_the_default(void **state)
{
    struct rpc_call call;
    int64_t limit = 50;

    assert_int_equal(read_call(&call, *state, "{\"rpc\":\"r\"}"), 0);
    assert_true(rpc_int(&call, "limit", RPC_OPTIONAL, 1, 100, &limit));
    assert_int_equal(limit, 50);
    assert_true(rpc_done(&call));
    assert_false(rpc_int(&call, "limit", RPC_REQUIRED, 1, 100, &limit));
    assert_string_equal(call.error->code, "missing_field");
    assert_string_equal(call.error->field, "/params/limit");
    assert_false(rpc_done(&call));
}

/* 0 is no time to those who ask: a filter until 1970 must match nothing, and not everything. */
static void a_time_is_never_the_one_that_stands_for_none(void **state)
{
    struct rpc_call call;
    int64_t wall_ms = 0;

    assert_int_equal(
        read_call(&call, *state,
                  "{\"rpc\":\"r\",\"params\":{\"until\":\"1970-01-01T01:00:00+01:00\"}}"),
        0);
    assert_true(rpc_time(&call, "until", RPC_OPTIONAL, &wall_ms));
    assert_int_equal(wall_ms, -1);
}

static void bad_parameters_name_their_field(void **state)
{
    static const char *const names[] = {"asc", "desc", NULL};
    static const char payload[] =
        "{\"rpc\":\"r\",\"params\":{\"text\":\"toolong\",\"n\":0,\"half\":1.5,\"t\":\"today\","
        "\"d\":\"4s\",\"id\":\"12\",\"ids\":[\"0000000000000001\",\"x\"],\"none\":[],"
        "\"list\":[\"a\",2],\"order\":\"up\",\"flag\":1,\"filter\":{\"n\":\"x\"}}}";

    for (int i = 0; i < 13; i++) {
        struct rpc_call call, filter;
        const char *text, **texts, *field = "";
        int64_t number;
        uint64_t id, *ids;
        size_t count;
        bool flag, is_good = true;

        assert_int_equal(read_call(&call, *state, payload), 0);
        switch (i) {
        case 0:
            is_good = rpc_text(&call, field = "text", RPC_OPTIONAL, 6, &text);
            break;
        case 1:
            is_good = rpc_text(&call, field = "n", RPC_OPTIONAL, 6, &text);
            break;
        case 2:
            is_good = rpc_int(&call, field = "n", RPC_OPTIONAL, 1, 9, &number);
            break;
        case 3:
            is_good = rpc_int(&call, field = "half", RPC_OPTIONAL, 1, 9, &number);
            break;
        case 4:
            is_good = rpc_time(&call, field = "t", RPC_OPTIONAL, &number);
            break;
        case 5:
            is_good = rpc_duration(&call, field = "d", RPC_OPTIONAL, 0, 3000, &number);
            break;
        case 6:
            is_good = rpc_id(&call, field = "id", RPC_OPTIONAL, &id);
            break;
        case 7:
            field = "ids/1";
            is_good = rpc_ids(&call, "ids", RPC_OPTIONAL, 9, &ids, &count);
            break;
        case 8:
            is_good = rpc_ids(&call, field = "none", RPC_OPTIONAL, 9, &ids, &count);
            break;
        case 9:
            field = "list/1";
            is_good = rpc_texts(&call, "list", RPC_OPTIONAL, 9, 9, &texts, &count);
            break;
        case 10:
            is_good = rpc_choice(&call, field = "order", RPC_OPTIONAL, names, &count);
            break;
        case 11:
            is_good = rpc_bool(&call, field = "flag", RPC_OPTIONAL, &flag);
            break;
        default:
            field = "filter/n";
            assert_true(rpc_object(&call, "filter", RPC_OPTIONAL, &filter));
            is_good = rpc_int(&filter, "n", RPC_OPTIONAL, 1, 9, &number);
            break;
        }
        assert_false(is_good);
        assert_string_equal(call.error->code, "bad_value");
        assert_string_equal(call.error->field, arena_printf(*state, "/params/%s", field));
    }
}

static void the_first_error_stays(void **state)
{
    struct rpc_call call;
    int64_t number = 5;

    assert_int_equal(read_call(&call, *state, "{\"rpc\":\"r\",\"params\":{\"a\":0,\"b\":1}}"), 0);
    assert_false(rpc_int(&call, "a", RPC_REQUIRED, 1, 9, &number));
    assert_false(rpc_int(&call, "b", RPC_REQUIRED, 1, 9, &number));
    assert_int_equal(number, 5);
    assert_string_equal(call.error->field, "/params/a");
}

static void a_parameter_nobody_asked_for_is_refused(void **state)
{
    struct rpc_call call, filter;
    int64_t number;

    assert_int_equal(
        read_call(&call, *state, "{\"rpc\":\"r\",\"params\":{\"limit\":1,\"filter\":{\"typ\":1}}}"),
        0);
    assert_true(rpc_int(&call, "limit", RPC_OPTIONAL, 1, 9, &number));
    assert_true(rpc_object(&call, "filter", RPC_OPTIONAL, &filter));
    assert_false(rpc_done(&filter));
    assert_string_equal(call.error->code, "unknown_field");
    assert_string_equal(call.error->field, "/params/filter/typ");
}

static void answers_are_written_as_documented(void **state)
{
    struct rpc_call call;
    struct buf out = {0};

    assert_int_equal(read_call(&call, *state, "{\"rpc\":\"a\\\"b\"}"), 0);
    rpc_begin_result(&call, &out);
    buf_add_text(&out, "{\"n\":1}");
    rpc_end_result(&out);
    assert_string_equal(buf_text(&out), "{\"rpc\":\"a\\\"b\",\"result\":{\"n\":1}}");
    buf_clear(&out);
    (void)rpc_fail(&call, RPC_NOT_FOUND, "no such request", "id");
    rpc_write_error(&call, &out);
    assert_string_equal(buf_text(&out), "{\"rpc\":\"a\\\"b\",\"error\":{\"code\":\"not_found\","
                                        "\"message\":\"no such request\","
                                        "\"field\":\"/params/id\"}}");
    buf_clear(&out);
    assert_int_equal(read_call(&call, *state, "{"), ERR_INVALID);
    rpc_write_error(&call, &out);
    assert_string_equal(buf_text(&out), "{\"error\":{\"code\":\"malformed\",\"message\":\"the "
                                        "payload is not JSON\"}}");
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_envelope_is_strict, setup, teardown),
        cmocka_unit_test_setup_teardown(an_error_keeps_the_id_of_a_call_with_an_unreadable_value,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_payload_with_a_nul_is_refused_as_a_whole, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(good_parameters_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_time_is_never_the_one_that_stands_for_none, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(objects_in_a_list_have_parameters_of_their_own, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_absent_leaves_the_default, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_parameters_name_their_field, setup, teardown),
        cmocka_unit_test_setup_teardown(the_first_error_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(a_parameter_nobody_asked_for_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(answers_are_written_as_documented, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

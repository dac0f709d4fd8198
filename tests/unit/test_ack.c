/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/ack.h"

#define ID1 "0123456789abcdef"
#define ID2 "fedcba9876543210"

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

static void every_kind_is_read_as_it_is_written(void **state)
{
    enum ack_kind kind;

    (void)state;
    for (int i = 0; i < ACK_KIND_COUNT; i++) {
        assert_int_equal(ack_kind_parse(ack_kind_name((enum ack_kind)i), &kind), 0);
        assert_int_equal(kind, i);
    }
    assert_int_equal(ack_kind_parse("rpc/history", &kind), ERR_NOT_FOUND);
    assert_int_equal(ack_kind_parse("", &kind), ERR_NOT_FOUND);
}

static void good_events_are_decoded(void **state)
{
    static const struct {
        enum ack_kind kind;
        const char *payload;
        size_t count;
        bool is_all;
        int64_t before_ms;
        const char *url;
    } cases[] = {
        {ACK_ACK, "{\"ids\":[\"" ID1 "\"]}", 1, false, INT64_MAX, NULL},
        {ACK_READ, "{\"ids\":[\"" ID1 "\",\"" ID2 "\"]}", 2, false, INT64_MAX, NULL},
        {ACK_SEEN, "{\"all\":true}", 0, true, INT64_MAX, NULL},
        {ACK_ARCHIVE, "{\"all\":true,\"before\":\"1970-01-01T00:00:01Z\"}", 0, true, 1000, NULL},
        {ACK_CLICK, "{\"ids\":[\"" ID1 "\"],\"url\":\"https://example.org/a\"}", 1, false,
         INT64_MAX, "https://example.org/a"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rejection rejection;
        struct ack ack;

        assert_int_equal(ack_decode(cases[i].kind, cases[i].payload, strlen(cases[i].payload),
                                    *state, &ack, &rejection),
                         0);
        assert_int_equal(rejection.reason, REJECT_NONE);
        assert_int_equal(ack.kind, cases[i].kind);
        assert_int_equal(ack.id_count, cases[i].count);
        assert_int_equal(ack.is_all, cases[i].is_all);
        assert_true(ack.before_ms == cases[i].before_ms);
        if (cases[i].url)
            assert_string_equal(ack.url, cases[i].url);
        else
            assert_null(ack.url);
        if (ack.id_count > 0)
            assert_true(ack.ids[0] == UINT64_C(0x0123456789abcdef));
    }
}

static void bad_events_say_what_is_wrong_and_where(void **state)
{
    static const struct {
        enum ack_kind kind;
        const char *payload;
        enum reject reason;
        const char *pointer;
    } cases[] = {
        {ACK_ACK, "", REJECT_MALFORMED, ""},
        {ACK_ACK, "[]", REJECT_BAD_VALUE, ""},
        {ACK_ACK, "{}", REJECT_MISSING_FIELD, "/ids"},
        {ACK_ACK, "{\"all\":true}", REJECT_UNKNOWN_FIELD, "/all"},
        {ACK_ACK, "{\"ids\":[]}", REJECT_BAD_VALUE, "/ids"},
        {ACK_ACK, "{\"ids\":\"" ID1 "\"}", REJECT_BAD_VALUE, "/ids"},
        {ACK_ACK, "{\"ids\":[\"" ID1 "\",7]}", REJECT_BAD_VALUE, "/ids/1"},
        {ACK_ACK, "{\"ids\":[\"nope\"]}", REJECT_BAD_VALUE, "/ids/0"},
        {ACK_ACK, "{\"ids\":[\"" ID1 "\"],\"ids\":[\"" ID1 "\"]}", REJECT_MALFORMED, "/ids"},
        {ACK_READ, "{}", REJECT_MISSING_FIELD, "/ids"},
        {ACK_READ, "{\"all\":false}", REJECT_BAD_VALUE, "/all"},
        {ACK_READ, "{\"all\":true,\"ids\":[\"" ID1 "\"]}", REJECT_BAD_VALUE, "/all"},
        {ACK_READ, "{\"ids\":[\"" ID1 "\"],\"before\":\"2026-11-20T00:00:00Z\"}", REJECT_BAD_VALUE,
         "/before"},
        {ACK_READ, "{\"all\":true,\"before\":\"yesterday\"}", REJECT_BAD_VALUE, "/before"},
        {ACK_CLICK, "{\"ids\":[\"" ID1 "\"]}", REJECT_MISSING_FIELD, "/url"},
        {ACK_CLICK, "{\"ids\":[\"" ID1 "\"],\"url\":\"javascript:x\"}", REJECT_BAD_VALUE, "/url"},
        {ACK_CLICK, "{\"all\":true,\"url\":\"https://example.org\"}", REJECT_UNKNOWN_FIELD, "/all"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rejection rejection;
        struct ack ack;

        if (ack_decode(cases[i].kind, cases[i].payload, strlen(cases[i].payload), *state, &ack,
                       &rejection) == 0 ||
            rejection.reason != cases[i].reason || strcmp(rejection.pointer, cases[i].pointer) != 0)
            fail_msg("%s: %s at %s", cases[i].payload, reject_name(rejection.reason),
                     rejection.pointer);
        assert_true(strlen(rejection.detail) > 0);
    }
}

static void at_most_five_hundred_ids_are_taken(void **state)
{
    for (int count = 500; count <= 501; count++) {
        char payload[16384] = "{\"ids\":[";
        struct rejection rejection;
        struct ack ack;
        size_t used = strlen(payload);

        for (int i = 0; i < count; i++)
            used += (size_t)snprintf(payload + used, sizeof payload - used, "\"%016x\",", i);
        memcpy(payload + used - 1, "]}", 3);
        assert_int_equal(ack_decode(ACK_ACK, payload, strlen(payload), *state, &ack, &rejection),
                         count == 500 ? 0 : ERR_INVALID);
        assert_int_equal(rejection.reason, count == 500 ? REJECT_NONE : REJECT_TOO_LARGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_read_as_it_is_written),
        cmocka_unit_test_setup_teardown(good_events_are_decoded, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_events_say_what_is_wrong_and_where, setup, teardown),
        cmocka_unit_test_setup_teardown(at_most_five_hundred_ids_are_taken, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

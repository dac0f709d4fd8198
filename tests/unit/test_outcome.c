/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/outcome.h"
#include "core/utf8.h"

static void every_reason_is_read_as_it_is_written(void **state)
{
    (void)state;
    assert_string_equal(reason_name(REASON_NONE), "");
    for (int i = 1; i < REASON_COUNT; i++) {
        enum reason reason = REASON_NONE;

        assert_int_equal(reason_parse(reason_name((enum reason)i), &reason), 0);
        assert_int_equal(reason, i);
    }
}

static void unknown_reasons_are_not_found(void **state)
{
    enum reason reason;

    (void)state;
    assert_int_equal(reason_parse("", &reason), ERR_NOT_FOUND);
    assert_int_equal(reason_parse("offline", &reason), ERR_NOT_FOUND);
}

static void stored_numbers_never_change(void **state)
{
    (void)state;
    assert_string_equal(outcome_name((enum outcome_kind)0), "delivered");
    assert_string_equal(outcome_name((enum outcome_kind)4), "throttle");
    assert_string_equal(outcome_name((enum outcome_kind)11), "suppressed");
    assert_string_equal(reason_name((enum reason)1), "user_offline");
    assert_string_equal(reason_name((enum reason)10), "connection_lost");
    assert_string_equal(reason_name((enum reason)17), "internal");
    assert_string_equal(reason_name((enum reason)18), "preference_off");
    assert_string_equal(reason_name((enum reason)25), "user_forgotten");
}

static void only_the_reasons_for_not_wanting_are_suppressions(void **state)
{
    (void)state;
    assert_false(reason_is_suppression(REASON_NONE));
    assert_false(reason_is_suppression(REASON_INTERNAL));
    assert_true(reason_is_suppression(REASON_PREFERENCE_OFF));
    assert_true(reason_is_suppression(REASON_OPTED_OUT));
    assert_true(reason_is_suppression(REASON_USER_FORGOTTEN));
}

static void detail_is_cut_and_printable(void **state)
{
    static const struct {
        const char *given, *kept;
    } cases[] = {
        {NULL, ""},
        {"Service Unavailable", "Service Unavailable"},
        {"two\r\nlines\x1b[31m\x7f", "two??lines?[31m?"},
        {"gr\xC3\xBCn", "gr\xC3\xBCn"},
        {"\xC2\x85next", "?next"},
        {"bad \xFF\xC3", "bad ??"},
    };
    char text[400];
    struct outcome outcome;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        outcome_set(&outcome, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE, cases[i].given);
        assert_string_equal(outcome.detail, cases[i].kept);
    }
    for (size_t i = 0; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "\xC3\xBC", 3);
    outcome_set(&outcome, OUTCOME_PERMANENT, REASON_CONTENT_INVALID, text);
    assert_int_equal(strlen(outcome.detail), sizeof outcome.detail - 2);
    assert_true(utf8_is_valid(outcome.detail, strlen(outcome.detail)));
}

static void setting_leaves_nothing_of_the_former_outcome(void **state)
{
    struct outcome outcome;

    (void)state;
    memset(&outcome, 0xA5, sizeof outcome);
    outcome_set(&outcome, OUTCOME_DELIVERED, REASON_NONE, "");
    assert_int_equal(outcome.kind, OUTCOME_DELIVERED);
    assert_int_equal(outcome.retry_after_ms, -1);
    assert_int_equal(outcome.status, 0);
    assert_int_equal(outcome.segments, 0);
    assert_false(outcome.is_connection);
    assert_string_equal(outcome.provider_id, "");
    assert_string_equal(outcome.code, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reason_is_read_as_it_is_written),
        cmocka_unit_test(unknown_reasons_are_not_found),
        cmocka_unit_test(stored_numbers_never_change),
        cmocka_unit_test(only_the_reasons_for_not_wanting_are_suppressions),
        cmocka_unit_test(detail_is_cut_and_printable),
        cmocka_unit_test(setting_leaves_nothing_of_the_former_outcome),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

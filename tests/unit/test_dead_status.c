/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/dead_status.h"

static void statuses_are_read_as_they_are_written(void **state)
{
    (void)state;
    for (int i = 0; i < DEAD_STATUS_COUNT; i++) {
        enum dead_status status = DEAD_STATUS_COUNT;

        assert_int_equal(dead_status_parse(dead_status_name((enum dead_status)i), &status), 0);
        assert_int_equal(status, i);
    }
    enum dead_status status;
    assert_int_equal(dead_status_parse("", &status), ERR_NOT_FOUND);
    assert_int_equal(dead_status_parse("any", &status), ERR_NOT_FOUND);
}

static void stored_numbers_never_change(void **state)
{
    (void)state;
    assert_string_equal(dead_status_name((enum dead_status)0), "pending_review");
    assert_string_equal(dead_status_name((enum dead_status)1), "retrying");
    assert_string_equal(dead_status_name((enum dead_status)2), "resolved");
    assert_string_equal(dead_status_name((enum dead_status)3), "ignored");
    assert_string_equal(dead_status_name((enum dead_status)4), "");
}

static void nothing_moves_to_where_it_is_or_back_to_review(void **state)
{
    (void)state;
    for (int i = 0; i < DEAD_STATUS_COUNT; i++) {
        assert_false(dead_status_can_move((enum dead_status)i, (enum dead_status)i));
        assert_false(dead_status_can_move((enum dead_status)i, DEAD_PENDING_REVIEW));
    }
    assert_int_equal(dead_status_sources(DEAD_PENDING_REVIEW), 0);
}

static void sources_are_the_moves_read_backwards(void **state)
{
    (void)state;
    assert_int_equal(dead_status_sources(DEAD_RETRYING),
                     1u << DEAD_PENDING_REVIEW | 1u << DEAD_RESOLVED | 1u << DEAD_IGNORED);
    for (int to = 0; to < DEAD_STATUS_COUNT; to++)
        for (int from = 0; from < DEAD_STATUS_COUNT; from++)
            assert_int_equal(dead_status_sources((enum dead_status)to) >> from & 1,
                             dead_status_can_move((enum dead_status)from, (enum dead_status)to));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses_are_read_as_they_are_written),
        cmocka_unit_test(stored_numbers_never_change),
        cmocka_unit_test(nothing_moves_to_where_it_is_or_back_to_review),
        cmocka_unit_test(sources_are_the_moves_read_backwards),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

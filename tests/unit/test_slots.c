/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/slots.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static void the_tightest_limit_gives_the_spacing(void **state)
{
    static const struct {
        struct rate_config config;
        int64_t want_us;
    } rows[] = {
        {{0, 0, 0, 0}, 0},           {{50, 0, 0, 0}, 20000},
        {{3, 0, 0, 0}, 333334}, /* rounded up */
        {{100, 60, 0, 0}, 1000000},  {{0, 0, 3600, 0}, 1000000},
        {{0, 0, 0, 86400}, 1000000}, {{10, 6000, 360000, 86400}, 1000000},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_int_equal(rate_spacing_us(&rows[i].config), rows[i].want_us);
}

static void without_a_limit_all_may_go(void **state)
{
    struct slots slots = {0};
    int64_t wait_us;

    (void)state;
    assert_int_equal(slots_wanted(&slots, 1000, 5), 0);
    assert_true(slots_ready(&slots, 5, &wait_us));
    slots_use(&slots);
    assert_true(slots_ready(&slots, 5, &wait_us));
}

static void a_quarter_of_a_second_is_taken_ahead_and_no_more_than_wait(void **state)
{
    struct slots slots = {.spacing_us = 20000};

    (void)state;
    assert_int_equal(slots_wanted(&slots, 1000, 0), 12);
    assert_int_equal(slots_wanted(&slots, 3, 0), 3);
    slots_give(&slots, 12, 0);
    assert_int_equal(slots_wanted(&slots, 1000, 0), 0);
    slots.spacing_us = 10000000;
    slots.gift[0].left = 0;
    assert_int_equal(slots_wanted(&slots, 5, 0), 1);
}

static void each_moment_is_used_when_it_has_come(void **state)
{
    struct slots slots = {.spacing_us = 20000};
    int64_t wait_us;

    (void)state;
    assert_false(slots_ready(&slots, 0, &wait_us));
    assert_int_equal(wait_us, -1);
    slots_give(&slots, 2, 1000);
    assert_false(slots_ready(&slots, 0, &wait_us));
    assert_int_equal(wait_us, 1000);
    assert_true(slots_ready(&slots, 1000, &wait_us));
    slots_use(&slots);
    assert_false(slots_ready(&slots, 2000, &wait_us));
    assert_int_equal(wait_us, 19000);
    assert_true(slots_ready(&slots, 21000, &wait_us));
    slots_use(&slots);
    assert_false(slots_ready(&slots, 21000, &wait_us));
    assert_int_equal(wait_us, -1);
}

static void others_moments_between_two_gifts_stay_theirs(void **state)
{
    struct slots slots = {.spacing_us = 20000};
    int64_t wait_us;

    (void)state;
    slots_give(&slots, 1, 0);
    slots_give(&slots, 1, 100000);
    assert_true(slots_ready(&slots, 0, &wait_us));
    slots_use(&slots);
    assert_false(slots_ready(&slots, 20000, &wait_us));
    assert_int_equal(wait_us, 80000);
}

static void a_moment_that_has_passed_is_lost(void **state)
{
    struct slots slots = {.spacing_us = 20000};
    int64_t wait_us;
    unsigned used = 0;

    (void)state;
    slots_give(&slots, 12, 0);
    while (slots_ready(&slots, 200000, &wait_us)) {
        slots_use(&slots);
        used++;
    }
    assert_in_range(used, 1, 2);
}

static void no_second_sees_more_than_the_rate(void **state)
{
    struct slots slots = {.spacing_us = 20000};
    int64_t sent[400];
    int64_t next_us = 0, wait_us;
    int count = 0;

    (void)state;
    /* A loop that wakes at odd times, and a database that gives what is asked for. */
    for (int64_t now_us = 0; count < 400; now_us += 1700) {
        unsigned want = slots_wanted(&slots, 1000, now_us);

        if (want) {
            if (next_us < now_us)
                next_us = now_us;
            slots_give(&slots, want, next_us);
            next_us += want * slots.spacing_us;
        }
        while (count < 400 && slots_ready(&slots, now_us, &wait_us)) {
            slots_use(&slots);
            sent[count++] = now_us;
        }
    }
    for (int i = 0; i + 51 < count; i++)
        assert_true(sent[i + 51] - sent[i] >= 1000000);
    assert_true(sent[399] < 8400000); /* and hardly less: 400 take eight seconds */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tightest_limit_gives_the_spacing),
        cmocka_unit_test(without_a_limit_all_may_go),
        cmocka_unit_test(a_quarter_of_a_second_is_taken_ahead_and_no_more_than_wait),
        cmocka_unit_test(each_moment_is_used_when_it_has_come),
        cmocka_unit_test(others_moments_between_two_gifts_stay_theirs),
        cmocka_unit_test(a_moment_that_has_passed_is_lost),
        cmocka_unit_test(no_second_sees_more_than_the_rate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"

#define HOUR_US INT64_C(3600000000)
#define NEAR_US 50000 /* for what passes between two lines of a test */

static void assert_near(int64_t is, int64_t want)
{
    assert_in_range(is - want + NEAR_US, 0, 2 * NEAR_US);
}

static void wall_time_is_the_machines_until_the_database_is_heard(void **state)
{
    (void)state;
    assert_near(clock_wall_us(), clock_machine_us());
}

static void then_it_is_the_databases_and_goes_on_by_itself(void **state)
{
    static const int64_t aheads[] = {2 * HOUR_US, -2 * HOUR_US, 0, 90000000};

    (void)state;
    for (size_t i = 0; i < sizeof(aheads) / sizeof(aheads[0]); i++) {
        int64_t now = clock_boot_us();

        clock_steer(clock_machine_us() + aheads[i], now, now);
        assert_near(clock_wall_us(), clock_machine_us() + aheads[i]);
        assert_near(clock_wall_ms() * 1000, clock_machine_us() + aheads[i]);
    }
}

/* An answer that took a second says no more than that second; what agrees with it stays. */
static void what_an_answer_allows_is_kept(void **state)
{
    int64_t now = clock_boot_us(), wall = clock_machine_us() + HOUR_US;

    (void)state;
    clock_steer(wall, now, now);
    clock_steer(wall - 900000, now - 1000000, now);
    assert_near(clock_wall_us(), clock_machine_us() + HOUR_US);
    clock_steer(wall - 1000000 - 700000, now - 1000000, now); /* at least 0.7 s behind us */
    assert_near(clock_wall_us(), clock_machine_us() + HOUR_US - 700000);
    clock_steer(wall + 3000000, now - 1000000, now); /* at least 3 s ahead */
    assert_near(clock_wall_us(), clock_machine_us() + HOUR_US + 3000000);
}

/* What a clock said before it was set counts as well, for what happened around that moment. */
static void the_least_is_that_of_both_times_of_a_clock_that_was_set(void **state)
{
    int64_t now = clock_boot_us(), wall = clock_machine_us();

    (void)state;
    clock_steer(wall, now, now);
    clock_steer(wall - HOUR_US, now, now); /* set back */
    assert_true(clock_wall_least_us(now) < wall - HOUR_US);
    clock_steer(wall + HOUR_US, now, now); /* and forth: what it was before may be in rows yet */
    assert_near(clock_wall_us(), clock_machine_us() + HOUR_US);
    assert_true(clock_wall_least_us(now) < wall - HOUR_US);
    assert_true(clock_wall_most_us(now) > wall + HOUR_US);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wall_time_is_the_machines_until_the_database_is_heard),
        cmocka_unit_test(then_it_is_the_databases_and_goes_on_by_itself),
        cmocka_unit_test(what_an_answer_allows_is_kept),
        cmocka_unit_test(the_least_is_that_of_both_times_of_a_clock_that_was_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

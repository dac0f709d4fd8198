/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/bucket.h"

#define SECOND 1000
#define MINUTE 60000

static void without_limits_there_is_always_room(void **state)
{
    const struct bucket_config config = {0};
    struct bucket bucket;

    (void)state;
    bucket_init(&bucket, &config, 0);
    for (int i = 0; i < 100000; i++)
        assert_true(bucket_take(&bucket, 0));
    assert_int_equal(bucket_room(&bucket, 12345, 0), 12345);
    assert_int_equal(bucket_next_ms(&bucket, 0), 0);
}

/* Takes whatever there is, looking every step ms; returns the most that any window saw. */
static size_t most_in_any(const struct bucket_config *config, int64_t window_ms, int64_t step_ms,
                          int64_t span_ms, size_t *all)
{
    int64_t *taken = calloc((size_t)span_ms * 2 + 16, sizeof *taken);
    size_t count = 0, first = 0, most = 0;
    struct bucket bucket;

    bucket_init(&bucket, config, 0);
    for (int64_t now = 0; now < span_ms; now += step_ms)
        while (bucket_take(&bucket, now))
            taken[count++] = now;
    for (size_t i = 0; i < count; i++) {
        while (taken[first] + window_ms <= taken[i])
            first++;
        if (i - first + 1 > most)
            most = i - first + 1;
    }
    free(taken);
    *all = count;
    return most;
}

static void no_period_sees_more_than_its_allowance_and_hardly_less(void **state)
{
    static const struct {
        struct bucket_config config;
        int64_t window_ms, step_ms, span_ms;
        size_t most, least;
    } cases[] = {
        {{.per_second = 1}, SECOND, 1, 20 * SECOND, 1, 20},
        {{.per_second = 50}, SECOND, 1, 20 * SECOND, 50, 1000},
        {{.per_second = 50}, SECOND, 7, 20 * SECOND, 50, 800},
        {{.per_second = 1000}, SECOND, 1, 20 * SECOND, 1000, 19600},
        {{.per_second = 1000}, SECOND, 15, 20 * SECOND, 1000, 19400},
        {{.per_minute = 60}, MINUTE, 10, 10 * MINUTE, 60, 600},
        {{.per_minute = 1000}, MINUTE, 10, 10 * MINUTE, 1000, 9900},
        {{.per_hour = 100}, 60 * MINUTE, 100, 600 * MINUTE, 100, 1000},
        {{.per_second = 10, .per_minute = 60}, MINUTE, 1, 5 * MINUTE, 60, 300},
        {{.per_second = 1, .per_minute = 600}, SECOND, 1, 5 * MINUTE, 1, 300},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t all, most = most_in_any(&cases[i].config, cases[i].window_ms, cases[i].step_ms,
                                       cases[i].span_ms, &all);

        if (most > cases[i].most || all < cases[i].least)
            fail_msg("case %zu: %zu in one period, %zu in all", i, most, all);
    }
}

static void the_next_time_is_when_one_may_go_and_not_before(void **state)
{
    const struct bucket_config config = {.per_second = 3, .per_minute = 100};
    struct bucket bucket;
    int64_t now = 12345;

    (void)state;
    bucket_init(&bucket, &config, now);
    for (int i = 0; i < 1000; i++) {
        int64_t next;

        while (bucket_take(&bucket, now))
            ;
        next = bucket_next_ms(&bucket, now);
        assert_true(next > now);
        assert_int_equal(bucket_room(&bucket, 9, next - 1), 0);
        assert_int_equal(bucket_room(&bucket, 9, next), 1);
        now = next;
    }
}

static void idleness_saves_up_no_more_than_a_burst(void **state)
{
    const struct bucket_config config = {.per_second = 500};
    struct bucket bucket;

    (void)state;
    bucket_init(&bucket, &config, 0);
    assert_int_equal(bucket_room(&bucket, 500, 3600000), 10);
    assert_int_equal(bucket_room(&bucket, 4, 3600000), 4);
}

static void a_limit_set_later_starts_without_debts(void **state)
{
    struct bucket_config config = {0};
    struct bucket bucket;

    (void)state;
    bucket_init(&bucket, &config, 0);
    for (int i = 0; i < 1000; i++)
        assert_true(bucket_take(&bucket, 0));
    config.per_second = 10;
    assert_true(bucket_take(&bucket, 1));
    assert_false(bucket_take(&bucket, 1));
}

static void a_clock_that_stands_still_fills_nothing(void **state)
{
    const struct bucket_config config = {.per_second = 1};
    struct bucket bucket;

    (void)state;
    bucket_init(&bucket, &config, 5000);
    assert_true(bucket_take(&bucket, 5000));
    assert_false(bucket_take(&bucket, 5000));
    assert_false(bucket_take(&bucket, 4000));
    assert_true(bucket_take(&bucket, 6000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_limits_there_is_always_room),
        cmocka_unit_test(no_period_sees_more_than_its_allowance_and_hardly_less),
        cmocka_unit_test(the_next_time_is_when_one_may_go_and_not_before),
        cmocka_unit_test(idleness_saves_up_no_more_than_a_burst),
        cmocka_unit_test(a_limit_set_later_starts_without_debts),
        cmocka_unit_test(a_clock_that_stands_still_fills_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

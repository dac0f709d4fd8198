/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/id.h"

#define NOW INT64_C(1795132800000) /* 2026-11-20 */

static void ids_grow_and_tell_their_time(void **state)
{
    struct id_source source;
    uint64_t last = 0;

    (void)state;
    id_source_init(&source, 7);
    for (int64_t now = NOW; now < NOW + 10; now++) {
        uint64_t id = id_take(&source, now, 1);

        assert_true(id > last);
        assert_int_equal(id_wall_ms(id), now);
        assert_int_equal(id >> 12 & 1023, 7);
        last = id;
    }
}

static void a_clock_that_goes_back_does_not_take_the_ids_with_it(void **state)
{
    struct id_source source;
    uint64_t first, second;

    (void)state;
    id_source_init(&source, 0);
    first = id_take(&source, NOW, 1);
    second = id_take(&source, NOW - 5000, 1);
    assert_true(second == first + 1);
}

static void runs_do_not_overlap_and_never_touch_the_node(void **state)
{
    static const size_t runs[] = {1, 2, 4000, 100, 4096, 1, 10001, 4097, 3, 60001, 1};
    struct id_source source;
    uint64_t last = 0;

    (void)state;
    id_source_init(&source, 1023);
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        uint64_t first = id_take(&source, NOW, runs[i]), id = first;

        assert_true(first > last);
        for (size_t n = 0; n < runs[i]; n++, id = id_next(id)) {
            assert_int_equal(id >> 12 & 1023, 1023);
            assert_true(id > last);
            if (runs[i] <= 4096)
                assert_true(id == first + n);
            last = id;
        }
        assert_true(source.last == last);
    }
}

static void what_is_taken_beyond_a_millisecond_runs_ahead_of_the_clock(void **state)
{
    struct id_source source;

    (void)state;
    id_source_init(&source, 1);
    (void)id_take(&source, NOW, 4096);
    assert_int_equal(id_wall_ms(id_take(&source, NOW, 1)), NOW + 1);
    assert_int_equal(id_wall_ms(id_take(&source, NOW + 1, 1)), NOW + 1);
    assert_int_equal(id_wall_ms(id_take(&source, NOW + 2, 1)), NOW + 2);
}

static void the_lower_bound_of_a_time_is_below_all_its_ids(void **state)
{
    struct id_source source;

    (void)state;
    id_source_init(&source, 0);
    assert_true(id_first_of(NOW) == id_take(&source, NOW, 1));
    assert_true(id_first_of(NOW + 1) > source.last);
    assert_true(id_first_of(-1) == 0);
}

/* 2039-09-07 15:47:35.551 UTC is the last millisecond that leaves a bigint positive. */
static void outside_its_time_there_are_no_ids(void **state)
{
    static const int64_t last = INT64_C(2199023255551);
    struct id_source source;

    (void)state;
    id_source_init(&source, 1023);
    assert_true(id_take(&source, -1, 1) == 0);
    assert_true(id_take(&source, last + 1, 1) == 0);
    assert_true(id_take(&source, last - 1, 100000) == 0); /* its run would go past the end */
    assert_true((int64_t)id_take(&source, last, 4096) > 0);
    assert_true(id_take(&source, last, 1) == 0);
    assert_true(id_take(&source, NOW, 1) == 0); /* it never goes back */
}

static void ids_start_after_those_that_are_there(void **state)
{
    struct id_source source;

    (void)state;
    id_source_init(&source, 3);
    id_start_after(&source, 0);
    assert_int_equal(id_wall_ms(id_take(&source, NOW, 1)), NOW);
    id_start_after(&source, NOW + 8000);
    assert_int_equal(id_wall_ms(id_take(&source, NOW + 1, 1)), NOW + 8001);
    id_start_after(&source, NOW);
    assert_int_equal(id_wall_ms(id_take(&source, NOW + 2, 1)), NOW + 8001);
    id_start_after(&source, INT64_MAX);
    assert_int_equal(id_wall_ms(id_take(&source, NOW + 3, 1)), NOW + 8001);
}

static void text_is_sixteen_lower_case_hex_digits_and_nothing_else(void **state)
{
    static const char *const bad[] = {"",
                                      "0",
                                      "123456789abcdef",
                                      "0123456789abcdef0",
                                      "0123456789ABCDEF",
                                      "0123456789abcdeg",
                                      " 123456789abcdef"};
    char text[ID_TEXT_BYTES];
    uint64_t id = 0;

    (void)state;
    assert_string_equal(id_format(UINT64_C(0x0123456789abcdef), text), "0123456789abcdef");
    assert_int_equal(id_parse(text, &id), 0);
    assert_true(id == UINT64_C(0x0123456789abcdef));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(id_parse(bad[i], &id), ERR_INVALID);
}

static void no_id_is_made_outside_of_the_times_that_ids_can_name(void **state)
{
    static const int64_t end_ms = (INT64_C(1) << 41) - 1;
    struct id_source source;

    (void)state;
    id_source_init(&source, 1);
    assert_int_equal(id_take(&source, end_ms + 1, 1), 0);
    assert_int_equal(id_take(&source, end_ms, 8192), 0);
    assert_int_equal(id_take(&source, INT64_MAX, 1), 0);
    assert_int_not_equal(id_take(&source, end_ms, 1), 0);
    assert_true(id_can_take(NOW));
    assert_false(id_can_take(-1));
    assert_false(id_can_take(end_ms));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_grow_and_tell_their_time),
        cmocka_unit_test(a_clock_that_goes_back_does_not_take_the_ids_with_it),
        cmocka_unit_test(runs_do_not_overlap_and_never_touch_the_node),
        cmocka_unit_test(what_is_taken_beyond_a_millisecond_runs_ahead_of_the_clock),
        cmocka_unit_test(the_lower_bound_of_a_time_is_below_all_its_ids),
        cmocka_unit_test(outside_its_time_there_are_no_ids),
        cmocka_unit_test(ids_start_after_those_that_are_there),
        cmocka_unit_test(text_is_sixteen_lower_case_hex_digits_and_nothing_else),
        cmocka_unit_test(no_id_is_made_outside_of_the_times_that_ids_can_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

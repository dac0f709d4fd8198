/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/cursor.h"

static void a_cursor_is_read_as_it_was_written(void **state)
{
    static const struct cursor cases[] = {{true, 0, 0},
                                          {false, 1, 2},
                                          {true, INT64_MAX, INT64_MAX},
                                          {false, 4711, UINT64_C(0x687eeda616401001)}};
    char text[CURSOR_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cursor read;

        assert_int_equal(cursor_read(cursor_write(&cases[i], text), &read), 0);
        assert_int_equal(read.is_rising, cases[i].is_rising);
        assert_int_equal(read.seq, cases[i].seq);
        assert_int_equal(read.shared, cases[i].shared);
    }
}

static void any_other_text_is_refused(void **state)
{
    static const char *const cases[] = {"",
                                        "u",
                                        "u1",
                                        "u1-",
                                        "u-0000000000000001",
                                        "x1-0000000000000001",
                                        "u1-000000000000001",
                                        "u1-00000000000000011",
                                        "u1-000000000000000g",
                                        "u+1-0000000000000001",
                                        "u9223372036854775808-0000000000000001",
                                        "u18446744073709551616-0000000000000001"};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cursor read;

        assert_int_equal(cursor_read(cases[i], &read), ERR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cursor_is_read_as_it_was_written),
        cmocka_unit_test(any_other_text_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

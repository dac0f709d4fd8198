/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/utf8.h"

static void every_code_point_survives_encoding_and_nothing_else_is_well_formed(void **state)
{
    char text[4];

    (void)state;
    for (uint32_t code = 0; code <= 0x10FFFF; code++) {
        uint32_t back = 0;
        size_t size = utf8_encode(code, text);

        if (code >= 0xD800 && code <= 0xDFFF) {
            assert_int_equal(utf8_char(text, size), 0);
            continue;
        }
        assert_int_equal(utf8_char(text, size), size);
        assert_int_equal(utf8_decode(text, size, &back), size);
        assert_int_equal(back, code);
        if (size > 1)
            assert_int_equal(utf8_char(text, size - 1), 0);
    }
}

static void what_is_not_well_formed_is_refused(void **state)
{
    static const char *const bad[] = {
        "\x80",
        "\xBF",
        "\xC0\x80",
        "\xC1\xBF",
        "\xC2",
        "\xC2\x41",
        "\xE0\x9F\xBF",
        "\xED\xA0\x80",
        "\xE2\x82",
        "\xE2\x82\x41",
        "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80",
        "\xFF",
        "a\xFE",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(utf8_is_valid(bad[i], strlen(bad[i])));
}

static void characters_are_counted_not_bytes(void **state)
{
    (void)state;
    assert_int_equal(utf8_count("", 0), 0);
    assert_int_equal(utf8_count("abc", 3), 3);
    assert_int_equal(utf8_count("Gr\xC3\xBC\xC3\x9F"
                                "e",
                                7),
                     5);
    assert_int_equal(utf8_count("\xF0\x9F\x9A\x80", 4), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_survives_encoding_and_nothing_else_is_well_formed),
        cmocka_unit_test(what_is_not_well_formed_is_refused),
        cmocka_unit_test(characters_are_counted_not_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

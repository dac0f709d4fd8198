/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/sms.h"
#include "core/utf8.h"

#define ROCKET "\xF0\x9F\x9A\x80"
#define EURO   "\xE2\x82\xAC"

/* count times one text, then another, then count times the first again. */
struct repeated {
    const char *unit;
    int before;
    const char *middle;
    int after;
    bool is_ucs2;
    int segments, units;
};

static const struct repeated measured[] = {
    {"a", 0, "", 0, false, 1, 0},
    {"a", 160, "", 0, false, 1, 160},
    {"a", 161, "", 0, false, 2, 161},
    {"a", 306, "", 0, false, 2, 306},
    {"a", 307, "", 0, false, 3, 307},
    {"a", 159, EURO, 0, false, 2, 161},
    {"a", 158, EURO, 0, false, 1, 160},
    {"a", 152, EURO, 152, false, 3, 306}, /* the pair is not split: the whole is no bound */
    {"a", 151, EURO, 153, false, 2, 306},
    {"\xC3\xBC", 160, "", 0, false, 1, 160},
    {"\xC3\xA7", 70, "", 0, true, 1, 70},
    {"\xC3\xA7", 71, "", 0, true, 2, 71},
    {"\xC3\xA7", 134, "", 0, true, 2, 134},
    {"\xC3\xA7", 135, "", 0, true, 3, 135},
    {ROCKET, 35, "", 0, true, 1, 70},
    {ROCKET, 36, "", 0, true, 2, 72},
    {"\xC3\xA7", 66, ROCKET, 66, true, 3, 134}, /* 66; the pair and 65; 1 */
    {"\xC3\xA7", 66, ROCKET, 65, true, 2, 133},
    {"a", 69, ROCKET, 0, true, 2, 71},
    {"a", 68, ROCKET, 0, true, 1, 70},
};

static void parts_are_counted_as_carriers_do(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof measured / sizeof *measured; i++) {
        const struct repeated *c = &measured[i];
        char text[2048] = "";
        struct sms_size size;

        for (int n = 0; n < c->before + 1 + c->after; n++)
            strncat(text, n == c->before ? c->middle : c->unit, sizeof text - strlen(text) - 1);
        size = sms_measure(text, strlen(text));
        if (size.is_ucs2 != c->is_ucs2 || size.segments != c->segments || size.units != c->units)
            fail_msg("case %zu: %d parts, %d units, ucs2 %d", i, size.segments, size.units,
                     size.is_ucs2);
    }
}

/* The tables of 3GPP TS 23.038 6.2.1 as text, in their own order; the escape left out. */
static const char basic[] = "@\xC2\xA3$\xC2\xA5\xC3\xA8\xC3\xA9\xC3\xB9\xC3\xAC\xC3\xB2\xC3\x87\n"
                            "\xC3\x98\xC3\xB8\r\xC3\x85\xC3\xA5\xCE\x94_\xCE\xA6\xCE\x93\xCE\x9B"
                            "\xCE\xA9\xCE\xA0\xCE\xA8\xCE\xA3\xCE\x98\xCE\x9E\xC3\x86\xC3\xA6"
                            "\xC3\x9F\xC3\x89 !\"#\xC2\xA4%&'()*+,-./0123456789:;<=>?\xC2\xA1"
                            "ABCDEFGHIJKLMNOPQRSTUVWXYZ\xC3\x84\xC3\x96\xC3\x91\xC3\x9C\xC2\xA7"
                            "\xC2\xBF"
                            "abcdefghijklmnopqrstuvwxyz\xC3\xA4\xC3\xB6\xC3\xB1\xC3\xBC\xC3\xA0";
static const char extended[] = "\f^{}\\[~]|" EURO;

/* How often a character is in a table. */
static int times_in(const char *table, const char *character)
{
    return strstr(table, character) != NULL;
}

static void every_character_has_the_width_of_the_standard(void **state)
{
    (void)state;
    assert_int_equal(utf8_count(basic, strlen(basic)), 127);
    for (uint32_t code = 1; code <= 0x2FFF; code++) {
        char text[5] = {0};
        struct sms_size size;
        int want;

        if (code >= 0xD800 && code <= 0xDFFF)
            continue;
        (void)utf8_encode(code, text);
        size = sms_measure(text, strlen(text));
        want = times_in(basic, text) ? 1 : times_in(extended, text) ? 2 : 0;
        if (size.is_ucs2 != (want == 0) || (want && size.units != want))
            fail_msg("U+%04X: %d units, ucs2 %d", code, size.units, size.is_ucs2);
    }
}

static void the_first_character_that_is_not_gsm_is_pointed_at(void **state)
{
    static const char text[] = "caf\xC3\xA9 gar\xC3\xA7on";

    (void)state;
    assert_null(sms_first_beyond_gsm("caf\xC3\xA9", 5));
    assert_ptr_equal(sms_first_beyond_gsm(text, strlen(text)), strstr(text, "\xC3\xA7"));
}

static void what_is_not_text_is_counted_and_not_trusted(void **state)
{
    struct sms_size size = sms_measure("\xFF\xC3", 2);

    (void)state;
    assert_true(size.is_ucs2);
    assert_int_equal(size.units, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_counted_as_carriers_do),
        cmocka_unit_test(every_character_has_the_width_of_the_standard),
        cmocka_unit_test(the_first_character_that_is_not_gsm_is_pointed_at),
        cmocka_unit_test(what_is_not_text_is_counted_and_not_trusted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

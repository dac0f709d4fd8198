/* SPDX-License-Identifier: MIT */
#include "io/lost_line.h"
#include "io/token_expiry.h"
#include "services/token_watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static size_t encode(const char *text, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t length = strlen(text), at = 0;
    unsigned bits = 0, held = 0;

    for (size_t i = 0; i < length; i++) {
        bits = bits << 8 | (unsigned char)text[i];
        for (held += 8; held >= 6; held -= 6)
            out[at++] = digits[bits >> (held - 6) & 63];
    }
    if (held)
        out[at++] = digits[bits << (6 - held) & 63];
    return at;
}

static int times_of(const char *claims, struct token_times *out)
{
    char token[2048] = "e30.";
    size_t length = 4 + encode(claims, token + 4);

    memcpy(token + length, ".sig", 4);
    return token_times_read(token, length + 4, out);
}

static void the_times_of_a_token_are_those_of_its_outermost_object(void **state)
{
    static const struct {
        const char *claims;
        int64_t expires_s, issued_s; /* expires_s 0: there is none */
    } cases[] = {
        {"{\"exp\":1790000000,\"iat\":1780000000}", 1790000000, 1780000000},
        {"{ \"exp\" : 1790000000.5 }", 1790000000, 0},
        {"{\"act\":{\"exp\":1},\"list\":[{\"exp\":2}],\"exp\":3}", 3, 0},
        {"{\"sub\":\"\\\"exp\\\":9\",\"exp\":4}", 4, 0},
        {"{\"x\":\"exp\",\"exp\":5}", 5, 0},
        {"{\"sub\":\"exp\"}", 0, 0},
        {"{\"exp\":\"soon\"}", 0, 0},
        {"{\"exp\"}", 0, 0},
        {"{\"exp\":6,\"sub\":\"open", 6, 0},
        {"{\"open", 0, 0},
        {"", 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct token_times found = {0};
        int err = times_of(cases[i].claims, &found);

        if (!err != (cases[i].expires_s != 0) || (!err && (found.expires_s != cases[i].expires_s ||
                                                           found.issued_s != cases[i].issued_s)))
            fail_msg("%s: %d, %lld, %lld", cases[i].claims, err, (long long)found.expires_s,
                     (long long)found.issued_s);
    }
}

static void what_is_no_token_has_no_times(void **state)
{
    static const char *const tokens[] = {"", ".", "..", "a.b", "a.!!!.c", "no token at all"};
    struct token_times found;

    (void)state;
    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
        assert_int_equal(token_times_read(tokens[i], strlen(tokens[i]), &found), ERR_INVALID);
}

static void warnings_begin_a_fifth_of_the_lifetime_before_its_end_and_a_week_at_most(void **state)
{
    (void)state;
    assert_int_equal(token_watch_ahead_s(3600), 720);
    assert_int_equal(token_watch_ahead_s(30 * 86400), 6 * 86400);
    assert_int_equal(token_watch_ahead_s(365 * 86400), 7 * 86400);
    assert_int_equal(token_watch_ahead_s(0), 7 * 86400);
}

static void an_outage_is_a_line_and_then_one_a_minute_or_for_a_new_reason(void **state)
{
    struct lost_line line = {0};
    unsigned lines = 0;

    (void)state;
    for (unsigned i = 1; i <= 1000; i++) /* ten attempts a second */
        lines += lost_line_is_due(&line, i, "Connection refused", 5000 + i * 100);
    assert_int_equal(lines, 2);
    assert_true(lost_line_is_due(&line, 1001, "Not authorized", 105200));
    assert_false(lost_line_is_due(&line, 1002, "Not authorized", 105300));
    assert_true(lost_line_is_due(&line, 1, "Not authorized", 105400));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_times_of_a_token_are_those_of_its_outermost_object),
        cmocka_unit_test(what_is_no_token_has_no_times),
        cmocka_unit_test(warnings_begin_a_fifth_of_the_lifetime_before_its_end_and_a_week_at_most),
        cmocka_unit_test(an_outage_is_a_line_and_then_one_a_minute_or_for_a_new_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

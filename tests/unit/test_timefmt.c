/* SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "base/timefmt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static void walls_are_parsed_or_refused(void **state)
{
    static const struct {
        const char *input;
        int want_err;
        int64_t want;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0, 0},
        {"1970-01-01T00:00:00.001Z", 0, 1},
        {"1969-12-31T23:59:59.999Z", 0, -1},
        {"2026-11-20T12:34:56.789Z", 0, 1795178096789},
        {"2026-11-20T14:34:56.789+02:00", 0, 1795178096789},
        {"2026-11-20 07:04:56.789123-05:30", 0, 1795178096789},
        {"2026-11-20t12:34:56.789z", 0, 1795178096789},
        {"2024-02-29T00:00:00Z", 0, 1709164800000},
        {"2000-02-29T00:00:00Z", 0, 951782400000},
        {"2016-12-31T23:59:60Z", 0, 1483228800000},
        {"2026-11-20T12:34:56.7Z", 0, 1795178096700},
        {"2023-02-29T00:00:00Z", ERR_INVALID, 0},
        {"1900-02-29T00:00:00Z", ERR_INVALID, 0},
        {"2026-13-01T00:00:00Z", ERR_INVALID, 0},
        {"2026-00-01T00:00:00Z", ERR_INVALID, 0},
        {"2026-04-31T00:00:00Z", ERR_INVALID, 0},
        {"2026-04-00T00:00:00Z", ERR_INVALID, 0},
        {"2026-04-01T24:00:00Z", ERR_INVALID, 0},
        {"2026-04-01T00:60:00Z", ERR_INVALID, 0},
        {"2026-04-01T00:00:61Z", ERR_INVALID, 0},
        {"2026-04-01T00:00:00", ERR_INVALID, 0},
        {"2026-04-01T00:00:00.Z", ERR_INVALID, 0},
        {"2026-04-01T00:00:00+0200", ERR_INVALID, 0},
        {"2026-04-01T00:00:00+24:00", ERR_INVALID, 0},
        {"2026-04-01T00:00:00Zx", ERR_INVALID, 0},
        {"2026-4-1T00:00:00Z", ERR_INVALID, 0},
        {"2026-04-01", ERR_INVALID, 0},
        {"", ERR_INVALID, 0},
        {"now", ERR_INVALID, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t got = 0;
        int err = timefmt_parse_wall(cases[i].input, &got);

        if (err != cases[i].want_err || got != cases[i].want)
            fail_msg("%s: %d %lld", cases[i].input, err, (long long)got);
    }
}

static void walls_agree_with_libc(void **state)
{
    (void)state;
    for (int64_t second = -62167219200; second < 253402300800; second += 86400 * 97 + 12345) {
        time_t moment = (time_t)second;
        char ours[TIMEFMT_BYTES], theirs[64];
        int64_t back;
        struct tm tm;

        gmtime_r(&moment, &tm);
        strftime(theirs, sizeof theirs, "%Y-%m-%dT%H:%M:%S.042Z", &tm);
        if (tm.tm_year + 1900 < 1000)
            continue; /* %Y does not pad */
        assert_string_equal(timefmt_wall(second * 1000 + 42, ours), theirs);
        assert_int_equal(timefmt_parse_wall(ours, &back), 0);
        assert_int_equal(back, second * 1000 + 42);
    }
}

static void durations_are_parsed_or_refused(void **state)
{
    static const struct {
        const char *input;
        int64_t want; /* -1: refused */
    } cases[] = {
        {"500ms", 500},
        {"30s", 30000},
        {"5m", 300000},
        {"2h", 7200000},
        {"7d", 604800000},
        {"0s", 0},
        {"PT30S", 30000},
        {"PT0.5S", 500},
        {"PT1,25S", 1250},
        {"P1D", 86400000},
        {"P1DT2H", 93600000},
        {"PT1H30M", 5400000},
        {"P2W", 1209600000},
        {"PT0S", 0},
        {"P1DT2H3M4.005S", 93784005},
        {"30", -1},
        {"s", -1},
        {"", -1},
        {"-5s", -1},
        {"5 s", -1},
        {"5x", -1},
        {"1h30m", -1},
        {"P", -1},
        {"PT", -1},
        {"P1DT", -1},
        {"P1M", -1},
        {"P1Y", -1},
        {"P1H", -1},
        {"PT1D", -1},
        {"P1W1D", -1},
        {"PT1M1H", -1},
        {"PT1S1S", -1},
        {"PT1.5H", -1},
        {"P1.5D", -1},
        {"PT1.S", -1},
        {"PT.5S", -1},
        {"1.5s", -1},
        {"99999999999999999999s", -1},
        {"999999d", -1},
        {"P999999999999W", -1},
        {"p1d", -1},
        {"PT5", -1},
        {"P5", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t got = -1;
        int err = timefmt_parse_duration(cases[i].input, &got);

        if (got != cases[i].want || err != (cases[i].want < 0 ? ERR_INVALID : 0))
            fail_msg("%s: %d %lld", cases[i].input, err, (long long)got);
    }
}

static void durations_are_written_shortest(void **state)
{
    static const struct {
        int64_t ms;
        const char *want;
    } cases[] = {{0, "0s"},         {1, "1ms"},        {1500, "1500ms"}, {1000, "1s"},
                 {90000, "90s"},    {120000, "2m"},    {3600000, "1h"},  {86400000, "1d"},
                 {90000000, "25h"}, {604800000, "7d"}, {5400000, "90m"}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[TIMEFMT_BYTES];
        int64_t back;

        assert_string_equal(timefmt_duration(cases[i].ms, out), cases[i].want);
        assert_int_equal(timefmt_parse_duration(out, &back), 0);
        assert_int_equal(back, cases[i].ms);
    }
}

static void clocks_run_forward(void **state)
{
    int64_t boot = clock_boot_us();

    (void)state;
    assert_true(clock_boot_us() >= boot);
    assert_in_range(clock_wall_ms(), (int64_t)time(NULL) * 1000 - 5000,
                    (int64_t)time(NULL) * 1000 + 5000);
    assert_in_range(clock_boot_ms() - boot / 1000, 0, 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(walls_are_parsed_or_refused),
        cmocka_unit_test(walls_agree_with_libc),
        cmocka_unit_test(durations_are_parsed_or_refused),
        cmocka_unit_test(durations_are_written_shortest),
        cmocka_unit_test(clocks_run_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

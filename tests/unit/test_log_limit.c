/* SPDX-License-Identifier: MIT */
#include "base/log_limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static bool take(struct log_limit *limit, const char *event, const char *field, const char *value,
                 int64_t now_s)
{
    struct log_field one = LOG_STR(field, value);

    return log_limit_take(limit, LOG_LEVEL_WARN, event, &one, 1, now_s);
}

static unsigned take_many(struct log_limit *limit, const char *event, const char *field,
                          unsigned count, int64_t now_s)
{
    unsigned taken = 0;
    char value[32];

    for (unsigned i = 0; i < count; i++) {
        snprintf(value, sizeof value, "%s%u", field, i);
        taken += take(limit, event, field, value, now_s);
    }
    return taken;
}

static void an_event_has_ten_lines_a_second(void **state)
{
    static struct log_limit limit;
    uint64_t suppressed = 0;
    const struct log_limit_slot *slot;

    (void)state;
    memset(&limit, 0, sizeof limit);
    assert_int_equal(take_many(&limit, "ingest.event", "service", 3000, 100), LOG_LIMIT_LINES);
    assert_int_equal(take_many(&limit, "ingest.topic", "topic", 3000, 100), LOG_LIMIT_LINES);
    assert_null(log_limit_report(&limit, 100, &suppressed)); /* the second is not over */
    slot = log_limit_report(&limit, 101, &suppressed);
    assert_non_null(slot);
    assert_int_equal(suppressed, 3000 - LOG_LIMIT_LINES);
    assert_non_null(log_limit_report(&limit, 101, &suppressed));
    assert_null(log_limit_report(&limit, 101, &suppressed));
    assert_int_equal(limit.suppressed, 0);
    assert_int_equal(take_many(&limit, "ingest.event", "service", 3000, 101), LOG_LIMIT_LINES);
}

static void one_destination_does_not_hide_another(void **state)
{
    static struct log_limit limit;

    (void)state;
    memset(&limit, 0, sizeof limit);
    for (unsigned i = 0; i < 100; i++)
        (void)take(&limit, "destination.breaker", "destination", "smtp", 7);
    assert_true(take(&limit, "destination.breaker", "destination", "twilio", 7));
    assert_false(take(&limit, "destination.breaker", "destination", "smtp", 7));
}

static void more_keys_than_places_share_one(void **state)
{
    static struct log_limit limit;
    unsigned taken;

    (void)state;
    memset(&limit, 0, sizeof limit);
    taken = take_many(&limit, "destination.breaker", "destination", 100000, 9);
    assert_in_range(taken, 1, LOG_LIMIT_KEYS + LOG_LIMIT_LINES);
    assert_true(take(&limit, "destination.breaker", "destination", "late", 10));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_has_ten_lines_a_second),
        cmocka_unit_test(one_destination_does_not_hide_another),
        cmocka_unit_test(more_keys_than_places_share_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
#include "core/queue_stats.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const struct queue_line lines[] = {
    {.id = 2,
     .name = "twilio",
     .channel = CHANNEL_SMS,
     .is_paused = true,
     .open_breakers = 1,
     .counts = {.waiting = 5, .active = 1, .scheduled = 2, .dead = 4, .oldest_ms = 9000},
     .hour = {.completed = 8, .failed = 2, .retried = 5, .attempts = 20, .tries = 15},
     .ended_minute = 3},
    {.id = 3,
     .name = "von\"age",
     .channel = CHANNEL_SMS,
     .counts = {.waiting = 1, .stalled = 7, .oldest_ms = 4000},
     .hour = {.completed = 10, .other = 10, .attempts = 10, .tries = 10},
     .ended_minute = 4},
    {.id = 4, .name = "smtp", .channel = CHANNEL_EMAIL},
};

static json_t *written(size_t count)
{
    struct queue_moment moment = {.now_ms = 10500, .counted_ms = 10000, .bridges = 2};
    struct buf out = {0};
    json_t *json;

    queue_stats_write(lines, count, &moment, &out);
    json = json_loads(buf_text(&out), JSON_REJECT_DUPLICATES, NULL);
    buf_fini(&out);
    assert_non_null(json);
    return json;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void sums_go_over_channels_and_the_whole(void **state)
{
    json_t *stats = written(3), *total = json_object_get(stats, "total");
    json_t *channels = json_object_get(stats, "channels"), *sms = json_array_get(channels, 0);

    (void)state;
    assert_int_equal(json_array_size(channels), 2);
    assert_int_equal(json_array_size(json_object_get(stats, "providers")), 3);
    assert_string_equal(json_string_value(json_object_get(sms, "channel")), "sms");
    assert_true(number(sms, "waiting") == 6 && number(total, "waiting") == 6);
    assert_true(number(total, "stalled") == 7 && number(total, "dead") == 4);
    assert_true(number(total, "per_minute") == 7);
    assert_true(number(sms, "oldest_waiting_s") == 6.5);
    json_decref(stats);
}

static void shares_are_of_what_they_say(void **state)
{
    json_t *stats = written(3), *providers = json_object_get(stats, "providers");
    json_t *twilio = json_array_get(providers, 0), *smtp = json_array_get(providers, 2);
    json_t *sms = json_array_get(json_object_get(stats, "channels"), 0);

    (void)state;
    assert_true(number(twilio, "success_rate") == 0.8 && number(twilio, "retry_rate") == 0.25);
    assert_true(number(twilio, "average_attempts") == 1.5);
    assert_true(number(sms, "success_rate") == 0.9);
    assert_true(number(sms, "dead_rate") == 0.0667);
    assert_true(json_is_null(json_object_get(smtp, "success_rate")));
    assert_true(json_is_null(json_object_get(smtp, "average_attempts")));
    assert_true(json_is_null(json_object_get(smtp, "oldest_waiting_s")));
    json_decref(stats);
}

static void a_channel_is_paused_when_all_of_it_is(void **state)
{
    json_t *stats = written(3), *one = written(1), *none = written(0);

    (void)state;
    assert_true(json_is_false(
        json_object_get(json_array_get(json_object_get(stats, "channels"), 0), "paused")));
    assert_true(json_is_true(json_object_get(json_object_get(one, "total"), "paused")));
    assert_true(json_is_false(json_object_get(json_object_get(none, "total"), "paused")));
    json_decref(stats);
    json_decref(one);
    json_decref(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_go_over_channels_and_the_whole),
        cmocka_unit_test(shares_are_of_what_they_say),
        cmocka_unit_test(a_channel_is_paused_when_all_of_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

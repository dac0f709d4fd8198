/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/alert.h"
#include "core/request.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const struct alert_limits limits = {.dead_letters = 50,
                                           .success_percent = 90,
                                           .queue_age_ms = 10000,
                                           .wants_breaker = true,
                                           .after_ms = 10,
                                           .clear_ms = 60};

static void fires_after_a_while_and_resolves_after_a_longer_one(void **state)
{
    static const struct {
        int64_t at;
        enum alert_sign sign;
        bool changes, fires;
        int64_t since;
    } looks[] = {
        {100, ALERT_GOOD, false, false, 0},      {105, ALERT_BAD, false, false, 0},
        {110, ALERT_GOOD, false, false, 0},      {120, ALERT_BAD, false, false, 0},
        {129, ALERT_BAD, false, false, 0},       {130, ALERT_BAD, true, true, 120},
        {131, ALERT_BAD, false, true, 120},      {140, ALERT_GOOD, false, true, 120},
        {190, ALERT_BETWEEN, false, true, 120},  {200, ALERT_GOOD, false, true, 120},
        {259, ALERT_GOOD, false, true, 120},     {260, ALERT_GOOD, true, false, 200},
        {270, ALERT_BETWEEN, false, false, 200}, {280, ALERT_BETWEEN, false, false, 200},
    };
    struct alert alert;

    (void)state;
    alert_init(&alert, ALERT_BREAKER, "twilio");
    for (size_t i = 0; i < COUNT(looks); i++) {
        bool changes = alert_look(&alert, looks[i].sign, &limits, looks[i].at);

        assert_int_equal(changes, looks[i].changes);
        assert_int_equal(alert.is_firing, looks[i].fires);
        assert_int_equal(alert.since_ms, looks[i].since);
    }
}

static void what_swings_around_a_threshold_does_not_flap(void **state)
{
    struct queue_line line = {.name = "x"};
    struct alert alert;
    unsigned changes = 0;

    (void)state;
    alert_init(&alert, ALERT_DEAD_LETTERS, NULL);
    for (int i = 0; i < 1000; i++) {
        line.counts.dead = i % 2 ? 49 : 51;
        changes += alert_look(&alert, alert_sign_of(&alert, &limits, &line, 0), &limits, i * 20);
    }
    /* Never bad for ten in a row, so it does not even begin. */
    assert_int_equal(changes, 0);
    line.counts.dead = 60;
    assert_false(alert_look(&alert, alert_sign_of(&alert, &limits, &line, 0), &limits, 20000));
    assert_true(alert_look(&alert, alert_sign_of(&alert, &limits, &line, 0), &limits, 20010));
    for (int i = 0; i < 1000; i++) {
        line.counts.dead = i % 2 ? 41 : 51;
        changes +=
            alert_look(&alert, alert_sign_of(&alert, &limits, &line, 0), &limits, 20100 + i * 100);
    }
    assert_int_equal(changes, 0);
    assert_true(alert.is_firing);
}

static void each_kind_knows_good_from_bad(void **state)
{
    static const struct {
        enum alert_kind kind;
        struct queue_line line;
        enum alert_sign want;
    } cases[] = {
        {ALERT_DEAD_LETTERS, {.counts.dead = 50}, ALERT_BETWEEN},
        {ALERT_DEAD_LETTERS, {.counts.dead = 51}, ALERT_BAD},
        {ALERT_DEAD_LETTERS, {.counts.dead = 40}, ALERT_GOOD},
        {ALERT_SUCCESS_RATE,
         {.channel = CHANNEL_SMS, .recent = {.completed = 0, .failed = 0}},
         ALERT_GOOD},
        {ALERT_SUCCESS_RATE,
         {.channel = CHANNEL_SMS, .recent = {.completed = 0, .failed = 19}},
         ALERT_BETWEEN},
        {ALERT_SUCCESS_RATE,
         {.channel = CHANNEL_SMS, .recent = {.completed = 17, .failed = 3}},
         ALERT_BAD},
        {ALERT_SUCCESS_RATE,
         {.channel = CHANNEL_SMS, .recent = {.completed = 91, .failed = 9}},
         ALERT_BETWEEN},
        {ALERT_SUCCESS_RATE,
         {.channel = CHANNEL_SMS, .recent = {.completed = 92, .failed = 8}},
         ALERT_GOOD},
        {ALERT_SUCCESS_RATE, {.channel = CHANNEL_IN_APP, .recent = {.failed = 90}}, ALERT_GOOD},
        {ALERT_QUEUE_AGE, {.counts.oldest_ms = 0}, ALERT_GOOD},
        {ALERT_QUEUE_AGE, {.counts.oldest_ms = 89000}, ALERT_BAD},
        {ALERT_QUEUE_AGE, {.counts.oldest_ms = 91000}, ALERT_BETWEEN},
        {ALERT_QUEUE_AGE, {.counts.oldest_ms = 92000}, ALERT_GOOD},
        {ALERT_QUEUE_AGE, {.counts.oldest_ms = 120000}, ALERT_GOOD},
        {ALERT_QUEUE_AGE, {.counts.oldest_ms = 5, .is_paused = true}, ALERT_GOOD},
        {ALERT_BREAKER, {.open_breakers = 1}, ALERT_BAD},
        {ALERT_BREAKER, {.open_breakers = 0}, ALERT_GOOD},
    };
    static const struct alert_limits never = {0};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct alert alert;

        alert_init(&alert, cases[i].kind, NULL);
        assert_int_equal(alert_sign_of(&alert, &limits, &cases[i].line, 100000), cases[i].want);
        assert_int_equal(alert_sign_of(&alert, &never, &cases[i].line, 100000), ALERT_GOOD);
    }
    for (int64_t days = -1; days < 8; days++) {
        struct alert alert;

        alert_init(&alert, ALERT_PARTITIONS, NULL);
        assert_int_equal(alert_sign_of_days(&alert, days), days < 0   ? ALERT_BETWEEN
                                                           : days < 3 ? ALERT_BAD
                                                                      : ALERT_GOOD);
    }
}

static void a_name_is_one_topic_level(void **state)
{
    struct alert alert;

    (void)state;
    alert_init(&alert, ALERT_BREAKER, "e/u+x #1");
    assert_string_equal(alert.name, "breaker.e%2Fu%2Bx%20%231");
    alert_init(&alert, ALERT_DATABASE, NULL);
    assert_string_equal(alert.name, "database");
}

/* What we ask of ourselves must be what is taken from anybody. */
static void its_request_is_one(void **state)
{
    static const char *const to[] = {"user:alice", "role:ops", "email:a@example.org",
                                     "phone:+4915112345678", "url:https://example.org/x?a=b"};
    static const char *const not [] = {"alice", "user:", "email:x", "phone:0", "url:ftp://x", ""};
    struct alert alert;

    (void)state;
    alert_init(&alert, ALERT_SUCCESS_RATE, "tw\"ilio");
    alert.is_firing = true;
    alert.since_ms = 1763690000000;
    alert.value = 12.34;
    alert.threshold = 90;
    for (size_t i = 0; i < COUNT(to); i++) {
        struct arena *arena = arena_new(1024);
        struct request_batch batch;
        struct buf out = {0};

        assert_true(alert_is_recipient(to[i], strlen(to[i])));
        assert_true(alert_write_request(&alert, to[i], strlen(to[i]), &out));
        request_decode(buf_text(&out), out.length, alert.since_ms, arena, &batch);
        assert_int_equal(batch.count, 1);
        assert_string_equal(batch.items[0].rejection.detail, "");
        assert_int_equal(batch.items[0].rejection.reason, REJECT_NONE);
        assert_int_equal(batch.items[0].request.priority, PRIORITY_URGENT);
        buf_fini(&out);
        arena_free(arena);
    }
    for (size_t i = 0; i < COUNT(not ); i++)
        assert_false(alert_is_recipient(not [i], strlen(not [i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fires_after_a_while_and_resolves_after_a_longer_one),
        cmocka_unit_test(what_swings_around_a_threshold_does_not_flap),
        cmocka_unit_test(each_kind_knows_good_from_bad),
        cmocka_unit_test(a_name_is_one_topic_level),
        cmocka_unit_test(its_request_is_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

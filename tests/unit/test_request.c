/* SPDX-License-Identifier: MIT */
/* What a good request becomes; which are good and which are not is tests/spec/. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/request.h"

#define NOW INT64_C(1795132800000) /* 2026-11-20 */

static int setup(void **state)
{
    *state = arena_new(0);
    return 0;
}

static int teardown(void **state)
{
    arena_free(*state);
    return 0;
}

/* Decodes from a block that is gone afterwards: nothing may point into the payload. */
static struct request_batch decode(struct arena *arena, const char *payload)
{
    size_t bytes = strlen(payload);
    char *block = malloc(bytes + 1);
    struct request_batch batch;

    memcpy(block, payload, bytes);
    request_decode(block, bytes, NOW, arena, &batch);
    memset(block, 'X', bytes);
    free(block);
    return batch;
}

static const struct request *decode_good(struct arena *arena, const char *payload)
{
    struct request_batch batch = decode(arena, payload);

    if (batch.count != 1 || batch.items[0].rejection.reason != REJECT_NONE)
        fail_msg("%s: %s", payload, batch.items[0].rejection.detail);
    return &batch.items[0].request;
}

static void what_is_not_said_has_its_default(void **state)
{
    const struct request *request =
        decode_good(*state, "{\"id\":\"r\",\"type\":\"a.b\",\"to\":{\"user\":\"alice\"}}");

    assert_string_equal(request->id, "r");
    assert_string_equal(request->type, "a.b");
    assert_int_equal(request->to, RECIPIENT_USER);
    assert_int_equal(request->recipient_count, 1);
    assert_string_equal(request->recipients[0], "alice");
    assert_int_equal(request->channels, 0);
    assert_int_equal(request->channel_count, 0);
    assert_false(request->is_route_first);
    assert_int_equal(request->escalate_after_ms, -1);
    assert_int_equal(request->priority, PRIORITY_NORMAL);
    assert_int_equal(request->receipts, RECEIPTS_FINAL);
    assert_null(request->template_name);
    assert_null(request->locale);
    assert_null(request->collapse_key);
    assert_null(request->campaign);
    assert_int_equal(request->deliver_at_ms, 0);
    assert_int_equal(request->expires_at_ms, 0);
    assert_false(request->has_schedule);
    assert_false(request->has_group);
    assert_int_equal(request->retry.attempts, -1);
    assert_int_equal(request->retry.base_ms, -1);
    assert_int_equal(request->retry.max_ms, -1);
    assert_true(request->retry.factor < 0);
    assert_int_equal(request->retry.jitter, -1);
    assert_string_equal(request->content, "{\"type\":\"a.b\",\"priority\":\"normal\"}");
    assert_int_equal(request->content_bytes, strlen(request->content));
}

static void everything_that_is_said_is_read(void **state)
{
    const struct request *request = decode_good(
        *state,
        " {\"receipts\":\"all\", \"campaign\":\"c\", \"retry\":{\"attempts\":5,\"base\":\"1s\","
        "\"factor\":1.5,\"max\":\"1m\",\"jitter\":false}, \"group\":{\"key\":\"g\"},"
        "\"collapse_key\":\"k\", \"expires_at\":\"2026-11-20T02:00:00Z\","
        "\"at\":\"2026-11-20T01:00:00Z\", \"data\": { \"x\" : 1.50 }, \"locale\":\"de\","
        "\"body\":\"b\\u00fc\", \"title\":\"t\", \"priority\":\"urgent\","
        "\"route\":{\"mode\":\"first\",\"escalate_after\":\"30s\"},"
        "\"channels\":[\"sms\",\"in_app\"], \"to\":{\"users\":[\"a\",\"\\u00fc/b\"]},"
        "\"type\":\"t\", \"id\":\"i\" } ");

    assert_int_equal(request->recipient_count, 2);
    assert_string_equal(request->recipients[1], "\xC3\xBC/b");
    assert_int_equal(request->channels, 1U << CHANNEL_SMS | 1U << CHANNEL_IN_APP);
    assert_int_equal(request->channel_count, 2);
    assert_int_equal(request->channel_order[0], CHANNEL_SMS);
    assert_int_equal(request->channel_order[1], CHANNEL_IN_APP);
    assert_true(request->is_route_first);
    assert_int_equal(request->escalate_after_ms, 30000);
    assert_int_equal(request->priority, PRIORITY_URGENT);
    assert_int_equal(request->receipts, RECEIPTS_ALL);
    assert_string_equal(request->locale, "de");
    assert_int_equal(request->deliver_at_ms, NOW + 3600000);
    assert_int_equal(request->expires_at_ms, NOW + 7200000);
    assert_string_equal(request->collapse_key, "k");
    assert_string_equal(request->campaign, "c");
    assert_true(request->has_group);
    assert_int_equal(request->retry.attempts, 5);
    assert_int_equal(request->retry.base_ms, 1000);
    assert_int_equal(request->retry.max_ms, 60000);
    assert_true(request->retry.factor == 1.5);
    assert_int_equal(request->retry.jitter, 0);
    assert_string_equal(request->content,
                        "{\"type\":\"t\",\"priority\":\"urgent\",\"title\":\"t\",\"body\":"
                        "\"b\\u00fc\",\"locale\":\"de\",\"data\":{\"x\":1.50},\"group\":{\"key\":"
                        "\"g\"},\"campaign\":\"c\"}");
}

static void each_kind_of_recipient_is_told_apart(void **state)
{
    static const struct {
        const char *to;
        enum recipient_kind kind;
        const char *recipient;
    } cases[] = {
        {"\"user\":\"u\"", RECIPIENT_USER, "u"},
        {"\"users\":[\"u\"]", RECIPIENT_USER, "u"},
        {"\"role\":\"r\"", RECIPIENT_ROLE, "r"},
        {"\"broadcast\":true", RECIPIENT_BROADCAST, ""},
        {"\"topic\":\"t\"", RECIPIENT_TOPIC, "t"},
        {"\"email\":\"a@b.c\"", RECIPIENT_EMAIL, "a@b.c"},
        {"\"phone\":\"+4917012345\"", RECIPIENT_PHONE, "+4917012345"},
        {"\"push_token\":\"p\"", RECIPIENT_PUSH_TOKEN, "p"},
        {"\"url\":\"https://a/\"", RECIPIENT_URL, "https://a/"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct request *request = decode_good(
            *state, arena_printf(*state, "{\"id\":\"r\",\"type\":\"a\",\"to\":{%s}}", cases[i].to));

        assert_int_equal(request->to, cases[i].kind);
        assert_int_equal(request->recipient_count, 1);
        assert_string_equal(request->recipients[0], cases[i].recipient);
    }
}

static void a_schedule_is_kept_for_the_scheduler(void **state)
{
    const struct request *request =
        decode_good(*state, "{\"id\":\"r\",\"type\":\"a\",\"to\":{\"user\":\"u\"},"
                            "\"schedule\":{\"cron\":\"0 9 * * *\"}}");

    assert_true(request->has_schedule);
    assert_string_equal(
        request->content,
        "{\"type\":\"a\",\"priority\":\"normal\",\"schedule\":{\"cron\":\"0 9 * * *\"}}");
}

static void a_rejected_item_still_has_its_id_where_that_is_certain(void **state)
{
    static const struct {
        const char *item, *id;
    } cases[] = {
        {"{\"id\":\"r\"}", "r"},
        {"{\"id\":\"r\",\"type\":\"a\",\"to\":{\"user\":\"u\"},\"body\":1}", "r"},
        {"{\"body\":\"\\u0000\",\"id\":\"r\"}", "r"},
        {"{\"a\":1,\"a\":1,\"id\":\"r\"}", "r"},
        {"{\"id\":\"r\",\"id\":\"s\"}", NULL},
        {"{\"id\":7}", NULL},
        {"{\"id\":\"\"}", NULL},
        {"{\"id\":\"\xFF\"}", NULL},
        {"{\"ID\":\"r\"}", NULL},
        {"[]", NULL},
        {"{", NULL},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct request_batch batch = decode(*state, cases[i].item);

        assert_int_equal(batch.count, 1);
        assert_int_not_equal(batch.items[0].rejection.reason, REJECT_NONE);
        if (cases[i].id)
            assert_string_equal(batch.items[0].request.id, cases[i].id);
        else
            assert_null(batch.items[0].request.id);
    }
}

static void an_array_is_told_from_a_single_request(void **state)
{
    assert_false(decode(*state, "{}").is_array);
    assert_true(decode(*state, "[{},{}]").is_array);
    assert_int_equal(decode(*state, "[{},{}]").count, 2);
    assert_false(decode(*state, "").is_array);
}

static void a_slip_is_answered_with_the_field_that_was_meant(void **state)
{
    static const char *const slips[] = {"titel", "titl", "titlee", "tytle", "ttle"};

    for (size_t i = 0; i < sizeof slips / sizeof *slips; i++) {
        struct request_batch batch =
            decode(*state, arena_printf(*state, "{\"id\":\"r\",\"%s\":\"x\"}", slips[i]));

        assert_int_equal(batch.items[0].rejection.reason, REJECT_UNKNOWN_FIELD);
        assert_non_null(strstr(batch.items[0].rejection.detail, "\"title\""));
    }
}

/* Not later, when it is to be sent, and never under another domain. */
static void a_domain_that_cannot_be_one_is_refused_at_once(void **state)
{
    static const char *const domains[] = {
        "ex\xe2\x89\xa0"
        "ample.com",
        "a\xe2\x91\xb4"
        "b.example",
        "\xe2\x89\xae.example",
    };

    for (size_t i = 0; i < sizeof domains / sizeof *domains; i++) {
        struct request_batch batch = decode(
            *state,
            arena_printf(
                *state,
                "[{\"id\":\"r\",\"type\":\"t\",\"title\":\"x\",\"to\":{\"email\":\"ann@%s\"}},"
                "{\"id\":\"s\",\"type\":\"t\",\"title\":\"x\",\"to\":{\"email\":\"ann@b.example\"}}"
                "]",
                domains[i]));

        assert_int_equal(batch.items[0].rejection.reason, REJECT_BAD_VALUE);
        assert_int_equal(batch.items[1].rejection.reason, REJECT_NONE);
    }
}

static void every_rejection_has_the_name_of_the_contract(void **state)
{
    static const char *const names[] = {"",
                                        "malformed",
                                        "unknown_field",
                                        "missing_field",
                                        "bad_value",
                                        "too_large",
                                        "id_reused",
                                        "not_allowed",
                                        "rate_limited",
                                        "unknown_template",
                                        "unknown_user",
                                        "unavailable"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_string_equal(reject_name((enum reject)i), names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_not_said_has_its_default, setup, teardown),
        cmocka_unit_test_setup_teardown(everything_that_is_said_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(each_kind_of_recipient_is_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(a_schedule_is_kept_for_the_scheduler, setup, teardown),
        cmocka_unit_test_setup_teardown(a_rejected_item_still_has_its_id_where_that_is_certain,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(an_array_is_told_from_a_single_request, setup, teardown),
        cmocka_unit_test_setup_teardown(a_slip_is_answered_with_the_field_that_was_meant, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_domain_that_cannot_be_one_is_refused_at_once, setup,
                                        teardown),
        cmocka_unit_test(every_rejection_has_the_name_of_the_contract),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "channel_fake.h"
#include "channels/sign.h"

#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

static void *open_with(const char *key, const char *value)
{
    const char *pairs[] = {"secret_file", fake_file(SECRET "\n"), key, value, NULL};
    void *state;

    assert_int_equal(fake_open(&adapter_webhook, pairs, &state), 0);
    return state;
}

static void standard_webhooks_vector(void **unused)
{
    struct secret text = {0}, key = {0};
    struct buf out = {0};

    (void)unused;
    secret_set(&text, SECRET, strlen(SECRET));
    assert_int_equal(webhook_secret_parse(&text, &key), 0);
    webhook_sign(&out, &key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, "{\"test\": 2432232314}",
                 20);
    assert_string_equal(buf_text(&out), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    buf_fini(&out);
    secret_fini(&text);
    secret_fini(&key);
}

static void the_request_is_signed_and_its_id_is_stable(void **unused)
{
    void *state = open_with(NULL, NULL);
    struct job job =
        fake_job("https://example.org/hook", "{\"title\":\"T\",\"body\":\"B\",\"data\":{\"n\":1}}");
    struct secret text = {0}, key = {0};
    struct buf want = {0};

    (void)unused;
    for (job.attempt = 1; job.attempt <= 2; job.attempt++) {
        fake_forget();
        assert_int_equal(fake_send(&adapter_webhook, state, &job), 0);
        assert_string_equal(fake_last()->url, "https://example.org/hook");
        assert_string_equal(fake_last()->method, "POST");
        assert_true(fake_last()->shape.is_public_only);
        assert_string_equal(fake_header(fake_last(), "webhook-id"), "0123456789abcdef");
        assert_string_equal(fake_header(fake_last(), "webhook-timestamp"), "1700000000");
        assert_string_equal(fake_header(fake_last(), "content-type"), "application/json");
        assert_string_equal(fake_last()->body,
                            "{\"type\":\"order.ready\",\"timestamp\":\"2023-11-14T22:13:20.000Z\","
                            "\"data\":{\"notification\":\"0123456789abcd00\",\"title\":\"T\","
                            "\"body\":\"B\",\"data\":{\"n\":1}}}");
        fake_answer(204, "", -1);
        assert_int_equal(fake_outcome.kind, OUTCOME_DELIVERED);
    }
    secret_set(&text, SECRET, strlen(SECRET));
    assert_int_equal(webhook_secret_parse(&text, &key), 0);
    webhook_sign(&want, &key, "0123456789abcdef", 1700000000, fake_last()->body,
                 fake_last()->body_bytes);
    assert_string_equal(fake_header(fake_last(), "webhook-signature"), buf_text(&want));
    secret_fini(&text);
    secret_fini(&key);
    buf_fini(&want);
    adapter_webhook.close(state);
}

static void both_secrets_sign_while_they_rotate(void **unused)
{
    void *state =
        open_with("previous_secret_file", fake_file("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    struct job job = fake_job("https://example.org/hook", "{\"body\":\"B\"}");
    const char *signature;

    (void)unused;
    assert_int_equal(fake_send(&adapter_webhook, state, &job), 0);
    signature = fake_header(fake_last(), "webhook-signature");
    assert_int_equal(strlen(signature), 2 * (3 + 44) + 1);
    assert_memory_equal(signature + 47, " v1,", 4);
    fake_answer(200, "", -1);
    adapter_webhook.close(state);
}

static void a_body_of_ones_own_goes_as_it_is(void **unused)
{
    void *state = open_with("allow_private", "true");
    struct job job =
        fake_job("http://127.0.0.1:1/hook",
                 "{\"title\":\"T\",\"content\":{\"webhook\":{\"body\":{\"a\":[1,\"é\"]}}}}");

    (void)unused;
    assert_int_equal(fake_send(&adapter_webhook, state, &job), 0);
    assert_string_equal(fake_last()->body, "{\"a\":[1,\"é\"]}");
    assert_false(fake_last()->shape.is_public_only);
    fake_answer(200, "", -1);
    adapter_webhook.close(state);
}

static void every_answer_ends_in_its_class(void **unused)
{
    static const struct fake_case cases[] = {
        {200, "", -1, OUTCOME_DELIVERED, REASON_NONE},
        {204, "", -1, OUTCOME_DELIVERED, REASON_NONE},
        {410, "", -1, OUTCOME_DEAD_TARGET, REASON_TARGET_DEAD},
        {429, "", 7000, OUTCOME_RETRY_AFTER, REASON_RATE_LIMITED},
        {429, "", -1, OUTCOME_THROTTLE, REASON_RATE_LIMITED},
        {503, "", 7000, OUTCOME_RETRY_AFTER, REASON_PROVIDER_UNAVAILABLE},
        {503, "", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {502, "", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {500, "", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {501, "", -1, OUTCOME_RETRY, REASON_PROVIDER_REJECTED},
        {505, "", -1, OUTCOME_RETRY, REASON_PROVIDER_REJECTED},
        {302, "", -1, OUTCOME_RETRY, REASON_PROVIDER_REJECTED},
        {400, "", -1, OUTCOME_RETRY, REASON_PROVIDER_REJECTED},
        {401, "", -1, OUTCOME_RETRY, REASON_PROVIDER_REJECTED},
        {404, "", -1, OUTCOME_RETRY, REASON_PROVIDER_REJECTED},
        {413, "", -1, OUTCOME_RETRY, REASON_PROVIDER_REJECTED},
    };
    void *state = open_with(NULL, NULL);
    struct job job = fake_job("https://example.org/hook", "{\"body\":\"B\"}");

    (void)unused;
    fake_check_cases(&adapter_webhook, state, &job, cases, sizeof cases / sizeof cases[0]);
    assert_true(fake_request_count == 0);
    fake_check_failures(&adapter_webhook, state, &job);
    adapter_webhook.close(state);
}

static void an_endpoint_speaks_for_itself_only(void **unused)
{
    void *state = open_with(NULL, NULL);
    struct job job = fake_job("https://example.org/hook", "{\"body\":\"B\"}");

    (void)unused;
    assert_int_equal(fake_send(&adapter_webhook, state, &job), 0);
    fake_answer(500, "", -1);
    assert_true(fake_outcome.is_target_only);
    fake_forget();
    assert_int_equal(fake_send(&adapter_webhook, state, &job), 0);
    fake_failure(HTTP_FAIL_CONNECT, false, false);
    assert_true(fake_outcome.is_target_only);
    adapter_webhook.close(state);
}

static void a_target_that_is_no_url_is_refused(void **unused)
{
    void *state = open_with(NULL, NULL);
    struct job job = fake_job("ftp://example.org/", "{\"body\":\"B\"}");

    (void)unused;
    fake_check_refused(&adapter_webhook, state, &job, OUTCOME_PERMANENT, REASON_TARGET_INVALID);
    adapter_webhook.close(state);
}

static void bad_settings_are_named(void **unused)
{
    static const char *const none[] = {NULL};
    const char *short_secret[] = {"secret_file", fake_file("whsec_QUJD"), NULL};
    const char *bad_bool[] = {"secret_file", fake_file(SECRET), "allow_private", "maybe", NULL};
    void *state;

    (void)unused;
    assert_int_equal(fake_open(&adapter_webhook, none, &state), ERR_INVALID);
    assert_non_null(strstr(fake_why, "destination test: secret_file"));
    assert_int_equal(fake_open(&adapter_webhook, short_secret, &state), ERR_INVALID);
    assert_non_null(strstr(fake_why, "secret_file"));
    assert_int_equal(fake_open(&adapter_webhook, bad_bool, &state), ERR_INVALID);
    assert_non_null(strstr(fake_why, "allow_private must be true or false"));
}

static int forget(void **unused)
{
    (void)unused;
    fake_forget();
    return 0;
}

static void an_endpoint_that_never_has_time_is_not_asked_for_ever(void **unused)
{
    void *state = open_with(NULL, NULL);
    struct job job = fake_job("https://x.example/h", "{\"title\":\"T\"}");

    (void)unused;
    for (int64_t after_ms = -1; after_ms < 5000; after_ms += 3001) {
        assert_int_equal(fake_send(&adapter_webhook, state, &job), 0);
        fake_answer(429, "", after_ms);
        assert_int_equal(fake_outcome.reason, REASON_RATE_LIMITED);
        assert_true(fake_outcome.is_counted && fake_outcome.is_target_only);
    }
    fake_forget();
    adapter_webhook.close(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_endpoint_that_never_has_time_is_not_asked_for_ever),
        cmocka_unit_test(standard_webhooks_vector),
        cmocka_unit_test_teardown(the_request_is_signed_and_its_id_is_stable, forget),
        cmocka_unit_test_teardown(both_secrets_sign_while_they_rotate, forget),
        cmocka_unit_test_teardown(a_body_of_ones_own_goes_as_it_is, forget),
        cmocka_unit_test_teardown(every_answer_ends_in_its_class, forget),
        cmocka_unit_test_teardown(an_endpoint_speaks_for_itself_only, forget),
        cmocka_unit_test_teardown(a_target_that_is_no_url_is_refused, forget),
        cmocka_unit_test(bad_settings_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

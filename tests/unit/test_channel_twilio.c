/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "channel_fake.h"

#define ERROR(code) "{\"code\":" code ",\"message\":\"m\",\"more_info\":\"u\",\"status\":400}"

static void *open_twilio(const char *key, const char *value)
{
    const char *pairs[] = {"account_sid",
                           "AC00000000000000000000000000000000",
                           "auth_token_file",
                           fake_file("token\n"),
                           "base_url",
                           "http://localhost:1/",
                           "from",
                           "+15005550001",
                           key,
                           value,
                           NULL};
    void *state;

    assert_int_equal(fake_open(&adapter_twilio, pairs, &state), 0);
    return state;
}

static void the_request_is_what_the_sdk_sends(void **unused)
{
    void *state = open_twilio(NULL, NULL);
    struct job job = fake_job("+15005550006", "{\"title\":\"T\",\"body\":\"h\xc3\xa9 & co\"}");

    (void)unused;
    assert_int_equal(fake_send(&adapter_twilio, state, &job), 0);
    assert_string_equal(
        fake_last()->url,
        "http://localhost:1/2010-04-01/Accounts/AC00000000000000000000000000000000/Messages.json");
    assert_string_equal(fake_last()->user, "AC00000000000000000000000000000000");
    assert_string_equal(fake_last()->password, "token");
    assert_string_equal(fake_header(fake_last(), "content-type"),
                        "application/x-www-form-urlencoded");
    assert_string_equal(fake_last()->body,
                        "To=%2B15005550006&From=%2B15005550001&Body=h%C3%A9%20%26%20co");
    fake_answer(201, "{\"sid\":\"SM1\",\"status\":\"queued\",\"error_code\":null}", -1);
    assert_int_equal(fake_outcome.kind, OUTCOME_ACCEPTED);
    assert_string_equal(fake_outcome.provider_id, "SM1");
    assert_int_equal(fake_outcome.status, 201);
    assert_int_equal(fake_outcome.segments, 1);
    adapter_twilio.close(state);
}

static void options_become_parameters(void **unused)
{
    const char *pairs[] = {"account_sid",
                           "AC1",
                           "auth_token_file",
                           fake_file("secret"),
                           "api_key_sid",
                           "SK1",
                           "messaging_service_sid",
                           "MG1",
                           "status_callback",
                           "https://x.example/cb",
                           "validity_period",
                           "2m",
                           NULL};
    struct job job =
        fake_job("+15005550006", "{\"body\":\"B\",\"content\":{\"sms\":{\"text\":\"short\"}}}");
    void *state;

    (void)unused;
    assert_int_equal(fake_open(&adapter_twilio, pairs, &state), 0);
    assert_int_equal(fake_send(&adapter_twilio, state, &job), 0);
    assert_string_equal(fake_last()->user, "SK1");
    assert_string_equal(fake_last()->body,
                        "To=%2B15005550006&MessagingServiceSid=MG1&Body=short&StatusCallback="
                        "https%3A%2F%2Fx.example%2Fcb&ValidityPeriod=120");
    fake_answer(201, "{}", -1);
    /* The notification's end is nearer than the destination's validity. */
    job.expires_ms = fake_wall + 30000;
    assert_int_equal(fake_send(&adapter_twilio, state, &job), 0);
    assert_non_null(strstr(fake_last()->body, "ValidityPeriod=30"));
    fake_answer(201, "{}", -1);
    adapter_twilio.close(state);
}

static void every_answer_ends_in_its_class(void **unused)
{
    static const struct {
        const char *codes;
        enum outcome_kind kind;
        enum reason reason;
    } groups[] = {
        {"20429 21611 30022 30025 30026 63018", OUTCOME_THROTTLE, REASON_RATE_LIMITED},
        {"20409 20500 20503 30001 30008 30017 30020 30021 30410 60005", OUTCOME_RETRY,
         REASON_PROVIDER_UNAVAILABLE},
        {"20003 20005 20006 20008 20404 21212 21606 21607 21659 21660 21661 21603 21701 "
         "21703 21704 21705 21609 30002 30018 30024 30032 30033 30034 30035",
         OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {"21211 21421 21614 21635 21265", OUTCOME_DEAD_TARGET, REASON_TARGET_INVALID},
        {"30005 30006 63003 63024", OUTCOME_PERMANENT, REASON_TARGET_INVALID},
        {"21408 21608 21219", OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {"21610", OUTCOME_DEAD_TARGET, REASON_OPTED_OUT},
        {"21602 21604 21617 21618 21619 21620 21623 21624 21654 21655 21656", OUTCOME_PERMANENT,
         REASON_CONTENT_INVALID},
        {"21266 21612 21214", OUTCOME_PERMANENT, REASON_TARGET_INVALID},
        {"20001 20422 30007 30010 30013 30016 30019 30111 30450 63016 63005 63021",
         OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {"21999 30999", OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {"30003 30004", OUTCOME_RETRY, REASON_TARGET_INVALID},
        {"30023 30027 63038", OUTCOME_RETRY_AFTER, REASON_RATE_LIMITED},
    };
    void *state = open_twilio(NULL, NULL);
    struct job job = fake_job("+15005550006", "{\"body\":\"B\"}");

    (void)unused;
    for (unsigned i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        for (const char *code = groups[i].codes; *code; code += strspn(code, " ")) {
            char body[128];
            struct fake_case one = {400, body, -1, groups[i].kind, groups[i].reason};

            (void)snprintf(body, sizeof body, "{\"code\":%.*s,\"message\":\"m\"}",
                           (int)strcspn(code, " "), code);
            fake_check_cases(&adapter_twilio, state, &job, &one, 1);
            code += strcspn(code, " ");
        }
    }
    adapter_twilio.close(state);
}

static void bare_statuses_end_in_their_class(void **unused)
{
    static const struct fake_case cases[] = {
        {429, "", -1, OUTCOME_THROTTLE, REASON_RATE_LIMITED},
        {429, ERROR("20429"), 2000, OUTCOME_THROTTLE, REASON_RATE_LIMITED},
        {500, "", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {503, "<html>", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {503, "", 5000, OUTCOME_RETRY_AFTER, REASON_PROVIDER_UNAVAILABLE},
        {401, "", -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {404, "", -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {302, "", -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {400, "not json", -1, OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {201, "garbage", -1, OUTCOME_UNKNOWN, REASON_OUTCOME_UNKNOWN},
    };
    void *state = open_twilio(NULL, NULL);
    struct job job = fake_job("+15005550006", "{\"body\":\"B\"}");

    (void)unused;
    fake_check_cases(&adapter_twilio, state, &job, cases, sizeof cases / sizeof cases[0]);
    fake_check_failures(&adapter_twilio, state, &job);
    adapter_twilio.close(state);
}

static void what_cannot_be_sent_is_refused(void **unused)
{
    static const char *const bad_numbers[] = {
        "", "+", "15005550006", "+05005550006", "+1500", "+1500555000612345", "+1500555 006"};
    void *state = open_twilio(NULL, NULL);
    struct job job = fake_job("+15005550006", "{}");

    (void)unused;
    fake_check_refused(&adapter_twilio, state, &job, OUTCOME_PERMANENT, REASON_CONTENT_INVALID);
    job = fake_job("+15005550006", "{\"body\":\"B\",\"content\":{\"sms\":{\"text\":7}}}");
    fake_check_refused(&adapter_twilio, state, &job, OUTCOME_PERMANENT, REASON_CONTENT_INVALID);
    for (unsigned i = 0; i < sizeof bad_numbers / sizeof bad_numbers[0]; i++) {
        job = fake_job(bad_numbers[i], "{\"body\":\"B\"}");
        fake_check_refused(&adapter_twilio, state, &job, OUTCOME_DEAD_TARGET,
                           REASON_TARGET_INVALID);
    }
    adapter_twilio.close(state);
}

static void long_texts_are_counted_and_bounded(void **unused)
{
    void *state = open_twilio("max_segments", "2");
    char content[600] = "{\"body\":\"";
    struct job job;

    (void)unused;
    memset(content + 9, 'x', 306);
    strcpy(content + 9 + 306, "\"}");
    job = fake_job("+15005550006", content);
    assert_int_equal(fake_send(&adapter_twilio, state, &job), 0);
    fake_answer(201, "{}", -1);
    assert_int_equal(fake_outcome.segments, 2);
    strcpy(content + 9 + 306, "x\"}");
    job = fake_job("+15005550006", content);
    fake_check_refused(&adapter_twilio, state, &job, OUTCOME_PERMANENT, REASON_PAYLOAD_TOO_LARGE);
    assert_int_equal(fake_outcome.segments, 3);
    adapter_twilio.close(state);
}

static void typography_becomes_gsm_when_asked(void **unused)
{
    void *state = open_twilio("transliterate", "true");
    struct job job =
        fake_job("+15005550006", "{\"body\":\"\xe2\x80\x9cit\xe2\x80\x99s\xe2\x80\xa6\"}");

    (void)unused;
    assert_int_equal(fake_send(&adapter_twilio, state, &job), 0);
    assert_non_null(strstr(fake_last()->body, "Body=%22it%27s..."));
    fake_answer(201, "{}", -1);
    /* One character beyond help: the text stays as it was written. */
    job = fake_job("+15005550006", "{\"body\":\"\xe2\x80\xa6 \xd0\x96\"}");
    assert_int_equal(fake_send(&adapter_twilio, state, &job), 0);
    assert_non_null(strstr(fake_last()->body, "Body=%E2%80%A6%20%D0%96"));
    fake_answer(201, "{}", -1);
    adapter_twilio.close(state);
}

static void bad_settings_are_named(void **unused)
{
    const char *no_sender[] = {"account_sid", "AC1", "auth_token_file", fake_file("t"), NULL};
    const char *bad_url[] = {"account_sid",  "AC1",     "auth_token_file",
                             fake_file("t"), "from",    "x",
                             "base_url",     "ftp://x", NULL};
    const char *no_file[] = {"account_sid", "AC1", "auth_token_file", "/nonexistent", "from",
                             "x",           NULL};
    void *state;

    (void)unused;
    assert_int_equal(fake_open(&adapter_twilio, no_sender, &state), ERR_INVALID);
    assert_non_null(strstr(fake_why, "from or messaging_service_sid"));
    assert_int_equal(fake_open(&adapter_twilio, bad_url, &state), ERR_INVALID);
    assert_non_null(strstr(fake_why, "base_url"));
    assert_int_equal(fake_open(&adapter_twilio, no_file, &state), ERR_INVALID);
    assert_non_null(strstr(fake_why, "auth_token_file"));
}

static int forget(void **unused)
{
    (void)unused;
    fake_forget();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_request_is_what_the_sdk_sends, forget),
        cmocka_unit_test_teardown(options_become_parameters, forget),
        cmocka_unit_test_teardown(every_answer_ends_in_its_class, forget),
        cmocka_unit_test_teardown(bare_statuses_end_in_their_class, forget),
        cmocka_unit_test_teardown(what_cannot_be_sent_is_refused, forget),
        cmocka_unit_test_teardown(long_texts_are_counted_and_bounded, forget),
        cmocka_unit_test_teardown(typography_becomes_gsm_when_asked, forget),
        cmocka_unit_test(bad_settings_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

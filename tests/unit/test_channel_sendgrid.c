/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "channel_fake.h"

static void *open_sendgrid(const char *key, const char *value)
{
    const char *pairs[] = {"api_key_file",
                           fake_file("SG.x\n"),
                           "from",
                           "Tocsin <noreply@example.org>",
                           key,
                           value,
                           NULL};
    void *state;

    assert_int_equal(fake_open(&adapter_sendgrid, pairs, &state), 0);
    return state;
}

static void the_request_is_what_the_sdk_sends(void **unused)
{
    void *state = open_sendgrid(NULL, NULL);
    struct job job = fake_job("a@b.example", "{\"title\":\"S\",\"body\":\"t\",\"content\":{"
                                             "\"email\":{\"html\":\"<p>t</p>\"}}}");
    const struct http_header headers[] = {{"X-Message-Id", "abc"}, {NULL, NULL}};

    (void)unused;
    assert_int_equal(fake_send(&adapter_sendgrid, state, &job), 0);
    assert_string_equal(fake_last()->url, "https://api.sendgrid.com/v3/mail/send");
    assert_string_equal(fake_header(fake_last(), "authorization"), "Bearer SG.x");
    assert_string_equal(
        fake_last()->body,
        "{\"personalizations\":[{\"to\":[{\"email\":\"a@b.example\"}],\"custom_args\":{"
        "\"tocsin_delivery\":\"0123456789abcdef\"}}],\"from\":{\"email\":\"noreply@example.org\","
        "\"name\":\"Tocsin\"},\"subject\":\"S\",\"content\":[{\"type\":\"text/plain\",\"value\":"
        "\"t\"},{\"type\":\"text/html\",\"value\":\"<p>t</p>\"}],\"headers\":{\"Message-ID\":"
        "\"<0123456789abcdef.tocsin@example.org>\"}}");
    fake_answer_headers = headers;
    fake_answer(202, "", -1);
    fake_answer_headers = NULL;
    assert_int_equal(fake_outcome.kind, OUTCOME_ACCEPTED);
    assert_string_equal(fake_outcome.provider_id, "abc");
    adapter_sendgrid.close(state);
}

static void options_go_along(void **unused)
{
    void *state = open_sendgrid("asm_group_id", "7");
    struct job job = fake_job(
        "a@b.example",
        "{\"title\":\"S\",\"content\":{\"email\":{\"text\":\"t\",\"reply_to\":\"R <r@b.example>\","
        "\"list_unsubscribe\":\"https://x.example/u/1, mailto:u@x.example\",\"headers\":{\"X-A\":"
        "\"1\"},\"attachments\":[{\"name\":\"a.txt\",\"type\":\"text/plain\",\"content\":\"aGk=\"},"
        "{\"name\":\"i.png\",\"type\":\"image/png\",\"content\":\"AAAA\",\"content_id\":\"logo\"}"
        "]}}}");

    (void)unused;
    assert_int_equal(fake_send(&adapter_sendgrid, state, &job), 0);
    assert_non_null(
        strstr(fake_last()->body, "\"reply_to\":{\"email\":\"r@b.example\",\"name\":\"R\"}"));
    assert_non_null(strstr(
        fake_last()->body,
        "\"attachments\":[{\"content\":\"aGk=\",\"filename\":\"a.txt\",\"type\":\"text/plain\","
        "\"disposition\":\"attachment\"},{\"content\":\"AAAA\",\"filename\":\"i.png\",\"type\":"
        "\"image/png\",\"disposition\":\"inline\",\"content_id\":\"logo\"}]"));
    assert_non_null(strstr(fake_last()->body,
                           "\"X-A\":\"1\",\"List-Unsubscribe\":\"<https://x.example/u/1>, "
                           "<mailto:u@x.example>\",\"List-Unsubscribe-Post\":"
                           "\"List-Unsubscribe=One-Click\"}"));
    assert_non_null(strstr(fake_last()->body, "\"asm\":{\"group_id\":7}"));
    fake_answer(202, "", -1);
    adapter_sendgrid.close(state);
}

static void every_answer_ends_in_its_class(void **unused)
{
    static const struct fake_case cases[] = {
        {200, "", -1, OUTCOME_UNKNOWN, REASON_OUTCOME_UNKNOWN},
        {202, "", -1, OUTCOME_UNKNOWN, REASON_OUTCOME_UNKNOWN},
        {400, "{\"errors\":[{\"message\":\"bad\",\"field\":\"subject\"}]}", -1, OUTCOME_PERMANENT,
         REASON_CONTENT_INVALID},
        {400,
         "{\"errors\":[{\"message\":\"The from address does not match a verified Sender "
         "Identity.\"}]}",
         -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {401, "", -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {403, "", -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {451, "", -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {404, "", -1, OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {405, "", -1, OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {406, "", -1, OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {413, "", -1, OUTCOME_PERMANENT, REASON_PAYLOAD_TOO_LARGE},
        {415, "", -1, OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {429, "", -1, OUTCOME_RETRY_AFTER, REASON_RATE_LIMITED},
        {429, "", 3000, OUTCOME_RETRY_AFTER, REASON_RATE_LIMITED},
        {500, "", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {503, "", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
    };
    void *state = open_sendgrid(NULL, NULL);
    struct job job = fake_job("a@b.example", "{\"title\":\"S\",\"body\":\"t\"}");

    (void)unused;
    fake_check_cases(&adapter_sendgrid, state, &job, cases, sizeof cases / sizeof cases[0]);
    fake_check_failures(&adapter_sendgrid, state, &job);
    adapter_sendgrid.close(state);
}

static void the_rate_limits_reset_is_honoured(void **unused)
{
    void *state = open_sendgrid(NULL, NULL);
    struct job job = fake_job("a@b.example", "{\"title\":\"S\",\"body\":\"t\"}");
    const struct http_header headers[] = {{"X-RateLimit-Reset", "1700000042"}, {NULL, NULL}};

    (void)unused;
    assert_int_equal(fake_send(&adapter_sendgrid, state, &job), 0);
    fake_answer_headers = headers;
    fake_answer(429, "", -1);
    fake_answer_headers = NULL;
    assert_int_equal(fake_outcome.kind, OUTCOME_RETRY_AFTER);
    assert_int_equal(fake_outcome.retry_after_ms, 42000);
    adapter_sendgrid.close(state);
}

static void nothing_in_content_can_add_a_header_or_recipient(void **unused)
{
    static const char *const contents[] = {
        "{\"title\":\"a\\r\\nBcc: x@y.example\",\"body\":\"t\"}",
        "{\"title\":\"S\",\"body\":\"t\",\"content\":{\"email\":{\"headers\":{\"Bcc\":\"x@y\"}}}}",
        "{\"title\":\"S\",\"body\":\"t\",\"content\":{\"email\":{\"headers\":{\"X-A:\":\"1\"}}}}",
        "{\"title\":\"S\",\"body\":\"t\",\"content\":{\"email\":{\"headers\":{\"X-A\":\"1\\n2\"}}}"
        "}",
        "{\"title\":\"S\",\"body\":\"t\",\"content\":{\"email\":{\"reply_to\":\"a@b.c, d@e.f\"}}}",
        "{\"title\":\"S\",\"body\":\"t\",\"content\":{\"email\":{\"from\":\"evil@b.example\"}}}",
        "{\"title\":\"S\",\"body\":\"t\",\"content\":{\"email\":{\"list_unsubscribe\":\"http://"
        "x\"}}}",
        "{\"title\":\"S\",\"body\":\"t\",\"content\":{\"email\":{\"attachments\":[{\"name\":\"a\"}]"
        "}}}",
        "{\"title\":\"S\",\"body\":\"t\",\"content\":{\"email\":{\"attachments\":[{\"name\":\"a\","
        "\"content\":\"%%\"}]}}}",
        "{\"title\":\"S\"}",
    };
    static const char *const addresses[] = {"",
                                            "a",
                                            "@b.example",
                                            "a@",
                                            "a b@c.example",
                                            "a@b.example, c@d.example",
                                            "<a@b.example>",
                                            "a@b..example",
                                            "a@b_c.example"};
    void *state = open_sendgrid(NULL, NULL);

    (void)unused;
    for (unsigned i = 0; i < sizeof contents / sizeof contents[0]; i++) {
        struct job job = fake_job("a@b.example", contents[i]);

        fake_check_refused(&adapter_sendgrid, state, &job, OUTCOME_PERMANENT,
                           REASON_CONTENT_INVALID);
    }
    for (unsigned i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        struct job job = fake_job(addresses[i], "{\"title\":\"S\",\"body\":\"t\"}");

        fake_check_refused(&adapter_sendgrid, state, &job, OUTCOME_DEAD_TARGET,
                           REASON_TARGET_INVALID);
    }
    adapter_sendgrid.close(state);
}

static void attachments_are_fetched_first(void **unused)
{
    void *state = open_sendgrid(NULL, NULL);
    struct job job = fake_job(
        "a@b.example", "{\"title\":\"S\",\"body\":\"t\",\"content\":{\"email\":{"
                       "\"attachments\":[{\"name\":\"a.pdf\",\"url\":\"https://x.example/a\"}"
                       ",{\"name\":\"b\",\"content\":\"aGk=\"}]}}}");
    const struct http_header headers[] = {{"Content-Type", "application/pdf; x=y"}, {NULL, NULL}};
    const struct http_header taken[] = {{"X-Message-Id", "abc"}, {NULL, NULL}};

    (void)unused;
    assert_int_equal(fake_send(&adapter_sendgrid, state, &job), 0);
    assert_string_equal(fake_last()->method, "GET");
    assert_string_equal(fake_last()->url, "https://x.example/a");
    assert_true(fake_last()->shape.is_public_only);
    assert_null(fake_header(fake_last(), "authorization"));
    assert_int_equal(fake_last()->shape.timeout_ms, 5000);
    fake_wall += 4000;
    fake_answer_headers = headers;
    fake_answer(200, "PDF", -1); /* of an attachment */
    fake_answer_headers = NULL;
    assert_int_equal(fake_request_count, 2);
    assert_non_null(strstr(fake_last()->body,
                           "{\"content\":\"UERG\",\"filename\":\"a.pdf\",\"type\":"
                           "\"application/pdf\""));
    fake_answer_headers = taken;
    fake_answer(202, "", -1);
    fake_answer_headers = NULL;
    assert_int_equal(fake_outcome.kind, OUTCOME_ACCEPTED);
    adapter_sendgrid.close(state);
}

static void few_mails_carry_attachments_at_once(void **unused)
{
    void *state = open_sendgrid(NULL, NULL);
    struct job job = fake_job(
        "a@b.example", "{\"title\":\"S\",\"body\":\"t\",\"content\":{\"email\":{"
                       "\"attachments\":[{\"name\":\"a\",\"url\":\"https://x.example/a\"}]}}}");
    struct job plain = fake_job("a@b.example", "{\"title\":\"S\",\"body\":\"t\"}");

    (void)unused;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(fake_send(&adapter_sendgrid, state, &job), 0);
    assert_int_equal(fake_send(&adapter_sendgrid, state, &job), ERR_FULL);
    assert_int_equal(fake_send(&adapter_sendgrid, state, &plain), 0);
    fake_answer(202, "", -1);
    for (unsigned i = 0; i < 4; i++) {
        struct http_response gone = {.status = 404, .body = ""};

        fake_respond(&fake_requests[i], &gone);
    }
    assert_int_equal(fake_outcome_count, 5);
    assert_int_equal(fake_send(&adapter_sendgrid, state, &job), 0);
    fake_answer(404, "", -1);
    adapter_sendgrid.close(state);
}

static void an_attachment_that_cannot_be_fetched_ends_the_attempt(void **unused)
{
    static const struct fake_case cases[] = {
        {404, "", -1, OUTCOME_PERMANENT, REASON_CONTENT_INVALID},
        {302, "", -1, OUTCOME_PERMANENT, REASON_CONTENT_INVALID},
        {503, "", -1, OUTCOME_RETRY, REASON_CONTENT_INVALID},
    };
    void *state = open_sendgrid(NULL, NULL);
    struct job job = fake_job(
        "a@b.example", "{\"title\":\"S\",\"body\":\"t\",\"content\":{\"email\":{"
                       "\"attachments\":[{\"name\":\"a\",\"url\":\"https://x.example/a\"}]}}}");

    (void)unused;
    for (unsigned i = 0; i < 3; i++) {
        fake_forget();
        assert_int_equal(fake_send(&adapter_sendgrid, state, &job), 0);
        fake_answer(cases[i].status, "", -1);
        assert_int_equal(fake_outcome_count, 1);
        assert_int_equal(fake_outcome.kind, cases[i].kind);
        assert_true(fake_outcome.is_target_only);
    }
    /* Room ran out between the attachment and the mail: still one outcome. */
    fake_forget();
    assert_int_equal(fake_send(&adapter_sendgrid, state, &job), 0);
    fake_send_error = ERR_FULL;
    fake_answer(200, "x", -1);
    assert_int_equal(fake_outcome_count, 1);
    assert_int_equal(fake_outcome.kind, OUTCOME_RETRY);
    assert_true(fake_outcome.is_connection);
    adapter_sendgrid.close(state);
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
        cmocka_unit_test_teardown(options_go_along, forget),
        cmocka_unit_test_teardown(every_answer_ends_in_its_class, forget),
        cmocka_unit_test_teardown(the_rate_limits_reset_is_honoured, forget),
        cmocka_unit_test_teardown(nothing_in_content_can_add_a_header_or_recipient, forget),
        cmocka_unit_test_teardown(attachments_are_fetched_first, forget),
        cmocka_unit_test_teardown(few_mails_carry_attachments_at_once, forget),
        cmocka_unit_test_teardown(an_attachment_that_cannot_be_fetched_ends_the_attempt, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

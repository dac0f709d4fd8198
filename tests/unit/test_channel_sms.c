/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "channel_fake.h"
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

/* "401:2 25" per class: status and codes, each answered by the format and judged. */
struct group {
    int status;
    const char *codes;
    enum outcome_kind kind;
    enum reason reason;
};

static void check_groups(const struct adapter *adapter, void *state, const struct group *groups,
                         size_t count, const char *format)
{
    struct job job = fake_job("+4915112345678", "{\"body\":\"B\"}");

    for (size_t i = 0; i < count; i++) {
        const char *code = groups[i].codes;

        while (*code) {
            char word[64], body[256];
            struct fake_case one = {groups[i].status, body, -1, groups[i].kind, groups[i].reason};

            (void)snprintf(word, sizeof word, "%.*s", (int)strcspn(code, " "), code);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            (void)snprintf(body, sizeof body, format, word);
#pragma GCC diagnostic pop
            fake_check_cases(adapter, state, &job, &one, 1);
            code += strcspn(code, " ");
            code += strspn(code, " ");
        }
    }
}

/* ---- bird ---- */

static void *open_bird(void)
{
    const char *pairs[] = {"api_key_file", fake_file("bk_eu1_abc\n"), "from", "Acme", NULL};
    void *state;

    if (fake_open(&adapter_bird, pairs, &state) != 0)
        fail_msg("%s", fake_why);
    return state;
}

static void bird_sends_under_one_key_per_delivery(void **unused)
{
    void *state = open_bird();
    struct job job = fake_job("+4915112345678", "{\"body\":\"hi\"}");

    (void)unused;
    for (job.attempt = 1; job.attempt < 3; job.attempt++) {
        assert_int_equal(fake_send(&adapter_bird, state, &job), 0);
        assert_string_equal(fake_last()->url, "https://eu1.platform.bird.com/v1/sms/messages");
        assert_string_equal(fake_header(fake_last(), "idempotency-key"), "0123456789abcdef");
        assert_string_equal(fake_header(fake_last(), "authorization"), "Bearer bk_eu1_abc");
        assert_string_equal(fake_last()->body, "{\"to\":\"+4915112345678\",\"from\":\"Acme\","
                                               "\"text\":\"hi\",\"category\":\"transactional\"}");
        fake_answer(202, "{\"id\":\"sms_1\",\"segments\":{\"count\":2}}", -1);
        assert_int_equal(fake_outcome.kind, OUTCOME_ACCEPTED);
        assert_string_equal(fake_outcome.provider_id, "sms_1");
        assert_int_equal(fake_outcome.segments, 2);
    }
    adapter_bird.close(state);
}

static void every_answer_of_bird_ends_in_its_class(void **unused)
{
    static const struct group by_code[] = {
        {409, "E01004", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {409, "E01005", OUTCOME_PERMANENT, REASON_INTERNAL},
        {503, "E01033 E01032", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {500, "E01031", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {408, "E01030", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {502, "x", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {504, "x", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {429, "E01006", OUTCOME_RETRY_AFTER, REASON_RATE_LIMITED},
        {401, "E01010", OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {402, "E01020", OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {403, "E01021", OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {400, "E01001", OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {422, "E01003", OUTCOME_PERMANENT, REASON_CONTENT_INVALID},
    };
    static const struct group by_name[] = {
        {422, "sender_unregistered insufficient_balance", OUTCOME_AUTH_CONFIG_ERROR,
         REASON_PROVIDER_AUTH},
        {422, "SMSNoEligibleSender", OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {422, "SMSInvalidRecipient invalid_destination landline_unreachable", OUTCOME_DEAD_TARGET,
         REASON_TARGET_INVALID},
        {422, "recipient_opted_out blocked_by_recipient", OUTCOME_DEAD_TARGET, REASON_OPTED_OUT},
        {422, "unreachable", OUTCOME_RETRY, REASON_TARGET_INVALID},
        {422, "blocked_by_carrier content_rejected unknown", OUTCOME_PERMANENT,
         REASON_PROVIDER_REJECTED},
        {422, "provider_unavailable", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
    };
    void *state = open_bird();
    struct job job = fake_job("+4915112345678", "{\"body\":\"B\"}");

    (void)unused;
    check_groups(&adapter_bird, state, by_code, sizeof by_code / sizeof by_code[0],
                 "{\"error\":{\"code\":\"%s\",\"name\":\"N\",\"type\":\"t\"}}");
    check_groups(&adapter_bird, state, by_name, sizeof by_name / sizeof by_name[0],
                 "{\"error\":{\"code\":\"E02001\",\"name\":\"%s\"}}");
    fake_check_failures(&adapter_bird, state, &job);
    adapter_bird.close(state);
}

/* ---- messagebird ---- */

static void *open_messagebird(void)
{
    const char *pairs[] = {"access_key_file", fake_file("key"),      "from", "Acme",
                           "report_url",      "https://x.example/r", NULL};
    void *state;

    if (fake_open(&adapter_messagebird, pairs, &state) != 0)
        fail_msg("%s", fake_why);
    return state;
}

static void messagebird_wants_digits_and_a_reference(void **unused)
{
    void *state = open_messagebird();
    struct job job = fake_job("+4915112345678", "{\"body\":\"\xd0\x96\"}");

    (void)unused;
    assert_int_equal(fake_send(&adapter_messagebird, state, &job), 0);
    assert_string_equal(fake_last()->url, "https://rest.messagebird.com/messages");
    assert_string_equal(fake_header(fake_last(), "authorization"), "AccessKey key");
    assert_string_equal(fake_last()->body,
                        "{\"originator\":\"Acme\",\"recipients\":[\"4915112345678\"],\"body\":"
                        "\"\xd0\x96\",\"datacoding\":\"unicode\",\"reference\":\"0123456789abcdef\""
                        ",\"reportUrl\":\"https://x.example/r\"}");
    fake_answer(201, "{\"id\":\"abc\"}", -1);
    assert_string_equal(fake_outcome.provider_id, "abc");
    adapter_messagebird.close(state);
}

static void every_answer_of_messagebird_ends_in_its_class(void **unused)
{
    static const struct group groups[] = {
        {200, "0", OUTCOME_UNKNOWN, REASON_OUTCOME_UNKNOWN},
        {202, "0", OUTCOME_UNKNOWN, REASON_OUTCOME_UNKNOWN},
        {401, "2 99999", OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {422, "2 25", OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {422, "9 10 21 7", OUTCOME_PERMANENT, REASON_CONTENT_INVALID},
        {400, "9 10 21", OUTCOME_PERMANENT, REASON_CONTENT_INVALID},
        {404, "20", OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {429, "0", OUTCOME_THROTTLE, REASON_RATE_LIMITED},
        {500, "98 99 0", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
    };
    static const struct fake_case recipient[] = {
        {422, "{\"errors\":[{\"code\":10,\"parameter\":\"recipients\"}]}", -1, OUTCOME_DEAD_TARGET,
         REASON_TARGET_INVALID}};
    void *state = open_messagebird();
    struct job job = fake_job("+4915112345678", "{\"body\":\"B\"}");

    (void)unused;
    check_groups(&adapter_messagebird, state, groups, sizeof groups / sizeof groups[0],
                 "{\"errors\":[{\"code\":%s,\"description\":\"d\",\"parameter\":null}]}");
    fake_check_cases(&adapter_messagebird, state, &job, recipient, 1);
    fake_check_failures(&adapter_messagebird, state, &job);
    adapter_messagebird.close(state);
}

/* ---- vonage ---- */

static const char *pem_file(EVP_PKEY *pkey)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *pem, *copy;
    const char *path;
    long length;

    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL), 1);
    length = BIO_get_mem_data(bio, &pem);
    copy = xstrndup(pem, (size_t)length);
    path = fake_file(copy);
    free(copy);
    BIO_free(bio);
    return path;
}

static void vonage_reuses_its_token_for_minutes(void **unused)
{
    EVP_PKEY *rsa = EVP_RSA_gen(2048), *ec = EVP_EC_gen("P-256");
    const char *pairs[] = {"application_id", "app-1", "private_key_file", pem_file(rsa), "from",
                           "Acme",           NULL};
    const char *wrong[] = {"application_id", "app-1", "private_key_file", pem_file(ec), "from",
                           "Acme",           NULL};
    struct job job = fake_job("+4915112345678", "{\"body\":\"hi\"}");
    void *state;
    char *first;

    (void)unused;
    assert_int_equal(fake_open(&adapter_vonage, wrong, &state), ERR_INVALID);
    assert_int_equal(fake_open(&adapter_vonage, pairs, &state), 0);
    assert_int_equal(fake_send(&adapter_vonage, state, &job), 0);
    assert_string_equal(fake_last()->url, "https://api.nexmo.com/v1/messages");
    assert_string_equal(fake_last()->body,
                        "{\"message_type\":\"text\",\"channel\":\"sms\",\"to\":\"4915112345678\","
                        "\"from\":\"Acme\",\"text\":\"hi\",\"client_ref\":\"0123456789abcdef\","
                        "\"sms\":{\"encoding_type\":\"text\"}}");
    first = xstrdup(fake_header(fake_last(), "authorization"));
    assert_memory_equal(first, "Bearer ey", 9);
    fake_answer(202, "{\"message_uuid\":\"u-1\"}", -1);
    assert_string_equal(fake_outcome.provider_id, "u-1");
    fake_wall += 500000;
    assert_int_equal(fake_send(&adapter_vonage, state, &job), 0);
    assert_string_equal(fake_header(fake_last(), "authorization"), first);
    fake_answer(202, "{}", -1);
    fake_wall += 200000;
    assert_int_equal(fake_send(&adapter_vonage, state, &job), 0);
    assert_string_not_equal(fake_header(fake_last(), "authorization"), first);
    fake_answer(202, "{}", -1);
    fake_wall -= 700000;
    free(first);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ec);
    adapter_vonage.close(state);
}

static void every_answer_of_vonage_ends_in_its_class(void **unused)
{
    static const struct group groups[] = {
        {202, "0", OUTCOME_UNKNOWN, REASON_OUTCOME_UNKNOWN},
        {422, "1490", OUTCOME_ACCEPTED, REASON_NONE},
        {429, "1000 1241 1460 1461 1472 throttled x", OUTCOME_THROTTLE, REASON_RATE_LIMITED},
        {503, "1030 1100 1180 1220 1230 1331 x", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {401, "unauthorized", OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {402, "low-balance", OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {403, "forbidden", OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {422, "1060 1070 1080 1120 1140 1242 1420", OUTCOME_AUTH_CONFIG_ERROR,
         REASON_PROVIDER_AUTH},
        {422, "1160 1470 1473 1476 1480 1484", OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {422, "1170 1430 1310", OUTCOME_DEAD_TARGET, REASON_TARGET_INVALID},
        {422, "1050 1190 1300", OUTCOME_PERMANENT, REASON_TARGET_INVALID},
        {422, "1240", OUTCOME_DEAD_TARGET, REASON_OPTED_OUT},
        {422, "1010 1020 1022 1040 1090 1130 1150", OUTCOME_PERMANENT, REASON_CONTENT_INVALID},
        {422,
         "1200 1210 1250 1251 1260 1270 1280 1282 1290 1320 1330 1340 1360 1380 1382 1400 "
         "1410 1440 1450 9999",
         OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
    };
    const char *pairs[] = {"api_key",   "k", "api_secret_file", fake_file("s"), "from",
                           "+15550100", NULL};
    struct job job = fake_job("+4915112345678", "{\"body\":\"B\"}");
    void *state;

    (void)unused;
    assert_int_equal(fake_open(&adapter_vonage, pairs, &state), 0);
    check_groups(&adapter_vonage, state, groups, sizeof groups / sizeof groups[0],
                 "{\"type\":\"https://x.example/errors#%s\",\"title\":\"t\"}");
    assert_int_equal(fake_send(&adapter_vonage, state, &job), 0);
    assert_string_equal(fake_last()->user, "k");
    assert_string_equal(fake_last()->password, "s");
    assert_non_null(strstr(fake_last()->body, "\"from\":\"15550100\""));
    fake_answer(202, "{}", -1);
    fake_check_failures(&adapter_vonage, state, &job);
    adapter_vonage.close(state);
}

/* What is of no use after the notification's end is not kept by the provider either. */
static void no_provider_keeps_what_has_expired(void **unused)
{
    const char *pairs[] = {"api_key", "k", "api_secret_file", fake_file("secret"), "from",
                           "Acme",    NULL};
    struct job job = fake_job("+4915112345678", "{\"body\":\"hi\"}");
    void *bird = open_messagebird(), *vonage;

    (void)unused;
    assert_int_equal(fake_open(&adapter_vonage, pairs, &vonage), 0);
    job.expires_ms = fake_wall + 90000;
    assert_int_equal(fake_send(&adapter_messagebird, bird, &job), 0);
    assert_non_null(strstr(fake_last()->body, ",\"validity\":90}"));
    fake_answer(201, "{}", -1);
    assert_int_equal(fake_send(&adapter_vonage, vonage, &job), 0);
    assert_non_null(strstr(fake_last()->body, ",\"ttl\":90}"));
    fake_answer(202, "{}", -1);
    job.expires_ms = fake_wall + 3000; /* Vonage takes no less than 20 seconds */
    assert_int_equal(fake_send(&adapter_vonage, vonage, &job), 0);
    assert_non_null(strstr(fake_last()->body, ",\"ttl\":20}"));
    fake_answer(202, "{}", -1);
    job.expires_ms = fake_wall + 4 * (int64_t)86400000; /* longer than Vonage tries by itself */
    assert_int_equal(fake_send(&adapter_vonage, vonage, &job), 0);
    assert_null(strstr(fake_last()->body, "ttl"));
    fake_answer(202, "{}", -1);
    adapter_messagebird.close(bird);
    adapter_vonage.close(vonage);
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
        cmocka_unit_test_teardown(bird_sends_under_one_key_per_delivery, forget),
        cmocka_unit_test_teardown(every_answer_of_bird_ends_in_its_class, forget),
        cmocka_unit_test_teardown(no_provider_keeps_what_has_expired, forget),
        cmocka_unit_test_teardown(messagebird_wants_digits_and_a_reference, forget),
        cmocka_unit_test_teardown(every_answer_of_messagebird_ends_in_its_class, forget),
        cmocka_unit_test_teardown(vonage_reuses_its_token_for_minutes, forget),
        cmocka_unit_test_teardown(every_answer_of_vonage_ends_in_its_class, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "channel_fake.h"
#include "channels/encode.h"
#include "channels/webpush_seal.h"
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#define SUBSCRIPTION                                                                               \
    "{\"endpoint\":\"https://push.example.net/p/1\",\"keys\":{\"p256dh\":"                         \
    "\"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4\"," \
    "\"auth\":\"BTBZMqHH6r4Tts7J_aSIgg\"}}"
#define DEVICE "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char *const PUSH = "{\"title\":\"T\",\"body\":\"B\"}";

static struct buf decoded(const char *text)
{
    struct buf out = {0};

    assert_int_equal(decode_base64(&out, text, strlen(text)), 0);
    return out;
}

static void rfc_8291_vector_byte_for_byte(void **unused)
{
    static const char plain[] = "When I grow up, I want to be a watermelon";
    struct buf scalar = decoded("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw");
    struct buf salt = decoded("DGv6ra1nlYgDCS1FRnbzlw"), out = {0}, text = {0};
    struct webpush_keys keys;

    (void)unused;
    assert_int_equal(webpush_keys_parse("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-"
                                        "AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
                                        "BTBZMqHH6r4Tts7J_aSIgg", &keys),
                     0);
    assert_int_equal(webpush_seal_with(&out, &keys, plain, sizeof plain - 1,
                                       (const unsigned char *)scalar.data,
                                       (const unsigned char *)salt.data),
                     0);
    assert_int_equal(out.length, 144);
    encode_base64url(&text, out.data, out.length);
    assert_string_equal(
        buf_text(&text),
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6"
        "e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZ"
        "wbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN");
    buf_fini(&scalar);
    buf_fini(&salt);
    buf_fini(&out);
    buf_fini(&text);
}

static void keys_that_are_no_keys_are_refused(void **unused)
{
    struct webpush_keys keys;
    struct buf out = {0};
    char big[WEBPUSH_PLAIN_MAX + 1];

    (void)unused;
    memset(big, 'x', sizeof big);
    /* Not on the curve. */
    assert_int_equal(
        webpush_keys_parse("BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
                           "AAAAAAAAAAAAAAAAAAAAAAAAAAE",
                           "BTBZMqHH6r4Tts7J_aSIgg", &keys),
        0);
    assert_int_equal(webpush_seal(&out, &keys, "x", 1), ERR_INVALID);
    assert_int_equal(out.length, 0);
    /* Too short; auth too short. */
    assert_int_equal(webpush_keys_parse("BAAA", "BTBZMqHH6r4Tts7J_aSIgg", &keys), ERR_INVALID);
    assert_int_equal(webpush_keys_parse("", "", &keys), ERR_INVALID);
    assert_int_equal(webpush_keys_parse("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-"
                                        "AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
                                        "BTBZMqHH", &keys),
                     ERR_INVALID);
    assert_int_equal(webpush_keys_parse("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-"
                                        "AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
                                        "BTBZMqHH6r4Tts7J_aSIgg", &keys),
                     0);
    assert_int_equal(webpush_seal(&out, &keys, big, sizeof big), ERR_TOO_LARGE);
    assert_int_equal(webpush_seal(&out, &keys, big, sizeof big - 1), 0);
    assert_int_equal(out.length, 4096);
    buf_fini(&out);
}

/* ---- webpush ---- */

static void *open_webpush(void)
{
    const char *pairs[] = {"vapid_private_key_file",
                           fake_file("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94\n"),
                           "vapid_subject", "mailto:push@example.org", NULL};
    void *state;

    if (fake_open(&adapter_webpush, pairs, &state) != 0)
        fail_msg("%s", fake_why);
    return state;
}

static void a_browser_gets_a_sealed_push(void **unused)
{
    void *state = open_webpush();
    struct job job = fake_job(SUBSCRIPTION, PUSH);
    const struct http_header headers[] = {{"Location", "https://push.example.net/m/9"},
                                          {NULL, NULL}};
    const char *first;

    (void)unused;
    job.priority = PRIORITY_HIGH;
    job.collapse_key = "order 1";
    job.expires_ms = fake_wall + 90000;
    assert_int_equal(fake_send(&adapter_webpush, state, &job), 0);
    assert_string_equal(fake_last()->url, "https://push.example.net/p/1");
    assert_true(fake_last()->shape.is_public_only);
    assert_string_equal(fake_header(fake_last(), "ttl"), "90");
    assert_string_equal(fake_header(fake_last(), "urgency"), "high");
    assert_string_equal(fake_header(fake_last(), "content-encoding"), "aes128gcm");
    assert_int_equal(strlen(fake_header(fake_last(), "topic")), 32);
    first = fake_header(fake_last(), "authorization");
    assert_memory_equal(first, "vapid t=ey", 10);
    assert_non_null(strstr(first, ", k=BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-"
                                  "AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"));
    fake_answer_headers = headers;
    fake_answer(201, "", -1);
    fake_answer_headers = NULL;
    assert_int_equal(fake_outcome.kind, OUTCOME_ACCEPTED);
    assert_string_equal(fake_outcome.provider_id, "https://push.example.net/m/9");
    /* The same origin gets the same token; a salt is never used twice. */
    assert_int_equal(fake_send(&adapter_webpush, state, &job), 0);
    assert_string_equal(fake_header(fake_last(), "authorization"), first);
    assert_memory_not_equal(fake_requests[0].body, fake_requests[1].body, 16);
    fake_answer(201, "", -1);
    adapter_webpush.close(state);
}

static void every_answer_of_a_push_service_ends_in_its_class(void **unused)
{
    static const struct fake_case cases[] = {
        {200, "", -1, OUTCOME_ACCEPTED, REASON_NONE},
        {202, "", -1, OUTCOME_ACCEPTED, REASON_NONE},
        {404, "", -1, OUTCOME_DEAD_TARGET, REASON_TARGET_DEAD},
        {410, "{\"errno\":106}", -1, OUTCOME_DEAD_TARGET, REASON_TARGET_DEAD},
        {403, "{\"reason\":\"VapidPkHashMismatch\"}", -1, OUTCOME_PERMANENT, REASON_TARGET_INVALID},
        {403, "the credentials do not correspond to the subscription", -1, OUTCOME_PERMANENT,
         REASON_TARGET_INVALID},
        {401, "{\"errno\":109,\"message\":\"VAPID public key mismatch\"}", -1, OUTCOME_PERMANENT,
         REASON_TARGET_INVALID},
        {403, "the key in the authorization header does not correspond to the sender ID used", -1,
         OUTCOME_PERMANENT, REASON_TARGET_INVALID},
        {401, "", -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {403, "", -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {400, "", -1, OUTCOME_PERMANENT, REASON_CONTENT_INVALID},
        {413, "", -1, OUTCOME_PERMANENT, REASON_PAYLOAD_TOO_LARGE},
        {405, "", -1, OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {415, "", -1, OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED},
        {301, "", -1, OUTCOME_PERMANENT, REASON_TARGET_INVALID},
        {307, "", -1, OUTCOME_PERMANENT, REASON_TARGET_INVALID},
        {308, "", -1, OUTCOME_PERMANENT, REASON_TARGET_INVALID},
        {429, "", 5000, OUTCOME_RETRY_AFTER, REASON_RATE_LIMITED},
        {429, "", -1, OUTCOME_THROTTLE, REASON_RATE_LIMITED},
        {500, "", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {502, "{\"errno\":900}", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {503, "{\"errno\":201}", 3000, OUTCOME_RETRY_AFTER, REASON_PROVIDER_UNAVAILABLE},
        {503, "{\"errno\":202}", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
    };
    void *state = open_webpush();
    struct job job = fake_job(SUBSCRIPTION, PUSH);

    (void)unused;
    fake_check_cases(&adapter_webpush, state, &job, cases, sizeof cases / sizeof cases[0]);
    fake_check_failures(&adapter_webpush, state, &job);
    adapter_webpush.close(state);
}

static void what_is_no_subscription_is_a_dead_target(void **unused)
{
    static const char *const targets[] = {
        "",
        "x",
        "{}",
        "{\"endpoint\":\"https://x.example/p\"}",
        "{\"endpoint\":\"ftp://x\",\"keys\":{\"p256dh\":\"a\",\"auth\":\"b\"}}",
        "{\"endpoint\":\"https://x.example/p\",\"keys\":{\"p256dh\":\"BAAA\",\"auth\":\"AAAA\"}}",
        "{\"endpoint\":\"https://x.example/p\",\"keys\":{\"p256dh\":\"BAAAAAAAAAAAAAAAAAAAAAAAAA"
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\",\"auth\":"
        "\"BTBZMqHH6r4Tts7J_aSIgg\"}}"};
    void *state = open_webpush();

    (void)unused;
    for (unsigned i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        struct job job = fake_job(targets[i], PUSH);

        fake_check_refused(&adapter_webpush, state, &job, OUTCOME_DEAD_TARGET,
                           REASON_TARGET_INVALID);
    }
    adapter_webpush.close(state);
}

/* ---- apns ---- */

static void *open_apns(void)
{
    EVP_PKEY *ec = EVP_EC_gen("P-256");
    BIO *bio = BIO_new(BIO_s_mem());
    char *pem, *copy;
    long length;
    void *state;

    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, ec, NULL, NULL, 0, NULL, NULL), 1);
    length = BIO_get_mem_data(bio, &pem);
    copy = xstrndup(pem, (size_t)length);
    const char *pairs[] = {"key_file",   fake_file(copy),   "key_id",
                           "KEY1234567", "team_id",         "TEAM123456",
                           "topic",      "org.example.app", NULL};
    if (fake_open(&adapter_apns, pairs, &state) != 0)
        fail_msg("%s", fake_why);
    free(copy);
    BIO_free(bio);
    EVP_PKEY_free(ec);
    return state;
}

static void an_alert_has_all_its_headers(void **unused)
{
    void *state = open_apns();
    struct job job =
        fake_job(DEVICE, "{\"title\":\"T\",\"body\":\"B\",\"data\":{\"a\":\"1\",\"aps\":"
                         "\"x\"},\"content\":{\"push\":{\"badge\":0,\"sound\":\"s\"}}}");
    const struct http_header headers[] = {{"apns-id", "01234567-89ab-cdef-8000-746f6373696e"},
                                          {NULL, NULL}};

    (void)unused;
    job.expires_ms = fake_wall + 60000;
    job.collapse_key = "k";
    assert_int_equal(fake_send(&adapter_apns, state, &job), 0);
    assert_string_equal(fake_last()->url, "https://api.push.apple.com/3/device/" DEVICE);
    assert_int_equal(fake_last()->shape.version, HTTP_VERSION_2);
    assert_memory_equal(fake_header(fake_last(), "authorization"), "bearer ey", 9);
    assert_string_equal(fake_header(fake_last(), "apns-topic"), "org.example.app");
    assert_string_equal(fake_header(fake_last(), "apns-push-type"), "alert");
    assert_string_equal(fake_header(fake_last(), "apns-priority"), "10");
    assert_string_equal(fake_header(fake_last(), "apns-id"),
                        "01234567-89ab-cdef-8000-746f6373696e");
    assert_string_equal(fake_header(fake_last(), "apns-expiration"), "1700000060");
    assert_string_equal(fake_header(fake_last(), "apns-collapse-id"), "k");
    assert_string_equal(
        fake_last()->body,
        "{\"aps\":{\"alert\":{\"title\":\"T\",\"body\":\"B\"},\"badge\":0,\"sound\":"
        "\"s\"},\"tocsin_id\":\"0123456789abcdef\",\"a\":\"1\"}");
    fake_answer_headers = headers;
    fake_answer(200, "", -1);
    fake_answer_headers = NULL;
    assert_string_equal(fake_outcome.provider_id, "01234567-89ab-cdef-8000-746f6373696e");
    adapter_apns.close(state);
}

static void the_first_push_goes_alone(void **unused)
{
    void *state = open_apns();
    struct job job = fake_job(DEVICE, PUSH);
    struct http_response ok = {.status = 200, .body = ""};
    struct http_response lost = {
        .fail = HTTP_FAIL_RESET, .is_sent = true, .is_fully_sent = true, .body = ""};

    (void)unused;
    assert_int_equal(fake_send(&adapter_apns, state, &job), 0);
    assert_int_equal(fake_send(&adapter_apns, state, &job), ERR_FULL);
    fake_answer(200, "", -1);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(fake_send(&adapter_apns, state, &job), 0);
    fake_respond(&fake_requests[1], &lost); /* the others are still on their way */
    assert_int_equal(fake_send(&adapter_apns, state, &job), ERR_FULL);
    fake_respond(&fake_requests[2], &ok);
    assert_int_equal(fake_send(&adapter_apns, state, &job), 0);
    fake_wall += 60000; /* quiet for so long that the connection may be gone */
    assert_int_equal(fake_send(&adapter_apns, state, &job), ERR_FULL);
    fake_respond(&fake_requests[3], &ok);
    fake_respond(&fake_requests[4], &ok);
    fake_wall -= 60000;
    assert_int_equal(fake_outcome_count, 5);
    adapter_apns.close(state);
}

static void data_alone_goes_in_the_background(void **unused)
{
    void *state = open_apns();
    struct job job = fake_job(DEVICE, "{\"data\":{\"a\":1}}");

    (void)unused;
    assert_int_equal(fake_send(&adapter_apns, state, &job), 0);
    assert_string_equal(fake_header(fake_last(), "apns-push-type"), "background");
    assert_string_equal(fake_header(fake_last(), "apns-priority"), "5");
    assert_string_equal(fake_last()->body, "{\"aps\":{\"content-available\":1},\"tocsin_id\":"
                                           "\"0123456789abcdef\",\"a\":\"1\"}");
    fake_answer(200, "", -1);
    adapter_apns.close(state);
}

static void the_provider_token_lives_for_fifty_minutes(void **unused)
{
    void *state = open_apns();
    struct job job = fake_job(DEVICE, PUSH);
    char *first;

    (void)unused;
    assert_int_equal(fake_send(&adapter_apns, state, &job), 0);
    first = xstrdup(fake_header(fake_last(), "authorization"));
    fake_answer(200, "", -1);
    fake_wall += 2900000;
    assert_int_equal(fake_send(&adapter_apns, state, &job), 0);
    assert_string_equal(fake_header(fake_last(), "authorization"), first);
    fake_answer(200, "", -1);
    fake_wall += 200000;
    assert_int_equal(fake_send(&adapter_apns, state, &job), 0);
    assert_string_not_equal(fake_header(fake_last(), "authorization"), first);
    fake_answer(200, "", -1);
    fake_wall -= 3100000;
    free(first);
    adapter_apns.close(state);
}

static void an_expired_token_is_signed_anew_once_and_not_too_soon(void **unused)
{
    static const char expired[] = "{\"reason\":\"ExpiredProviderToken\"}";
    void *state = open_apns();
    struct job job = fake_job(DEVICE, PUSH);
    char *first;

    (void)unused;
    assert_int_equal(fake_send(&adapter_apns, state, &job), 0);
    first = xstrdup(fake_header(fake_last(), "authorization"));
    fake_answer(403, expired, -1); /* too soon to sign: the same once more */
    assert_string_equal(fake_header(fake_last(), "authorization"), first);
    fake_answer(403, expired, -1);
    assert_int_equal(fake_outcome_count, 1);
    assert_int_equal(fake_outcome.kind, OUTCOME_AUTH_CONFIG_ERROR);
    fake_wall += 1300000;
    assert_int_equal(fake_send(&adapter_apns, state, &job), 0);
    fake_answer(403, expired, -1);
    assert_string_not_equal(fake_header(fake_last(), "authorization"), first);
    fake_answer(200, "", -1);
    assert_int_equal(fake_outcome_count, 2);
    assert_int_equal(fake_outcome.kind, OUTCOME_ACCEPTED);
    fake_wall -= 1300000;
    free(first);
    adapter_apns.close(state);
}

static void every_reason_of_apple_ends_in_its_class(void **unused)
{
    static const struct {
        int status;
        const char *reasons;
        enum outcome_kind kind;
        enum reason reason;
    } groups[] = {
        {410, "Unregistered ExpiredToken", OUTCOME_DEAD_TARGET, REASON_TARGET_DEAD},
        {400, "BadDeviceToken DeviceTokenNotForTopic", OUTCOME_PERMANENT, REASON_TARGET_INVALID},
        {400,
         "BadCollapseId BadExpirationDate BadMessageId BadPriority DuplicateHeaders "
         "InvalidPushType PayloadEmpty MissingDeviceToken BadPath MethodNotAllowed",
         OUTCOME_PERMANENT, REASON_CONTENT_INVALID},
        {413, "PayloadTooLarge", OUTCOME_PERMANENT, REASON_PAYLOAD_TOO_LARGE},
        {400, "BadTopic MissingTopic TopicDisallowed", OUTCOME_AUTH_CONFIG_ERROR,
         REASON_PROVIDER_AUTH},
        {403,
         "BadCertificate BadCertificateEnvironment Forbidden InvalidProviderToken "
         "MissingProviderToken UnrelatedKeyIdInToken BadEnvironmentKeyIdInToken",
         OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {429, "TooManyProviderTokenUpdates TooManyRequests", OUTCOME_THROTTLE, REASON_RATE_LIMITED},
        {400, "IdleTimeout", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {500, "InternalServerError", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {503, "ServiceUnavailable Shutdown", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
    };
    static const char *const no_times[] = {
        "{\"reason\":\"Unregistered\"}",
        "{\"reason\":\"Unregistered\",\"timestamp\":\"1700000000000\"}",
        "{\"reason\":\"Unregistered\",\"timestamp\":-1}",
        "{\"reason\":\"Unregistered\",\"timestamp\":9223372036854775807}",
        "",
    };
    void *state = open_apns();
    struct job job = fake_job(DEVICE, PUSH);

    (void)unused;
    for (unsigned i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        const char *word = groups[i].reasons;

        while (*word) {
            char body[128];
            struct fake_case one = {groups[i].status, body, -1, groups[i].kind, groups[i].reason};

            (void)snprintf(body, sizeof body, "{\"reason\":\"%.*s\"}", (int)strcspn(word, " "),
                           word);
            fake_check_cases(&adapter_apns, state, &job, &one, 1);
            word += strcspn(word, " ");
            word += strspn(word, " ");
        }
    }
    assert_int_equal(fake_send(&adapter_apns, state, &job), 0);
    fake_answer(410, "{\"reason\":\"Unregistered\",\"timestamp\":1700000000000}", -1);
    assert_string_equal(fake_outcome.detail,
                        "the app is gone from the device since 2023-11-14T22:13:20.000Z");
    assert_int_equal(fake_outcome.dead_since_ms, 1700000000000);
    for (unsigned i = 0; i < sizeof no_times / sizeof no_times[0]; i++) {
        assert_int_equal(fake_send(&adapter_apns, state, &job), 0);
        fake_answer(410, no_times[i], -1);
        assert_int_equal(fake_outcome.kind, OUTCOME_DEAD_TARGET);
        assert_int_equal(fake_outcome.dead_since_ms, 0);
    }
    assert_int_equal(fake_send(&adapter_apns, state, &job), 0);
    fake_answer(429, "{\"reason\":\"TooManyRequests\"}", -1);
    assert_true(fake_outcome.is_target_only);
    fake_check_failures(&adapter_apns, state, &job);
    job = fake_job("nothex", PUSH);
    fake_check_refused(&adapter_apns, state, &job, OUTCOME_DEAD_TARGET, REASON_TARGET_INVALID);
    adapter_apns.close(state);
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
        cmocka_unit_test(rfc_8291_vector_byte_for_byte),
        cmocka_unit_test(keys_that_are_no_keys_are_refused),
        cmocka_unit_test_teardown(a_browser_gets_a_sealed_push, forget),
        cmocka_unit_test_teardown(every_answer_of_a_push_service_ends_in_its_class, forget),
        cmocka_unit_test_teardown(what_is_no_subscription_is_a_dead_target, forget),
        cmocka_unit_test_teardown(an_alert_has_all_its_headers, forget),
        cmocka_unit_test_teardown(the_first_push_goes_alone, forget),
        cmocka_unit_test_teardown(data_alone_goes_in_the_background, forget),
        cmocka_unit_test_teardown(the_provider_token_lives_for_fifty_minutes, forget),
        cmocka_unit_test_teardown(an_expired_token_is_signed_anew_once_and_not_too_soon, forget),
        cmocka_unit_test_teardown(every_reason_of_apple_ends_in_its_class, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "channel_fake.h"
#include "channels/encode.h"
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

static EVP_PKEY *rsa; /* the service account's; made once per run */

static char *account_json(void)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *pem, *json;
    long length;
    json_t *root;

    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, rsa, NULL, NULL, 0, NULL, NULL), 1);
    length = BIO_get_mem_data(bio, &pem);
    root = json_pack("{ss ss ss# ss ss}", "client_email", "svc@p.example", "private_key_id", "kid1",
                     "private_key", pem, (int)length, "project_id", "proj", "token_uri",
                     "https://token.example/token");
    BIO_free(bio);
    json = json_dumps(root, 0);
    json_decref(root);
    return json;
}

static void *open_fcm(void)
{
    char *json = account_json();
    const char *pairs[] = {"service_account_file", fake_file(json), NULL};
    void *state;

    free(json);
    if (fake_open(&adapter_fcm, pairs, &state) != 0)
        fail_msg("%s", fake_why);
    return state;
}

#define TOKEN(name) "{\"access_token\":\"" name "\",\"expires_in\":3599,\"token_type\":\"Bearer\"}"
#define ERROR(status, details)                                                                  \
    "{\"error\":{\"code\":1,\"message\":\"The registration token is odd\",\"status\":\"" status \
    "\",\"details\":[" details "]}}"
#define FCM_ERROR(code) \
    "{\"@type\":\"type.googleapis.com/google.firebase.fcm.v1.FcmError\",\"errorCode\":\"" code "\"}"
#define BAD_REQUEST "{\"@type\":\"type.googleapis.com/google.rpc.BadRequest\"}"

static const char *const PUSH = "{\"title\":\"T\",\"body\":\"B\"}";

/* Opened, with a token in its cache and nothing kept of how it got there. */
static void *open_with_token(void)
{
    void *state = open_fcm();
    struct job job = fake_job("tok", PUSH);

    assert_int_equal(fake_send(&adapter_fcm, state, &job), 0);
    fake_answer(200, TOKEN("AT1"), -1);
    fake_answer(200, "{}", -1);
    fake_forget();
    return state;
}

/* The JWT's part, decoded and parsed. */
static json_t *part_of(const char *jwt, size_t length)
{
    struct buf bytes = {0};
    json_t *json;

    assert_int_equal(decode_base64(&bytes, jwt, length), 0);
    json = json_loadb(bytes.data, bytes.length, 0, NULL);
    assert_non_null(json);
    buf_fini(&bytes);
    return json;
}

static void the_assertion_is_a_signed_grant(void **unused)
{
    void *state = open_fcm();
    struct job job = fake_job("tok", PUSH);
    const char *jwt, *dot, *last;
    struct buf signature = {0};
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    json_t *json;

    (void)unused;
    assert_int_equal(fake_send(&adapter_fcm, state, &job), 0);
    assert_int_equal(fake_request_count, 1);
    assert_string_equal(fake_last()->url, "https://token.example/token");
    jwt = strstr(fake_last()->body,
                 "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=");
    assert_non_null(jwt);
    jwt = strrchr(fake_last()->body, '=') + 1;
    dot = strchr(jwt, '.');
    last = strrchr(jwt, '.');
    json = part_of(jwt, (size_t)(dot - jwt));
    assert_string_equal(json_string_value(json_object_get(json, "alg")), "RS256");
    assert_string_equal(json_string_value(json_object_get(json, "kid")), "kid1");
    json_decref(json);
    json = part_of(dot + 1, (size_t)(last - dot - 1));
    assert_string_equal(json_string_value(json_object_get(json, "iss")), "svc@p.example");
    assert_string_equal(json_string_value(json_object_get(json, "aud")),
                        "https://token.example/token");
    assert_string_equal(json_string_value(json_object_get(json, "scope")),
                        "https://www.googleapis.com/auth/firebase.messaging");
    assert_int_equal(json_integer_value(json_object_get(json, "iat")), 1700000000);
    assert_int_equal(json_integer_value(json_object_get(json, "exp")), 1700003600);
    json_decref(json);
    assert_int_equal(decode_base64(&signature, last + 1, strlen(last + 1)), 0);
    assert_int_equal(EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, rsa), 1);
    assert_int_equal(EVP_DigestVerify(ctx, (const unsigned char *)signature.data, signature.length,
                                      (const unsigned char *)jwt, (size_t)(last - jwt)),
                     1);
    EVP_MD_CTX_free(ctx);
    buf_fini(&signature);
    fake_answer(200, TOKEN("AT1"), -1);
    fake_answer(200, "{}", -1);
    adapter_fcm.close(state);
}

static void the_request_is_what_the_sdk_sends(void **unused)
{
    void *state = open_with_token();
    struct job job = fake_job("tok", PUSH);

    (void)unused;
    assert_int_equal(fake_send(&adapter_fcm, state, &job), 0);
    assert_string_equal(fake_last()->url,
                        "https://fcm.googleapis.com/v1/projects/proj/messages:send");
    assert_string_equal(fake_header(fake_last(), "authorization"), "Bearer AT1");
    assert_string_equal(
        fake_last()->body,
        "{\"message\":{\"token\":\"tok\",\"notification\":{\"title\":\"T\",\"body\":\"B\"},"
        "\"data\":{\"tocsin_id\":\"0123456789abcdef\"},\"android\":{\"priority\":\"normal\"},"
        "\"apns\":{\"headers\":{\"apns-priority\":\"10\"}}}}");
    fake_answer(200, "{\"name\":\"projects/p/messages/0:1\"}", -1);
    assert_int_equal(fake_outcome.kind, OUTCOME_ACCEPTED);
    assert_string_equal(fake_outcome.provider_id, "projects/p/messages/0:1");
    adapter_fcm.close(state);
}

static void overrides_reach_each_platform(void **unused)
{
    void *state = open_with_token();
    struct job job = fake_job(
        "tok",
        "{\"title\":\"T\",\"data\":{\"a\":1,\"b\":\"x\"},\"content\":{\"push\":{\"body\":\"P\","
        "\"image\":\"https://x/i\",\"sound\":\"ding\",\"badge\":3,\"channel_id\":\"orders\","
        "\"url\":\"https://x/o\",\"data\":{\"b\":\"y\"}}}}");

    (void)unused;
    job.priority = PRIORITY_URGENT;
    job.collapse_key = "k";
    job.expires_ms = fake_wall + 60000;
    assert_int_equal(fake_send(&adapter_fcm, state, &job), 0);
    assert_string_equal(
        fake_last()->body,
        "{\"message\":{\"token\":\"tok\",\"notification\":{\"title\":\"T\",\"body\":\"P\","
        "\"image\":\"https://x/i\"},\"data\":{\"tocsin_id\":\"0123456789abcdef\",\"a\":\"1\","
        "\"b\":\"y\",\"url\":\"https://x/o\"},\"android\":{\"priority\":\"high\","
        "\"collapse_key\":\"k\",\"ttl\":\"60s\",\"notification\":{\"channel_id\":\"orders\","
        "\"sound\":\"ding\",\"tag\":\"k\"}},\"apns\":{\"headers\":{\"apns-priority\":\"10\","
        "\"apns-expiration\":\"1700000060\",\"apns-collapse-id\":\"k\"},\"payload\":{\"aps\":{"
        "\"sound\":\"ding\",\"badge\":3}}}}}");
    fake_answer(200, "{}", -1);
    adapter_fcm.close(state);
}

static void every_answer_ends_in_its_class(void **unused)
{
    static const struct fake_case cases[] = {
        {200, "{\"name\":\"n\"}", -1, OUTCOME_ACCEPTED, REASON_NONE},
        {404, ERROR("NOT_FOUND", FCM_ERROR("UNREGISTERED")), -1, OUTCOME_DEAD_TARGET,
         REASON_TARGET_DEAD},
        {403, ERROR("PERMISSION_DENIED", FCM_ERROR("SENDER_ID_MISMATCH")), -1, OUTCOME_PERMANENT,
         REASON_TARGET_INVALID},
        {400, ERROR("INVALID_ARGUMENT", FCM_ERROR("INVALID_ARGUMENT")), -1, OUTCOME_PERMANENT,
         REASON_TARGET_INVALID},
        {400, ERROR("INVALID_ARGUMENT", BAD_REQUEST "," FCM_ERROR("INVALID_ARGUMENT")), -1,
         OUTCOME_PERMANENT, REASON_CONTENT_INVALID},
        {401, ERROR("UNAUTHENTICATED", FCM_ERROR("THIRD_PARTY_AUTH_ERROR")), -1, OUTCOME_RETRY,
         REASON_PROVIDER_AUTH},
        {403, ERROR("PERMISSION_DENIED", ""), -1, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH},
        {404, ERROR("NOT_FOUND", ""), -1, OUTCOME_PERMANENT, REASON_TARGET_DEAD},
        {429, ERROR("RESOURCE_EXHAUSTED", FCM_ERROR("QUOTA_EXCEEDED")), -1, OUTCOME_THROTTLE,
         REASON_RATE_LIMITED},
        {429, ERROR("RESOURCE_EXHAUSTED", ""), 70000, OUTCOME_RETRY_AFTER, REASON_RATE_LIMITED},
        {429, "", -1, OUTCOME_THROTTLE, REASON_RATE_LIMITED},
        {503, ERROR("UNAVAILABLE", FCM_ERROR("UNAVAILABLE")), -1, OUTCOME_RETRY,
         REASON_PROVIDER_UNAVAILABLE},
        {503, ERROR("UNAVAILABLE", FCM_ERROR("UNAVAILABLE")), 20000, OUTCOME_RETRY_AFTER,
         REASON_PROVIDER_UNAVAILABLE},
        {500, ERROR("INTERNAL", FCM_ERROR("INTERNAL")), -1, OUTCOME_RETRY,
         REASON_PROVIDER_UNAVAILABLE},
        {500, "", -1, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE},
        {400, ERROR("INVALID_ARGUMENT", FCM_ERROR("UNSPECIFIED_ERROR")), -1, OUTCOME_RETRY,
         REASON_PROVIDER_UNAVAILABLE},
        {400, "", -1, OUTCOME_PERMANENT, REASON_CONTENT_INVALID},
    };
    void *state = open_with_token();
    struct job job = fake_job("tok", PUSH);

    (void)unused;
    fake_check_cases(&adapter_fcm, state, &job, cases, sizeof cases / sizeof cases[0]);
    fake_check_failures(&adapter_fcm, state, &job);
    adapter_fcm.close(state);
}

static void one_fetch_serves_everybody(void **unused)
{
    void *state = open_fcm();
    struct job job = fake_job("tok", PUSH);

    (void)unused;
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(fake_send(&adapter_fcm, state, &job), 0);
    assert_int_equal(fake_request_count, 1);
    fake_answer(200, TOKEN("AT1"), -1);
    assert_int_equal(fake_request_count, 6);
    for (unsigned i = 1; i < 6; i++) {
        struct http_response ok = {.status = 200, .body = "{}", .body_bytes = 2};

        assert_string_equal(fake_header(&fake_requests[i], "authorization"), "Bearer AT1");
        fake_respond(&fake_requests[i], &ok);
    }
    assert_int_equal(fake_outcome_count, 5);
    adapter_fcm.close(state);
}

static void a_token_is_renewed_while_the_old_one_serves(void **unused)
{
    void *state = open_with_token();
    struct job job = fake_job("tok", PUSH);
    struct http_response fresh = {
        .status = 200, .body = TOKEN("AT2"), .body_bytes = strlen(TOKEN("AT2"))};

    (void)unused;
    fake_wall += 3400000; /* 199 s before its end */
    assert_int_equal(fake_send(&adapter_fcm, state, &job), 0);
    assert_int_equal(fake_request_count, 2);
    assert_string_equal(fake_requests[0].url, "https://token.example/token");
    assert_string_equal(fake_header(&fake_requests[1], "authorization"), "Bearer AT1");
    fake_answer(200, "{}", -1);
    assert_int_equal(fake_send(&adapter_fcm, state, &job), 0);
    assert_int_equal(fake_request_count, 3); /* no second renewal */
    fake_answer(200, "{}", -1);
    fake_respond(&fake_requests[0], &fresh);
    assert_int_equal(fake_send(&adapter_fcm, state, &job), 0);
    assert_string_equal(fake_header(fake_last(), "authorization"), "Bearer AT2");
    fake_answer(200, "{}", -1);
    fake_wall -= 3400000;
    adapter_fcm.close(state);
}

static void a_refused_token_is_renewed_once(void **unused)
{
    void *state = open_with_token();
    struct job job = fake_job("tok", PUSH);

    (void)unused;
    assert_int_equal(fake_send(&adapter_fcm, state, &job), 0);
    fake_answer(401, ERROR("UNAUTHENTICATED", ""), -1);
    assert_int_equal(fake_outcome_count, 0);
    assert_string_equal(fake_last()->url, "https://token.example/token");
    fake_answer(200, TOKEN("AT2"), -1);
    assert_string_equal(fake_header(fake_last(), "authorization"), "Bearer AT2");
    assert_non_null(strstr(fake_last()->body, "\"title\":\"T\""));
    fake_answer(401, ERROR("UNAUTHENTICATED", ""), -1);
    assert_int_equal(fake_outcome_count, 1);
    assert_int_equal(fake_outcome.kind, OUTCOME_AUTH_CONFIG_ERROR);
    adapter_fcm.close(state);
}

static void a_failed_fetch_ends_those_who_waited(void **unused)
{
    static const struct {
        int status;
        const char *body;
        enum outcome_kind kind;
        bool is_connection;
    } cases[] = {
        {400, "{\"error\":\"invalid_grant\"}", OUTCOME_AUTH_CONFIG_ERROR, false},
        {401, "{\"error\":\"invalid_client\"}", OUTCOME_AUTH_CONFIG_ERROR, false},
        {404, "", OUTCOME_AUTH_CONFIG_ERROR, false},
        {200, "{}", OUTCOME_AUTH_CONFIG_ERROR, false},
        {200, "{\"access_token\":\"a\\nb\"}", OUTCOME_AUTH_CONFIG_ERROR, false},
        {500, "", OUTCOME_RETRY, true},
        {429, "", OUTCOME_THROTTLE, false},
    };
    void *state = open_fcm();
    struct job job = fake_job("tok", PUSH);

    (void)unused;
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fake_forget();
        assert_int_equal(fake_send(&adapter_fcm, state, &job), 0);
        assert_int_equal(fake_send(&adapter_fcm, state, &job), 0);
        assert_int_equal(fake_request_count, 1);
        fake_answer(cases[i].status, cases[i].body, -1);
        assert_int_equal(fake_outcome_count, 2);
        assert_string_equal(outcome_name(fake_outcome.kind), outcome_name(cases[i].kind));
        assert_int_equal(fake_outcome.is_connection, cases[i].is_connection);
    }
    fake_forget();
    assert_int_equal(fake_send(&adapter_fcm, state, &job), 0);
    fake_failure(HTTP_FAIL_TIMEOUT, true, true);
    assert_int_equal(fake_outcome.kind, OUTCOME_RETRY); /* the push itself never left */
    assert_true(fake_outcome.is_connection);
    fake_forget();
    fake_send_error = ERR_FULL;
    assert_int_equal(fake_send(&adapter_fcm, state, &job), ERR_FULL);
    adapter_fcm.close(state);
}

static void closing_lets_a_renewal_go(void **unused)
{
    void *state = open_with_token();
    struct job job = fake_job("tok", PUSH);
    struct http_response fresh = {.status = 200, .body = "{}", .body_bytes = 2};

    (void)unused;
    fake_wall += 3400000;
    assert_int_equal(fake_send(&adapter_fcm, state, &job), 0);
    fake_answer(200, "{}", -1);
    adapter_fcm.close(state);
    fake_respond(&fake_requests[0], &fresh);
    fake_wall -= 3400000;
}

static void what_cannot_be_sent_is_refused(void **unused)
{
    void *state = open_with_token();
    char big[5000];
    struct job job = fake_job("tok", "{\"data\":{}}");

    (void)unused;
    fake_check_refused(&adapter_fcm, state, &job, OUTCOME_PERMANENT, REASON_CONTENT_INVALID);
    job = fake_job("tok", "{\"data\":{\"google.x\":\"1\"}}");
    fake_check_refused(&adapter_fcm, state, &job, OUTCOME_PERMANENT, REASON_CONTENT_INVALID);
    job = fake_job("", PUSH);
    fake_check_refused(&adapter_fcm, state, &job, OUTCOME_DEAD_TARGET, REASON_TARGET_INVALID);
    memset(big, 'x', sizeof big);
    memcpy(big, "{\"body\":\"", 9);
    memcpy(big + sizeof big - 3, "\"}", 3);
    job = fake_job("tok", big);
    fake_check_refused(&adapter_fcm, state, &job, OUTCOME_PERMANENT, REASON_PAYLOAD_TOO_LARGE);
    adapter_fcm.close(state);
}

static int make_key(void **unused)
{
    (void)unused;
    rsa = EVP_RSA_gen(2048);
    return rsa ? 0 : -1;
}

static int drop_key(void **unused)
{
    (void)unused;
    EVP_PKEY_free(rsa);
    return 0;
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
        cmocka_unit_test_teardown(the_assertion_is_a_signed_grant, forget),
        cmocka_unit_test_teardown(the_request_is_what_the_sdk_sends, forget),
        cmocka_unit_test_teardown(overrides_reach_each_platform, forget),
        cmocka_unit_test_teardown(every_answer_ends_in_its_class, forget),
        cmocka_unit_test_teardown(one_fetch_serves_everybody, forget),
        cmocka_unit_test_teardown(a_token_is_renewed_while_the_old_one_serves, forget),
        cmocka_unit_test_teardown(a_refused_token_is_renewed_once, forget),
        cmocka_unit_test_teardown(a_failed_fetch_ends_those_who_waited, forget),
        cmocka_unit_test_teardown(closing_lets_a_renewal_go, forget),
        cmocka_unit_test_teardown(what_cannot_be_sent_is_refused, forget),
    };
    return cmocka_run_group_tests(tests, make_key, drop_key);
}

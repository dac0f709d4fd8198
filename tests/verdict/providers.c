/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "channel_fake.h"
#include "verdict.h"
#include <openssl/evp.h>
#include <openssl/pem.h>

#define SUBSCRIPTION                                                                               \
    "{\"endpoint\":\"https://push.example.net/s/1\",\"keys\":{\"p256dh\":"                         \
    "\"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4\"," \
    "\"auth\":\"BTBZMqHH6r4Tts7J_aSIgg\"}}"
#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

const struct provider PROVIDERS[] = {
    {.name = "twilio",
     .target = "+15005550006",
     .good = "{\"sid\":\"SM1\",\"status\":\"queued\"}",
     .good_status = 201,
     .codes = "20003 20404 20429 21211 21212 21265 21408 21421 21606 21608 21610 21611 21612 21614 "
              "21635 21701 30002 30003 30005 30006 30007 30034 63003 63024 21999 1"},
    {.name = "bird",
     .target = "+15005550006",
     .good = "{\"id\":\"sms_1\"}",
     .good_status = 202,
     .codes = "E01004 E01033 SMSInvalidRecipient invalid_destination landline_unreachable "
              "recipient_opted_out blocked_by_recipient SMSNoEligibleSender sender_unregistered "
              "insufficient_balance unreachable blocked_by_carrier E99999"},
    {.name = "messagebird",
     .target = "+15005550006",
     .good = "{\"id\":\"abc\"}",
     .good_status = 201,
     .codes = "2 9 10 20 21 25 98 99 7"},
    {.name = "vonage",
     .target = "+15005550006",
     .good = "{\"message_uuid\":\"u-1\"}",
     .good_status = 202,
     .codes = "1000 1030 1050 1060 1120 1160 1170 1190 1240 1300 1310 1420 1430 1470 1480 9999"},
    {.name = "fcm",
     .target = "token",
     .good = "{\"name\":\"projects/p/messages/1\"}",
     .good_status = 200,
     .codes = "UNREGISTERED SENDER_ID_MISMATCH INVALID_ARGUMENT THIRD_PARTY_AUTH_ERROR NOT_FOUND "
              "PERMISSION_DENIED QUOTA_EXCEEDED RESOURCE_EXHAUSTED UNAVAILABLE INTERNAL X"},
    {.name = "apns",
     .target = HEX64,
     .good = "",
     .good_status = 200,
     .good_header = "apns-id",
     .good_header_value = "a-1",
     .codes = "Unregistered ExpiredToken BadDeviceToken DeviceTokenNotForTopic BadTopic "
              "TooManyRequests InvalidProviderToken PayloadTooLarge InternalServerError Strange"},
    {.name = "webpush",
     .target = SUBSCRIPTION,
     .good = "",
     .good_status = 201,
     .good_header = "Location",
     .good_header_value = "https://push.example.net/m/1",
     .codes = "VapidPkHashMismatch BadJwtToken 106"},
    {.name = "sendgrid",
     .target = "ann@example.com",
     .good = "",
     .good_status = 202,
     .good_header = "X-Message-Id",
     .good_header_value = "m-1",
     .codes = "from"},
    {.name = "mailgun",
     .target = "ann@example.com",
     .good = "{\"id\":\"<m@example.org>\",\"message\":\"Queued. Thank you.\"}",
     .good_status = 200,
     .codes = ""},
    {.name = "ses",
     .target = "ann@example.com",
     .good = "{\"MessageId\":\"0100\"}",
     .good_status = 200,
     .codes = "MessageRejected BadRequestException TooManyRequestsException NotFoundException "
              "AccountSuspendedException MailFromDomainNotVerifiedException Strange"},
    {.name = "postmark",
     .target = "ann@example.com",
     .good = "{\"ErrorCode\":0,\"MessageID\":\"p-1\"}",
     .good_status = 200,
     .codes = "10 100 300 400 405 406 412 1101 99999"},
    {.name = "smtp",
     .target = "ann@example.com",
     .good = "250 2.0.0 Ok: queued as ABC",
     .good_status = 250,
     .codes =
         "2.1.5 4.2.1 4.2.2 4.3.2 4.7.1 4.7.28 5.0.0 5.1.0 5.1.1 5.1.2 5.1.3 5.1.6 5.1.7 5.1.8 "
         "5.1.10 5.2.1 5.2.2 5.2.3 5.3.4 5.4.1 5.5.0 5.6.0 5.6.7 5.7.1 5.7.26"},
    {.name = "slack",
     .target = "https://hooks.example/1",
     .good = "ok",
     .good_status = 200,
     .codes = "invalid_payload no_text user_not_found channel_not_found no_service no_team "
              "channel_is_archived invalid_token action_prohibited strange"},
    {.name = "teams",
     .target = "https://hooks.example/1",
     .good = "",
     .good_status = 202,
     .codes = ""},
    {.name = "whatsapp",
     .target = "+15005550006",
     .good = "{\"messages\":[{\"id\":\"wamid.1\"}]}",
     .good_status = 200,
     .codes = "0 100 190 368 130429 131026 131030 131047 131048 131050 131056 132001 131008 999"},
    {.name = "webhook",
     .target = "https://hooks.example/1",
     .good = "",
     .good_status = 200,
     .is_any_good = true,
     .codes = ""},
};
const size_t PROVIDER_COUNT = sizeof PROVIDERS / sizeof PROVIDERS[0];

static void *states[sizeof PROVIDERS / sizeof PROVIDERS[0]];

static char *new_pem(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *pem, *copy;
    long length;

    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    length = BIO_get_mem_data(bio, &pem);
    copy = xstrndup(pem, (size_t)length);
    BIO_free(bio);
    EVP_PKEY_free(key);
    return copy;
}

static const char *service_account(void)
{
    char *pem = new_pem(EVP_RSA_gen(2048));
    struct buf json = {0};
    const char *path;

    buf_add_text(&json, "{\"client_email\":\"s@p.example\",\"project_id\":\"p\",\"token_uri\":"
                        "\"https://token.example/t\",\"private_key\":");
    buf_add_json(&json, pem);
    buf_add_char(&json, '}');
    path = fake_file(json.data);
    buf_fini(&json);
    free(pem);
    return path;
}

static const char *apple_key(void)
{
    char *pem = new_pem(EVP_EC_gen("P-256"));
    const char *path = fake_file(pem);

    free(pem);
    return path;
}

/* All settings of all adapters; each takes its own. */
static void open_one(size_t at, const char *const *pairs)
{
    if (fake_open(adapter_find(PROVIDERS[at].name), pairs, &states[at]) != 0)
        fail_msg("%s: %s", PROVIDERS[at].name, fake_why);
}

void providers_open(void)
{
    const char *secret = fake_file("secret"), *bird = fake_file("bk_eu1_abc");
    const char *webhook = fake_file("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    const char *vapid = fake_file("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94");
    const char *account = service_account(), *apple = apple_key();

    for (size_t i = 0; i < PROVIDER_COUNT; i++) {
        const char *name = PROVIDERS[i].name;
        bool is_sms = PROVIDERS[i].target[0] == '+';
        const char *pairs[] = {"account_sid",
                               "AC1",
                               "auth_token_file",
                               secret,
                               "api_key_file",
                               strcmp(name, "bird") == 0 ? bird : secret,
                               "access_key_file",
                               secret,
                               "api_key",
                               "k",
                               "api_secret_file",
                               secret,
                               "service_account_file",
                               account,
                               "key_file",
                               apple,
                               "key_id",
                               "KEY1234567",
                               "team_id",
                               "TEAM123456",
                               "topic",
                               "org.example.app",
                               "vapid_private_key_file",
                               vapid,
                               "vapid_subject",
                               "mailto:p@example.org",
                               "domain",
                               "mg.example.org",
                               "region",
                               "us-east-1",
                               "access_key_id",
                               "AKID",
                               "secret_access_key_file",
                               secret,
                               "server_token_file",
                               secret,
                               "host",
                               "mail.example",
                               "phone_number_id",
                               "1",
                               "access_token_file",
                               secret,
                               "secret_file",
                               webhook,
                               "from",
                               is_sms ? "+15005550001" : "Tocsin <noreply@example.org>",
                               NULL};

        open_one(i, pairs);
    }
}

void providers_close(void)
{
    for (size_t i = 0; i < PROVIDER_COUNT; i++)
        adapter_find(PROVIDERS[i].name)->close(states[i]);
}

const struct provider *provider_find(const char *name)
{
    for (size_t i = 0; i < PROVIDER_COUNT; i++)
        if (strcmp(PROVIDERS[i].name, name) == 0)
            return &PROVIDERS[i];
    return NULL;
}

static bool is_token_request(const struct fake_request *request)
{
    return request->url && strstr(request->url, "token.example") != NULL;
}

static void give_token(struct fake_request *request)
{
    static const char token[] = "{\"access_token\":\"t\",\"expires_in\":3600}";
    struct http_response response = {.is_sent = true,
                                     .is_fully_sent = true,
                                     .status = 200,
                                     .body = token,
                                     .body_bytes = sizeof token - 1,
                                     .retry_after_ms = -1};

    fake_respond(request, &response);
}

/* What is asked besides (a token) is answered well; what is asked once more, as before. */
static void serve(const struct http_response *response)
{
    for (unsigned i = 0; i < fake_request_count; i++) {
        if (!fake_requests[i].is_open)
            continue;
        if (is_token_request(&fake_requests[i]))
            give_token(&fake_requests[i]);
        else
            fake_respond(&fake_requests[i], response);
    }
    fake_run_timers();
}

struct outcome provider_answer(const struct provider *provider,
                               const struct http_response *response)
{
    size_t at = (size_t)(provider - PROVIDERS);
    struct job job = fake_job(provider->target, "{\"title\":\"T\",\"body\":\"B\"}");

    fake_forget();
    fake_wall += 60000; /* no connection is warm: each attempt is the first */
    assert_int_equal(fake_send(adapter_find(provider->name), states[at], &job), 0);
    serve(response);
    if (fake_outcome_count != 1)
        fail_msg("%s: %u outcomes of %d", provider->name, fake_outcome_count, response->status);
    return fake_outcome;
}

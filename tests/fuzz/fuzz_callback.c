/* SPDX-License-Identifier: MIT */
/*
 * Anything that a provider may send, through every reader of callbacks, as if its signature were
 * right (comparing and verifying always say yes here) and as if it had none.
 *
 * What comes out can be stored: keys and ids are printable and bounded, reports and reasons
 * known, and who said STOP has a phone.  What is proved is never thrown away: a body that is not
 * JSON where a provider sends JSON is unread, and an event beside any string, of whatever bytes,
 * comes out.
 *
 * Input: reader, flags (a byte each), then the body, or for a GET the query; what follows a NUL is
 * the certificate that was fetched for it.  With bit 1 of the flags the text is a member of a good
 * event in the middle of its provider's body.
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/panic.h"
#include "channels/callback.h"
#include "channels/encode.h"
#include "core/json.h"
#include "core/syntax.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define NOW_MS INT64_C(1700000000000)

/*
 * ---- every proof is good, while it is asked for, and then none ----
 *
 * None, not a comparison: the fuzzer sees what is compared, and has written Mailgun's digest, which
 * stands in the body, into its next input.
 */

static bool is_believed;

int CRYPTO_memcmp(const void *a, const void *b, size_t length)
{
    (void)a, (void)b, (void)length;
    return is_believed ? 0 : 1;
}

int EVP_DigestVerify(EVP_MD_CTX *md, const unsigned char *signature, size_t signature_bytes,
                     const unsigned char *message, size_t length)
{
    (void)md, (void)signature, (void)signature_bytes, (void)message, (void)length;
    return is_believed;
}

/* ---- accounts and headers ---- */

static const char *const NAMES[] = {"twilio",  "bird", "messagebird", "vonage",  "sendgrid",
                                    "mailgun", "ses",  "postmark",    "whatsapp"};
enum { READERS = sizeof NAMES / sizeof NAMES[0], SENDGRID = 4, SES = 6 };

static struct callback_account accounts[READERS];
static char *certificate, *basic, *bearer, *token;

static const char *header(void *ctx, const char *name)
{
    static const struct {
        const char *name, *value;
        char *const *made;
    } headers[] = {
        {"X-Twilio-Signature", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=", NULL},
        {"webhook-id", "msg_1", NULL},
        {"webhook-timestamp", "1700000000", NULL},
        {"webhook-signature", "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", NULL},
        {"MessageBird-Signature-JWT", NULL, &token},
        {"X-Twilio-Email-Event-Webhook-Signature", "AAAA", NULL},
        {"X-Twilio-Email-Event-Webhook-Timestamp", "1700000000", NULL},
        {"X-Hub-Signature-256",
         "sha256=0000000000000000000000000000000000000000000000000000000000000000", NULL},
        {"x-amz-sns-message-type", "Notification", NULL},
    };

    (void)ctx;
    if (!is_believed)
        return NULL;
    if (strcmp(name, "Authorization") == 0)
        return ctx == &accounts[3] ? bearer : basic; /* Vonage, Postmark */
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        if (strcasecmp(headers[i].name, name) == 0)
            return headers[i].made ? *headers[i].made : headers[i].value;
    return NULL;
}

static char *jwt(const char *claims)
{
    struct buf out = {0};

    encode_base64url(&out, "{\"alg\":\"HS256\"}", 15);
    buf_add_char(&out, '.');
    encode_base64url(&out, claims, strlen(claims));
    buf_add_text(&out, ".AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    return out.data;
}

#define HASH "0000000000000000000000000000000000000000000000000000000000000000"

static void make_headers(void)
{
    struct buf out = {0};
    char *claims;

    claims = jwt("{\"iss\":\"MessageBird\",\"jti\":\"x\",\"nbf\":1700000000,\"exp\":1700000060,"
                 "\"url_hash\":\"" HASH "\",\"payload_hash\":\"" HASH "\"}");
    token = claims;
    claims = jwt("{\"iat\":1700000000,\"payload_hash\":\"" HASH "\"}");
    buf_printf(&out, "Bearer %s", claims);
    bearer = out.data;
    free(claims);
    out = (struct buf){0};
    buf_add_text(&out, "Basic ");
    encode_base64(&out, "tocsin:word", 11);
    basic = out.data;
}

/* SES: a certificate of its own; SendGrid: a public key, in base64 of its DER form. */
static void make_keys(void)
{
    EVP_PKEY *rsa = EVP_RSA_gen(2048), *ec = EVP_EC_gen("P-256");
    X509 *x509 = X509_new();
    BIO *bio = BIO_new(BIO_s_mem());
    unsigned char *der = NULL;
    struct buf text = {0};
    char *pem;
    long length;
    int bytes = i2d_PUBKEY(ec, &der);

    encode_base64(&text, der, (size_t)bytes);
    secret_fini(&accounts[SENDGRID].secret);
    secret_set(&accounts[SENDGRID].secret, text.data, text.length);
    X509_set_pubkey(x509, rsa);
    X509_gmtime_adj(X509_getm_notBefore(x509), 0);
    X509_gmtime_adj(X509_getm_notAfter(x509), 86400);
    X509_sign(x509, rsa, EVP_sha256());
    PEM_write_bio_X509(bio, x509);
    length = BIO_get_mem_data(bio, &pem);
    certificate = xstrndup(pem, (size_t)length);
    BIO_free(bio);
    X509_free(x509);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ec);
    OPENSSL_free(der);
    buf_fini(&text);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    for (unsigned i = 0; i < READERS; i++) {
        const char *secret =
            strcmp(NAMES[i], "bird") == 0 ? "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" : "word";

        accounts[i].reader = callback_find(NAMES[i]);
        accounts[i].user = xstrdup("tocsin");
        secret_set(&accounts[i].secret, secret, strlen(secret));
        secret_set(&accounts[i].verify_token, "word", 4);
    }
    accounts[SES].topic = xstrdup("arn:aws:sns:eu-west-1:1:t");
    make_headers();
    make_keys();
    return 0;
}

/* ---- one input ---- */

static void check_text(const char *text, size_t bytes_max)
{
    ASSERT(text && strlen(text) <= bytes_max);
    for (; *text; text++)
        ASSERT(*text >= 0x20 && *text <= 0x7e);
}

static void check(const struct callback_result *result)
{
    ASSERT(result->count <= CALLBACK_EVENTS_MAX);
    for (size_t i = 0; i < result->count; i++) {
        const struct callback_event *event = &result->events[i];

        ASSERT(report_is_known((int)event->report) && event->reason < REASON_COUNT);
        check_text(event->key, 200);
        check_text(event->provider_id, sizeof((struct outcome *)0)->provider_id - 1);
        check_text(event->name, 64);
        if (event->code)
            check_text(event->code, 31);
        ASSERT((event->provider_id[0] || event->delivery) && event->at_ms >= 0);
    }
    if (result->word.keyword) {
        ASSERT(syntax_is_phone(result->word.address));
        check_text(result->word.key, 200);
    }
}

static bool is_json(const char *text, size_t length)
{
    struct arena *arena = arena_new(0);
    struct json_doc doc;
    size_t mark = strncmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* a byte order mark */
    bool is_good = json_read(text + mark, length - mark, 64, arena, &doc) == 0;

    arena_free(arena);
    return is_good;
}

/* Those whose whole body is JSON and whose proof is not in it. */
static bool sends_json(unsigned which)
{
    static const char *const names[] = {"bird", "vonage", "sendgrid", "postmark", "whatsapp"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(NAMES[which], names[i]) == 0)
            return true;
    return false;
}

/* A good event with the text as a string beside its members; NULL for readers without. */
static char *event_with(unsigned which, const char *text)
{
    static const char *const bodies[READERS][2] = {
        [1] = {"{\"type\":\"sms.delivered\",\"data\":{\"sms_id\":\"m\"},\"x\":\"", "\"}"},
        [3] = {"{\"x\":\"", "\",\"message_uuid\":\"m\",\"status\":\"delivered\"}"},
        [SENDGRID] = {"[{\"event\":\"delivered\",\"x\":\"", "\",\"sg_message_id\":\"m\"}]"},
        [7] = {"{\"RecordType\":\"Delivery\",\"x\":\"", "\",\"MessageID\":\"m\"}"},
        [8] = {"{\"entry\":[{\"changes\":[{\"value\":{\"statuses\":[{\"x\":\"",
               "\",\"id\":\"m\",\"status\":\"read\"}]}}]}]}"},
    };
    struct buf out = {0};

    if (!bodies[which][0])
        return NULL;
    buf_add_text(&out, bodies[which][0]);
    for (const char *at = text; *at; at++)
        if (*at != '"' && (*at != '\\' || (at[1] && at[1] != '"' && at[1] != '\\')))
            buf_add_char(&out, *at);
    buf_add_text(&out, bodies[which][1]);
    return out.data;
}

static void read_event(unsigned which, const char *text)
{
    char *body = event_with(which, text);
    struct callback_request request = {.method = "POST",
                                       .query = "",
                                       .url = "https://hooks.example/callbacks/x",
                                       .header = header,
                                       .ctx = &accounts[which],
                                       .body = body,
                                       .body_bytes = body ? strlen(body) : 0,
                                       .now_ms = NOW_MS};
    struct callback_result result = {.arena = arena_new(0)};

    if (body) {
        ASSERT(accounts[which].reader->read(&accounts[which], &request, &result) == CALLBACK_GOOD);
        check(&result);
        ASSERT(result.count == 1 && strcmp(result.events[0].provider_id, "m") == 0);
    }
    arena_free(result.arena);
    free(body);
}

static void read_once(unsigned which, unsigned flags, const char *text, size_t length,
                      const char *fetched)
{
    bool is_get = (flags & 1) && accounts[which].reader->takes_get;
    struct callback_request request = {
        .method = is_get ? "GET" : "POST",
        .query = is_get ? text : "",
        .url = "https://hooks.example/callbacks/x",
        .header = header,
        .ctx = &accounts[which],
        .body = is_get ? "" : text,
        .body_bytes = is_get ? 0 : length,
        .now_ms = NOW_MS,
    };
    struct callback_result result = {.arena = arena_new(0)};
    enum callback_verdict verdict =
        accounts[which].reader->read(&accounts[which], &request, &result);

    if (verdict == CALLBACK_FETCH) {
        ASSERT(result.fetch);
        request.certificate_url = arena_strdup(result.arena, result.fetch);
        request.certificate = fetched ? fetched : certificate;
        verdict = accounts[which].reader->read(&accounts[which], &request, &result);
    }
    if (verdict == CALLBACK_GOOD)
        check(&result);
    if (verdict == CALLBACK_GOOD && !is_get && sends_json(which) && !is_json(text, length))
        ASSERT(result.unread_count > 0);
    if (verdict != CALLBACK_GOOD)
        ASSERT(verdict == CALLBACK_FETCH || result.why);
    ASSERT(is_believed || verdict != CALLBACK_GOOD || is_get);
    arena_free(result.arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *fetched;
    char *text;
    size_t length;

    if (size < 2)
        return 0;
    text = xcalloc(1, size - 1);
    memcpy(text, data + 2, size - 2);
    length = strlen(text);
    fetched = length < size - 2 ? text + length + 1 : NULL;
    is_believed = true;
    if (data[1] & 2)
        read_event(data[0] % READERS, text);
    read_once(data[0] % READERS, data[1], text, length, fetched);
    is_believed = false;
    read_once(data[0] % READERS, data[1], text, length, fetched);
    free(text);
    return 0;
}

/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/timefmt.h"
#include "channels/callback.h"
#include "channels/encode.h"
#include "channels/sign.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One request with up to four headers, and what came of it. */
struct scene {
    struct callback_account account;
    struct callback_request request;
    struct callback_result result;
    const char *headers[4][2];
};

static const char *header(void *ctx, const char *name)
{
    const struct scene *scene = ctx;

    for (size_t i = 0; i < 4 && scene->headers[i][0]; i++)
        if (strcasecmp(scene->headers[i][0], name) == 0)
            return scene->headers[i][1];
    return NULL;
}

static void set_body(struct scene *scene, const char *body)
{
    scene->request.body = body;
    scene->request.body_bytes = strlen(body);
}

static void begin(struct scene *scene, const struct callback_reader *reader, const char *secret,
                  const char *body)
{
    memset(scene, 0, sizeof *scene);
    scene->account.reader = reader;
    secret_set(&scene->account.secret, secret, strlen(secret));
    scene->request = (struct callback_request){.method = "POST",
                                               .query = "",
                                               .url = "https://example.org/callbacks/x",
                                               .header = header,
                                               .ctx = scene,
                                               .now_ms = 1700000000000};
    set_body(scene, body);
    scene->result.arena = arena_new(0);
}

static enum callback_verdict read_it(struct scene *scene)
{
    struct arena *arena = scene->result.arena;

    arena_reset(arena);
    scene->result = (struct callback_result){.arena = arena};
    return scene->account.reader->read(&scene->account, &scene->request, &scene->result);
}

static void end(struct scene *scene)
{
    arena_free(scene->result.arena);
    callback_close(&scene->account);
}

static void expect(struct scene *scene, const char *id, enum report report, enum reason reason)
{
    assert_int_equal(read_it(scene), CALLBACK_GOOD);
    assert_int_equal(scene->result.count, 1);
    assert_string_equal(scene->result.events[0].provider_id, id);
    assert_int_equal(scene->result.events[0].report, report);
    assert_int_equal(scene->result.events[0].reason, reason);
}

/* ---- Twilio ---- */

static void twilio_sign(struct buf *out, const char *url, const char *parameters)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned length;
    struct buf message = {0};

    buf_printf(&message, "%s%s", url, parameters);
    HMAC(EVP_sha1(), "12345", 5, (unsigned char *)message.data, message.length, mac, &length);
    encode_base64(out, mac, length);
    buf_fini(&message);
}

static void twilio_proves_url_and_form(void **unused)
{
    struct scene scene;

    (void)unused;
    begin(&scene, &callback_twilio, "12345",
          "CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212"
          "&Caller=%2B14158675309");
    scene.request.url = "https://mycompany.com/myapp.php?foo=1&bar=2";
    scene.request.query = "foo=1&bar=2";
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    scene.headers[0][0] = "X-Twilio-Signature";
    scene.headers[0][1] = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";
    assert_int_equal(read_it(&scene), CALLBACK_GOOD);
    assert_int_equal(scene.result.count, 0);
    /* With the standard port, which the sender may or may not have signed. */
    scene.request.url = "https://mycompany.com:443/myapp.php?foo=1&bar=2";
    assert_int_equal(read_it(&scene), CALLBACK_GOOD);
    scene.request.url = "https://mycompany.com:444/myapp.php?foo=1&bar=2";
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    scene.request.url = "https://mycompany.com/myapp.php?foo=1&bar=3";
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    scene.request.url = "https://mycompany.com/myapp.php?foo=1&bar=2";
    scene.headers[0][1] = "RSOYDt4T1cUTdK1PDd93/VVr8B9=";
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    end(&scene);
}

static void twilio_statuses_become_reports(void **unused)
{
    static const struct {
        const char *form, *sorted;
        enum report report;
        enum reason reason;
    } cases[] = {
        {"MessageSid=SM1&MessageStatus=sent", "MessageSidSM1MessageStatussent", REPORT_SENT, 0},
        {"MessageStatus=delivered&MessageSid=SM1", "MessageSidSM1MessageStatusdelivered",
         REPORT_DELIVERED, 0},
        {"MessageSid=SM1&MessageStatus=read&x=b&x=a&x=b", "MessageSidSM1MessageStatusreadxaxb",
         REPORT_READ, 0},
        {"MessageSid=SM1&MessageStatus=undelivered&ErrorCode=30005",
         "ErrorCode30005MessageSidSM1MessageStatusundelivered", REPORT_FAILED,
         REASON_TARGET_INVALID},
        {"MessageSid=SM1&MessageStatus=failed&ErrorCode=21610",
         "ErrorCode21610MessageSidSM1MessageStatusfailed", REPORT_OPTED_OUT, REASON_OPTED_OUT},
        {"MessageSid=SM1&MessageStatus=failed&ErrorCode=99999",
         "ErrorCode99999MessageSidSM1MessageStatusfailed", REPORT_FAILED, REASON_PROVIDER_REJECTED},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct scene scene;
        struct buf signature = {0};

        begin(&scene, &callback_twilio, "12345", cases[i].form);
        twilio_sign(&signature, scene.request.url, cases[i].sorted);
        scene.headers[0][0] = "x-twilio-signature";
        scene.headers[0][1] = signature.data;
        expect(&scene, "SM1", cases[i].report, cases[i].reason);
        end(&scene);
        buf_fini(&signature);
    }
}

/* ---- MessageBird ---- */

/* Published vectors: each token with its URL, body and time, and whether it is good. */
static void check_vector(const json_t *vector)
{
    const char *payload = json_string_value(json_object_get(vector, "payload"));
    const char *mark, *url = json_string_value(json_object_get(vector, "url"));
    const char *secret = json_string_value(json_object_get(vector, "secret"));
    struct scene scene;

    begin(&scene, &callback_messagebird, secret ? secret : "none", payload ? payload : "");
    scene.request.url = url;
    mark = strchr(url, '?');
    scene.request.query = mark ? mark + 1 : "";
    scene.request.method = json_string_value(json_object_get(vector, "method"));
    assert_int_equal(timefmt_parse_wall(json_string_value(json_object_get(vector, "timestamp")),
                                        &scene.request.now_ms),
                     0);
    scene.headers[0][0] = "MessageBird-Signature-JWT";
    scene.headers[0][1] = json_string_value(json_object_get(vector, "token"));
    if ((read_it(&scene) == CALLBACK_GOOD) != json_is_true(json_object_get(vector, "valid")))
        fail_msg("%s: %s", json_string_value(json_object_get(vector, "name")),
                 scene.result.why ? scene.result.why : "was believed");
    end(&scene);
}

static void messagebird_agrees_with_the_published_vectors(void **unused)
{
    const char *spec = getenv("TOCSIN_SPEC_DIR");
    char path[512];
    json_t *vectors;

    (void)unused;
    (void)snprintf(path, sizeof path, "%s/messagebird-webhook-jwt.json",
                   spec ? spec : TOCSIN_SOURCE_DIR "/../shared/spec");
    vectors = json_load_file(path, 0, NULL);
    if (!vectors) {
        print_message("skipped: no MessageBird vectors (set TOCSIN_SPEC_DIR)\n");
        skip();
    }
    assert_true(json_array_size(vectors) >= 40);
    for (size_t i = 0; i < json_array_size(vectors); i++)
        check_vector(json_array_get(vectors, i));
    json_decref(vectors);
}

/* ---- JWT of our own making ---- */

static void jwt(struct buf *out, const char *secret, const char *claims)
{
    unsigned char mac[SHA256_BYTES];

    buf_clear(out);
    encode_base64url(out, "{\"alg\":\"HS256\",\"typ\":\"JWT\"}", 27);
    buf_add_char(out, '.');
    encode_base64url(out, claims, strlen(claims));
    hmac_sha256(secret, strlen(secret), out->data, out->length, mac);
    buf_add_char(out, '.');
    encode_base64url(out, mac, sizeof mac);
}

static void vonage_proves_the_body_and_the_account(void **unused)
{
    static const char body[] = "{\"message_uuid\":\"u-1\",\"status\":\"rejected\",\"error\":{"
                               "\"type\":\"https://x/messages#1240\"}}";
    struct scene scene;
    struct buf token = {0}, claims = {0}, value = {0};
    unsigned char hash[SHA256_BYTES];

    (void)unused;
    begin(&scene, &callback_vonage, "signature secret", body);
    sha256(body, strlen(body), hash);
    buf_add_text(&claims, "{\"api_key\":\"abc\",\"iat\":1700000000,\"payload_hash\":\"");
    encode_hex(&claims, hash, sizeof hash);
    buf_add_text(&claims, "\"}");
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    jwt(&token, "signature secret", claims.data);
    buf_printf(&value, "Bearer %s", token.data);
    scene.headers[0][0] = "authorization";
    scene.headers[0][1] = value.data;
    expect(&scene, "u-1", REPORT_OPTED_OUT, REASON_OPTED_OUT);
    scene.account.api_key = strdup("another");
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    free(scene.account.api_key);
    scene.account.api_key = strdup("abc");
    assert_int_equal(read_it(&scene), CALLBACK_GOOD);
    scene.request.now_ms -= 3600000; /* issued in the future */
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    scene.request.now_ms += 3600000;
    set_body(&scene, "{\"message_uuid\":\"u-1\",\"status\":\"delivered\"}");
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    set_body(&scene, body);
    jwt(&token, "another secret", claims.data);
    buf_clear(&value);
    buf_printf(&value, "Bearer %s", token.data);
    scene.headers[0][1] = value.data;
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    scene.headers[0][1] = "Bearer e30.e30.";
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    end(&scene);
    buf_fini(&token);
    buf_fini(&claims);
    buf_fini(&value);
}

/* ---- Bird ---- */

static void bird_signs_after_standard_webhooks(void **unused)
{
    struct scene scene;

    (void)unused;
    begin(&scene, &callback_bird, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
          "{\"test\": 2432232314}");
    scene.request.now_ms = 1614265330LL * 1000;
    scene.headers[0][0] = "webhook-id";
    scene.headers[0][1] = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    scene.headers[1][0] = "webhook-timestamp";
    scene.headers[1][1] = "1614265330";
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    scene.headers[2][0] = "webhook-signature";
    scene.headers[2][1] = "v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    assert_int_equal(read_it(&scene), CALLBACK_GOOD);
    assert_int_equal(scene.result.count, 0);
    scene.request.now_ms += 301 * 1000;
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    scene.request.now_ms -= 301 * 1000;
    scene.headers[2][1] = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OF=";
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    end(&scene);
}

/* ---- SendGrid ---- */

static EVP_PKEY *new_ec_key(void)
{
    return EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
}

static void sign_with(struct buf *out, EVP_PKEY *key, const EVP_MD *digest, const char *text)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    unsigned char signature[512];
    size_t length = sizeof signature;

    assert_int_equal(EVP_DigestSignInit(md, NULL, digest, NULL, key), 1);
    assert_int_equal(
        EVP_DigestSign(md, signature, &length, (const unsigned char *)text, strlen(text)), 1);
    EVP_MD_CTX_free(md);
    buf_clear(out);
    encode_base64(out, signature, length);
}

static char *public_key(EVP_PKEY *key)
{
    unsigned char *der = NULL;
    int length = i2d_PUBKEY(key, &der);
    struct buf text = {0};

    encode_base64(&text, der, (size_t)length);
    OPENSSL_free(der);
    return text.data;
}

#define EVENTS                                                                                   \
    "[{\"event\":\"delivered\",\"sg_message_id\":\"abc.recvd-5c4f-1-A.0\",\"sg_event_id\":"      \
    "\"e1\",\"timestamp\":1700000000},\r\n"                                                      \
    "{\"event\":\"bounce\",\"type\":\"bounce\",\"sg_message_id\":\"a.b.filter01.x\","            \
    "\"sg_event_id\":\"e2\",\"status\":\"5.1.1\"},\r\n{\"event\":\"click\",\"sg_message_id\":"   \
    "\"abc.x\"},{\"event\":\"dropped\",\"reason\":\"Spam Reporting Address\",\"sg_message_id\":" \
    "\"abc\",\"sg_event_id\":\"e3\"},{\"event\":\"bounce\",\"type\":\"blocked\","                \
    "\"sg_message_id\":\"abc\"}]\r\n"

static void sendgrid_signs_the_bytes_with_their_line_end(void **unused)
{
    EVP_PKEY *key = new_ec_key(), *other = new_ec_key();
    struct buf signature = {0};
    char *pem = public_key(key);
    struct scene scene;

    (void)unused;
    begin(&scene, &callback_sendgrid, pem, EVENTS);
    scene.headers[0][0] = "X-Twilio-Email-Event-Webhook-Timestamp";
    scene.headers[0][1] = "1700000000";
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    scene.headers[1][0] = "X-Twilio-Email-Event-Webhook-Signature";
    sign_with(&signature, key, EVP_sha256(), "1700000000" EVENTS);
    scene.headers[1][1] = signature.data;
    assert_int_equal(read_it(&scene), CALLBACK_GOOD);
    assert_int_equal(scene.result.count, 4);
    assert_string_equal(scene.result.events[0].provider_id, "abc");
    assert_string_equal(scene.result.events[0].key, "e1");
    /* Of many events in one body each keeps its own words, after the body is let go. */
    assert_non_null(strstr(scene.result.events[0].raw, "\"sg_event_id\":\"e1\""));
    assert_null(strstr(scene.result.events[0].raw, "e2"));
    assert_int_equal(scene.result.events[0].at_ms, 1700000000000);
    assert_int_equal(scene.result.events[0].report, REPORT_DELIVERED);
    assert_string_equal(scene.result.events[1].provider_id, "a.b");
    assert_int_equal(scene.result.events[1].report, REPORT_BOUNCED);
    assert_int_equal(scene.result.events[2].report, REPORT_COMPLAINED);
    assert_int_equal(scene.result.events[3].report, REPORT_FAILED);
    scene.request.body_bytes -= 2; /* without the line end */
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    scene.request.body_bytes += 2;
    scene.headers[0][1] = "1700000001";
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    scene.headers[0][1] = "1700000000";
    sign_with(&signature, other, EVP_sha256(), "1700000000" EVENTS);
    scene.headers[1][1] = signature.data;
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    end(&scene);
    free(pem);
    buf_fini(&signature);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

/* ---- Mailgun ---- */

#define MAILGUN(event)                                                                       \
    "{\"signature\":{\"timestamp\":\"1529006854\","                                          \
    "\"token\":\"a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0\",\"signature\":"        \
    "\"2df0e54f503d31abdc1519117a730ae38748e41e86f9ae25431dbd26059468af\"},\"event-data\":{" \
    "\"message\":{\"headers\":{\"message-id\":\"m@example.org\"}}," event "}}"

static void mailgun_carries_its_signature(void **unused)
{
    static const struct {
        const char *body;
        enum report report;
        enum reason reason;
    } cases[] = {
        {MAILGUN("\"event\":\"delivered\""), REPORT_DELIVERED, 0},
        {MAILGUN("\"event\":\"failed\",\"severity\":\"temporary\""), REPORT_SENT, 0},
        {MAILGUN("\"event\":\"failed\",\"severity\":\"permanent\",\"reason\":\"bounce\""),
         REPORT_BOUNCED, REASON_BOUNCED},
        {MAILGUN("\"event\":\"failed\",\"severity\":\"permanent\",\"reason\":\"bounce\","
                 "\"delivery-status\":{\"code\":550,\"message\":\"5.7.1 blocked by policy\"}"),
         REPORT_FAILED, REASON_PROVIDER_REJECTED},
        {MAILGUN("\"event\":\"failed\",\"severity\":\"permanent\",\"reason\":\"bounce\","
                 "\"delivery-status\":{\"code\":550,\"message\":\"in an RBL\"}"),
         REPORT_FAILED, REASON_PROVIDER_REJECTED},
        {MAILGUN("\"event\":\"failed\",\"severity\":\"permanent\",\"reason\":\"generic\""),
         REPORT_FAILED, REASON_PROVIDER_REJECTED},
        {MAILGUN("\"event\":\"failed\",\"reason\":\"suppress-unsubscribe\""), REPORT_OPTED_OUT,
         REASON_OPTED_OUT},
        {MAILGUN("\"event\":\"complained\""), REPORT_COMPLAINED, REASON_COMPLAINED},
    };
    struct scene scene;

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin(&scene, &callback_mailgun, "key-test", cases[i].body);
        expect(&scene, "<m@example.org>", cases[i].report, cases[i].reason);
        assert_string_equal(scene.result.events[0].key,
                            "a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0");
        end(&scene);
    }
    begin(&scene, &callback_mailgun, "key-tess", cases[0].body);
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    set_body(&scene, "{\"event-data\":{\"event\":\"delivered\"}}");
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    set_body(&scene, "no JSON");
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    end(&scene);
}

/* ---- SES through SNS ---- */

#define TOPIC "arn:aws:sns:us-east-1:1:events"
#define CERT  "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem"

static X509 *certificate_of(EVP_PKEY *key)
{
    X509 *certificate = X509_new();

    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -10);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_sign(certificate, key, EVP_sha256());
    return certificate;
}

static char *pem_of(EVP_PKEY *key)
{
    X509 *certificate = certificate_of(key);
    BIO *bio = BIO_new(BIO_s_mem());
    struct buf pem = {0};
    char *bytes;
    long length;

    PEM_write_bio_X509(bio, certificate);
    length = BIO_get_mem_data(bio, &bytes);
    buf_add(&pem, bytes, (size_t)length);
    BIO_free(bio);
    X509_free(certificate);
    return pem.data;
}

static char *envelope(EVP_PKEY *key, const char *version, const char *topic, const char *cert)
{
    static const char message[] = "{\\\"eventType\\\":\\\"Bounce\\\",\\\"bounce\\\":{"
                                  "\\\"bounceType\\\":\\\"Permanent\\\"},\\\"mail\\\":{"
                                  "\\\"messageId\\\":\\\"0100-a\\\"}}";
    static const char plain[] = "{\"eventType\":\"Bounce\",\"bounce\":{\"bounceType\":"
                                "\"Permanent\"},\"mail\":{\"messageId\":\"0100-a\"}}";
    struct buf text = {0}, signature = {0}, out = {0};

    buf_printf(&text,
               "Message\n%s\nMessageId\nm-1\nTimestamp\n2026-01-01T00:00:00.000Z\n"
               "TopicArn\n%s\nType\nNotification\n",
               plain, topic);
    sign_with(&signature, key, version[0] == '1' ? EVP_sha1() : EVP_sha256(), text.data);
    buf_printf(&out,
               "{\"Type\":\"Notification\",\"MessageId\":\"m-1\",\"TopicArn\":\"%s\","
               "\"Message\":\"%s\",\"Timestamp\":\"2026-01-01T00:00:00.000Z\","
               "\"SignatureVersion\":\"%s\",\"SigningCertURL\":\"%s\",\"Signature\":\"%s\"}",
               topic, message, version, cert, signature.data);
    buf_fini(&text);
    buf_fini(&signature);
    return out.data;
}

static enum callback_verdict read_envelope(EVP_PKEY *key, const char *version, const char *topic,
                                           const char *cert, const char *pem,
                                           struct callback_event *event)
{
    struct scene scene;
    char *body = envelope(key, version, topic, cert);
    enum callback_verdict verdict;

    begin(&scene, &callback_ses, "-", body);
    scene.account.topic = strdup(TOPIC);
    scene.request.certificate = pem;
    scene.request.certificate_url = CERT;
    verdict = read_it(&scene);
    if (verdict == CALLBACK_FETCH)
        assert_string_equal(scene.result.fetch, cert);
    if (verdict == CALLBACK_GOOD) {
        assert_int_equal(scene.result.count, 1);
        assert_string_equal(scene.result.events[0].provider_id, "0100-a");
        assert_string_equal(scene.result.events[0].key, "m-1");
        *event = scene.result.events[0];
    }
    end(&scene);
    free(body);
    return verdict;
}

static void ses_believes_its_own_topic_and_amazons_certificates(void **unused)
{
    EVP_PKEY *key = EVP_RSA_gen(2048), *other = EVP_RSA_gen(2048);
    char *pem = pem_of(key), *wrong = pem_of(other);
    struct callback_event event = {0};
    static const char *const elsewhere[] = {"http://sns.us-east-1.amazonaws.com/a.pem",
                                            "https://sns.us-east-1.amazonaws.com/a.txt",
                                            "https://sns.evil.org/a.pem",
                                            "https://sns.x.amazonaws.com.evil.org/a.pem",
                                            "https://evil.org/sns.us-east-1.amazonaws.com/a.pem",
                                            "https://sns.us-east-1.amazonaws.com@evil.org/a.pem",
                                            "https://sns.us-east-1.amazonaws.com/a?b=.pem"};

    (void)unused;
    assert_int_equal(read_envelope(key, "2", TOPIC, CERT, NULL, &event), CALLBACK_FETCH);
    assert_int_equal(read_envelope(key, "2", TOPIC, CERT, pem, &event), CALLBACK_GOOD);
    assert_int_equal(event.report, REPORT_BOUNCED);
    assert_int_equal(read_envelope(key, "1", TOPIC, CERT, pem, &event), CALLBACK_GOOD);
    assert_int_equal(read_envelope(key, "3", TOPIC, CERT, pem, &event), CALLBACK_REFUSED);
    assert_int_equal(read_envelope(key, "2", TOPIC "2", CERT, pem, &event), CALLBACK_REFUSED);
    assert_int_equal(read_envelope(key, "2", TOPIC, CERT, wrong, &event), CALLBACK_REFUSED);
    assert_int_equal(read_envelope(key, "2", TOPIC, CERT, "junk", &event), CALLBACK_REFUSED);
    /* A certificate is good for what names it. */
    assert_int_equal(
        read_envelope(key, "2", TOPIC, "https://sns.eu-west-1.amazonaws.com/b.pem", pem, &event),
        CALLBACK_FETCH);
    for (size_t i = 0; i < sizeof elsewhere / sizeof elsewhere[0]; i++)
        assert_int_equal(read_envelope(key, "2", TOPIC, elsewhere[i], NULL, &event),
                         CALLBACK_REFUSED);
    free(pem);
    free(wrong);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

/* ---- Postmark ---- */

static void postmark_is_known_by_its_password(void **unused)
{
    static const struct {
        const char *body;
        enum report report;
        enum reason reason;
    } cases[] = {
        {"{\"RecordType\":\"Delivery\",\"MessageID\":\"p-1\"}", REPORT_DELIVERED, 0},
        {"{\"RecordType\":\"Bounce\",\"Type\":\"HardBounce\",\"MessageID\":\"p-1\"}",
         REPORT_BOUNCED, REASON_BOUNCED},
        {"{\"RecordType\":\"Bounce\",\"Type\":\"HardBounce\",\"MessageID\":\"p-1\",\"Details\":"
         "\"smtp;550 5.7.1 listed at an RBL\"}",
         REPORT_FAILED, REASON_PROVIDER_REJECTED},
        {"{\"RecordType\":\"Bounce\",\"Type\":\"HardBounce\",\"MessageID\":\"p-1\",\"Details\":"
         "\"smtp;550 Administrative prohibition\"}",
         REPORT_FAILED, REASON_PROVIDER_REJECTED},
        {"{\"RecordType\":\"Bounce\",\"Type\":\"BadEmailAddress\",\"MessageID\":\"p-1\","
         "\"Details\":"
         "\"smtp;550 go away\"}",
         REPORT_FAILED, REASON_PROVIDER_REJECTED},
        {"{\"RecordType\":\"Bounce\",\"Type\":\"SpamNotification\",\"MessageID\":\"p-1\"}",
         REPORT_FAILED, REASON_PROVIDER_REJECTED},
        {"{\"RecordType\":\"Bounce\",\"Type\":\"Transient\",\"MessageID\":\"p-1\"}", REPORT_SENT,
         0},
        {"{\"RecordType\":\"SpamComplaint\",\"MessageID\":\"p-1\"}", REPORT_COMPLAINED,
         REASON_COMPLAINED},
        {"{\"RecordType\":\"SubscriptionChange\",\"SuppressSending\":true,\"MessageID\":\"p-1\"}",
         REPORT_OPTED_OUT, REASON_OPTED_OUT},
    };
    static const char *const wrong[] = {"Basic aG9vazpzZWNyZXU=", "Basic aG9vazpzZWNyZXQA",
                                        "Bearer aG9vazpzZWNyZXQ=", "Basic %%", ""};
    struct scene scene;

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin(&scene, &callback_postmark, "secret", cases[i].body);
        scene.account.user = strdup("hook");
        assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
        scene.headers[0][0] = "Authorization";
        scene.headers[0][1] = "Basic aG9vazpzZWNyZXQ=";
        expect(&scene, "p-1", cases[i].report, cases[i].reason);
        for (size_t w = 0; w < sizeof wrong / sizeof wrong[0]; w++) {
            scene.headers[0][1] = wrong[w];
            assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
        }
        end(&scene);
    }
}

/* ---- WhatsApp ---- */

static void whatsapp_signs_what_it_sends(void **unused)
{
    static const char signature[] =
        "sha256=f6491327cb5b041cdf4fe69b94711c7b68bb0aef719854bae676a59788a2b6b6";
    struct scene scene;

    (void)unused;
    begin(&scene, &callback_whatsapp, "appsecret", "{\"object\":\"whatsapp_business_account\"}");
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    scene.headers[0][0] = "X-Hub-Signature-256";
    scene.headers[0][1] = signature;
    assert_int_equal(read_it(&scene), CALLBACK_GOOD);
    set_body(&scene, "{\"object\":\"whatsapp_business_account\" }");
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    scene.headers[0][1] = signature + 7;
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    end(&scene);
}

static void whatsapp_carries_many_statuses(void **unused)
{
    static const char body[] =
        "{\"entry\":[{\"changes\":[{\"value\":{\"statuses\":["
        "{\"id\":\"w1\",\"status\":\"read\",\"timestamp\":\"1700000000\"},"
        "{\"id\":\"w2\",\"status\":\"failed\",\"errors\":[{\"code\":131026}]}]}},"
        "{\"value\":{\"messages\":[{\"id\":\"w9\"}]}}]},{\"changes\":[{\"value\":{\"statuses\":["
        "{\"id\":\"w3\",\"status\":\"failed\",\"errors\":[{\"code\":131050}]}]}}]}]}";
    unsigned char mac[SHA256_BYTES];
    struct buf signature = {0};
    struct scene scene;

    (void)unused;
    begin(&scene, &callback_whatsapp, "appsecret", body);
    hmac_sha256("appsecret", 9, body, strlen(body), mac);
    buf_add_text(&signature, "sha256=");
    encode_hex(&signature, mac, sizeof mac);
    scene.headers[0][0] = "X-Hub-Signature-256";
    scene.headers[0][1] = signature.data;
    assert_int_equal(read_it(&scene), CALLBACK_GOOD);
    assert_int_equal(scene.result.count, 3);
    assert_int_equal(scene.result.events[0].report, REPORT_READ);
    assert_int_equal(scene.result.events[0].at_ms, 1700000000000);
    assert_int_equal(scene.result.events[1].reason, REASON_TARGET_INVALID);
    assert_string_equal(scene.result.events[1].code, "131026");
    assert_int_equal(scene.result.events[2].report, REPORT_OPTED_OUT);
    end(&scene);
    buf_fini(&signature);
}

static void whatsapp_shakes_hands_with_who_knows_the_token(void **unused)
{
    struct scene scene;

    (void)unused;
    begin(&scene, &callback_whatsapp, "appsecret", "");
    scene.request.method = "GET";
    scene.request.query = "hub.mode=subscribe&hub.challenge=11%2B58&hub.verify_token=to%20ken";
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED); /* none is configured */
    secret_set(&scene.account.verify_token, "to ken", 6);
    assert_int_equal(read_it(&scene), CALLBACK_GOOD);
    assert_string_equal(scene.result.reply, "11+58");
    scene.request.query = "hub.mode=subscribe&hub.challenge=1158&hub.verify_token=to%20keN";
    assert_int_equal(read_it(&scene), CALLBACK_REFUSED);
    end(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twilio_proves_url_and_form),
        cmocka_unit_test(twilio_statuses_become_reports),
        cmocka_unit_test(messagebird_agrees_with_the_published_vectors),
        cmocka_unit_test(vonage_proves_the_body_and_the_account),
        cmocka_unit_test(bird_signs_after_standard_webhooks),
        cmocka_unit_test(sendgrid_signs_the_bytes_with_their_line_end),
        cmocka_unit_test(mailgun_carries_its_signature),
        cmocka_unit_test(ses_believes_its_own_topic_and_amazons_certificates),
        cmocka_unit_test(postmark_is_known_by_its_password),
        cmocka_unit_test(whatsapp_signs_what_it_sends),
        cmocka_unit_test(whatsapp_carries_many_statuses),
        cmocka_unit_test(whatsapp_shakes_hands_with_who_knows_the_token),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

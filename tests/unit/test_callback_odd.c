/* SPDX-License-Identifier: MIT */
/* What is proved is never thrown away: odd members, other spellings of the URL, our own ids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/buf.h"
#include "channels/callback.h"
#include "channels/callback_url.h"
#include "channels/encode.h"
#include "channels/sign.h"
#include "core/json.h"
#include "core/json_mend.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct scene {
    struct callback_account account;
    struct callback_request request;
    struct callback_result result;
    const char *headers[3][2];
    struct buf value;
};

static const char *header(void *ctx, const char *name)
{
    const struct scene *scene = ctx;

    for (size_t i = 0; i < 3 && scene->headers[i][0]; i++)
        if (strcasecmp(scene->headers[i][0], name) == 0)
            return scene->headers[i][1];
    return NULL;
}

static void begin(struct scene *scene, const struct callback_reader *reader, const char *body)
{
    memset(scene, 0, sizeof *scene);
    scene->account.reader = reader;
    scene->account.user = strdup("tocsin");
    secret_set(&scene->account.secret, "12345", 5);
    scene->request = (struct callback_request){.method = "POST",
                                               .query = "",
                                               .url = "https://example.org/callbacks/x",
                                               .header = header,
                                               .ctx = scene,
                                               .body = body,
                                               .body_bytes = strlen(body),
                                               .now_ms = 1700000000000};
    scene->result.arena = arena_new(0);
}

static void end(struct scene *scene)
{
    arena_free(scene->result.arena);
    callback_close(&scene->account);
    buf_fini(&scene->value);
}

static enum callback_verdict read_it(struct scene *scene)
{
    return scene->account.reader->read(&scene->account, &scene->request, &scene->result);
}

/* ---- parts that cannot be read ---- */

static void whatsapp(struct scene *scene, const char *body)
{
    unsigned char mac[SHA256_BYTES];

    begin(scene, &callback_whatsapp, body);
    hmac_sha256("12345", 5, body, strlen(body), mac);
    buf_add_text(&scene->value, "sha256=");
    encode_hex(&scene->value, mac, sizeof mac);
    scene->headers[0][0] = "X-Hub-Signature-256";
    scene->headers[0][1] = scene->value.data;
}

static void postmark(struct scene *scene, const char *body)
{
    begin(scene, &callback_postmark, body);
    buf_add_text(&scene->value, "Basic ");
    encode_base64(&scene->value, "tocsin:12345", 12);
    scene->headers[0][0] = "Authorization";
    scene->headers[0][1] = scene->value.data;
}

#define STATUSES(odd)                                                                         \
    "{\"entry\":[{\"changes\":[{\"value\":{\"statuses\":[{\"id\":\"w1\",\"status\":\"read\"}" \
    ",{\"id\":\"w2\",\"status\":\"sent\"" odd "},{\"id\":\"w3\",\"status\":\"read\"}]}}]}]}"
#define DELIVERY(odd) "{\"RecordType\":\"Delivery\",\"MessageID\":\"p1\"" odd "}"

/* A member of each kind that some reader of JSON refuses, and whether it is a syntax error. */
static const struct odd {
    const char *statuses, *delivery;
    bool is_error;
} ODD[] = {
#define ODD_MEMBER(text, is_error)                       \
    {                                                    \
        STATUSES("," text), DELIVERY("," text), is_error \
    }
    ODD_MEMBER("\"x\":\"\\u0000\"", false),
    ODD_MEMBER("\"x\":\"\\ud83d\"", false),
    ODD_MEMBER("\"x\":\"\\udc00\\ud83d\"", false),
    ODD_MEMBER("\"x\":\"\xe9\"", false),
    ODD_MEMBER("\"x\":\"\xed\xa0\x80\"", false),
    ODD_MEMBER("\"x\":99999999999999999999", false),
    ODD_MEMBER("\"x\":-1e999", false),
    ODD_MEMBER("\"x\":1,\"x\":2", false),
    ODD_MEMBER("\"\":null", false),
    ODD_MEMBER("\"x\":\"a\tb\"", true),
    ODD_MEMBER("\"x\":\"\\x41\"", true),
    ODD_MEMBER("\"x\":NaN", true),
    ODD_MEMBER("\"x\":007", true),
    ODD_MEMBER("\"x\":", true),
};

static void odd_members_cost_no_event(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof ODD / sizeof ODD[0]; i++) {
        struct scene scene;

        whatsapp(&scene, ODD[i].statuses);
        assert_int_equal(read_it(&scene), CALLBACK_GOOD);
        assert_int_equal(scene.result.count, 3);
        assert_string_equal(scene.result.events[2].provider_id, "w3");
        assert_int_equal(scene.result.unread_count, ODD[i].is_error);
        end(&scene);
        postmark(&scene, ODD[i].delivery);
        assert_int_equal(read_it(&scene), CALLBACK_GOOD);
        assert_int_equal(scene.result.count, 1);
        assert_int_equal(scene.result.events[0].report, REPORT_DELIVERED);
        assert_int_equal(scene.result.unread_count, ODD[i].is_error);
        end(&scene);
    }
}

static void what_is_not_understood_is_kept(void **unused)
{
    static const char *const bodies[] = {
        "",
        "no JSON",
        "[]",
        "{}",
        "{\"RecordType\":\"Delivery\"}",
        "{\"RecordType\":\"Something new\",\"MessageID\":\"p1\"}",
        "{\"RecordType\":\"Bounce\",\"Type\":\"NewKind\",\"MessageID\":\"p1\"}",
    };
    struct scene scene;

    (void)unused;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        postmark(&scene, bodies[i]);
        assert_int_equal(read_it(&scene), CALLBACK_GOOD);
        assert_int_equal(scene.result.count, 0);
        assert_int_equal(scene.result.unread_count, 1);
        end(&scene);
    }
    postmark(&scene, "{\"RecordType\":\"Click\",\"MessageID\":\"p1\"}");
    assert_int_equal(read_it(&scene), CALLBACK_GOOD);
    assert_int_equal(scene.result.unread_count, 0);
    end(&scene);
    whatsapp(&scene, STATUSES(",\"x\":1") "x");
    assert_int_equal(read_it(&scene), CALLBACK_GOOD);
    assert_int_equal(scene.result.unread_count, 1);
    end(&scene);
}

static void our_delivery_is_enough(void **unused)
{
    struct scene scene;

    (void)unused;
    postmark(&scene, "{\"RecordType\":\"Delivery\",\"Metadata\":{\"tocsin_delivery\":"
                     "\"0123456789abcdef\"}}");
    assert_int_equal(read_it(&scene), CALLBACK_GOOD);
    assert_int_equal(scene.result.count, 1);
    assert_string_equal(scene.result.events[0].provider_id, "");
    assert_true(scene.result.events[0].delivery == 0x0123456789abcdefU);
    end(&scene);
    whatsapp(&scene, "{\"entry\":[{\"changes\":[{\"value\":{\"statuses\":[{\"status\":\"read\","
                     "\"biz_opaque_callback_data\":\"0123456789abcdef\"}]}}]}]}");
    assert_int_equal(read_it(&scene), CALLBACK_GOOD);
    assert_int_equal(scene.result.count, 1);
    assert_true(scene.result.events[0].delivery == 0x0123456789abcdefU);
    end(&scene);
}

/* ---- URLs ---- */

static bool is_same(void *ctx, const char *url)
{
    return strcmp(ctx, url) == 0;
}

static bool fits(const char *signed_url, const char *requested)
{
    return callback_url_fits(requested, 0, is_same, (void *)(uintptr_t)signed_url);
}

static void one_url_in_every_spelling(void **unused)
{
    static const char *const same[][2] = {
        {"https://x.example/c?a=it's", "https://x.example/c?a=it%27s"},
        {"https://x.example/c?a=it%27s", "https://x.example/c?a=it's"},
        {"https://x.example/c?a=b@c:d", "https://x.example/c?a=b%40c%3Ad"},
        {"https://x.example/c?a=b@c:d", "https://x.example/c?a=b%40c%3ad"},
        {"https://x.example/c?a=b%40c:d", "https://x.example/c?a=b@c%3Ad"},
        {"https://x.example/c?a=it's%40b", "https://x.example/c?a=it%27s%40b"},
        {"https://x.example/c?a=b%2fc", "https://x.example/c?a=b%2Fc"},
        {"https://x.example/c?a=b c", "https://x.example/c?a=b%20c"},
        {"https://x.example/c?a=b c", "https://x.example/c?a=b+c"},
        {"https://x.example/c?a=b+c", "https://x.example/c?a=b%20c"},
        {"https://x.example/c?a=b%20c", "https://x.example/c?a=b+c"},
        {"https://x.example/c?a=b\xc3\xbc", "https://x.example/c?a=b%C3%BC"},
        {"https://x.example/c?a=b\xc3\xbc'c", "https://x.example/c?a=b%C3%BC%27c"},
        {"https://x.example/c?a=[1]&b=(2)!*,;$~",
         "https://x.example/c?a=%5B1%5D&b=%282%29%21%2A%2C%3B%24%7E"},
        {"https://x.example/c?a=a-b", "https://x.example/c?a=%61%2Db"},
        {"https://x.example/c", "https://x.example/c"},
    };
    /* Other names or values. */
    static const char *const other[][2] = {
        {"https://x.example/c?a=b&c=d", "https://x.example/c?a=b%26c=d"},
        {"https://x.example/c?a=b+c", "https://x.example/c?a=b%2Bc"},
        {"https://x.example/c?a=b=c", "https://x.example/c?a=b%3Dc"},
        {"https://x.example/c?a=b#c", "https://x.example/c?a=b%23c"},
        {"https://x.example/c?a=%2527", "https://x.example/c?a=%27"},
        {"https://x.example/c?a=it's", "https://x.example/c?a=its"},
        {"https://x.example/d?a=b", "https://x.example/c?a=b"},
        {"https://x.example/c?a=B", "https://x.example/c?a=b"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        if (!fits(same[i][0], same[i][1]))
            fail_msg("signed %s, requested %s", same[i][0], same[i][1]);
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++)
        if (fits(other[i][0], other[i][1]))
            fail_msg("%s was taken for %s", other[i][1], other[i][0]);
}

struct work {
    size_t count, bytes, beside;
};

static bool count_one(void *ctx, const char *url)
{
    struct work *work = ctx;

    work->count++;
    work->bytes += strlen(url) + work->beside;
    return false;
}

/* Anybody may send a callback: what it costs before it is proved does not grow with it. */
static void spellings_cost_little_before_a_proof(void **unused)
{
    static const char odd[] = "'@:/?!()*,;$~[]|^`{}%20%c3%bc+";
    static const size_t lengths[] = {0, 1, 100, 300, 512, 600, 700, 1000, 10000, 30000};
    static const size_t besides[] = {0, 300, 5000, 16000, 60000, 65535, 65536, 1000000};

    (void)unused;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        for (size_t k = 0; k < sizeof besides / sizeof besides[0]; k++) {
            struct work work = {0, 0, besides[k]};
            struct buf url = {0};

            buf_add_text(&url, "https://x.example/c?a=");
            while (url.length < lengths[i])
                buf_add_text(&url, odd);
            assert_false(callback_url_fits(buf_text(&url), besides[k], count_one, &work));
            assert_in_range(work.count, 1, CALLBACK_SPELLINGS_MAX);
            /* A percent-encoded character is three; once as it came is free. */
            assert_true(work.count == 1 || work.bytes <= (size_t)3 * CALLBACK_SPELLED_BYTES_MAX);
            if (url.length > CALLBACK_SPELLED_URL_MAX)
                assert_int_equal(work.count, 1);
            buf_fini(&url);
        }
}

static void twilio_signs_the_url_as_it_was_written(void **unused)
{
    static const char text[] = "https://example.org/callbacks/tw?a=it's@b:c"
                               "MessageSidSM1MessageStatusdelivered";
    static const char *const queries[] = {"a=it's@b:c", "a=it%27s@b:c", "a=it%27s%40b%3Ac",
                                          "a=it's%40b:c"};
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned length;
    struct buf signature = {0};

    (void)unused;
    HMAC(EVP_sha1(), "12345", 5, (const unsigned char *)text, sizeof text - 1, mac, &length);
    encode_base64(&signature, mac, length);
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        struct scene scene;
        char url[200];

        begin(&scene, &callback_twilio, "MessageSid=SM1&MessageStatus=delivered");
        (void)snprintf(url, sizeof url, "https://example.org/callbacks/tw?%s", queries[i]);
        scene.request.url = url;
        scene.request.query = queries[i];
        scene.headers[0][0] = "X-Twilio-Signature";
        scene.headers[0][1] = signature.data;
        assert_int_equal(read_it(&scene), CALLBACK_GOOD);
        assert_int_equal(scene.result.count, 1);
        end(&scene);
    }
    buf_fini(&signature);
}

/* ---- mending ---- */

static void almost_json_becomes_json(void **unused)
{
    static const char *const cases[][2] = {
        {"[{\"a\":1},{\"b\":\"x\ty\"}]", "[{\"a\":1},{\"b\":\"x y\"}]"},
        {"{\"a\":NaN,\"b\":+1,\"c\":.5,\"d\":1.,\"e\":-0}",
         "{\"a\":null,\"b\":null,\"c\":null,\"d\":null,\"e\":-0}"},
        {"[1,2,]", "[1,2]"},
        {"{\"a\":1,}", "{\"a\":1}"},
        {"{\"a\":}", "{\"a\":null}"},
        {"[,1,,2]", "[1,2]"},
        {"[1 2 \"a\" {}]", "[1,2,\"a\",{}]"},
        {"\"\\q\\\"\"", "\"\\\\q\\\"\""},
        {"[{\"a\":\"b", "[{\"a\":\"b\"}]"},
        {"{\"a\":{\"b\":[1", "{\"a\":{\"b\":[1]}}"},
    };
    struct buf out = {0};

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena *arena = arena_new(0);
        struct json_doc doc;

        json_mend(cases[i][0], strlen(cases[i][0]), &out);
        assert_string_equal(buf_text(&out), cases[i][1]);
        assert_int_equal(json_read(out.data, out.length, 10, arena, &doc), 0);
        arena_free(arena);
    }
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(odd_members_cost_no_event),
        cmocka_unit_test(what_is_not_understood_is_kept),
        cmocka_unit_test(our_delivery_is_enough),
        cmocka_unit_test(one_url_in_every_spelling),
        cmocka_unit_test(spellings_cost_little_before_a_proof),
        cmocka_unit_test(twilio_signs_the_url_as_it_was_written),
        cmocka_unit_test(almost_json_becomes_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

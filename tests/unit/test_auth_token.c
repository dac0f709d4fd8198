/* SPDX-License-Identifier: MIT */
/*
 * Tokens signed here and now with HMAC, so that each case reaches the check
 * that it is about and the exact reason can be asked for.
 */
#include "cache.h"
#include "token.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char secret[] = "0123456789abcdef0123456789abcdef";
static const int64_t now_s = 1800000000;

struct fixture {
    struct options *options;
    struct keys *keys;
    char path[64];
};

static int setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));
    char err[FILE_ERROR_SIZE];

    snprintf(fx->path, sizeof(fx->path), "/tmp/test_auth_token.XXXXXX");
    int fd = mkstemp(fx->path);
    assert_true(fd >= 0 && write(fd, secret, strlen(secret)) == (ssize_t)strlen(secret));
    close(fd);
    fx->options = options_new();
    assert_int_equal(options_set(fx->options, "secret_file", fx->path, err), 0);
    assert_int_equal(options_set(fx->options, "issuer", "iss", err), 0);
    assert_int_equal(options_set(fx->options, "audience", "aud", err), 0);
    assert_int_equal(options_set(fx->options, "max_lifetime", "1h", err), 0);
    assert_int_equal(options_set(fx->options, "leeway", "10s", err), 0);
    assert_int_equal(options_finish(fx->options, err), 0);
    fx->keys = keys_load(fx->options, err);
    assert_non_null(fx->keys);
    *state = fx;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    unlink(fx->path);
    keys_free(fx->keys);
    options_free(fx->options);
    free(fx);
    return 0;
}

static size_t encode(const void *raw, size_t len, char *out)
{
    int size = EVP_EncodeBlock((unsigned char *)out, raw, (int)len);

    while (size > 0 && out[size - 1] == '=')
        size--;
    for (int i = 0; i < size; i++)
        out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
    out[size] = '\0';
    return (size_t)size;
}

static void sign(const char *header, const char *payload, char *out)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_len;

    size_t len = encode(header, strlen(header), out);
    out[len++] = '.';
    len += encode(payload, strlen(payload), out + len);
    HMAC(EVP_sha256(), secret, (int)strlen(secret), (unsigned char *)out, len, mac, &mac_len);
    out[len++] = '.';
    encode(mac, mac_len, out + len);
}

#define HEADER "{\"alg\":\"HS256\"}"
#define BASE   "\"iss\":\"iss\",\"aud\":\"aud\",\"sub\":\"a\",\"kind\":\"user\""
#define EXP    "\"exp\":1800000600"

static const struct {
    const char *header, *payload;
    enum refusal want;
} cases[] = {
    {HEADER, "{" BASE "," EXP "}", REFUSAL_NONE},
    {HEADER, "{" BASE "," EXP ",\"nbf\":1800000005,\"iat\":1800000005}", REFUSAL_NONE},
    {HEADER, "{" BASE ",\"exp\":1799999991}", REFUSAL_NONE},
    {HEADER, "{" BASE ",\"exp\":1799999990}", REFUSAL_EXPIRED},
    {HEADER, "{" BASE "," EXP ",\"nbf\":1800000006}", REFUSAL_NOT_YET},
    {HEADER, "{" BASE "," EXP ",\"iat\":1800000006}", REFUSAL_NOT_YET},
    {HEADER, "{" BASE ",\"exp\":1800003606}", REFUSAL_LIFETIME},
    {HEADER, "{" BASE ",\"exp\":1800003605}", REFUSAL_NONE},
    {HEADER, "{" BASE ",\"exp\":1800003605,\"iat\":1800000005}",
     REFUSAL_NONE}, /* its clock is ahead */
    {HEADER, "{" BASE ",\"exp\":1800003605,\"iat\":1800000004}", REFUSAL_LIFETIME},
    {HEADER, "{" BASE ",\"exp\":1800003000,\"iat\":1799999000}", REFUSAL_LIFETIME},
    {HEADER, "{" BASE "}", REFUSAL_CLAIMS},
    {HEADER, "{" BASE ",\"exp\":\"1800000600\"}", REFUSAL_CLAIMS},
    {HEADER, "{" BASE ",\"exp\":1.8e9}", REFUSAL_NONE},
    {HEADER, "{" BASE ",\"exp\":1799999990.9}", REFUSAL_EXPIRED}, /* a fraction stays nobody */
    {HEADER, "{" BASE ",\"exp\":1799999991.1}", REFUSAL_NONE},
    {HEADER, "{" BASE ",\"exp\":0}", REFUSAL_EXPIRED},
    {HEADER, "{" BASE ",\"exp\":-1}", REFUSAL_EXPIRED},
    {HEADER, "{" BASE ",\"exp\":null}", REFUSAL_CLAIMS},
    {HEADER, "{" BASE ",\"exp\":true}", REFUSAL_CLAIMS},
    {HEADER, "{" BASE "," EXP ",\"nbf\":0}", REFUSAL_NONE},
    {HEADER, "{" BASE "," EXP ",\"iat\":0}", REFUSAL_NONE},
    {HEADER, "{" BASE "," EXP ",\"nbf\":null,\"iat\":null}", REFUSAL_NONE},
    {HEADER, "{" BASE "," EXP ",\"nbf\":-62135596800}", REFUSAL_NONE}, /* .NET's first day */
    {HEADER, "{" BASE "," EXP ",\"iat\":1800000004.75,\"nbf\":1.5}", REFUSAL_NONE},
    {HEADER, "{" BASE "," EXP ",\"nbf\":\"0\"}", REFUSAL_CLAIMS},
    {HEADER, "{" BASE ",\"exp\":1800000600000}", REFUSAL_CLAIMS}, /* milliseconds */
    {HEADER, "{" BASE ",\"exp\":9223372036854775807}", REFUSAL_CLAIMS},
    {HEADER, "{" BASE "," EXP ",\"sub\":\"b\"}", REFUSAL_CLAIMS},
    {HEADER, "{\"aud\":\"aud\",\"sub\":\"a\",\"kind\":\"user\"," EXP "}", REFUSAL_ISSUER},
    {HEADER, "{\"iss\":\"iss\",\"sub\":\"a\",\"kind\":\"user\"," EXP "}", REFUSAL_AUDIENCE},
    {HEADER, "{\"iss\":\"iss\",\"aud\":[\"x\",1,\"aud\"],\"sub\":\"a\",\"kind\":\"user\"," EXP "}",
     REFUSAL_AUDIENCE},
    {HEADER, "{\"iss\":\"iss\",\"aud\":[\"x\",\"aud\"],\"sub\":\"a\",\"kind\":\"user\"," EXP "}",
     REFUSAL_NONE},
    {HEADER, "{\"iss\":\"iss\",\"aud\":\"aud\",\"kind\":\"user\"," EXP "}", REFUSAL_SUBJECT},
    {HEADER, "{\"iss\":\"iss\",\"aud\":\"aud\",\"sub\":\"a\"," EXP "}", REFUSAL_KIND},
    {HEADER, "{" BASE "," EXP ",\"roles\":[1,null,{},[]]}", REFUSAL_NONE},
    {HEADER, "{" BASE "," EXP ",\"roles\":7}", REFUSAL_NONE},
    {HEADER, "{" BASE "," EXP ",\"roles\":{\"ops\":{\"3120\":\"acme.example\"}}}", REFUSAL_NONE},
    {HEADER, "{" BASE "," EXP ",\"badge\":12345678901234567890,\"x\":\"a\\u0000b\"}", REFUSAL_NONE},
    {HEADER, "{" BASE "," EXP ",\"x\":[[[[[[[[[[1]]]]]]]]]],\"y\":null,\"z\":[1,2.5,-3]}",
     REFUSAL_NONE},
    {HEADER, "{\"iss\":\"iss\",\"aud\":\"aud\",\"sub\":\"a\\u0000b\",\"kind\":\"user\"," EXP "}",
     REFUSAL_SUBJECT},
    {HEADER, "{\"iss\":\"iss\\u0000x\",\"aud\":\"aud\",\"sub\":\"a\",\"kind\":\"user\"," EXP "}",
     REFUSAL_ISSUER},
    {HEADER, "{\"iss\":\"iss\",\"aud\":[\"aud\\u0000\"],\"sub\":\"a\",\"kind\":\"user\"," EXP "}",
     REFUSAL_AUDIENCE},
    {HEADER, "{\"iss\":\"iss\",\"aud\":\"aud\",\"sub\":\"a\",\"kind\":\"user\\u0000\"," EXP "}",
     REFUSAL_KIND},
    {HEADER, "{" BASE "," EXP ",\"roles\":\"ops\"}", REFUSAL_NONE},
    {HEADER, "{" BASE "," EXP ",\"jti\":1}", REFUSAL_NONE},
    {HEADER, "{" BASE "," EXP ",\"jti\":{}}", REFUSAL_NONE},
    {HEADER, "[]", REFUSAL_CLAIMS},
    {"{\"alg\":\"none\"}", "{" BASE "," EXP "}", REFUSAL_ALGORITHM},
    {"{\"alg\":\"HS512\"}", "{" BASE "," EXP "}", REFUSAL_ALGORITHM},
    {"{\"alg\":\"RS256\"}", "{" BASE "," EXP "}", REFUSAL_ALGORITHM},
    {"{\"alg\":1}", "{" BASE "," EXP "}", REFUSAL_ALGORITHM},
    {"{}", "{" BASE "," EXP "}", REFUSAL_ALGORITHM},
    {"{\"alg\":\"HS256\",\"kid\":\"x\"}", "{" BASE "," EXP "}", REFUSAL_KEY},
    {"{\"alg\":\"HS256\",\"kid\":\"\"}", "{" BASE "," EXP "}", REFUSAL_HEADER},
    {"{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}", "{" BASE "," EXP "}", REFUSAL_HEADER},
    {"{\"alg\":\"HS256\",\"typ\":\"jwt\"}", "{" BASE "," EXP "}", REFUSAL_NONE},
    {"{\"alg\":\"HS256\",\"crit\":[]}", "{" BASE "," EXP "}", REFUSAL_HEADER},
    {"{\"alg\":\"HS256\",\"x5t\":\"a\",\"x5t#S256\":\"b\"}", "{" BASE "," EXP "}", REFUSAL_NONE},
    {"{\"alg\":\"HS256\",\"x5c\":[\"a\"]}", "{" BASE "," EXP "}", REFUSAL_HEADER},
    {"{\"alg\":\"HS256\",\"x5u\":\"a\"}", "{" BASE "," EXP "}", REFUSAL_HEADER},
    {"{\"alg\":\"HS256\",\"x5\":1,\"cty\":\"x\",\"nonce\":null}", "{" BASE "," EXP "}",
     REFUSAL_NONE},
    {"{\"alg\":\"HS256\",\"kid\":null,\"typ\":null}", "{" BASE "," EXP "}", REFUSAL_NONE},
    {"{\"alg\":\"HS256\",\"kid\":1}", "{" BASE "," EXP "}", REFUSAL_HEADER},
    {"{\"alg\":\"HS256\",\"kid\":\"key 1\"}", "{" BASE "," EXP "}", REFUSAL_KEY},
    {"{\"alg\":\"HS256\",\"alg\":\"HS256\"}", "{" BASE "," EXP "}", REFUSAL_MALFORMED},
    {"[]", "{" BASE "," EXP "}", REFUSAL_MALFORMED},
};

static void each_fault_has_its_reason(void **state)
{
    struct fixture *fx = *state;
    char text[4096];
    struct token tok;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        sign(cases[i].header, cases[i].payload, text);
        enum refusal got = token_verify(fx->keys, text, strlen(text), 8192, now_s, &tok);
        if (got != cases[i].want)
            fail_msg("%s %s: %s, not %s", cases[i].header, cases[i].payload, refusal_name(got),
                     refusal_name(cases[i].want));
        assert_int_equal(ERR_peek_error(), 0);
    }
}

static void no_other_text_passes(void **state)
{
    struct fixture *fx = *state;
    char text[4096];
    struct token tok;

    sign(HEADER, "{" BASE "," EXP "}", text);
    size_t len = strlen(text);
    assert_int_equal(token_verify(fx->keys, text, len, len, now_s, &tok), REFUSAL_NONE);
    assert_int_equal(token_verify(fx->keys, text, len, len - 1, now_s, &tok), REFUSAL_TOO_LONG);
    for (size_t at = 0; at < len; at++) /* every other character at every position */
        for (int c = 1; c < 256; c++) {
            char was = text[at];
            if ((char)c == was)
                continue;
            text[at] = (char)c;
            assert_int_not_equal(token_verify(fx->keys, text, len, 8192, now_s, &tok),
                                 REFUSAL_NONE);
            text[at] = was;
        }
    for (size_t cut = 0; cut < len; cut++)
        assert_int_not_equal(token_verify(fx->keys, text, cut, 8192, now_s, &tok), REFUSAL_NONE);
}

static void what_it_says_is_taken_over(void **state)
{
    struct fixture *fx = *state;
    char text[4096];
    struct token tok;

    sign(HEADER, "{" BASE "," EXP ",\"iat\":1799999999,\"jti\":\"j1\",\"roles\":[\"ops\",\"a b\"]}",
         text);
    assert_int_equal(token_verify(fx->keys, text, strlen(text), 8192, now_s, &tok), REFUSAL_NONE);
    assert_string_equal(tok.name, "\x01u:a:ops,a%20b");
    assert_string_equal(tok.jti, "j1");
    assert_int_equal(tok.expires_s, 1800000600);
    assert_int_equal(tok.ends_s, 1800000610);
    assert_int_equal(tok.issued_s, 1799999999);
    assert_true(keys_has_print(fx->keys, tok.key_print));
}

static void the_cache_remembers_signatures_not_verdicts(void **state)
{
    struct fixture *fx = *state;
    struct cache cache;
    char text[4096], other[4096];
    struct token tok;

    assert_int_equal(cache_init(&cache, 1), 0); /* one set: everything collides */
    sign(HEADER, "{" BASE "," EXP ",\"jti\":\"j\"}", text);
    sign(HEADER, "{" BASE ",\"exp\":1800000601}", other);
    for (int i = 0; i < 3; i++)
        assert_int_equal(cache_verify(&cache, fx->keys, text, strlen(text), 8192, now_s, &tok),
                         REFUSAL_NONE);
    assert_int_equal(cache.hits, 2);
    assert_string_equal(tok.name, "\x01u:a:");
    assert_string_equal(tok.jti, "j");
    assert_int_equal(cache_verify(&cache, fx->keys, text, strlen(text), 8192, now_s + 611, &tok),
                     REFUSAL_EXPIRED); /* found, and judged by the time of now */
    assert_int_equal(cache.hits, 3);
    assert_int_equal(cache_verify(&cache, fx->keys, other, strlen(other), 8192, now_s, &tok),
                     REFUSAL_NONE);
    assert_int_equal(tok.expires_s, 1800000601);
    text[strlen(text) - 1] ^= 1;
    assert_int_not_equal(cache_verify(&cache, fx->keys, text, strlen(text), 8192, now_s, &tok),
                         REFUSAL_NONE);
    for (int i = 0; i < 20; i++) { /* others push it out; then it is verified anew */
        snprintf(text, sizeof(text), "{" BASE ",\"exp\":%d}", 1800000700 + i);
        char pushed[4096];
        sign(HEADER, text, pushed);
        assert_int_equal(cache_verify(&cache, fx->keys, pushed, strlen(pushed), 8192, now_s, &tok),
                         REFUSAL_NONE);
    }
    assert_int_equal(cache_verify(&cache, fx->keys, other, strlen(other), 8192, now_s, &tok),
                     REFUSAL_NONE);
    assert_int_equal(tok.expires_s, 1800000601);
    cache_clear(&cache);
    uint64_t misses = cache.misses;
    assert_int_equal(cache_verify(&cache, fx->keys, other, strlen(other), 8192, now_s, &tok),
                     REFUSAL_NONE);
    assert_int_equal(cache.misses, misses + 1);
    cache_fini(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_fault_has_its_reason, setup, teardown),
        cmocka_unit_test_setup_teardown(no_other_text_passes, setup, teardown),
        cmocka_unit_test_setup_teardown(what_it_says_is_taken_over, setup, teardown),
        cmocka_unit_test_setup_teardown(the_cache_remembers_signatures_not_verdicts, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

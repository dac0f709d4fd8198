/* SPDX-License-Identifier: MIT */
/* Key sets: what is passed over, what is refused, and what a reload keeps. */
#include "key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Of RFC 7517, appendix A.1. */
#define N                                                                                      \
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_"  \
    "BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_" \
    "FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-"        \
    "bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
#define X        "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"
#define Y        "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"
#define RSA(kid) "{\"kty\":\"RSA\",\"kid\":\"" kid "\",\"n\":\"" N "\",\"e\":\"AQAB\"}"
#define EC(kid) \
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"" kid "\",\"x\":\"" X "\",\"y\":\"" Y "\"}"
#define GOOD    RSA("good")
#define SHORT_X "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" /* 31 bytes */
#define KID_51  "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
#define KID_255 KID_51 KID_51 KID_51 KID_51 KID_51

/* One member, beside a good one; is there a note about it? */
static const struct {
    const char *member;
    unsigned keys; /* of it */
    bool is_noted;
} members[] = {
    {EC("e1"), 1, false},
    {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"e1\",\"x\":\"" SHORT_X "\",\"y\":\"" Y "\"}", 0,
     true},
    {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"e1\",\"x\":\"" X "\",\"y\":\"" SHORT_X "\"}", 0,
     true},
    {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"e1\",\"x\":\"" Y "\",\"y\":\"" X "\"}", 0, true},
    {"{\"kty\":\"RSA\",\"kid\":\"old\",\"n\":\"0vx7agoebGcQSuuPiLJXZptN9nndrQmb\",\"e\":\"AQAB\"}",
     0, true},
    {"{\"kty\":\"RSA\",\"kid\":\"c\",\"use\":\"sig\",\"x5c\":[\"MIIB\"]}", 0, true},
    {"{\"kty\":\"RSA\",\"kid\":\"p\",\"n\":\"" N "==\",\"e\":\"AQAB\"}", 0, true},
    {"{\"kty\":\"RSA\",\"kid\":\"e\",\"n\":\"" N "\",\"e\":\"AQ\"}", 0, true},
    {"{\"kty\":\"RSA\",\"kid\":\"t\",\"n\":7,\"e\":\"AQAB\"}", 0, true},
    {"{\"kty\":\"RSA\",\"kid\":\"d\",\"n\":\"" N "\",\"e\":\"AQAB\",\"d\":\"AAAA\"}", 0, true},
    {"{\"kty\":\"RSA\",\"kid\":\"a\",\"alg\":\"ES256\",\"n\":\"" N "\",\"e\":\"AQAB\"}", 0, true},
    {RSA(KID_255), 1, false},
    {RSA(KID_255 "k"), 0, true},
    {RSA("key 1"), 1, false},
    {RSA("cl\xc3\xa9"), 1, false},
    {RSA("good"), 1, false}, /* the same name twice: both are tried */
    {"{\"kty\":\"RSA\",\"n\":\"" N "\",\"e\":\"AQAB\",\"use\":null,\"alg\":null,\"kid\":null}", 1,
     false},
    {"{\"kty\":\"RSA\",\"kid\":\"v\",\"n\":\"" N "\",\"e\":\"AQAB\",\"exp\":12345678901234567890}",
     1, false},
    {"{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"o\",\"alg\":\"Ed25519\",\"x\":\"" X "\"}", 1,
     false},
    {"{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"o\",\"alg\":\"EdDSA\",\"x\":\"AAAA\"}", 0,
     true},
    {"{\"kty\":\"RSA\",\"kid\":\"enc\",\"use\":\"enc\",\"n\":\"x\"}", 0, false},
    {"{\"kty\":\"RSA\",\"kid\":\"enc\",\"alg\":\"RSA-OAEP\",\"n\":\"x\"}", 0, false},
    {"{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"kid\":\"k\"}", 0, false},
    {"{\"kty\":\"oct\",\"kid\":\"k\",\"k\":\"AAAA\"}", 0, false},
    {"{\"kty\":\"AKP\",\"kid\":\"pq\",\"alg\":\"ML-DSA-44\",\"pub\":\"AAAA\"}", 0, false},
    {"{}", 0, false},
    {"null", 0, false},
    {"[]", 0, false},
    {"\"x\"", 0, false},
};

static char label[] = "idp";

static struct keys *parse(const struct issuer *iss, const char *text, int *rc, char *err)
{
    struct keys *keys = calloc(1, sizeof(*keys));

    assert_non_null(keys);
    *err = '\0';
    *rc = jwks_parse(keys, iss, text, strlen(text), err);
    return keys;
}

static void an_unusable_member_is_passed_over(void **state)
{
    struct issuer iss = {.label = label};
    char text[8192], err[FILE_ERROR_SIZE];
    int rc;
    (void)state;

    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        for (int place = 0; place < 3; place++) { /* first, in the middle, last */
            const char *m = members[i].member, *list[] = {GOOD, EC("other"), m};
            list[2] = list[place];
            list[place] = m;
            snprintf(text, sizeof(text), "{\"keys\":[%s,%s,%s]}", list[0], list[1], list[2]);
            struct keys *keys = parse(&iss, text, &rc, err);
            size_t at = 0;
            if (rc != 0 || keys_count(keys) != 2 + members[i].keys ||
                (*keys_notes(keys) != '\0') != members[i].is_noted || !keys_next(keys, "good", &at))
                fail_msg("%s at %d: rc %d, %zu keys, \"%s\"", m, place, rc, keys_count(keys),
                         keys_notes(keys));
            keys_free(keys);
        }
}

/* The bridge passes them on, so they must be readable here. */
static void odd_values_beside_the_keys_spoil_nothing(void **state)
{
    static const char *const odd[] = {"\"a\\u0000b\"",        "\"\\ud800\"", "{\"v\":1e999}",
                                      "12345678901234567890", "-1e400",      "[null]"};
    struct issuer iss = {.label = label};
    char text[4096], err[FILE_ERROR_SIZE];
    int rc;
    (void)state;

    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        snprintf(text, sizeof(text), "{\"note\":%s,\"keys\":[" GOOD ",{\"kty\":%s}]}", odd[i],
                 odd[i]);
        struct keys *keys = parse(&iss, text, &rc, err);
        if (rc != 0 || keys_count(keys) != 1)
            fail_msg("%s: %s", odd[i], err);
        keys_free(keys);
    }
}

static void a_set_of_nothing_usable_is_refused(void **state)
{
    static const char *const wrong[] = {"",
                                        "{",
                                        "[]",
                                        "null",
                                        "{}",
                                        "{\"keys\":{}}",
                                        "{\"keys\":[]}",
                                        "{\"keys\":[null]}",
                                        "{\"keys\":7}"};
    struct issuer iss = {.label = label};
    char text[8192], err[FILE_ERROR_SIZE];
    int rc;
    (void)state;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        keys_free(parse(&iss, wrong[i], &rc, err));
        assert_int_equal(rc, -1);
        assert_true(*err != '\0');
    }
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        snprintf(text, sizeof(text), "{\"keys\":[%s]}", members[i].member);
        keys_free(parse(&iss, text, &rc, err));
        assert_int_equal(rc == 0, members[i].keys == 1);
        assert_int_equal(*err == '\0', members[i].keys == 1);
    }
}

static void keys_beyond_the_bound_are_passed_over(void **state)
{
    struct issuer iss = {.label = label};
    size_t room = 200 * 600, at = 0;
    char *text = malloc(room), err[FILE_ERROR_SIZE];
    int rc;
    (void)state;

    for (int count = 64; count <= 70; count += 3) {
        at = (size_t)snprintf(text, room, "{\"keys\":[");
        for (int i = 0; i < count; i++)
            at += (size_t)snprintf(text + at, room - at, "%s%s", i ? "," : "", GOOD);
        snprintf(text + at, room - at, "]}");
        struct keys *keys = parse(&iss, text, &rc, err);
        assert_int_equal(rc, 0);
        assert_int_equal(keys_count(keys), 64);
        assert_int_equal(*keys_notes(keys) != '\0', count > 64);
        keys_free(keys);
    }
    free(text);
}

static void an_algorithm_that_is_not_wanted_spoils_nothing(void **state)
{
    struct issuer iss = {.label = label, .algorithms = algorithm_bit(algorithm_find("RS256"))};
    char err[FILE_ERROR_SIZE];
    int rc;
    (void)state;

    struct keys *keys = parse(&iss, "{\"keys\":[" EC("e1") "," GOOD "]}", &rc, err);
    assert_int_equal(rc, 0);
    assert_int_equal(keys_count(keys), 1);
    keys_free(keys);
}

/* Two providers and our own issuer, with files that come, go and break. */
struct place {
    char dir[64], own[96], a[96], b[96];
    struct options *opt;
};

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fputs(text, file) >= 0, 1);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static void set(struct options *opt, const char *key, const char *value)
{
    char err[FILE_ERROR_SIZE] = "";

    if (options_set(opt, key, value, err) != 0)
        fail_msg("%s", err);
}

static int setup(void **state)
{
    struct place *pl = calloc(1, sizeof(*pl));
    char err[FILE_ERROR_SIZE];

    snprintf(pl->dir, sizeof(pl->dir), "/tmp/test_auth_keys.XXXXXX");
    assert_non_null(mkdtemp(pl->dir));
    snprintf(pl->own, sizeof(pl->own), "%s/own", pl->dir);
    snprintf(pl->a, sizeof(pl->a), "%s/a", pl->dir);
    snprintf(pl->b, sizeof(pl->b), "%s/b", pl->dir);
    write_file(pl->own, "0123456789abcdef0123456789abcdef");
    pl->opt = options_new();
    set(pl->opt, "issuer", "own");
    set(pl->opt, "audience", "aud");
    set(pl->opt, "secret_file", pl->own);
    set(pl->opt, "a.issuer", "a");
    set(pl->opt, "a.audience", "aud");
    set(pl->opt, "a.jwks_file", pl->a);
    set(pl->opt, "b.issuer", "b");
    set(pl->opt, "b.audience", "aud");
    set(pl->opt, "b.jwks_file", pl->b);
    assert_int_equal(options_finish(pl->opt, err), 0);
    *state = pl;
    return 0;
}

static int teardown(void **state)
{
    struct place *pl = *state;

    options_free(pl->opt);
    unlink(pl->own);
    unlink(pl->a);
    unlink(pl->b);
    rmdir(pl->dir);
    free(pl);
    return 0;
}

static bool has(const struct keys *keys, const char *kid)
{
    size_t at = 0;
    return keys_next(keys, kid, &at) != NULL;
}

static struct keys *reload(struct place *pl, struct keys *old, bool want_failed)
{
    char err[FILE_ERROR_SIZE] = "";
    bool failed;
    struct keys *keys = keys_reload(pl->opt, old, &failed, err);

    assert_non_null(keys);
    assert_int_equal(failed, want_failed);
    assert_int_equal(*err != '\0', want_failed);
    keys_free(old);
    return keys;
}

static void a_set_that_is_not_there_yet_counts_when_it_comes(void **state)
{
    struct place *pl = *state;
    char err[FILE_ERROR_SIZE];
    struct keys *keys = keys_load(pl->opt, err);

    assert_non_null(keys);
    assert_int_equal(keys_count(keys), 1); /* our own */
    assert_non_null(strstr(keys_notes(keys), pl->a));
    assert_non_null(strstr(keys_notes(keys), pl->b));
    keys = reload(pl, keys, false); /* still not there: no failure */
    write_file(pl->b, "{\"keys\":[" RSA("b1") "]}");
    keys = reload(pl, keys, false);
    assert_int_equal(keys_count(keys), 2);
    assert_true(has(keys, "b1"));
    keys_free(keys);
}

static void a_wrong_set_stops_nobody_else(void **state)
{
    struct place *pl = *state;
    char err[FILE_ERROR_SIZE] = "";

    write_file(pl->a, "{\"keys\":[]}");
    write_file(pl->b, "{\"keys\":[" RSA("b1") "]}");
    struct keys *keys = keys_load(pl->opt, err);
    assert_non_null(keys);
    assert_int_equal(keys_count(keys), 2);
    assert_non_null(strstr(keys_notes(keys), pl->a));
    keys_free(keys);
    unlink(pl->a);
    unlink(pl->own);
    assert_null(keys_load(pl->opt, err)); /* our own secret is not fetched by anybody */
}

static void one_broken_file_does_not_hold_up_the_others(void **state)
{
    struct place *pl = *state;
    char err[FILE_ERROR_SIZE];

    write_file(pl->a, "{\"keys\":[" RSA("a1") "]}");
    write_file(pl->b, "{\"keys\":[" RSA("b1") "]}");
    struct keys *keys = keys_load(pl->opt, err);
    assert_int_equal(keys_count(keys), 3);
    uint64_t print = key_print(keys_next(keys, "a1", &(size_t){0}), algorithm_find("RS256"));
    write_file(pl->a, "broken");
    write_file(pl->b, "{\"keys\":[" RSA("b2") "," EC("b3") "]}");
    keys = reload(pl, keys, true);
    assert_true(has(keys, "a1") && has(keys, "b2") && has(keys, "b3") && !has(keys, "b1"));
    assert_true(keys_has_print(keys, print)); /* its connections stay */
    unlink(pl->a);
    write_file(pl->b, "{\"keys\":[" RSA("b4") "]}");
    keys = reload(pl, keys, true); /* taken away: as good as broken */
    assert_true(has(keys, "a1") && has(keys, "b4") && !has(keys, "b2"));
    write_file(pl->own, "short");
    write_file(pl->a, "{\"keys\":[" RSA("a2") "]}");
    keys = reload(pl, keys, true);
    assert_true(has(keys, "a2") && !has(keys, "a1") && has(keys, "b4") && has(keys, ""));
    keys_free(keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unusable_member_is_passed_over),
        cmocka_unit_test(odd_values_beside_the_keys_spoil_nothing),
        cmocka_unit_test(a_set_of_nothing_usable_is_refused),
        cmocka_unit_test(keys_beyond_the_bound_are_passed_over),
        cmocka_unit_test(an_algorithm_that_is_not_wanted_spoils_nothing),
        cmocka_unit_test_setup_teardown(a_set_that_is_not_there_yet_counts_when_it_comes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_wrong_set_stops_nobody_else, setup, teardown),
        cmocka_unit_test_setup_teardown(one_broken_file_does_not_hold_up_the_others, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

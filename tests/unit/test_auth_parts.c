/* SPDX-License-Identifier: MIT */
/* The small parts: base64url, buckets, the map, options, revocations, control requests. */
#include "b64url.h"
#include "bucket.h"
#include "control.h"
#include "map.h"
#include "options.h"
#include "revocation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void base64url_has_one_spelling(void **state)
{
    static const struct {
        const char *text;
        int len; /* of the bytes; -1: refused */
    } cases[] = {
        {"", 0},      {"AA", 1},     {"AAA", 2},   {"AAAA", 3},  {"-_-_", 3},
        {"A", -1},    {"AAAAA", -1}, {"AB", -1},   {"AAB", -1},  {"AA==", -1},
        {"+/+/", -1}, {"A A", -1},   {"AA\n", -1}, {"A\0A", -1}, {"\xc3\xb1", -1},
    };
    unsigned char out[16];
    size_t len;
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int rc = b64url_decode(cases[i].text, strlen(cases[i].text), out, sizeof(out), &len);
        assert_int_equal(rc == 0 ? (int)len : -1, cases[i].len);
    }
    assert_int_equal(b64url_decode("A\0A", 3, out, sizeof(out), &len), -1);
    assert_int_equal(b64url_decode("AAAA", 4, out, 2, &len), -1);
    assert_int_equal(b64url_decode("AAAA", 4, out, 3, &len), 0);
}

static void buckets_fill_slowly_and_never_overflow(void **state)
{
    struct bucket b;
    (void)state;

    bucket_init(&b, 3, 1000);
    for (int i = 0; i < 3; i++)
        assert_true(bucket_take(&b, 2, 3, 1, 1000));
    assert_false(bucket_take(&b, 2, 3, 1, 1000));
    assert_false(bucket_take(&b, 2, 3, 1, 1499));
    assert_true(bucket_take(&b, 2, 3, 1, 1500));
    assert_false(bucket_take(&b, 2, 3, 1, 900)); /* a clock that steps back gives nothing */
    assert_true(bucket_take(&b, 2, 3, 3, INT64_C(1) << 40));
    assert_false(bucket_has(&b, 2, 3, INT64_C(1) << 40));
    assert_true(bucket_has(&b, 0, 3, 0)); /* rate 0: no limit */
    bucket_init(&b, INT64_C(1) << 40, 0);
    assert_true(bucket_take(&b, 1, INT64_C(1) << 40, 1 << 30, INT64_C(1) << 50));
}

struct word {
    struct map_node node;
    char text[16];
};

static void the_map_finds_what_was_put_in(void **state)
{
    static struct word words[5000];
    struct map map;
    unsigned popped = 0;
    (void)state;

    assert_int_equal(map_init(&map), 0);
    assert_null(map_find(&map, "x", 1));
    for (int i = 0; i < 5000; i++) {
        int len = snprintf(words[i].text, sizeof(words[i].text), "word-%d", i);
        assert_int_equal(map_add(&map, &words[i].node, words[i].text, (size_t)len), 0);
    }
    for (int i = 0; i < 5000; i += 2)
        map_remove(&map, &words[i].node);
    for (int i = 0; i < 5000; i++) {
        struct map_node *found = map_find(&map, words[i].text, strlen(words[i].text));
        assert_ptr_equal(found, i % 2 ? &words[i].node : NULL);
    }
    assert_null(map_find(&map, "word-1x", 7));
    while (map_pop(&map))
        popped++;
    assert_int_equal(popped, 2500);
    map_fini(&map);
}

static int set(struct options *opt, const char *key, const char *value)
{
    char err[FILE_ERROR_SIZE];
    return options_set(opt, key, value, err);
}

static void options_have_units_and_bounds(void **state)
{
    struct options *opt = options_new();
    (void)state;

    assert_int_equal(set(opt, "max_lifetime", "2h"), 0);
    assert_int_equal(opt->issuers[0].max_lifetime_s, 7200);
    assert_int_equal(set(opt, "payload_max", "64k"), 0);
    assert_int_equal(opt->limits.payload_max, 65536);
    assert_int_equal(set(opt, "a.leeway", "300"), 0);
    assert_int_equal(set(opt, "b.leeway", "5m"), 0);
    assert_int_equal(opt->issuer_count, 3);
    assert_int_equal(opt->issuers[2].leeway_s, 300);
    assert_int_equal(opt->issuers[1].clock_skew_s, 5);
    static const char *const wrong[][2] = {
        {"leeway", "301"},      {"leeway", "6m"},
        {"leeway", "-1"},       {"leeway", ""},
        {"leeway", "1 s"},      {"leeway", "1k"},
        {"leeway", "s"},        {"payload_max", "1s"},
        {"max_token", "0x100"}, {"unknown", "1"},
        {"a.payload_max", "1"}, {".leeway", "1"},
        {"a.b.leeway", "1"},    {"issuer", ""},
        {"publish_rate", "1"},  {"leeway", "999999999999999999999"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(set(opt, wrong[i][0], wrong[i][1]), -1);
    assert_int_equal(set(opt, "issuer", "x"), 0);
    assert_int_equal(set(opt, "issuer", "y"), -1);
    assert_int_equal(set(opt, "audience", " one  two "), 0);
    assert_int_equal(set(opt, "audience", "three"), 0);
    assert_int_equal(opt->issuers[0].audiences.count, 3);
    for (int i = 0; i < OPTIONS_ISSUERS_MAX; i++) {
        char key[32];
        snprintf(key, sizeof(key), "n%d.leeway", i);
        assert_int_equal(set(opt, key, "1"), i < OPTIONS_ISSUERS_MAX - 3 ? 0 : -1);
    }
    options_free(opt);
}

static void revocations_are_read_strictly(void **state)
{
    static const struct {
        const char *line;
        int want;
    } lines[] = {
        {"", 0},
        {"  # a comment", 0},
        {"jti one", 0},
        {"jti two # lost phone", 0},
        {"sub user/a", 0},
        {"sub user/b 1000", 0},
        {"sub user/b 900", 0},
        {"iat 500", 0},
        {"iat 400", 0},
        {"jti", -1},
        {"sub a", -1},
        {"iat x", -1},
        {"iat 500 1", -1},
        {"jti one two", -1},
        {"sub user/c x", -1},
        {"exp 1", -1},
        {"jtione", -1},
        {"sub usr/a", -1},
        {"sub user/", -1},
        {"sub User/a", -1},
        {"sub user/f:1f2e:jdoe", 0},
        {"sub user/g%3a1", 0},
        {"sub user/jo+news@x", 0},
        {"sub user/C#dev", 0},
        {"jti x#y # a comment", 0},
        {"sub user/d 1#c", -1},
        {"jti #x", -1},
        {"sub user/%62ob", 0},
        {"sub user/%c3%A9", 0},
        {"sub user/z%00", 0},
    };
    struct revocations rev;
    char err[FILE_ERROR_SIZE];
    (void)state;

    assert_int_equal(revocations_init(&rev), 0);
    assert_false(revocations_match(&rev, "user/x", NULL, 0));
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_int_equal(revocations_add(&rev, lines[i].line, err), lines[i].want);
    assert_true(revocations_match(&rev, "user/x", "one", 2000));
    assert_true(revocations_match(&rev, "user/x", "two", 2000));
    assert_false(revocations_match(&rev, "user/x", "three", 2000));
    assert_false(revocations_match(&rev, "one", "", 2000));
    assert_true(revocations_match(&rev, "user/a", "", INT64_C(1) << 40));
    assert_true(revocations_match(&rev, "user/b", NULL, 1000));
    assert_false(revocations_match(&rev, "user/b", NULL, 1001));
    assert_true(revocations_match(&rev, "user/x", NULL, 500));
    assert_true(revocations_match(&rev, "user/x", NULL, 0)); /* undated */
    assert_false(revocations_match(&rev, "user/x", NULL, 501));
    /* One spelling inside: that of topics. */
    assert_true(revocations_match(&rev, "user/f%3A1f2e%3Ajdoe", NULL, 2000));
    assert_true(revocations_match(&rev, "user/g%3A1", NULL, 2000));
    assert_true(revocations_match(&rev, "user/jo%2Bnews@x", NULL, 2000));
    assert_true(revocations_match(&rev, "user/C%23dev", NULL, 2000));
    assert_false(revocations_match(&rev, "user/C", NULL, 2000));
    assert_true(revocations_match(&rev, "user/y", "x#y", 2000));
    assert_false(revocations_match(&rev, "user/y", "x", 2000));
    assert_true(revocations_match(&rev, "user/bob", NULL, 2000));
    assert_true(revocations_match(&rev, "user/%C3%A9", NULL, 2000));
    revocations_fini(&rev);
}

/* A bad line does not keep the others out, and what is appended to an open line is a line. */
static void a_bad_line_spoils_only_itself(void **state)
{
    char path[] = "/tmp/test_auth_parts.XXXXXX", err[FILE_ERROR_SIZE] = "";
    static const char text[] = "jti one\nsub usr/a\njti two\nsub user/b";
    struct revocations rev;
    int fd = mkstemp(path);
    (void)state;

    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    assert_int_equal(revocations_append(path, "jti three", err), 0);
    assert_int_equal(revocations_append(path, "jti four", err), 0);
    assert_int_equal(revocations_init(&rev), 0);
    assert_int_equal(revocations_read(&rev, path, err), -1);
    assert_non_null(strstr(err, "line 2"));
    assert_true(revocations_match(&rev, "user/x", "one", 1));
    assert_true(revocations_match(&rev, "user/x", "two", 1));
    assert_true(revocations_match(&rev, "user/x", "three", 1));
    assert_true(revocations_match(&rev, "user/x", "four", 1));
    assert_true(revocations_match(&rev, "user/b", "", 1));
    revocations_fini(&rev);
    unlink(path);
}

/* Neither the lines behind it nor those appended later go unread. */
static void a_nul_byte_spoils_only_its_line(void **state)
{
    char path[] = "/tmp/test_auth_parts.XXXXXX", err[FILE_ERROR_SIZE] = "";
    static const char text[] = "jti one\njti t\0wo\njti three\n\0\0\0";
    struct revocations rev, more;
    int fd = mkstemp(path);
    (void)state;

    assert_true(fd >= 0 && write(fd, text, sizeof(text) - 1) == (ssize_t)sizeof(text) - 1);
    close(fd);
    assert_int_equal(revocations_append(path, "jti four", err), 0);
    assert_int_equal(revocations_init(&rev), 0);
    assert_int_equal(revocations_read(&rev, path, err), -1);
    assert_non_null(strstr(err, "line 2: has a NUL byte"));
    assert_true(revocations_match(&rev, "user/x", "one", 1));
    assert_false(revocations_match(&rev, "user/x", "t", 1));
    assert_true(revocations_match(&rev, "user/x", "three", 1));
    assert_true(revocations_match(&rev, "user/x", "four", 1));
    assert_int_equal(revocations_init(&more), 0);
    assert_int_equal(revocations_add(&more, "jti five", err), 0);
    assert_int_equal(revocations_add(&more, "iat 7", err), 0);
    assert_int_equal(revocations_merge(&rev, &more), 0);
    assert_int_equal(revocations_merge(&rev, &more), 0);
    assert_true(revocations_match(&rev, "user/x", "five", 100));
    assert_true(revocations_match(&rev, "user/x", "", 7));
    revocations_fini(&rev);
    revocations_fini(&more);
    unlink(path);
}

static void control_requests_are_read_strictly(void **state)
{
    static const struct {
        const char *text;
        enum control_method want;
    } cases[] = {
        {"{\"rpc\":\"1\",\"method\":\"refresh\",\"params\":{\"token\":\"t\"}}", CONTROL_REFRESH},
        {"eyJ.x.y", CONTROL_REFRESH},
        {"{\"rpc\":\"1\",\"method\":\"disconnect\",\"params\":{\"client\":\"c\"}}",
         CONTROL_DISCONNECT},
        {"{\"rpc\":\"1\",\"method\":\"disconnect\",\"params\":{\"kind\":\"user\",\"id\":\"a\"}}",
         CONTROL_DISCONNECT},
        {"{\"rpc\":\"1\",\"method\":\"disconnect\",\"params\":{\"kind\":\"user\",\"id\":\"a\","
         "\"client\":\"c\"}}",
         CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"disconnect\",\"params\":{}}", CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"disconnect\"}", CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"jti\":\"j\"}}", CONTROL_REVOKE},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"jti\":\"a\\nsub user/b\"}}",
         CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"jti\":\"a b\"}}", CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"kind\":\"user\",\"id\":\"a b\"}}",
         CONTROL_REVOKE},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"id\":\"a\",\"until\":1}}",
         CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"until\":1}}", CONTROL_REVOKE},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"until\":-1}}", CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"until\":\"1\"}}", CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"kind\":\"user\",\"id\":\"a\","
         "\"jti\":\"j\"}}",
         CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{}}", CONTROL_BAD},
        /* What cannot be read does not leave a command of wider effect: all tokens, another client.
         */
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"kind\":\"user\",\"until\":1}}",
         CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"kind\":\"user\",\"id\":7,"
         "\"until\":1}}",
         CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"kind\":\"usr\",\"id\":\"a\","
         "\"until\":1}}",
         CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"jti\":\"\",\"until\":1}}",
         CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"jti\":7,\"until\":1}}", CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"jti\":null,\"kind\":\"user\","
         "\"id\":\"a\"}}",
         CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"kind\":5,\"until\":1}}", CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"kind\":null,\"until\":1}}",
         CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"id\":null,\"until\":1}}", CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"jti\":null,\"until\":1}}",
         CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"jti\":\"j\",\"kind\":\"user\"}}",
         CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"sub\":\"a\",\"until\":1}}",
         CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"until\":1.0}}", CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":[{\"until\":1}]}", CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"jti\":\"#j\"}}", CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"revoke\",\"params\":{\"jti\":\"j#\"}}", CONTROL_REVOKE},
        {"{\"rpc\":\"1\",\"method\":\"disconnect\",\"params\":{\"client\":\"\",\"kind\":"
         "\"user\",\"id\":\"a\"}}",
         CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"disconnect\",\"params\":{\"client\":\"c\",\"id\":\"\"}}",
         CONTROL_BAD},
        {"{\"method\":\"refresh\",\"params\":{\"token\":\"t\"}}", CONTROL_BAD},
        {"{}", CONTROL_BAD},
        {"[]", CONTROL_BAD},
        {"", CONTROL_BAD},
        {"{\"rpc\":\"1\",\"method\":\"x\"}", CONTROL_BAD},
    };
    struct control_request req;
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        control_parse(cases[i].text, strlen(cases[i].text), &req);
        if (req.method != cases[i].want || (req.problem != NULL) != (req.method == CONTROL_BAD))
            fail_msg("%s: %d %s", cases[i].text, req.method, req.problem ? req.problem : "-");
        control_fini(&req);
    }
    control_parse(cases[10].text, strlen(cases[10].text), &req);
    assert_string_equal(req.subject, "user/a%20b");
    control_fini(&req);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64url_has_one_spelling),
        cmocka_unit_test(buckets_fill_slowly_and_never_overflow),
        cmocka_unit_test(the_map_finds_what_was_put_in),
        cmocka_unit_test(options_have_units_and_bounds),
        cmocka_unit_test(revocations_are_read_strictly),
        cmocka_unit_test(a_bad_line_spoils_only_itself),
        cmocka_unit_test(a_nul_byte_spoils_only_its_line),
        cmocka_unit_test(control_requests_are_read_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/topic.h"

#define X64 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static void upward_topics_give_who_and_what(void **state)
{
    static const struct {
        const char *topic;
        enum topic_kind kind;
        const char *id, *event;
    } cases[] = {
        {"notify/v1/services/shop/up/request", TOPIC_SERVICE, "shop", "request"},
        {"notify/v1/services/shop/up/rpc/request.status", TOPIC_SERVICE, "shop",
         "rpc/request.status"},
        {"notify/v1/users/alice@example.org/up/ack", TOPIC_USER, "alice@example.org", "ack"},
        {"notify/v1/users/a%2Fb%20c/up/read", TOPIC_USER, "a%2Fb%20c", "read"},
        {"notify/v1/admins/root/up/rpc/dlq.list", TOPIC_ADMIN, "root", "rpc/dlq.list"},
        {"notify/v1/users/" X64 X64 "/up/ack", TOPIC_USER, X64 X64, "ack"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct topic_up up;

        assert_int_equal(topic_parse_up(cases[i].topic, &up), 0);
        assert_int_equal(up.kind, cases[i].kind);
        assert_string_equal(up.id, cases[i].id);
        assert_string_equal(up.event, cases[i].event);
    }
}

static void other_topics_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "notify/v1/services/shop/down/receipt",
        "notify/v1/services/shop/up/",
        "notify/v1/services/shop/up",
        "notify/v1/services//up/request",
        "notify/v1/services/shop/x/up/request",
        "notify/v1/bridges/b/up/request",
        "notify/v2/services/shop/up/request",
        "Notify/v1/services/shop/up/request",
        "notify/v1/users/a%2fb/up/ack", /* lower case */
        "notify/v1/users/a%41/up/ack",  /* A needs no escape */
        "notify/v1/users/a%4/up/ack",
        "notify/v1/users/a b/up/ack",
        "notify/v1/users/gr\xC3\xBC"
        "n/up/ack",
        "notify/v1/users/" X64 X64 "x/up/ack",
    };
    struct topic_up up;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(topic_parse_up(bad[i], &up), ERR_INVALID);
}

static void ids_become_one_topic_level_and_come_back(void **state)
{
    static const struct {
        const char *raw, *encoded;
    } cases[] = {
        {"alice", "alice"},
        {"Az09._~@|-", "Az09._~@|-"},
        {"a/b", "a%2Fb"},
        {"+", "%2B"},
        {"#", "%23"},
        {"%41", "%2541"},
        {" ", "%20"},
        {"$SYS", "%24SYS"},
        {"gr\xC3\xBCn", "gr%C3%BCn"},
        {"auth0|5f7c8ec7c33c6c004bbafe82", "auth0|5f7c8ec7c33c6c004bbafe82"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char encoded[TOPIC_ID_MAX + 1], raw[TOPIC_ID_MAX + 1];

        assert_int_equal(topic_encode_id(cases[i].raw, encoded), 0);
        assert_string_equal(encoded, cases[i].encoded);
        assert_true(topic_is_encoded_id(encoded, strlen(encoded)));
        assert_int_equal(topic_decode_id(encoded, raw), 0);
        assert_string_equal(raw, cases[i].raw);
    }
}

static void ids_that_fit_no_level_are_refused(void **state)
{
    static const struct {
        const char *raw;
        int err;
    } cases[] = {
        {"", ERR_INVALID},
        {"\xC3", ERR_INVALID},
        {"\xED\xA0\x80", ERR_INVALID},
        {X64 X64, 0},
        {X64 X64 "x", ERR_TOO_LARGE},
        {X64 X64 X64, ERR_TOO_LARGE},
        {X64 "////////////////////"
             "xxxx",
         0}, /* 64 + 60 + 4 */
        {X64 "////////////////////"
             "xxxxx",
         ERR_TOO_LARGE}, /* 129 */
    };
    char out[TOPIC_ID_MAX + 1];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(topic_encode_id(cases[i].raw, out), cases[i].err);
    assert_int_equal(topic_decode_id("%FF", out), ERR_INVALID);
    assert_int_equal(topic_decode_id("%00", out), ERR_INVALID);
    assert_int_equal(topic_decode_id("", out), ERR_INVALID);
}

static void downward_topics_are_put_together(void **state)
{
    char out[TOPIC_BYTES_MAX];

    (void)state;
    assert_string_equal(topic_down(TOPIC_USER, "alice", "inbox", out),
                        "notify/v1/users/alice/down/inbox");
    assert_string_equal(topic_down(TOPIC_SERVICE, "shop", "receipt", out),
                        "notify/v1/services/shop/down/receipt");
    assert_string_equal(topic_down(TOPIC_ADMIN, "root", "reply", out),
                        "notify/v1/admins/root/down/reply");
    assert_string_equal(topic_down(TOPIC_SERVICE, X64 X64, "receipt", out),
                        "notify/v1/services/" X64 X64 "/down/receipt");
}

static void an_answer_goes_one_or_two_levels_below_the_own_down(void **state)
{
    static const char *const good[] = {"down/reply", "down/answers/7", "down/a/b"};
    static const char *const bad[] = {"down",   "down/",    "down/a/",  "down//a",   "down/a/b/c",
                                      "down/+", "down/a/#", "up/rpc/x", "down/\xff", ""};
    char topic[TOPIC_BYTES_MAX * 2];

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        snprintf(topic, sizeof topic, "notify/v1/users/carl/%s", good[i]);
        assert_true(topic_is_own_down(TOPIC_USER, "carl", topic));
        assert_false(topic_is_own_down(TOPIC_USER, "car", topic));
        assert_false(topic_is_own_down(TOPIC_USER, "carl2", topic));
        assert_false(topic_is_own_down(TOPIC_SERVICE, "carl", topic));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(topic, sizeof topic, "notify/v1/users/carl/%s", bad[i]);
        assert_false(topic_is_own_down(TOPIC_USER, "carl", topic));
    }
    snprintf(topic, sizeof topic, "notify/v1/users/carl/down/%0300d", 7);
    assert_false(topic_is_own_down(TOPIC_USER, "carl", topic));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_goes_one_or_two_levels_below_the_own_down),
        cmocka_unit_test(upward_topics_give_who_and_what),
        cmocka_unit_test(other_topics_are_refused),
        cmocka_unit_test(ids_become_one_topic_level_and_come_back),
        cmocka_unit_test(ids_that_fit_no_level_are_refused),
        cmocka_unit_test(downward_topics_are_put_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

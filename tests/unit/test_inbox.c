/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/inbox.h"

static void a_client_gets_its_own_part_and_nothing_else(void **state)
{
    static const struct {
        const char *content, *written;
    } cases[] = {
        {"{\"type\":\"a\"}", ",\"type\":\"a\""},
        {"{\"type\":\"a\",\"title\":\"t\",\"data\":{\"content\":1.50}}",
         ",\"type\":\"a\",\"title\":\"t\",\"data\":{\"content\":1.50}"},
        {"{\"type\":\"a\",\"title\":\"t\",\"content\":{\"sms\":{\"body\":\"s\"}}}",
         ",\"type\":\"a\",\"title\":\"t\""},
        {"{\"type\":\"a\",\"title\":\"t\",\"body\":\"b\",\"content\":{\"in_app\":{\"title\":\"T\"}}"
         "}",
         ",\"type\":\"a\",\"title\":\"T\",\"body\":\"b\""},
        {"{\"type\":\"a\",\"content\":{\"in_app\":{\"body\":\"B\"}}}",
         ",\"type\":\"a\",\"body\":\"B\""},
        {"{\"type\":\"a\",\"group\":{\"key\":\"k\"},\"campaign\":\"c\"}",
         ",\"type\":\"a\",\"group\":{\"key\":\"k\"}"},
        {"{\"type\":\"a\",\"locale\":\"de\",\"schedule\":{\"cron\":\"* * * * *\"}}",
         ",\"type\":\"a\",\"locale\":\"de\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena *arena = arena_new(0);
        struct buf out = {0};

        assert_int_equal(
            inbox_write_members(cases[i].content, strlen(cases[i].content), arena, &out), 0);
        assert_string_equal(buf_text(&out), cases[i].written);
        buf_fini(&out);
        arena_free(arena);
    }
}

static void content_that_the_bridge_did_not_write_is_refused_and_leaves_nothing(void **state)
{
    static const char *const cases[] = {
        "", "{", "[]", "null", "{\"a\":1", " {}", "{\"content\":}", "{\"content\":1,\"content\":",
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena *arena = arena_new(0);
        struct buf out = {0};

        assert_int_equal(inbox_write_members(cases[i], strlen(cases[i]), arena, &out), ERR_INVALID);
        assert_int_equal(out.length, 0);
        buf_fini(&out);
        arena_free(arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_gets_its_own_part_and_nothing_else),
        cmocka_unit_test(content_that_the_bridge_did_not_write_is_refused_and_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

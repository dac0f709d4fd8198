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

        inbox_write_members(cases[i].content, strlen(cases[i].content), arena, &out);
        assert_string_equal(buf_text(&out), cases[i].written);
        buf_fini(&out);
        arena_free(arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_gets_its_own_part_and_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

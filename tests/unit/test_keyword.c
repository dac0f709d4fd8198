/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/keyword.h"

static void a_message_that_is_a_keyword_is_one(void **state)
{
    static const struct {
        const char *text;
        enum keyword keyword;
    } cases[] = {
        {"STOP", KEYWORD_STOP},         {"stop", KEYWORD_STOP},    {" Stop.\r\n", KEYWORD_STOP},
        {"\"STOP\"!", KEYWORD_STOP},    {"stopall", KEYWORD_STOP}, {"Stop all", KEYWORD_STOP},
        {"unsubscribe", KEYWORD_STOP},  {"Cancel", KEYWORD_STOP},  {"end", KEYWORD_STOP},
        {"QUIT", KEYWORD_STOP},         {"opt-out", KEYWORD_STOP}, {"arr\xc3\xaat", KEYWORD_STOP},
        {"ARR\xc3\x8aT", KEYWORD_STOP}, {"Arret", KEYWORD_STOP},   {"start", KEYWORD_START},
        {"UNSTOP", KEYWORD_START},      {"yes", KEYWORD_START},    {"", KEYWORD_NONE},
        {"   ", KEYWORD_NONE},          {"...", KEYWORD_NONE},     {"stop it", KEYWORD_NONE},
        {"don't stop", KEYWORD_NONE},   {"st op", KEYWORD_NONE},   {"STOPS", KEYWORD_NONE},
        {"help", KEYWORD_NONE},         {"no", KEYWORD_NONE},      {"\xff\xfe", KEYWORD_NONE},
        {"startle", KEYWORD_NONE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(keyword_parse(cases[i].text, strlen(cases[i].text)), cases[i].keyword);
    assert_int_equal(keyword_parse("STOPxyz", 4), KEYWORD_STOP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_that_is_a_keyword_is_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

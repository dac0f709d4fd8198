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
        {"STOP", KEYWORD_STOP},
        {"stop", KEYWORD_STOP},
        {" Stop.\r\n", KEYWORD_STOP},
        {"\"STOP\"!", KEYWORD_STOP},
        {"stopall", KEYWORD_STOP},
        {"Stop all", KEYWORD_STOP},
        {"unsubscribe", KEYWORD_STOP},
        {"Cancel", KEYWORD_STOP},
        {"end", KEYWORD_STOP},
        {"QUIT", KEYWORD_STOP},
        {"opt-out", KEYWORD_STOP},
        {"arr\xc3\xaat", KEYWORD_STOP},
        {"ARR\xc3\x8aT", KEYWORD_STOP},
        {"Arret", KEYWORD_STOP},
        {"start", KEYWORD_START},
        {"UNSTOP", KEYWORD_START},
        {"yes", KEYWORD_START},
        {"", KEYWORD_NONE},
        {"   ", KEYWORD_NONE},
        {"...", KEYWORD_NONE},
        {"stop it", KEYWORD_NONE},
        {"don't stop", KEYWORD_NONE},
        {"st op", KEYWORD_NONE},
        {"STOPS", KEYWORD_NONE},
        {"help", KEYWORD_NONE},
        {"no", KEYWORD_NONE},
        {"\xff\xfe", KEYWORD_NONE},
        {"startle", KEYWORD_NONE},
        /* quotes, blanks, widths and pictures of phones' keyboards */
        {"\xe2\x80\x9cSTOP\xe2\x80\x9d", KEYWORD_STOP},
        {"\xe2\x80\x98stop\xe2\x80\x99", KEYWORD_STOP},
        {"\xc2\xabSTOP\xc2\xbb", KEYWORD_STOP},
        {"STOP\xe2\x80\xa6", KEYWORD_STOP},
        {"STOP\xc2\xa0", KEYWORD_STOP},
        {"\xef\xbb\xbfStop", KEYWORD_STOP},
        {"stop\xf0\x9f\x98\xa1", KEYWORD_STOP},
        {"\xf0\x9f\x9b\x91 STOP \xf0\x9f\x9b\x91", KEYWORD_STOP},
        {"stop \xe2\x9d\xa4\xef\xb8\x8f", KEYWORD_STOP},
        {"\xef\xbc\xb3\xef\xbc\xb4\xef\xbc\xaf\xef\xbc\xb0", KEYWORD_STOP},
        {"stop\xe2\x80\x8b", KEYWORD_STOP},
        {"s\xe2\x80\x8dtop\xe2\x80\xac", KEYWORD_STOP},
        {"\xf0\x9d\x90\x92\xf0\x9d\x90\x93\xf0\x9d\x90\x8e\xf0\x9d\x90\x8f", KEYWORD_STOP},
        {"arre\xcc\x82t", KEYWORD_STOP},
        {"OPT\xe2\x80\x93OUT", KEYWORD_STOP},
        {"Stop\xe3\x80\x80"
         "all",
         KEYWORD_STOP},
        {"STOP\xff", KEYWORD_STOP},
        {"S.T.O.P.", KEYWORD_STOP},
        {"\xe2\x80\x9cSTART\xe2\x80\x9d", KEYWORD_START},
        {"revoke", KEYWORD_STOP},
        {"un-subscribe", KEYWORD_STOP},
        {"STOP\xe3\x85\xa4", KEYWORD_STOP}, /* U+3164, a blank that is a letter */
        {"ST\xe1\x85\x9fOP", KEYWORD_STOP}, /* U+115F */
        {"ST\xcd\x8fOP", KEYWORD_STOP},     /* U+034F */
        /* politeness, and sentences */
        {"Stop please", KEYWORD_STOP},
        {"Stop. Thank you", KEYWORD_STOP},
        {"Please STOP!", KEYWORD_STOP},
        {"STOP STOP STOP", KEYWORD_STOP},
        {"stop, unsubscribe", KEYWORD_STOP},
        {"STOP the bill", KEYWORD_NONE},
        {"please stop, will you", KEYWORD_NONE},
        {"thank you", KEYWORD_NONE},
        {"stop stopping", KEYWORD_NONE},
        {"yes please", KEYWORD_NONE},
        {"START STOP", KEYWORD_NONE},
        {"S T O P please", KEYWORD_STOP},
        {"Please, s-t-o-p!", KEYWORD_STOP},
        {"S.T.O.P. all, thanks", KEYWORD_STOP},
        {"stop, s t o p", KEYWORD_STOP},
        {"A R R \xc3\x8a T", KEYWORD_STOP},
        {"e n d now", KEYWORD_STOP},
        {"s t a r t", KEYWORD_START},
        {"S T A R T please", KEYWORD_NONE},
        {"S T O P it", KEYWORD_NONE},
        {"I S T O P", KEYWORD_NONE},
        {"S T O P X please", KEYWORD_NONE},
        {"ST O P please", KEYWORD_NONE},
        {"S TO P", KEYWORD_NONE},
        {"STOP'S", KEYWORD_NONE},
        {"ST\xc3\x93P", KEYWORD_NONE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (keyword_parse(cases[i].text, strlen(cases[i].text)) != cases[i].keyword)
            fail_msg("%s", cases[i].text);
    assert_int_equal(keyword_parse("STOPxyz", 4), KEYWORD_STOP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_that_is_a_keyword_is_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

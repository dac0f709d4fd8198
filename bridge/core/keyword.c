/* SPDX-License-Identifier: MIT */
#include "core/keyword.h"

#include <stdbool.h>
#include <string.h>

static const struct {
    const char *word; /* in upper case, as far as ASCII goes */
    enum keyword keyword;
} words[] = {
    {"STOP", KEYWORD_STOP},         {"STOPALL", KEYWORD_STOP},      {"STOP ALL", KEYWORD_STOP},
    {"END", KEYWORD_STOP},          {"QUIT", KEYWORD_STOP},         {"CANCEL", KEYWORD_STOP},
    {"REVOKE", KEYWORD_STOP},       {"OPTOUT", KEYWORD_STOP},       {"OPT OUT", KEYWORD_STOP},
    {"OPT-OUT", KEYWORD_STOP},      {"UNSUBSCRIBE", KEYWORD_STOP},  {"ARRET", KEYWORD_STOP},
    {"ARR\xc3\x8aT", KEYWORD_STOP}, {"ARR\xc3\xaaT", KEYWORD_STOP}, {"STOPP", KEYWORD_STOP},
    {"BAJA", KEYWORD_STOP},         {"START", KEYWORD_START},       {"UNSTOP", KEYWORD_START},
    {"YES", KEYWORD_START},         {"OPTIN", KEYWORD_START},       {"OPT IN", KEYWORD_START},
    {"OPT-IN", KEYWORD_START},      {"SUBSCRIBE", KEYWORD_START},
};

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
}

static bool is_around(char c)
{
    return (c && strchr(" \t\r\n.,;:!?\"'()[]<>*", c)) || c == '\0';
}

static bool is_word(const char *text, size_t length, const char *word)
{
    if (strlen(word) != length)
        return false;
    for (size_t i = 0; i < length; i++)
        if (upper(text[i]) != word[i])
            return false;
    return true;
}

enum keyword keyword_parse(const char *text, size_t length)
{
    while (length && is_around(text[length - 1]))
        length--;
    while (length && is_around(*text))
        text++, length--;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (is_word(text, length, words[i].word))
            return words[i].keyword;
    return KEYWORD_NONE;
}

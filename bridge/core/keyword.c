/* SPDX-License-Identifier: MIT */
#include "core/keyword.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unicase.h>
#include <unictype.h>
#include <uninorm.h>

#include "core/utf8.h"

/* Longer messages are no keyword, with whatever around it. */
#define TEXT_MAX   400
#define FOLDED_MAX 200

/* In capital letters; a blank stands for whatever may stand between two words. */
static const struct {
    const char *word;
    enum keyword keyword;
} words[] = {
    {"STOP", KEYWORD_STOP},         {"STOPALL", KEYWORD_STOP},      {"STOP ALL", KEYWORD_STOP},
    {"END", KEYWORD_STOP},          {"QUIT", KEYWORD_STOP},         {"CANCEL", KEYWORD_STOP},
    {"REVOKE", KEYWORD_STOP},       {"OPTOUT", KEYWORD_STOP},       {"OPT OUT", KEYWORD_STOP},
    {"UNSUBSCRIBE", KEYWORD_STOP},  {"UN SUBSCRIBE", KEYWORD_STOP}, {"ARRET", KEYWORD_STOP},
    {"ARR\xc3\x8aT", KEYWORD_STOP}, {"STOPP", KEYWORD_STOP},        {"BAJA", KEYWORD_STOP},
    {"START", KEYWORD_START},       {"UNSTOP", KEYWORD_START},      {"YES", KEYWORD_START},
    {"OPTIN", KEYWORD_START},       {"OPT IN", KEYWORD_START},      {"SUBSCRIBE", KEYWORD_START},
};

/* What people say beside STOP and which makes no sentence of it. */
static const char *const polite[] = {"PLEASE",   "PLS", "PLZ", "THANKS", "THANK YOU",
                                     "THANKYOU", "THX", "NOW", "KINDLY"};

/* Joins letters and is seen by nobody: not a separator, and not a letter. */
static bool is_unseen(ucs4_t c)
{
    return uc_is_general_category(c, UC_FORMAT) || (c >= 0xFE00 && c <= 0xFE0F) || c == 0x20E3 ||
           c == 0x034F || c == 0x115F || c == 0x1160 || c == 0x3164 || c == 0xFFA0 ||
           (c >= 0xE0100 && c <= 0xE01EF) || (c >= 0x1F3FB && c <= 0x1F3FF);
}

static bool is_letter(ucs4_t c)
{
    return uc_is_general_category(c, UC_LETTER) || uc_is_general_category(c, UC_NUMBER) ||
           uc_is_general_category(c, UC_MARK);
}

/* The text as UTF-32, with a blank for each byte that is not UTF-8 and without the unseen. */
static size_t decode(const char *text, size_t length, uint32_t out[TEXT_MAX])
{
    size_t count = 0;

    while (length && count < TEXT_MAX) {
        uint32_t c = ' ';
        size_t size = utf8_decode(text, length, &c);

        if (!size || !is_unseen(c))
            out[count++] = size ? c : ' ';
        text += size ? size : 1;
        length -= size ? size : 1;
    }
    return length ? 0 : count; /* too long is nothing */
}

/*
 * In capitals, in one form of Unicode (NFKC: full width, styled and composed letters are plain
 * ones), with one blank for whatever stands between words and none outside.
 */
static bool fold(const char *text, size_t length, char out[FOLDED_MAX])
{
    uint32_t wide[TEXT_MAX], *upper;
    size_t count = decode(text, length, wide), folded = 0, used = 0;
    bool is_apart = false;

    upper = u32_toupper(wide, count, NULL, UNINORM_NFKC, NULL, &folded);
    for (size_t i = 0; upper && i < folded && used + 6 < FOLDED_MAX; i++) {
        if (is_unseen(upper[i]))
            continue;
        if (!is_letter(upper[i])) {
            is_apart = used > 0;
            continue;
        }
        if (is_apart)
            out[used++] = ' ';
        is_apart = false;
        used += utf8_encode(upper[i], out + used);
    }
    free(upper);
    out[used] = '\0';
    return used > 0 && used + 6 < FOLDED_MAX;
}

static enum keyword find(const char *text, size_t length)
{
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strlen(words[i].word) == length && memcmp(words[i].word, text, length) == 0)
            return words[i].keyword;
    return KEYWORD_NONE;
}

/* The bytes of three or more words of one letter, and the word that the letters make; or 0. */
static size_t run_of_letters(const char *text, char word[FOLDED_MAX])
{
    size_t at = 0, used = 0, letters = 0;

    while (text[at]) {
        uint32_t c;
        size_t size = utf8_decode(text + at, strlen(text + at), &c);

        if (!size || (text[at + size] != ' ' && text[at + size] != '\0'))
            break;
        memcpy(word + used, text + at, size);
        used += size;
        letters++;
        at += size + (text[at + size] == ' ');
    }
    word[used] = '\0';
    return letters < 3 ? 0 : at;
}

/* A keyword that is spelled out becomes one word: "S T O P PLEASE" is "STOP PLEASE". */
static void join_spelled(char *text)
{
    char word[FOLDED_MAX];
    size_t at = 0, used = 0;

    while (text[at]) {
        size_t run = run_of_letters(text + at, word), length = strlen(word);

        if (run && find(word, length)) {
            memcpy(text + used, word, length);
            used += length;
            at += run;
            if (text[at])
                text[used++] = ' ';
            continue;
        }
        length = strcspn(text + at, " ");
        run = run ? run : length + (text[at + length] == ' ');
        memmove(text + used, text + at, run);
        used += run;
        at += run;
    }
    text[used] = '\0';
}

/* How many bytes from here on are one of the list, whole words; 0 when none is. */
static size_t run_of_polite(const char *text)
{
    size_t longest = 0;

    for (size_t i = 0; i < sizeof(polite) / sizeof(polite[0]); i++) {
        size_t length = strlen(polite[i]);

        if (length > longest && strncmp(text, polite[i], length) == 0 &&
            (text[length] == ' ' || text[length] == '\0'))
            longest = length;
    }
    return longest;
}

static size_t run_of_stop(const char *text)
{
    size_t longest = 0;

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t length = strlen(words[i].word);

        if (words[i].keyword == KEYWORD_STOP && length > longest &&
            strncmp(text, words[i].word, length) == 0 &&
            (text[length] == ' ' || text[length] == '\0'))
            longest = length;
    }
    return longest;
}

/* Words for STOP, one or several, and polite ones; nothing else. */
static bool is_polite_stop(const char *text)
{
    bool has_stop = false;

    while (*text) {
        size_t stop = run_of_stop(text), run = stop ? stop : run_of_polite(text);

        if (!run)
            return false;
        has_stop = has_stop || stop;
        text += run + (text[run] == ' ');
    }
    return has_stop;
}

enum keyword keyword_parse(const char *text, size_t length)
{
    char folded[FOLDED_MAX];
    enum keyword keyword;

    if (length > TEXT_MAX || !fold(text, length, folded))
        return KEYWORD_NONE;
    join_spelled(folded);
    keyword = find(folded, strlen(folded));
    return keyword || !is_polite_stop(folded) ? keyword : KEYWORD_STOP;
}

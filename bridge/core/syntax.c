/* SPDX-License-Identifier: MIT */
#include "core/syntax.h"

#include <stddef.h>
#include <string.h>

#include "core/utf8.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_alnum(char c)
{
    return is_letter(c) || is_digit(c);
}

/* c is one of set; the NUL is in no set. */
static bool is_in(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* Bytes from text on for which is() holds. */
static size_t run_of(const char *text, bool (*is)(char c))
{
    size_t run = 0;

    while (is(text[run]))
        run++;
    return run;
}

static bool is_type_char(char c)
{
    return (c >= 'a' && c <= 'z') || is_digit(c) || c == '_';
}

static bool is_template_char(char c)
{
    return is_alnum(c) || c == '_' || c == '-';
}

static bool is_zone_char(char c)
{
    return is_alnum(c) || is_in(c, "_+-");
}

static bool is_cron_char(char c)
{
    return is_alnum(c) || is_in(c, "*/,?#-");
}

static bool is_local_char(char c)
{
    return is_alnum(c) || is_in(c, ".!#$%&'*+/=?^_`{|}~-");
}

static bool is_label_char(char c)
{
    return is_alnum(c) || c == '-';
}

static bool is_visible(char c)
{
    return c >= '!' && c <= '~';
}

static bool is_url_char(char c)
{
    return is_visible(c) && !is_in(c, "\"<>\\^`{|}");
}

/* Runs of one kind of character, at least one, joined by one separator: how many; 0 when not. */
static size_t joined(const char *text, bool (*is)(char c), char separator)
{
    size_t count = 0;

    for (;;) {
        size_t run = run_of(text, is);

        if (run == 0)
            return 0;
        count++;
        text += run;
        if (*text == '\0')
            return count;
        if (*text++ != separator)
            return 0;
    }
}

bool syntax_is_type(const char *text)
{
    return joined(text, is_type_char, '.') > 0;
}

bool syntax_is_template(const char *text)
{
    return joined(text, is_template_char, '.') > 0;
}

bool syntax_is_phone(const char *text)
{
    size_t digits = text[0] == '+' ? run_of(text + 1, is_digit) : 0;

    return digits >= 7 && digits <= 15 && text[1] != '0' && text[1 + digits] == '\0';
}

/*
 * Bytes of a letter beyond ASCII, as addresses may have them (RFC 6531): no blanks, controls or
 * marks of punctuation that could pass for an address's own.  0 when it is none.
 */
static size_t foreign(const char *text)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {{0xA1, 0xAC},     {0xAE, 0x1FFF},   {0x2070, 0x2FFF},
                  {0x3004, 0xD7FF}, {0xF900, 0xFDFF}, {0x10000, 0x10FFFF}};
    uint32_t code = 0;
    size_t bytes = (unsigned char)*text < 0x80 ? 0 : utf8_decode(text, strnlen(text, 4), &code);

    for (size_t i = 0; bytes && i < sizeof(ranges) / sizeof(ranges[0]); i++)
        if (code >= ranges[i].first && code <= ranges[i].last)
            return bytes;
    return 0;
}

/* Bytes from text on that are of the kind or foreign; how many characters they are. */
static size_t wide_run(const char *text, bool (*is)(char c), size_t *characters)
{
    size_t run = 0, bytes;

    for (*characters = 0;; ++*characters) {
        bytes = is(text[run]) ? 1 : foreign(text + run);
        if (bytes == 0)
            return run;
        run += bytes;
    }
}

static bool is_domain(const char *text)
{
    for (;;) {
        size_t characters, run = wide_run(text, is_label_char, &characters);

        if (run == 0 || characters > 63 || text[0] == '-' || text[run - 1] == '-')
            return false;
        text += run;
        if (*text == '\0')
            return true;
        if (*text++ != '.')
            return false;
    }
}

bool syntax_is_email(const char *text)
{
    size_t characters, local = wide_run(text, is_local_char, &characters);

    return characters >= 1 && characters <= 64 && text[local] == '@' && strlen(text) <= 254 &&
           is_domain(text + local + 1);
}

bool syntax_is_url(const char *text)
{
    size_t length = strlen(text), scheme = strncmp(text, "https://", 8) == 0 ? 8 : 7;

    if (length > 2048 || (scheme == 7 && strncmp(text, "http://", 7) != 0))
        return false;
    return (is_alnum(text[scheme]) || text[scheme] == '[') && run_of(text, is_url_char) == length;
}

bool syntax_is_push_token(const char *text)
{
    size_t run = run_of(text, is_visible);

    return run > 0 && run <= 4096 && text[run] == '\0';
}

bool syntax_is_locale(const char *text)
{
    size_t run = run_of(text, is_letter);

    if (run < 2 || run > 8 || strlen(text) > 64)
        return false;
    for (text += run; *text == '-'; text += run) {
        text++;
        run = run_of(text, is_alnum);
        if (run < 1 || run > 8)
            return false;
    }
    return *text == '\0';
}

bool syntax_is_timezone(const char *text)
{
    return is_letter(text[0]) && strlen(text) <= 64 && joined(text, is_zone_char, '/') > 0;
}

bool syntax_is_cron(const char *text)
{
    return strlen(text) <= 128 && joined(text, is_cron_char, ' ') == 5;
}

bool syntax_is_date(const char *text)
{
    int month, day;

    for (size_t i = 0; i < 10; i++)
        if (i == 4 || i == 7 ? text[i] != '-' : !is_digit(text[i]))
            return false;
    month = (text[5] - '0') * 10 + text[6] - '0';
    day = (text[8] - '0') * 10 + text[9] - '0';
    return text[10] == '\0' && month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

/* SPDX-License-Identifier: MIT */
#include "lenient.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { ESCAPE = 6, DIGITS_MAX = 18 /* of what fits in 64 bits in any case */, LOOKED_AT = 64 };

/* The code unit of "\\uXXXX" at `at`, or -1. */
static long unit_at(const char *at, const char *end)
{
    char hex[5] = "";

    if (end - at < ESCAPE || at[0] != '\\' || at[1] != 'u')
        return -1;
    memcpy(hex, at + 2, 4);
    return strspn(hex, "0123456789abcdefABCDEF") == 4 ? strtol(hex, NULL, 16) : -1;
}

/* Past one escape; half a surrogate pair is replaced. */
static char *tame_escape(char *at, const char *end)
{
    long unit = unit_at(at, end);

    if (unit < 0)
        return end - at < 2 ? at + 1 : at + 2;
    if (unit >= 0xd800 && unit <= 0xdbff) {
        long low = unit_at(at + ESCAPE, end);
        if (low >= 0xdc00 && low <= 0xdfff)
            return at + 2 * (ptrdiff_t)ESCAPE;
    }
    if (unit >= 0xd800 && unit <= 0xdfff)
        memcpy(at + 2, "0000", 4);
    return at + ESCAPE;
}

/* Is it an integer beyond 64 bits, or a real that no double holds? */
static bool is_beyond(const char *at, size_t len, bool is_integer)
{
    char copy[LOOKED_AT + 1];

    if (is_integer && len <= DIGITS_MAX)
        return false;
    if (len > LOOKED_AT)
        return true;
    memcpy(copy, at, len);
    copy[len] = '\0';
    errno = 0;
    if (is_integer)
        return strtoll(copy, NULL, 10) == 0 || errno == ERANGE;
    return isinf(strtod(copy, NULL));
}

/* Past one number. */
static char *tame_number(char *at, const char *end)
{
    char *start = at;
    bool is_integer = true;
    size_t sign = *at == '-';

    for (; at < end && strchr("+-.0123456789eE", *at) && *at; at++)
        is_integer = is_integer && !strchr(".eE", *at);
    size_t len = (size_t)(at - start);
    if (len < sign + 5 || start[sign] < '0' || start[sign] > '9' ||
        !is_beyond(start, len, is_integer))
        return at;
    memset(start + sign, ' ', len - sign);
    memcpy(start + sign, "1e300", 5);
    return at;
}

void lenient_tame(char *text, size_t len)
{
    const char *end = text + len;
    bool is_string = false;

    while (text < end) {
        if (is_string && *text == '\\') {
            text = tame_escape(text, end);
        } else if (!is_string && (*text == '-' || (*text >= '0' && *text <= '9'))) {
            text = tame_number(text, end);
        } else {
            is_string ^= *text == '"';
            text++;
        }
    }
}

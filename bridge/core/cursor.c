/* SPDX-License-Identifier: MIT */
#include "core/cursor.h"

#include "core/id.h"

#include <stdio.h>
#include <string.h>

#define SEQ_DIGITS 19 /* INT64_MAX has as many */

char *cursor_write(const struct cursor *cursor, char out[CURSOR_BYTES])
{
    char id[ID_TEXT_BYTES];

    snprintf(out, CURSOR_BYTES, "%c%lld-%s", cursor->is_rising ? 'u' : 'd', (long long)cursor->seq,
             id_format(cursor->shared, id));
    return out;
}

int cursor_read(const char *text, struct cursor *cursor)
{
    size_t digits = text[0] ? strspn(text + 1, "0123456789") : 0;
    uint64_t seq = 0;

    if ((text[0] != 'u' && text[0] != 'd') || digits == 0 || digits > SEQ_DIGITS ||
        text[1 + digits] != '-')
        return ERR_INVALID;
    for (size_t i = 1; i <= digits; i++)
        seq = seq * 10 + (uint64_t)(text[i] - '0');
    if (seq > INT64_MAX || id_parse(text + digits + 2, &cursor->shared))
        return ERR_INVALID;
    cursor->is_rising = text[0] == 'u';
    cursor->seq = (int64_t)seq;
    return 0;
}

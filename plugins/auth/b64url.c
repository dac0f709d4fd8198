/* SPDX-License-Identifier: MIT */
#include "b64url.h"

#include <stdint.h>

static int digit(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

int b64url_decode(const char *text, size_t len, unsigned char *out, size_t size, size_t *out_len)
{
    uint32_t bits = 0;
    unsigned held = 0;
    size_t at = 0;

    if (len % 4 == 1 || len / 4 * 3 + (len % 4 ? len % 4 - 1 : 0) > size)
        return -1;
    for (size_t i = 0; i < len; i++) {
        int d = digit((unsigned char)text[i]);
        if (d < 0)
            return -1;
        bits = (bits << 6 | (uint32_t)d) & 0xffffff;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[at++] = (unsigned char)(bits >> held);
        }
    }
    if (bits & ((1u << held) - 1))
        return -1; /* a second spelling of the same bytes */
    *out_len = at;
    return 0;
}

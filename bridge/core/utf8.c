/* SPDX-License-Identifier: MIT */
#include "core/utf8.h"

static bool is_tail(unsigned char c)
{
    return (c & 0xC0) == 0x80;
}

size_t utf8_char(const char *text, size_t length)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned char lead, low = 0x80, high = 0xBF;
    size_t size;

    if (length == 0)
        return 0;
    lead = s[0];
    if (lead < 0x80)
        return 1;
    if (lead < 0xC2 || lead > 0xF4)
        return 0;
    size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (length < size)
        return 0;
    /* The second byte alone tells overlong forms, surrogates and what is past U+10FFFF. */
    if (lead == 0xE0)
        low = 0xA0;
    else if (lead == 0xED)
        high = 0x9F;
    else if (lead == 0xF0)
        low = 0x90;
    else if (lead == 0xF4)
        high = 0x8F;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < size; i++)
        if (!is_tail(s[i]))
            return 0;
    return size;
}

size_t utf8_decode(const char *text, size_t length, uint32_t *code)
{
    static const unsigned char lead_mask[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    size_t size = utf8_char(text, length);

    if (size == 0)
        return 0;
    *code = (unsigned char)text[0] & lead_mask[size];
    for (size_t i = 1; i < size; i++)
        *code = *code << 6 | ((unsigned char)text[i] & 0x3F);
    return size;
}

bool utf8_is_valid(const char *text, size_t length)
{
    while (length > 0) {
        size_t size = utf8_char(text, length);

        if (size == 0)
            return false;
        text += size;
        length -= size;
    }
    return true;
}

size_t utf8_count(const char *text, size_t length)
{
    size_t count = 0;

    for (size_t i = 0; i < length; i++)
        count += !is_tail((unsigned char)text[i]);
    return count;
}

size_t utf8_encode(uint32_t code, char *out)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

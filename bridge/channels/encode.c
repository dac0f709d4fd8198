/* SPDX-License-Identifier: MIT */
#include "channels/encode.h"
#include <stdint.h>
#include <string.h>

static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char BASE64URL[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static bool is_unreserved(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

void encode_percent(struct buf *out, const char *text)
{
    static const char digits[] = "0123456789ABCDEF";

    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (is_unreserved(*p)) {
            buf_add_char(out, (char)*p);
        } else {
            buf_add_char(out, '%');
            buf_add_char(out, digits[*p >> 4]);
            buf_add_char(out, digits[*p & 15]);
        }
    }
}

void encode_form(struct buf *out, const char *name, const char *value)
{
    if (out->length)
        buf_add_char(out, '&');
    encode_percent(out, name);
    buf_add_char(out, '=');
    encode_percent(out, value);
}

void encode_hex(struct buf *out, const void *bytes, size_t length)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *p = bytes;

    for (size_t i = 0; i < length; i++) {
        buf_add_char(out, digits[p[i] >> 4]);
        buf_add_char(out, digits[p[i] & 15]);
    }
}

static void encode_64(struct buf *out, const void *bytes, size_t length, const char *alphabet,
                      bool is_padded)
{
    const unsigned char *p = bytes;

    buf_reserve(out, (length + 2) / 3 * 4 + 1);
    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        uint32_t word = (uint32_t)p[i] << 16;
        char group[4];

        if (left > 1)
            word |= (uint32_t)p[i + 1] << 8;
        if (left > 2)
            word |= p[i + 2];
        for (unsigned k = 0; k < 4; k++)
            group[k] = alphabet[word >> (18 - 6 * k) & 63];
        if (left > 2) {
            buf_add(out, group, 4);
        } else if (is_padded) {
            memset(group + left + 1, '=', 3 - left);
            buf_add(out, group, 4);
        } else {
            buf_add(out, group, left + 1);
        }
    }
}

void encode_base64(struct buf *out, const void *bytes, size_t length)
{
    encode_64(out, bytes, length, BASE64, true);
}

void encode_base64url(struct buf *out, const void *bytes, size_t length)
{
    encode_64(out, bytes, length, BASE64URL, false);
}

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    if (c == '/' || c == '_')
        return 63;
    return -1;
}

int decode_base64(struct buf *out, const char *text, size_t length)
{
    uint32_t word = 0;
    unsigned bits = 0;
    size_t i = 0;

    for (; i < length && text[i] != '='; i++) {
        int value = value_of(text[i]);

        if (text[i] == '\r' || text[i] == '\n' || text[i] == ' ' || text[i] == '\t')
            continue;
        if (value < 0)
            return ERR_INVALID;
        word = word << 6 | (uint32_t)value;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            buf_add_char(out, (char)(word >> bits & 0xff));
        }
    }
    for (; i < length; i++) {
        if (text[i] != '=' && text[i] != '\r' && text[i] != '\n')
            return ERR_INVALID;
    }
    /* Six bits alone are not a byte, and what is left over must be zero. */
    if (bits == 6 || (word & ((1U << bits) - 1)) != 0)
        return ERR_INVALID;
    return 0;
}

/* Length of the UTF-8 sequence at p, 0 when it is not one. */
static size_t utf8_length(const unsigned char *p)
{
    size_t length = 0;

    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xC2 && p[0] <= 0xDF)
        length = 2;
    else if (p[0] >= 0xE0 && p[0] <= 0xEF)
        length = 3;
    else if (p[0] >= 0xF0 && p[0] <= 0xF4)
        length = 4;
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    }
    return length;
}

bool text_is_clean(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;

    if (!*p)
        return false;
    while (*p) {
        size_t length = utf8_length(p);

        if (!length || *p < 0x20 || *p == 0x7F)
            return false;
        p += length;
    }
    return true;
}

bool text_is_ascii(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || (unsigned char)*text > 0x7E)
            return false;
    return true;
}

/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_phone(const char *text)
{
    size_t digits = 0;

    for (const char *at = text; *at; at++) {
        if (is_digit(*at))
            digits++;
        else if (!strchr(" -().", *at) && !(*at == '+' && at == text))
            return false;
    }
    return digits >= 3 && digits <= 20;
}

/* Country and part of the area in front, two digits behind; less of a short one. */
static void mask_phone(const char *text, char *out, size_t out_bytes)
{
    char digits[24];
    size_t count = 0;
    bool has_plus = text[0] == '+';
    int front;

    for (; *text && count < sizeof digits - 1; text++)
        if (is_digit(*text))
            digits[count++] = *text;
    digits[count] = '\0';
    front = count >= 9 ? 4 : count >= 7 ? 2 : 0;
    if (front)
        snprintf(out, out_bytes, "%s%.*s*****%s", has_plus ? "+" : "", front, digits,
                 digits + count - 2);
    else
        snprintf(out, out_bytes, "%s*****", has_plus ? "+" : "");
}

/* Keeps what is printable ASCII: the result goes to logs and into JSON as it is. */
static void copy_plain(char *out, size_t out_bytes, const char *text, size_t length)
{
    size_t at = strnlen(out, out_bytes);

    for (size_t i = 0; i < length && at + 1 < out_bytes; i++)
        out[at++] =
            text[i] > ' ' && text[i] < 0x7f && text[i] != '"' && text[i] != '\\' ? text[i] : '?';
    out[at] = '\0';
}

static void mask_mail(const char *text, const char *at_sign, char *out, size_t out_bytes)
{
    out[0] = '\0';
    if (at_sign - text > 1) /* a one-letter name would be shown whole */
        copy_plain(out, out_bytes, text, 1);
    copy_plain(out, out_bytes, "***", 3);
    copy_plain(out, out_bytes, at_sign, strlen(at_sign));
}

/* Scheme and host stay; user, path and query may hold credentials. */
static void mask_url(const char *text, const char *host, char *out, size_t out_bytes)
{
    size_t length = strcspn(host, "/?#");
    const char *user_end = memchr(host, '@', length);

    out[0] = '\0';
    copy_plain(out, out_bytes, text, (size_t)(host - text));
    while (user_end) {
        length -= (size_t)(user_end + 1 - host);
        host = user_end + 1;
        user_end = memchr(host, '@', length);
    }
    copy_plain(out, out_bytes, host, length);
    if (host[length])
        copy_plain(out, out_bytes, "/...", 4);
}

/* Sixteen bits of a hash: enough to follow one token through a log, useless to find it. */
static void mask_token(const char *text, char *out, size_t out_bytes)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    hash ^= hash >> 32;
    hash ^= hash >> 16;
    snprintf(out, out_bytes, "tok:%04x...", (unsigned)(hash & 0xffff));
}

void log_mask(const char *address, char *out, unsigned out_bytes)
{
    const char *at_sign = strrchr(address, '@');
    const char *host = strstr(address, "://");

    if (out_bytes == 0)
        return;
    out[0] = '\0';
    if (address[0] == '\0')
        return;
    if (host && host - address <= 16)
        mask_url(address, host + 3, out, out_bytes);
    else if (at_sign && at_sign != address)
        mask_mail(address, at_sign, out, out_bytes);
    else if (is_phone(address))
        mask_phone(address, out, out_bytes);
    else
        mask_token(address, out, out_bytes);
}

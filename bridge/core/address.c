/* SPDX-License-Identifier: MIT */
#include "core/address.h"

#include <idn2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unicase.h>
#include <uninorm.h>

#define EMAIL_MAX 254 /* RFC 5321 4.5.3.1.3, without the angle brackets */

static bool is_ascii(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text >= 0x80)
            return false;
    return true;
}

static bool has_capital(const char *text)
{
    for (; *text; text++)
        if (*text >= 'A' && *text <= 'Z')
            return true;
    return false;
}

static char *lowered(struct arena *arena, const char *text, size_t length)
{
    char *copy = arena_strndup(arena, text, length);

    for (char *at = copy; *at; at++)
        if (*at >= 'A' && *at <= 'Z')
            *at = (char)(*at + ('a' - 'A'));
    return copy;
}

/* Lower case and NFC, of any script. */
static const char *folded(struct arena *arena, const char *text, size_t length)
{
    size_t lower_bytes = 0;
    uint8_t *lower =
        u8_tolower((const uint8_t *)text, length, NULL, UNINORM_NFC, NULL, &lower_bytes);
    const char *copy;

    if (!lower) /* not UTF-8: callers have checked */
        return lowered(arena, text, length);
    copy = arena_strndup(arena, (const char *)lower, lower_bytes);
    free(lower);
    return copy;
}

static const char *ascii_domain(struct arena *arena, const char *domain)
{
    uint8_t *ascii = NULL;
    const char *copy;

    if (is_ascii(domain))
        return lowered(arena, domain, strlen(domain));
    if (idn2_lookup_u8((const uint8_t *)domain, &ascii,
                       IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL | IDN2_USE_STD3_ASCII_RULES) !=
        IDN2_OK)
        return NULL;
    copy = lowered(arena, (const char *)ascii, strlen((const char *)ascii));
    idn2_free(ascii);
    return copy;
}

static const char *email_key(const char *address, struct arena *arena, bool is_strict)
{
    const char *at = strrchr(address, '@'), *domain, *key;

    if (is_ascii(address))
        return has_capital(address) ? lowered(arena, address, strlen(address)) : address;
    domain = at ? ascii_domain(arena, at + 1) : NULL;
    if (!domain)
        return is_strict ? NULL : folded(arena, address, strlen(address));
    key = arena_printf(arena, "%s@%s", folded(arena, address, (size_t)(at - address)), domain);
    return strlen(key) <= EMAIL_MAX || !is_strict ? key : NULL;
}

/* 32 bytes or more, as Apple writes its device tokens; no other platform's look so. */
static bool is_apple_token(const char *token)
{
    size_t length = strspn(token, "0123456789abcdefABCDEF");

    return length >= 64 && length <= 200 && length % 2 == 0 && token[length] == '\0';
}

static const char *key(enum channel channel, const char *address, struct arena *arena,
                       bool is_strict)
{
    if (channel == CHANNEL_EMAIL)
        return email_key(address, arena, is_strict);
    if (channel == CHANNEL_PUSH && has_capital(address) && is_apple_token(address))
        return lowered(arena, address, strlen(address));
    return address;
}

const char *address_key(enum channel channel, const char *address, struct arena *arena)
{
    return key(channel, address, arena, false);
}

const char *address_key_strict(enum channel channel, const char *address, struct arena *arena)
{
    return key(channel, address, arena, true);
}

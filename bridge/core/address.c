/* SPDX-License-Identifier: MIT */
#include "core/address.h"

#include "base/buf.h"
#include "core/domain.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unicase.h>
#include <unictype.h>
#include <uninorm.h>
#include <unistr.h>

#define EMAIL_MAX 254 /* RFC 5321 4.5.3.1.3, without the angle brackets */

static bool is_ascii(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text >= 0x80)
            return false;
    return true;
}

static bool is_capital(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool has_capital(const char *text)
{
    for (; *text; text++)
        if (is_capital(*text))
            return true;
    return false;
}

static void lower_ascii(char *text)
{
    for (; *text; text++)
        if (is_capital(*text))
            *text = (char)(*text + ('a' - 'A'));
}

static char *lowered(struct arena *arena, const char *text, size_t length)
{
    char *copy = arena_copy(arena, text, length);

    lower_ascii(copy);
    return copy;
}

/* Lower case and NFC, of any script. */
static const char *folded(struct arena *arena, const char *text)
{
    size_t lower_bytes = 0;
    uint8_t *lower =
        u8_tolower((const uint8_t *)text, strlen(text), NULL, UNINORM_NFC, NULL, &lower_bytes);
    const char *copy;

    if (!lower) /* not UTF-8: callers have checked */
        return lowered(arena, text, strlen(text));
    copy = arena_copy(arena, (const char *)lower, lower_bytes);
    free(lower);
    return copy;
}

/* ---- the local part ---- */

/* A letter as written: its code point and the marks that combine with it. */
static size_t letter_bytes(const uint8_t *text, size_t length, bool *is_plain)
{
    ucs4_t c;
    int used = u8_mbtouc(&c, text, length);
    size_t at = (size_t)used;

    *is_plain = c < 0x80;
    while (at < length) {
        used = u8_mbtouc(&c, text + at, length - at);
        if (uc_combining_class(c) == UC_CCC_NR)
            break;
        *is_plain = false; /* T with a diaeresis is one letter in lower case only */
        at += (size_t)used;
    }
    return at;
}

/* Lower-cases all letters but plain ASCII ones, each in its context: a final sigma needs it. */
static void add_letters(struct buf *out, const uint8_t *text, size_t length)
{
    size_t at = 0;

    while (at < length) {
        bool is_plain = false;
        size_t bytes = letter_bytes(text + at, length - at, &is_plain), lower_bytes = 0;
        uint8_t *lower = NULL;

        if (!is_plain)
            lower = u8_ct_tolower(text + at, bytes, u8_casing_prefix_context(text, at),
                                  u8_casing_suffix_context(text + at + bytes, length - at - bytes),
                                  NULL, NULL, NULL, &lower_bytes);
        if (lower)
            buf_add(out, lower, lower_bytes);
        else
            buf_add(out, text + at, bytes);
        free(lower);
        at += bytes;
    }
}

static const char *nfc(struct arena *arena, const uint8_t *text, size_t length)
{
    size_t bytes = 0;
    uint8_t *composed = u8_normalize(UNINORM_NFC, text, length, NULL, &bytes);
    const char *copy = arena_copy(arena, composed ? (const char *)composed : (const char *)text,
                                  composed ? bytes : length);

    free(composed);
    return copy;
}

static const char *local_part(struct arena *arena, const char *text, size_t length)
{
    const char *composed = nfc(arena, (const uint8_t *)text, length), *copy;
    struct buf out = {0};

    if (is_ascii(composed))
        return composed;
    add_letters(&out, (const uint8_t *)composed, strlen(composed));
    copy = nfc(arena, (const uint8_t *)buf_text(&out), out.length);
    buf_fini(&out);
    return copy;
}

/* ---- the whole ---- */

static const char *ascii_domain(struct arena *arena, const char *domain)
{
    char ascii[DOMAIN_MAX + 1];

    return domain_to_ascii(domain, ascii) ? arena_copy(arena, ascii, strlen(ascii)) : NULL;
}

static const char *email_wire(const char *address, struct arena *arena, bool is_strict)
{
    const char *at = strrchr(address, '@'), *domain, *wire;
    size_t local = at ? (size_t)(at - address) : 0;

    if (!at)
        return is_strict ? NULL : local_part(arena, address, strlen(address));
    if (is_ascii(address) && !has_capital(at))
        return address;
    domain = ascii_domain(arena, at + 1);
    if (!domain && is_strict)
        return NULL;
    wire = arena_printf(arena, "%s@%s", local_part(arena, address, local),
                        domain ? domain : folded(arena, at + 1));
    return strlen(wire) <= EMAIL_MAX || !is_strict ? wire : NULL;
}

/* 32 bytes or more, as Apple writes its device tokens; no other platform's look so. */
static bool is_apple_token(const char *token)
{
    size_t length = strspn(token, "0123456789abcdefABCDEF");

    return length >= 64 && length <= 200 && length % 2 == 0 && token[length] == '\0';
}

static const char *wire(enum channel channel, const char *address, struct arena *arena,
                        bool is_strict)
{
    if (channel == CHANNEL_EMAIL)
        return email_wire(address, arena, is_strict);
    if (channel == CHANNEL_PUSH && has_capital(address) && is_apple_token(address))
        return lowered(arena, address, strlen(address));
    return address;
}

static const char *key(enum channel channel, const char *address, struct arena *arena,
                       bool is_strict)
{
    const char *found = wire(channel, address, arena, is_strict);
    bool is_lowered = found && channel == CHANNEL_EMAIL && has_capital(found);

    return is_lowered ? lowered(arena, found, strlen(found)) : found;
}

const char *address_wire(enum channel channel, const char *address, struct arena *arena)
{
    return wire(channel, address, arena, false);
}

const char *address_wire_strict(enum channel channel, const char *address, struct arena *arena)
{
    return wire(channel, address, arena, true);
}

const char *address_key(enum channel channel, const char *address, struct arena *arena)
{
    return key(channel, address, arena, false);
}

const char *address_key_strict(enum channel channel, const char *address, struct arena *arena)
{
    return key(channel, address, arena, true);
}

void address_fold(enum channel channel, char *address)
{
    if (channel == CHANNEL_EMAIL)
        lower_ascii(address);
}

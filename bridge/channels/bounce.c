/* SPDX-License-Identifier: MIT */
#include "channels/bounce.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

struct codes {
    unsigned proofs, others;
};

/* Words that accuse the sender, its network, a policy or the content. */
static const char *const ACCUSING[] = {
    "rbl",         "dnsbl",        "spf",          "dkim",       "dmarc",   "spam",
    "junk",        "block",        "blacklist",    "reputation", "policy",  "policies",
    "relay",       "virus",        "unsolicited",  "abuse",      "banned",  "spamhaus",
    "rate limit",  "greylist",     "sender verif", "envelope",   "reverse", "ptr",
    "not allowed", "not permitted"};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The length of "5.1.1" at this place; 0 where no code begins.  An address of four parts is none.
 */
static size_t code_at(const char *at)
{
    size_t length = 1;

    if (!strchr("245", *at))
        return 0;
    for (int part = 0; part < 2; part++) {
        size_t digits;

        if (at[length] != '.')
            return 0;
        digits = strspn(at + length + 1, "0123456789");
        if (digits < 1 || digits > 3)
            return 0;
        length += 1 + digits;
    }
    return at[length] == '.' && is_digit(at[length + 1]) ? 0 : length;
}

static bool is_proof(const char *code, size_t length)
{
    return (length == 5 && memcmp(code, "5.1.1", 5) == 0) ||
           (length == 6 && memcmp(code, "5.1.10", 6) == 0);
}

/* "5.0.0" says nothing. */
static bool is_undefined(const char *code, size_t length)
{
    return length == 5 && memcmp(code + 1, ".0.0", 4) == 0;
}

static void count(struct codes *codes, const char *text)
{
    for (const char *at = text; at && *at;) {
        bool is_start = at == text || (!is_digit(at[-1]) && at[-1] != '.');
        size_t length = is_start ? code_at(at) : 0;

        if (length && is_proof(at, length))
            codes->proofs++;
        else if (length && !is_undefined(at, length))
            codes->others++;
        at += length ? length : 1;
    }
}

static bool accuses(const char *text)
{
    for (const char *at = text; at && *at; at++) {
        if (at > text && is_letter(at[-1]))
            continue;
        for (size_t i = 0; i < sizeof ACCUSING / sizeof ACCUSING[0]; i++)
            if (strncasecmp(at, ACCUSING[i], strlen(ACCUSING[i])) == 0)
                return true;
    }
    return false;
}

bool bounce_is_proof(enum bounce_class class, const char *code, const char *text)
{
    struct codes codes = {0, 0};

    count(&codes, code);
    count(&codes, text);
    if (codes.others || class == BOUNCE_OTHER)
        return false;
    if (codes.proofs)
        return true;
    return class == BOUNCE_NO_MAILBOX ? !accuses(text) : !text || !text[0];
}

/* SPDX-License-Identifier: MIT */
#include "channels/bounce.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

struct codes {
    unsigned proofs, others;
};

/* What servers say of a mailbox that they do not have; nothing else proves that there is none. */
static const char *const PROVING[] = {
    "user unknown",      "unknown user",      "no such user",      "user not found",
    "mailbox not found", "no such mailbox",   "mailbox unknown",   "unknown mailbox",
    "no mailbox",        "recipient unknown", "unknown recipient", "recipient not found",
    "no such recipient", "does not exist",    "doesn't exist"};

/* Words of the sender, its network, a policy, the content or room: a text with one proves nothing.
 */
static const char *const ACCUSING[] = {
    "rbl",      "dnsbl",       "spf",           "dkim",        "dmarc",      "spam",
    "junk",     "block",       "blacklist",     "denylist",    "listed",     "reputa",
    "policy",   "policies",    "relay",         "virus",       "malware",    "phish",
    "unsolic",  "abuse",       "banned",        "rate limit",  "greylist",   "graylist",
    "sender",   "mail from",   "envelope",      "reverse",     "ptr",        "helo",
    "ehlo",     "prohibit",    "denied",        "authori",     "prison",     "content",
    "restrict", "standing",    "hops",          "full",        "quota",      "try again",
    "temporar", "not allowed", "not permitted", "return path", "return-path"};

/* "does not exist" beside one of these may be said of the sender's domain or a host. */
static const char *const OTHER_THINGS[] = {"domain", "host", "server",
                                           "record", "zone", "template"};

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

/* Whether one of the words begins a word of the text; in any case. */
static bool has_word(const char *text, const char *const words[], size_t count)
{
    for (const char *at = text; *at; at++) {
        if (at > text && is_letter(at[-1]))
            continue;
        for (size_t i = 0; i < count; i++)
            if (strncasecmp(at, words[i], strlen(words[i])) == 0)
                return true;
    }
    return false;
}

#define HAS_WORD(text, words) has_word(text, words, sizeof(words) / sizeof(words)[0])

/* Whether one of the phrases is there, not as the beginning of a longer word. */
static bool has_phrase(const char *text, const char *phrase)
{
    size_t length = strlen(phrase);

    for (const char *at = text; (at = strcasestr(at, phrase)); at++)
        if ((at == text || !is_letter(at[-1])) && !is_letter(at[length]))
            return true;
    return false;
}

static bool says_unknown(const char *text)
{
    bool is_elsewhere = HAS_WORD(text, OTHER_THINGS);

    for (size_t i = 0; i < sizeof PROVING / sizeof PROVING[0]; i++)
        if (has_phrase(text, PROVING[i]) && !(is_elsewhere && strstr(PROVING[i], "exist")))
            return true;
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
    if (!text || !text[0])
        return true; /* the provider's word alone */
    return class == BOUNCE_NO_MAILBOX && says_unknown(text) && !HAS_WORD(text, ACCUSING);
}

/* SPDX-License-Identifier: MIT */
#include "core/domain.h"

#include <idn2.h>
#include <stdint.h>
#include <string.h>

#define LABEL_MAX 63

static bool is_ldh(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

/* Labels of lower-case letters, digits and hyphens, which neither begin nor end with a hyphen. */
static bool has_labels(const char *domain)
{
    if (strlen(domain) > DOMAIN_MAX)
        return false;
    for (;;) {
        size_t length = 0;

        while (is_ldh(domain[length]))
            length++;
        if (length == 0 || length > LABEL_MAX || domain[0] == '-' || domain[length - 1] == '-')
            return false;
        domain += length;
        if (*domain == '\0')
            return true;
        if (*domain++ != '.')
            return false;
    }
}

static bool is_ascii(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text >= 0x80)
            return false;
    return true;
}

/* False when the library refuses, or what it makes is no domain name. */
static bool look_up(const char *domain, int flags, char out[DOMAIN_MAX + 1])
{
    uint8_t *ascii = NULL;
    bool is_good = idn2_lookup_u8((const uint8_t *)domain, &ascii,
                                  IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL | flags) == IDN2_OK &&
                   has_labels((const char *)ascii);

    if (is_good)
        memcpy(out, ascii, strlen((const char *)ascii) + 1);
    idn2_free(ascii);
    return is_good;
}

static bool leads_back(const char *ascii)
{
    char again[DOMAIN_MAX + 1];
    char *unicode = NULL;
    bool is_good = idn2_to_unicode_8z8z(ascii, &unicode, 0) == IDN2_OK &&
                   look_up(unicode, IDN2_USE_STD3_ASCII_RULES, again) && strcmp(again, ascii) == 0;

    idn2_free(unicode);
    return is_good;
}

static bool lower_ascii(const char *domain, char out[DOMAIN_MAX + 1])
{
    size_t length = strlen(domain);

    if (length > DOMAIN_MAX)
        return false;
    for (size_t i = 0; i <= length; i++)
        out[i] = domain[i] >= 'A' && domain[i] <= 'Z' ? (char)(domain[i] + ('a' - 'A')) : domain[i];
    return has_labels(out);
}

bool domain_to_ascii(const char *domain, char out[DOMAIN_MAX + 1])
{
    char strict[DOMAIN_MAX + 1], loose[DOMAIN_MAX + 1];

    if (is_ascii(domain))
        return lower_ascii(domain, out);
    if (!look_up(domain, IDN2_USE_STD3_ASCII_RULES, strict) || !look_up(domain, 0, loose) ||
        strcmp(strict, loose) != 0 || !leads_back(strict))
        return false;
    memcpy(out, strict, strlen(strict) + 1);
    return true;
}

/* SPDX-License-Identifier: MIT */
#include "channels/mailbox.h"
#include "channels/encode.h"
#include "core/domain.h"
#include <stdio.h>
#include <string.h>

#define LOCAL_MAX 64

bool mailbox_address_is_valid(const char *address)
{
    static const char specials[] = "\"(),:;<>[\\]@ ";
    const char *at = strrchr(address, '@');
    size_t local = at ? (size_t)(at - address) : 0;

    if (!at || local == 0 || local > LOCAL_MAX || strlen(address) > MAILBOX_ADDRESS_MAX)
        return false;
    for (const char *p = address; p < at; p++) {
        if ((unsigned char)*p <= 0x20 || *p == 0x7F || strchr(specials, *p))
            return false;
    }
    if (at[1] == '\0' || at[1] == '.' || at[1] == '-')
        return false;
    for (const char *p = at + 1; *p; p++) {
        bool is_word = (*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') ||
                       (*p >= 'a' && *p <= 'z') || *p == '-' || *p == '.' ||
                       (unsigned char)*p >= 0x80;

        if (!is_word || (*p == '.' && (p[1] == '.' || p[1] == '\0')))
            return false;
    }
    return true;
}

static bool is_ascii(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] >= 0x80)
            return false;
    return true;
}

bool mailbox_needs_utf8(const char *address)
{
    return !is_ascii(address, (size_t)(strrchr(address, '@') - address));
}

int mailbox_to_wire(const char *address, char out[MAILBOX_ADDRESS_MAX + 1])
{
    const char *domain = mailbox_domain(address);
    size_t local = (size_t)(domain - address);
    char ascii[DOMAIN_MAX + 1];
    int length;

    if (!text_is_clean(address))
        return ERR_INVALID;
    if (is_ascii(domain, strlen(domain)))
        return snprintf(out, MAILBOX_ADDRESS_MAX + 1, "%s", address) > MAILBOX_ADDRESS_MAX
                   ? ERR_TOO_LARGE
                   : 0;
    if (!domain_to_ascii(domain, ascii))
        return ERR_INVALID;
    length = snprintf(out, MAILBOX_ADDRESS_MAX + 1, "%.*s%s", (int)local, address, ascii);
    if (length > MAILBOX_ADDRESS_MAX)
        return ERR_TOO_LARGE;
    /* What looks like a letter may have become a blank or an @. */
    return mailbox_address_is_valid(out) ? 0 : ERR_INVALID;
}

const char *mailbox_domain(const char *address)
{
    return strrchr(address, '@') + 1;
}

/* Copies the display name: outer blanks and quotes off, escapes undone. */
static int copy_name(const char *from, size_t length, char out[MAILBOX_NAME_MAX + 1])
{
    size_t used = 0;

    while (length && (*from == ' ' || *from == '\t'))
        from++, length--;
    while (length && (from[length - 1] == ' ' || from[length - 1] == '\t'))
        length--;
    if (length >= 2 && from[0] == '"' && from[length - 1] == '"')
        from++, length -= 2;
    for (size_t i = 0; i < length; i++) {
        if (from[i] == '\\' && i + 1 < length)
            i++;
        if (used == MAILBOX_NAME_MAX)
            return ERR_TOO_LARGE;
        out[used++] = from[i];
    }
    out[used] = '\0';
    return used == 0 || text_is_clean(out) ? 0 : ERR_INVALID;
}

int mailbox_parse(const char *text, struct mailbox *mailbox)
{
    const char *open = strrchr(text, '<'), *address = text;
    size_t length = strlen(text);
    char given[MAILBOX_ADDRESS_MAX + 1];

    mailbox->name[0] = '\0';
    if (open) {
        int err = copy_name(text, (size_t)(open - text), mailbox->name);

        if (err)
            return err;
        address = open + 1;
        length = strlen(address);
        if (length == 0 || address[length - 1] != '>')
            return ERR_INVALID;
        length--;
    }
    if (length > MAILBOX_ADDRESS_MAX)
        return ERR_TOO_LARGE;
    memcpy(given, address, length);
    given[length] = '\0';
    return mailbox_address_is_valid(given) ? mailbox_to_wire(given, mailbox->address) : ERR_INVALID;
}

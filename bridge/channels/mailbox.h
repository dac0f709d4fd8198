/* SPDX-License-Identifier: MIT */
/*
 * mailbox - "Tocsin <noreply@example.org>" taken apart
 *
 * One mailbox, no lists, no groups, no comments.  A domain beyond ASCII becomes its xn-- form
 * (IDNA 2008); what is before the @ stays as it is, and goes only where SMTPUTF8 is offered.
 */
#ifndef TOCSIN_CHANNELS_MAILBOX_H
#define TOCSIN_CHANNELS_MAILBOX_H
#include "base/err.h"
#include <stdbool.h>

#define MAILBOX_ADDRESS_MAX 254 /* RFC 5321 4.5.3.1.3, without the angle brackets */
#define MAILBOX_NAME_MAX    128

struct mailbox {
    char address[MAILBOX_ADDRESS_MAX + 1];
    char name[MAILBOX_NAME_MAX + 1]; /* UTF-8, "" when there is none */
};

bool mailbox_address_is_valid(const char *address);
NODISCARD int mailbox_parse(const char *text, struct mailbox *mailbox);
/* Whether a valid address is beyond ASCII before its @. */
bool mailbox_needs_utf8(const char *address);
/* A valid address as it is sent: ERR_INVALID for a domain that cannot be one. */
NODISCARD int mailbox_to_wire(const char *address, char out[MAILBOX_ADDRESS_MAX + 1]);
/* What is after the @. */
const char *mailbox_domain(const char *address);

#endif

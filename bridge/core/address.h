/* SPDX-License-Identifier: MIT */
/*
 * address - the one form in which an address is stored, compared and sent
 *
 * One mailbox has many spellings: Bob@B\u00dcCHER.example, bob@xn--bcher-kva.example, and the same
 * with a decomposed \u00fc.  Each place that takes an address (a request's recipient, a user's
 * targets, suppression) brings it into this form first, so that everything behind it, SQL
 * included, compares bytes.
 *
 * Email:  the domain in its ASCII form (IDNA 2008 with UTS 46 mapping, as it goes on the wire) and
 *         in lower case; what is before the @ in NFC and in lower case.  Mail systems that
 *         distinguish case there are extinct; those that distinguish dots or +tags are not.
 * Push:   a device token of Apple's, which is bytes written as hex, in lower case.
 * Others: as they are: E.164 numbers have one form, and URLs are their owner's.
 *
 * Purity: no I/O.
 */
#ifndef TOCSIN_CORE_ADDRESS_H
#define TOCSIN_CORE_ADDRESS_H
#include "base/arena.h"
#include "core/channel.h"

/*
 * The form of an address that is valid for its channel (core/syntax.h); the same pointer when it
 * has that form already.  Of an email address whose domain cannot be one: lower case and NFC.
 */
const char *address_key(enum channel channel, const char *address, struct arena *arena);
/* The same, but NULL for an email address that cannot go on the wire. */
const char *address_key_strict(enum channel channel, const char *address, struct arena *arena);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * address - the form in which an address is stored and sent, and the key by which it is compared
 *
 * One mailbox has many spellings: Bob@B\u00dcCHER.example, bob@xn--bcher-kva.example, and the same
 * with a decomposed \u00fc.  Each place that takes an address brings it into one of two forms:
 *
 * Wire:  what is stored and sent (a request's recipient, a target's address).  Of an email address
 *        the domain is in its ASCII form (IDNA 2008 with UTS 46 mapping) and in lower case.  The
 *        local part is in NFC; its ASCII letters keep their case, as RFC 5321 2.4 demands, and its
 *        other letters are in lower case.
 * Key:   what is compared (suppression, a user's targets, collapse keys).  Of an email address it
 *        is the wire form with its ASCII letters in lower case, and nothing more; SQL's
 *        address_key() in schemas/sql and address_fold() make it from the wire form.
 *
 * Mail systems that distinguish case are rare, and suppression must hold whatever the case: so two
 * spellings that differ in case are one key.  Dots and +tags make other keys.
 * Push:   a device token of Apple's is bytes written as hex: both forms are in lower case.
 * Others: as they are: E.164 numbers have one form, and URLs are their owner's.
 *
 * Purity: no I/O.
 */
#ifndef TOCSIN_CORE_ADDRESS_H
#define TOCSIN_CORE_ADDRESS_H
#include "base/arena.h"
#include "core/channel.h"

/*
 * The forms of an address that is valid for its channel (core/syntax.h); the same pointer when it
 * has that form already.  Of an email address whose domain cannot be one, the domain is in NFC and
 * lower case.
 */
const char *address_wire(enum channel channel, const char *address, struct arena *arena);
const char *address_key(enum channel channel, const char *address, struct arena *arena);
/* The same, but NULL for an email address that cannot go on the wire. */
const char *address_wire_strict(enum channel channel, const char *address, struct arena *arena);
const char *address_key_strict(enum channel channel, const char *address, struct arena *arena);

/* Turns an address in its wire form into its key, in place. */
void address_fold(enum channel channel, char *address);

#endif

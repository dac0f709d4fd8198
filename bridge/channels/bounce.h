/* SPDX-License-Identifier: MIT */
/*
 * bounce - whether a provider's report of a bounce proves that the mailbox does not exist
 *
 * Providers call many things a hard bounce: an unknown mailbox, but also a blocked sender, a policy
 * or content that a server refused for good.  Only the first says something about the address.  A
 * report is a proof when it has the enhanced code of an unknown mailbox (RFC 3463: 5.1.1, 5.1.10)
 * and no other one.  Without any code the provider's own class decides: if it means an unknown
 * mailbox, and the server's text says so too ("user unknown") and nothing of a sender, a policy,
 * content or room, it is a proof.  Without any text the provider's word stands alone and is one;
 * with a text that is none of these, nothing is proved: such texts have no end, and providers call
 * most of them a hard bounce.
 *
 * Purity: data only.
 */
#ifndef TOCSIN_CHANNELS_BOUNCE_H
#define TOCSIN_CHANNELS_BOUNCE_H
#include <stdbool.h>

/* What the provider's own class of the bounce means. */
enum bounce_class {
    BOUNCE_NO_MAILBOX, /* the address does not exist */
    BOUNCE_HARD,       /* refused for good */
    BOUNCE_OTHER       /* anything else: never a proof */
};

/* code: the provider's field for the enhanced code; text: what the server said; or NULL. */
bool bounce_is_proof(enum bounce_class class, const char *code, const char *text);

#endif

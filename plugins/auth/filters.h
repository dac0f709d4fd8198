/* SPDX-License-Identifier: MIT */
/*
 * filters - which topic filters each session is subscribed to
 *
 * The broker tells a plugin how many subscriptions a client has, and not which: 2.0.11 counts
 * places, which an UNSUBSCRIBE leaves behind.  A limit needs both, since to subscribe again to
 * the same filter adds nothing.  So each client id has a set of hashes: SipHash under a random
 * seed, so that nobody can choose filters that share one.
 *
 * A set lasts as long as the session does, across connections; the caller says when it ends.
 *
 * Purity:    no I/O, no clock, no broker symbols.
 * Ownership: the table owns its sets.
 * Errors:    filters_add() fails when out of memory.
 * Limits:    a set is as large as the caller lets it grow.
 */
#ifndef TOCSIN_AUTH_FILTERS_H
#define TOCSIN_AUTH_FILTERS_H

#include "map.h"

#include <stdbool.h>

struct filters {
    struct map sets; /* by client id */
};

NODISCARD int filters_init(struct filters *filters);
void filters_fini(struct filters *filters);

bool filters_has(const struct filters *filters, const char *client_id, const char *filter);
size_t filters_count(const struct filters *filters, const char *client_id);
/* Adds one that is not in the set yet; 0 or -1. */
NODISCARD int filters_add(struct filters *filters, const char *client_id, const char *filter);
/* No harm when it is not in the set. */
void filters_remove(struct filters *filters, const char *client_id, const char *filter);
/* The session has ended. */
void filters_forget(struct filters *filters, const char *client_id);

#endif

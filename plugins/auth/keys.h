/* SPDX-License-Identifier: MIT */
/*
 * keys - the verification keys of all issuers, as one immutable set
 *
 * A set is loaded whole or not at all: whoever reloads keeps the old set when
 * keys_load() fails.  Every key is bound to its issuer, to a set of
 * algorithms, and to a print by which a live connection remembers it.
 *
 * Ownership: the set owns the keys and wipes them; issuers are borrowed from
 *            the options and must outlive it.
 * Errors:    a sentence for the operator in err[FILE_ERROR_SIZE].
 */
#ifndef TOCSIN_AUTH_KEYS_H
#define TOCSIN_AUTH_KEYS_H

#include "algorithm.h"
#include "options.h"

#include <stdbool.h>
#include <stdint.h>

enum { KEYS_KID_MAX = 128, KEYS_FILE_MAX = 1 << 20 };

struct key;
struct keys;

/* Reads every key file; NULL with a sentence in err when any of them is not right. */
NODISCARD struct keys *keys_load(const struct options *opt, char err[FILE_ERROR_SIZE]);
void keys_free(struct keys *keys);
size_t keys_count(const struct keys *keys);

/*
 * Walks the keys a token with this kid (NULL: none) may mean, at most one per
 * issuer: the one with that kid, or, without one, the issuer's only key.
 * Start with *at = 0; NULL at the end.
 */
const struct key *keys_next(const struct keys *keys, const char *kid, size_t *at);
bool keys_has_print(const struct keys *keys, uint64_t print);

const struct issuer *key_issuer(const struct key *key);
uint64_t key_print(const struct key *key);
bool key_allows(const struct key *key, const struct algorithm *alg);
/* Verifies one signature; leaves OpenSSL's error queue empty. */
bool key_verify(const struct key *key, const struct algorithm *alg, const char *text, size_t len,
                const unsigned char *sig, size_t sig_len);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * keys - the verification keys of all issuers, as one immutable set
 *
 * Every key is bound to its issuer, to a set of algorithms, and to a print by
 * which a live connection remembers it together with the algorithm that it used.  One issuer's
 * broken file does not hold up another's keys: at a reload each issuer keeps its old keys until its
 * own files are right.  At the start a file that is wrong is an error, and one
 * of `jwks_file` that is not there yet is noted: a provider's set is fetched.
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

enum { KEYS_KID_MAX = 255, KEYS_FILE_MAX = 1 << 20, KEYS_NOTES_SIZE = 1024 };

struct key;
struct keys;

/* Reads every key file; NULL with a sentence in err when one is wrong, or when there is no key. */
NODISCARD struct keys *keys_load(const struct options *opt, char err[FILE_ERROR_SIZE]);
/*
 * Reads every key file again.  An issuer whose files are not right keeps its keys of `old`; then
 * *failed is true and err has a sentence.  NULL only when out of memory.
 */
NODISCARD struct keys *keys_reload(const struct options *opt, const struct keys *old, bool *failed,
                                   char err[FILE_ERROR_SIZE]);
/* What was passed over, in sentences for the operator's log; "" when nothing was. */
const char *keys_notes(const struct keys *keys);
void keys_free(struct keys *keys);
size_t keys_count(const struct keys *keys);

/*
 * Walks the keys a token with this kid (NULL: none) may mean: of each issuer
 * those with that kid, or, without one, the issuer's only key.  Several may
 * verify: issuers can share a set.  Start with *at = 0; NULL at the end.
 */
const struct key *keys_next(const struct keys *keys, const char *kid, size_t *at);
/* Is the key there, and may it be used with that algorithm? */
bool keys_has_print(const struct keys *keys, uint64_t print);

const struct issuer *key_issuer(const struct key *key);
/* Of the key, as it is used with this algorithm. */
uint64_t key_print(const struct key *key, const struct algorithm *alg);
bool key_allows(const struct key *key, const struct algorithm *alg);
/* Verifies one signature; leaves OpenSSL's error queue empty. */
bool key_verify(const struct key *key, const struct algorithm *alg, const char *text, size_t len,
                const unsigned char *sig, size_t sig_len);

#endif

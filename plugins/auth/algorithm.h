/* SPDX-License-Identifier: MIT */
/*
 * algorithm - the JWS algorithms we know, and what each asks of a key
 *
 * A key carries the set of algorithms it may be used with; a token only ever
 * picks one out of that set.  "none" is not in the table.
 */
#ifndef TOCSIN_AUTH_ALGORITHM_H
#define TOCSIN_AUTH_ALGORITHM_H

#include <stddef.h>

enum key_type { KEY_HMAC, KEY_RSA, KEY_P256, KEY_P384, KEY_ED25519 };

struct algorithm {
    const char *name;
    enum key_type type;
    const char *digest; /* OpenSSL's name; NULL for EdDSA */
    unsigned is_pss : 1;
    unsigned is_default : 1; /* what a key of this type does unless told otherwise */
    size_t signature_len;    /* 0: the RSA modulus */
};

enum { ALGORITHM_COUNT = 13 };
extern const struct algorithm algorithms[ALGORITHM_COUNT];

/* NULL when unknown.  Case matters. */
const struct algorithm *algorithm_find(const char *name);
/* The bit of one algorithm in a set. */
unsigned algorithm_bit(const struct algorithm *alg);
/* All algorithms a key of this type can do, or only its default. */
unsigned algorithm_set(enum key_type type, int only_default);

#endif

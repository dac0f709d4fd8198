/* SPDX-License-Identifier: MIT */
/*
 * jose - signing compact JWTs with a private key: RS256 and ES256
 *
 * Ownership: a key is the caller's, freed with jose_key_free().
 */
#ifndef TOCSIN_CHANNELS_JOSE_H
#define TOCSIN_CHANNELS_JOSE_H
#include "base/buf.h"
#include "base/err.h"
#include <stddef.h>

enum jose_alg { JOSE_RS256, JOSE_ES256 };

struct jose_key;

/* From PEM (PKCS#8 or the older forms); ERR_INVALID for anything but RSA >= 2048 or P-256. */
NODISCARD int jose_key_from_pem(enum jose_alg alg, const char *pem, size_t length,
                                struct jose_key **key);
/* A P-256 key from its 32 secret bytes. */
NODISCARD int jose_key_from_scalar(const unsigned char *scalar, size_t length,
                                   struct jose_key **key);
void jose_key_free(struct jose_key *key); /* NULL is allowed */
/* The OpenSSL key inside, borrowed: for this layer's own cryptography. */
struct evp_pkey_st *jose_key_pkey(const struct jose_key *key);
/* The 65 bytes of a P-256 key's public point, uncompressed. */
void jose_key_point(const struct jose_key *key, unsigned char out[65]);
/*
 * Appends header.claims.signature.  The header starts with {"alg":...,"typ":"JWT"} and takes
 * kid when it is not NULL; claims is a JSON object.
 */
void jose_sign(struct buf *out, const struct jose_key *key, const char *kid, const char *claims);

#endif

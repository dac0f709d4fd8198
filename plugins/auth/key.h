/* SPDX-License-Identifier: MIT */
/*
 * key - one verification key, as keys.c and keyfile.c share it; private to them
 */
#ifndef TOCSIN_AUTH_KEY_H
#define TOCSIN_AUTH_KEY_H

#include "keys.h"

#include <openssl/evp.h>

struct key {
    char kid[KEYS_KID_MAX + 1];  /* "" when it has none */
    const struct issuer *issuer; /* borrowed */
    enum key_type type;
    unsigned algorithms;   /* set it may be used with; never empty */
    uint64_t print;        /* of material and kid */
    EVP_PKEY *pkey;        /* owned; NULL for HMAC */
    unsigned char *secret; /* owned, wiped; HMAC only */
    size_t secret_len;
    bool is_fetched; /* from jwks_file, which may come and go */
};

struct keys {
    struct key *items;
    size_t count, room;
    char notes[KEYS_NOTES_SIZE]; /* sentences, joined by "; " */
};

/* Keeps a sentence about what is not used, for the operator's log; dropped when there is no room.
 */
void keys_note(struct keys *keys, const char *sentence);

/*
 * Takes `key` into the set, with its pkey and secret, also when it fails.  With is_unique its kid
 * must be the issuer's only one of that name: two files that an operator named are a mistake, two
 * members of a provider's set are the provider's business.  0 or -1.
 */
NODISCARD int keys_add(struct keys *keys, struct key *key, bool is_unique,
                       char err[FILE_ERROR_SIZE]);

/* Tells the type of key->pkey; -1 when it is none of ours. */
NODISCARD int key_set_type(struct key *key);

/* Each reads one file into the set; 0, or -1 with a sentence in err. */
NODISCARD int keyfile_secret(struct keys *keys, const struct issuer *iss,
                             char err[FILE_ERROR_SIZE]);
/* `spec` is a path, or kid=path. */
NODISCARD int keyfile_pem(struct keys *keys, const struct issuer *iss, const char *spec,
                          char err[FILE_ERROR_SIZE]);
/* 1 when the file is not there or, of a named issuer, has no usable key. */
NODISCARD int keyfile_jwks(struct keys *keys, const struct issuer *iss, char err[FILE_ERROR_SIZE]);
/* The same for a JWKS in memory.  Members that cannot be used are noted and passed over; a set in
 * which none can be used is refused. */
NODISCARD int jwks_parse(struct keys *keys, const struct issuer *iss, const char *text, size_t len,
                         char err[FILE_ERROR_SIZE]);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * token - JWTs for the load generator's own principals
 *
 * HS256 with the stack's shared secret, issuer and audience as the plugin
 * expects them by default.
 *
 * Ownership: token_mint() fills the caller's storage.
 * Errors:    -1, with a line on stderr.
 */
#ifndef BENCH_TOKEN_H
#define BENCH_TOKEN_H

#include <stddef.h>

#define TOKEN_MAX 512

struct token_secret {
    unsigned char bytes[512];
    size_t len;
};

/* Reads the secret, without a trailing newline. */
int token_secret_load(struct token_secret *s, const char *path);
/* kind is user, service, admin or bridge; sub the principal's id. */
int token_mint(const struct token_secret *s, const char *kind, const char *sub,
               char out[TOKEN_MAX]);

#endif

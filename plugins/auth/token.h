/* SPDX-License-Identifier: MIT */
/*
 * token - from the text in the password field to a principal, or a refusal
 *
 * Strict compact JWS.  The order is: shape, size, header, key, algorithm,
 * signature; only then is the payload looked at.  Several issuers may hold the
 * key that signed (one set under two names, one issuer with two audiences):
 * each is asked, in the order of the configuration, and the first whose rules
 * accept the token has it.  When none does, the refusal is that of the issuer
 * that came furthest.
 *
 * Purity:    no I/O, no clock, no broker symbols.
 * Ownership: struct token is plain data and holds no part of the token's text.
 */
#ifndef TOCSIN_AUTH_TOKEN_H
#define TOCSIN_AUTH_TOKEN_H

#include "keys.h"
#include "principal.h"
#include "revocation.h"

#include <stdint.h>

enum { TOKEN_JTI_MAX = REVOCATION_ID_MAX, TOKEN_HEADER_MAX = 4096 };

struct token {
    char name[PRINCIPAL_NAME_SIZE]; /* the principal, as principal.h has it */
    char jti[TOKEN_JTI_MAX + 1];    /* "" when it has none, or one that is longer */
    int64_t issued_s;               /* iat; 0 when it has none */
    int64_t valid_from_s;           /* nbf and iat, skew allowed for */
    int64_t expires_s;              /* exp */
    int64_t ends_s;                 /* exp plus leeway: from then on it is refused */
    int64_t max_ahead_s;            /* how far ahead exp may be; 0: no limit */
    uint64_t key_print;
    unsigned roles_left_out; /* that did not fit; 0 for a token verified earlier */
};

/* Verifies `len` bytes at `text` (not terminated) at `now_s`, Unix seconds. */
NODISCARD enum refusal token_verify(const struct keys *keys, const char *text, size_t len,
                                    size_t max_len, int64_t now_s, struct token *out);
/* What depends on the time alone; also for a token verified earlier. */
NODISCARD enum refusal token_check_time(const struct token *tok, int64_t now_s);

#endif

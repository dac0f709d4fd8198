/* SPDX-License-Identifier: MIT */
/*
 * principal - who a token says we are, and the topics that follow from it
 *
 * The kind, id and roles are read from the JWT's payload without verifying
 * anything: that is the broker's business. Reading it wrongly can only make
 * the broker refuse us.
 *
 * The broker's plugin can be configured to find kind and id in other claims
 * (default_kind, service_when, id_claim, service_id_claim). What is not given
 * here is derived:
 *   kind  claim kind, tocsin_kind or app_metadata.tocsin_kind; else the only
 *         kind that the command works for
 *   id    of Tocsin's own tokens, which have the claim kind, and of users and
 *         admins the claim sub; of a service the claim azp or client_id,
 *         where the token has one, else sub
 *
 * Ownership: strings belong to the struct until principal_fini().
 * Errors:    a sentence for the user, which never quotes the token.
 */
#ifndef CLI_PRINCIPAL_H
#define CLI_PRINCIPAL_H
#include "mem.h"

#include <stddef.h>
#include <stdint.h>

#define ENCODED_ID_MAX 128

enum principal_kind { KIND_USER = 1, KIND_SERVICE = 2, KIND_ADMIN = 4, KIND_BRIDGE = 8 };

struct principal {
    enum principal_kind kind;
    const char *kind_name;       /* static: "user" */
    char id[ENCODED_ID_MAX + 1]; /* percent-encoded: exactly one topic level */
    char **roles;                /* percent-encoded */
    size_t role_count;
    int64_t expires_at; /* seconds since 1970, 0 when the token does not say */
};

/* What the caller knows better than the token; each may be NULL. */
struct principal_hint {
    const char *kind; /* "user", "service" or "admin" */
    const char *id;   /* as it is, not encoded */
    unsigned kinds;   /* the set of kinds that the command works for */
};

/* Fills *out. 0, or -1 with *error set to a static sentence. */
int principal_from_token(struct principal *out, const char *token,
                         const struct principal_hint *hint, const char **error) NODISCARD;
void principal_fini(struct principal *p);
/*
 * topics.md section 1: every byte outside [A-Za-z0-9._~@|-] becomes %XX.
 * 0, or -1 when empty, not UTF-8, or more than ENCODED_ID_MAX bytes encoded.
 */
int principal_encode(const char *id, char out[ENCODED_ID_MAX + 1]) NODISCARD;
/* New: "notify/v1/services/orders/" + rest. */
char *principal_topic(const struct principal *p, const char *rest) NODISCARD;
/* New: "service/orders/cli-" + suffix. */
char *principal_client_id(const struct principal *p, const char *suffix) NODISCARD;
/* "a service or an admin": for messages about which token is needed. Static. */
const char *kinds_text(unsigned kinds);
#endif

/* SPDX-License-Identifier: MIT */
/*
 * refusal - why a connection, a token or a message was turned away
 *
 * One word per cause, used alike in the log, in the counters under
 * $SYS/broker/tocsin/refused/ and in answers to a refresh.
 *
 * Purity: constants only.
 */
#ifndef TOCSIN_AUTH_REFUSAL_H
#define TOCSIN_AUTH_REFUSAL_H

#define NODISCARD __attribute__((warn_unused_result))

enum refusal {
    REFUSAL_NONE = 0,
    REFUSAL_NO_TOKEN,              /* no password field, or an empty one */
    REFUSAL_TOO_LONG,              /* the token exceeds max_token */
    REFUSAL_MALFORMED,             /* not a strict compact JWS of three base64url parts */
    REFUSAL_HEADER,                /* header not acceptable: crit, jwk, wrong typ, ... */
    REFUSAL_ALGORITHM,             /* algorithm unknown, or not the one bound to the key */
    REFUSAL_KEY,                   /* no key of that kid */
    REFUSAL_SIGNATURE,             /* signature wrong */
    REFUSAL_CLAIMS,                /* payload not a JSON object, or a claim of the wrong type */
    REFUSAL_ISSUER,                /* iss missing or not the key's issuer */
    REFUSAL_AUDIENCE,              /* aud missing or without ours */
    REFUSAL_EXPIRED,               /* exp has passed */
    REFUSAL_NOT_YET,               /* nbf or iat lies in the future */
    REFUSAL_LIFETIME,              /* valid for longer than max_lifetime */
    REFUSAL_SUBJECT,               /* no usable id */
    REFUSAL_KIND,                  /* no kind, or one this issuer may not vouch for */
    REFUSAL_ROLES,                 /* a role does not fit; it is left out */
    REFUSAL_USERNAME,              /* user name given, and not the token's id */
    REFUSAL_CLIENT_ID,             /* client id not bound to the principal */
    REFUSAL_REVOKED,               /* by jti, subject or iat */
    REFUSAL_FOREIGN,               /* refresh with another principal's token */
    REFUSAL_PRINCIPAL_CONNECTIONS, /* limit: connections per principal */
    REFUSAL_ADDRESS_CONNECTIONS,   /* limit: connections per address */
    REFUSAL_PRINCIPAL_SESSIONS,    /* limit: sessions left behind by a principal */
    REFUSAL_CONNECT_RATE,          /* limit: connects per second and address */
    REFUSAL_FAILURE_RATE,          /* limit: refused connects per second and address */
    REFUSAL_NO_TICK,               /* the broker does not call TICK: we could not expire anyone */
    REFUSAL_INTERNAL,              /* out of memory and the like */
    REFUSAL_COUNT
};

/* The word for logs, counters and answers; never NULL. */
const char *refusal_name(enum refusal why);
/* One sentence for the operator's log, without any data of the client; never NULL. */
const char *refusal_text(enum refusal why);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * claims - what a verified payload says, under its issuer's configuration
 *
 * A claim is named by its key ("sub", "cognito:groups") or, with a leading
 * '/', by a JSON Pointer ("/realm_access/roles").  What the issuer's
 * configuration does not name is not read, and whatever it is keeps nobody
 * out.  A claim that is null counts as missing.
 *
 * Limits: roles that do not fit into a principal are left out and counted;
 *         an id that does not fit is a refusal.
 *
 * Purity: no I/O, no clock; the caller passes the time as Unix seconds.
 */
#ifndef TOCSIN_AUTH_CLAIMS_H
#define TOCSIN_AUTH_CLAIMS_H

#include "options.h"
#include "token.h"

#include <jansson.h>

/* Checks the registered claims and fills in everything of *out but the key. */
NODISCARD enum refusal claims_read(const struct issuer *iss, json_t *payload, int64_t now_s,
                                   struct token *out);
/* NULL when there is none, or null; borrowed from the payload. */
json_t *claims_get(json_t *payload, const char *claim);
/* NULL when it is no string, or one with a NUL in it; borrowed. */
const char *claims_text(const json_t *value);

#endif

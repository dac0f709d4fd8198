/* SPDX-License-Identifier: MIT */
/*
 * b64url - base64url as RFC 7515 wants it, and nothing more lenient
 *
 * No padding, no other alphabet, no white space, no stray bits in the last
 * character: exactly one text decodes to any given bytes.
 */
#ifndef TOCSIN_AUTH_B64URL_H
#define TOCSIN_AUTH_B64URL_H

#include "refusal.h"

#include <stddef.h>

/* Decodes `len` characters; the byte count goes to *out_len.  0, or -1 when not strict base64url
 * or when it does not fit. */
NODISCARD int b64url_decode(const char *text, size_t len, unsigned char *out, size_t size,
                            size_t *out_len);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * lenient - JSON of others that jansson would refuse as a whole
 *
 * One number that no double holds, or one escape of half a surrogate pair,
 * must not make the rest unreadable.  Each becomes something of the same
 * length that cannot be taken for a good value: the number 1e300 (or -1e300),
 * and the escape \\u0000, which claims_text() and jwks.c refuse to read.
 * Integers beyond 64 bits become 1e300 too.
 *
 * Purity: no I/O, no allocation; one pass.
 */
#ifndef TOCSIN_AUTH_LENIENT_H
#define TOCSIN_AUTH_LENIENT_H

#include <stddef.h>

/* In place.  What is no JSON stays no JSON. */
void lenient_tame(char *text, size_t len);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * utf8 - is this text, and where does a character end
 *
 * Well-formed as in Unicode table 3-7: no surrogates, no overlong forms, nothing past U+10FFFF.
 */
#ifndef TOCSIN_CORE_UTF8_H
#define TOCSIN_CORE_UTF8_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the well-formed character at text, of which length bytes are there; 0 when none is. */
size_t utf8_char(const char *text, size_t length);
/* The same, and which character it is. */
size_t utf8_decode(const char *text, size_t length, uint32_t *code);
bool utf8_is_valid(const char *text, size_t length);
/* Characters (code points) in well-formed text. */
size_t utf8_count(const char *text, size_t length);
/* Writes 1 to 4 bytes for a code point that is no surrogate; returns how many. */
size_t utf8_encode(uint32_t code, char *out);

#endif

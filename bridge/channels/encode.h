/* SPDX-License-Identifier: MIT */
/*
 * encode - bytes as text, in the alphabets that providers ask for
 *
 * Each function appends to a buffer; decoders refuse anything outside their alphabet.
 */
#ifndef TOCSIN_CHANNELS_ENCODE_H
#define TOCSIN_CHANNELS_ENCODE_H
#include "base/buf.h"
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>

/* RFC 3986: everything but unreserved characters becomes %XX (upper case). */
void encode_percent(struct buf *out, const char *text);
/* name=value of application/x-www-form-urlencoded, with & before all but the first. */
void encode_form(struct buf *out, const char *name, const char *value);
void encode_hex(struct buf *out, const void *bytes, size_t length); /* lower case */
void encode_base64(struct buf *out, const void *bytes, size_t length);
void encode_base64url(struct buf *out, const void *bytes, size_t length); /* no padding */
/*
 * Decodes either alphabet, padding optional; white space is skipped, so that the output never
 * exceeds length * 3 / 4 + 3 bytes.
 */
NODISCARD int decode_base64(struct buf *out, const char *text, size_t length);
/* True for strings of at least one byte that are valid UTF-8 without control characters. */
bool text_is_clean(const char *text);
/* True for printable ASCII, and for the empty string. */
bool text_is_ascii(const char *text);

#endif

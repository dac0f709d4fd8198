/* SPDX-License-Identifier: MIT */
/*
 * json_mend - a text that is almost JSON, made JSON
 *
 * For documents of others that must not be lost as a whole because of one place in them.  Keeps
 * the structure and replaces what RFC 8259 does not allow: control characters in strings (a
 * blank), unknown escapes (a backslash that stands for itself), words and numbers that are none
 * (null), superfluous commas, and brackets that are missing at the end.
 *
 * The result is JSON in most cases, not in all: the caller reads it with json_read().
 *
 * Purity: no I/O.  Limits: JSON_MEND_DEPTH levels; a text that is deeper is returned as it is.
 */
#ifndef TOCSIN_CORE_JSON_MEND_H
#define TOCSIN_CORE_JSON_MEND_H
#include "base/buf.h"

#define JSON_MEND_DEPTH 64

void json_mend(const char *text, size_t bytes, struct buf *out);

#endif

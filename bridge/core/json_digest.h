/* SPDX-License-Identifier: MIT */
/*
 * json_digest - 64 bits that stand for a JSON value
 *
 * Built up from the leaves: members are added (their order does not count), elements are
 * chained (theirs does).  Digests are stored with requests, so these functions never change and
 * give the same on every machine.  They tell a repeat from a different body under the same id,
 * within one service: they need not withstand somebody who wants a collision with himself.
 */
#ifndef TOCSIN_CORE_JSON_DIGEST_H
#define TOCSIN_CORE_JSON_DIGEST_H
#include <stddef.h>
#include <stdint.h>

enum json_digest_tag { /* so that [] is not {} and "1" is not 1 */
                       JSON_DIGEST_NULL = 1,
                       JSON_DIGEST_BOOL,
                       JSON_DIGEST_INTEGER,
                       JSON_DIGEST_REAL,
                       JSON_DIGEST_STRING,
                       JSON_DIGEST_ARRAY,
                       JSON_DIGEST_OBJECT
};

uint64_t json_digest_text(const char *text, size_t length);
/* Tells (a, b) from (b, a). */
uint64_t json_digest_mix(uint64_t a, uint64_t b);
/* Equal numbers have equal digests, however they are written. */
uint64_t json_digest_integer(int64_t value);
uint64_t json_digest_real(double value);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * answer - a provider's JSON answer, read by paths
 *
 * A path is members and array positions with slashes between: "error/details/0/@type".
 * Whatever is missing, of another type, or not JSON at all reads as NULL: providers break
 * their own contracts, and the status alone then decides.
 *
 * A value that is well-formed and still odd (bytes that are not UTF-8, U+0000, half a surrogate
 * pair, a number of twenty digits, a member that comes twice) spoils neither the document nor its
 * neighbours: text keeps what can be kept, with U+FFFD or '?' for the rest; of two members the
 * last counts.  Only a syntax error makes the whole unreadable.
 *
 * Limits:    64 levels of nesting; what is deeper reads as empty.
 * Ownership: texts live until answer_free().
 */
#ifndef TOCSIN_CHANNELS_ANSWER_H
#define TOCSIN_CHANNELS_ANSWER_H
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct answer;

/* Never NULL; an answer that is no JSON has nothing at any path. */
struct answer *answer_new(const char *body, size_t length);
void answer_free(struct answer *answer); /* NULL is allowed */
/* The same after json_mend(): what can be read of a document with a syntax error. */
struct answer *answer_new_mended(const char *body, size_t length);
/* Whether the whole is JSON. */
bool answer_is_json(const struct answer *answer);
/* A string, a number as it was written, true and false as words; else NULL. */
const char *answer_text(struct answer *answer, const char *path);
/* An integer, or a real number without its fraction; `otherwise` for anything else. */
/* A string and nothing else; NULL. */
const char *answer_string(struct answer *answer, const char *path);
int64_t answer_number(struct answer *answer, const char *path, int64_t otherwise);
/* Whatever is there, as compact JSON, numbers and strings as they were written; or NULL. */
const char *answer_json(struct answer *answer, const char *path);
bool answer_is_array(struct answer *answer, const char *path);
bool answer_has(struct answer *answer, const char *path);
/* Elements of the array at the path; 0 when there is none. */
size_t answer_count(struct answer *answer, const char *path);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * answer - a provider's JSON answer, read by paths
 *
 * A path is members and array positions with slashes between: "error/details/0/@type".
 * Whatever is missing, of another type, or not JSON at all reads as NULL: providers break
 * their own contracts, and the status alone then decides.
 *
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
/* A string as it is, an integer in decimal, true and false as words; else NULL. */
const char *answer_text(struct answer *answer, const char *path);
int64_t answer_number(struct answer *answer, const char *path, int64_t otherwise);
/* Whatever is there, as compact JSON; NULL when nothing is. */
const char *answer_json(struct answer *answer, const char *path);
bool answer_has(struct answer *answer, const char *path);
/* Elements of the array at the path; 0 when there is none. */
size_t answer_count(struct answer *answer, const char *path);

#endif

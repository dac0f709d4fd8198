/* SPDX-License-Identifier: MIT */
/*
 * nearest - the word that was probably meant
 *
 * By the number of letters added, lost, changed or swapped: two at most, one in short words.
 */
#ifndef CLI_NEAREST_H
#define CLI_NEAREST_H
#include <stddef.h>

struct nearest {
    const char *typed;
    const char *word; /* borrowed; NULL: none is near */
    size_t distance;
};

void nearest_begin(struct nearest *n, const char *typed);
/* Compares one more word, which is borrowed. */
void nearest_try(struct nearest *n, const char *word);
#endif

/* SPDX-License-Identifier: MIT */
/*
 * words - the words of a configuration value, quoted where they hold blanks
 *
 * Blanks separate words.  Double quotes, around a word or a part of it, keep
 * the blanks inside them: `groups="Tocsin Admins"` and `"groups=Tocsin Admins"`
 * are the same word.  A backslash makes the next blank, quote or backslash an
 * ordinary character; before anything else it stands for itself, as in
 * `CORP\ops`.
 *
 * Purity:    no I/O.
 * Ownership: the caller frees the word.
 */
#ifndef TOCSIN_AUTH_WORDS_H
#define TOCSIN_AUTH_WORDS_H

#include "refusal.h"

/* Moves *at behind the next word; the word, or NULL at the end, with *problem set to a sentence
 * when it ended too early. */
NODISCARD char *words_next(const char **at, const char **problem);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * keyword - what somebody who answers an SMS wants: no more of them, or them again
 *
 * The words that carriers and providers agree on, and their like in a few languages.  The whole
 * message must be one: "stop it please" is for people to read.
 *
 * Purity: data only.
 */
#ifndef TOCSIN_CORE_KEYWORD_H
#define TOCSIN_CORE_KEYWORD_H
#include <stddef.h>

enum keyword { KEYWORD_NONE, KEYWORD_STOP, KEYWORD_START };

/* Any case, with blanks, quotes and marks around it; text is UTF-8. */
enum keyword keyword_parse(const char *text, size_t length);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * keyword - what somebody who answers an SMS wants: no more of them, or them again
 *
 * The words that carriers and providers agree on, those of 47 CFR 64.1200(a)(10) (stop, quit, end,
 * revoke, opt out, cancel, unsubscribe), and their like in a few languages.  The whole message must
 * be one.  Around it may stand what phones' keyboards put there: blanks of any width, quotes of any
 * script, marks, emoji, bidirectional and zero-width characters, a byte order mark; the letters
 * may be of full width, styled or spelled out ("S T O P").
 *
 * A sentence is not a keyword: "stop it" and "STOP the bill" are for people to read.  Politeness
 * makes no sentence: "Stop please", "S T O P please" and "Stop. Thank you" are STOP, and so is
 * "STOP STOP".  START must stand alone, since it permits what was forbidden.
 *
 * Purity: data only.  Limits: messages of more than 400 bytes are no keyword.
 */
#ifndef TOCSIN_CORE_KEYWORD_H
#define TOCSIN_CORE_KEYWORD_H
#include <stddef.h>

enum keyword { KEYWORD_NONE, KEYWORD_STOP, KEYWORD_START };

/* text is UTF-8; bytes that are none count as blanks. */
enum keyword keyword_parse(const char *text, size_t length);

#endif

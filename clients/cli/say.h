/* SPDX-License-Identifier: MIT */
/*
 * say - everything tocsin prints
 *
 * Results go to stdout: as readable lines, or with --json as one JSON object
 * per line. Errors and progress go to stderr. Text that came over the network
 * is cleaned before a terminal sees it: titles are written by strangers, and
 * an escape sequence in one must not move anybody's cursor.
 *
 * There is no way in here to print a token; nobody hands one over.
 */
#ifndef CLI_SAY_H
#define CLI_SAY_H
#include "mem.h"

#include "exits.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* "tocsin: ..." on stderr. */
void say_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/*
 * One compact line of JSON on stdout. The value is borrowed. What a terminal could take for a
 * command is escaped, which JSON allows anywhere in text.
 */
void say_json(const json_t *value);
/*
 * New copy of `text` fit for a terminal: control characters, C1 controls and
 * bidirectional overrides become \u escapes; bytes that are not UTF-8 become
 * '?'. NULL gives "".
 */
char *clean_text(const char *text) NODISCARD;
/* Like printf to stdout; every %s must already be clean. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/*
 * Pushes stdout out. CLI_OK; CLI_PIPE once its reader is not there any more; CLI_ERROR when it
 * could not be written for another reason, a full disk say. A failure stays.
 */
enum cli_exit say_flush(void) NODISCARD;
/* The same at the end: says what went wrong, and returns the graver of both. */
enum cli_exit say_end(enum cli_exit status) NODISCARD;
/* New: a string field of an object, cleaned; "" when absent or of another type. */
char *clean_field(const json_t *object, const char *key) NODISCARD;
#endif

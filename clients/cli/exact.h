/* SPDX-License-Identifier: MIT */
/*
 * exact - JSON that goes through this program and comes out with its numbers as they were written
 *
 * jansson keeps a double: 29.95 would be printed as 29.949999999999999.  While they are loaded,
 * numbers that an integer of 64 bits does not hold are kept as strings with a mark (U+0001) before
 * them; while they are dumped, the mark and the quotes are taken off.  Strings that begin with
 * U+0001 themselves get a second one, so that nothing is confused.
 *
 * Strings, booleans and integers are what they were for everybody who looks; a number with a
 * fraction or an exponent is read by exact_number().
 *
 * Ownership: what is returned is the caller's (json_decref(), free()).
 */
#ifndef CLI_EXACT_H
#define CLI_EXACT_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* As json_loadb(); where (may be NULL) speaks of the text as it was given. */
json_t *exact_load(const char *text, size_t len, size_t flags, json_error_t *where);
/* As json_dumps() in the compact or the indented form. */
char *exact_dump(const json_t *value, size_t flags);
/* Any number; false when it is none. */
bool exact_number(const json_t *value, double *number);
#endif

/* SPDX-License-Identifier: MIT */
/*
 * json_scan - walking JSON text without building a tree
 *
 * For a load generator that reads three fields out of each message.  It
 * trusts the grammar more than a decoder may: what it walks over was written
 * by the system under test, and a malformed message shows as a field not
 * found, which the ledger then reports as a loss.
 *
 * Purity:     no I/O, no allocation; slices point into the caller's text.
 * Errors:     every function answers false at the end or at what it cannot
 *             read.
 */
#ifndef BENCH_JSON_SCAN_H
#define BENCH_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>

struct json_slice {
    const char *at;
    size_t len;
};

struct json_scan {
    const char *at, *end;
};

struct json_scan json_scan_over(const char *text, size_t len);
/* Steps into an object '{' or an array '[' if that is what comes next. */
bool json_scan_enter(struct json_scan *s, char bracket);
/* The next member of the object: its key without quotes, its value raw. */
bool json_scan_member(struct json_scan *s, struct json_slice *key, struct json_slice *value);
/* The next element of the array, raw. */
bool json_scan_element(struct json_scan *s, struct json_slice *value);
/* The characters between the quotes; false when it is not a string.  Escapes
 * stay as they are: no field that we read has any. */
bool json_slice_text(struct json_slice value, struct json_slice *text);
bool json_slice_is(struct json_slice text, const char *word);

#endif

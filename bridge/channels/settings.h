/* SPDX-License-Identifier: MIT */
/*
 * settings - a destination's configuration, read and checked against the adapter's key table
 *
 * settings_begin() checks every key of the table at once (required ones are there, values are
 * of their kind), so that the getters that follow cannot fail except for files.  Each mistake is
 * a line in why, a sentence that names the key; err stays set.
 *
 * Ownership: texts are borrowed from the configuration or the key table.
 */
#ifndef TOCSIN_CHANNELS_SETTINGS_H
#define TOCSIN_CHANNELS_SETTINGS_H
#include "base/secret.h"
#include "channels/adapter.h"

struct settings {
    const struct adapter_settings *from;
    const struct adapter_key *keys;
    char *why;
    size_t why_bytes;
    int err; /* 0, or that of a mistake */
};

void settings_begin(struct settings *settings, const struct adapter_key *keys,
                    const struct adapter_settings *from, char *why, size_t why_bytes);
/* The value, else the fallback, else NULL.  An empty value counts as not given. */
const char *settings_text(const struct settings *settings, const char *key);
/* The same as the caller's own copy. */
char *settings_copy(const struct settings *settings, const char *key);
bool settings_has(const struct settings *settings, const char *key);
int64_t settings_ms(const struct settings *settings, const char *key, int64_t otherwise_ms);
int64_t settings_number(const struct settings *settings, const char *key, int64_t otherwise);
bool settings_bool(const struct settings *settings, const char *key);
/* Reads the file that the key names; leaves the secret unset when the key is not given. */
void settings_secret(struct settings *settings, const char *key, struct secret *secret);
/* The same with a prefix: "Bearer " and the file's text, as a header wants it. */
void settings_bearer(struct settings *settings, const char *key, const char *prefix,
                     struct secret *secret);
/* Adds a mistake: "destination NAME: ...". */
void settings_fail(struct settings *settings, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif

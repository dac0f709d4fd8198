/* SPDX-License-Identifier: MIT */
/*
 * config_check - refuses settings that could never do anything, and lists all faults at once
 *
 * A list of faults is text, one fault a line: "FILE:LINE: key: what is wrong, what would be right".
 * What does not fit is counted in the last line.
 */
#ifndef TOCSIN_CONFIG_CHECK_H
#define TOCSIN_CONFIG_CHECK_H
#include "config.h"

struct config_faults {
    const char *file; /* borrowed */
    char *text;       /* the caller's, with room for bytes; always terminated */
    size_t bytes, used;
    unsigned count, dropped;
};

void config_faults_init(struct config_faults *faults, const char *file, char *text, size_t bytes);
/* line 0: none is known. */
void config_fault(struct config_faults *faults, unsigned line, const char *key, const char *format,
                  ...) __attribute__((format(printf, 4, 5)));
/* Calls visit for each line of a list. */
void config_faults_each(const char *text, void (*visit)(void *ctx, const char *line), void *ctx);

/*
 * What the keys say together and against the rest of the program: addresses and URLs, names of
 * channels and types, settings without the one that they need.
 */
void config_check_values(struct config *config, struct config_faults *faults);
/*
 * The files that keys name, but for those of destinations and of tracking: they can be read, and
 * the bridge's token has not expired.
 */
void config_check_files(struct config *config, struct config_faults *faults);
/* The names nearest to a key that is not known, or NULL. */
const char *config_nearest(const char *typed, const char *const *names, size_t count);

#endif

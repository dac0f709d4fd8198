/* SPDX-License-Identifier: MIT */
/*
 * secret - a key, password or token: it can be used, and never printed
 *
 * There is no log macro, no metric and no JSON writer for this type.  The bytes are wiped
 * when it dies.  Read from a file that group and others cannot read.
 */
#ifndef TOCSIN_BASE_SECRET_H
#define TOCSIN_BASE_SECRET_H
#include "base/err.h"
#include <stddef.h>

struct secret {
    char *bytes; /* NUL-terminated; NULL when unset */
    size_t length;
};

void secret_set(struct secret *secret, const char *bytes, size_t length);
/*
 * Reads a whole file (64 KiB at most) and strips one trailing newline.  why gets a sentence
 * that says what is wrong and how to mend it (permissions included).
 */
NODISCARD int secret_read_file(struct secret *secret, const char *path, char *why,
                               size_t why_bytes);
void secret_fini(struct secret *secret);

/*
 * Keeps the keys in memory out of core files, and from other processes of the same user
 * (PR_SET_DUMPABLE, RLIMIT_CORE).  With TOCSIN_ALLOW_CORE=1 in the environment it does nothing, for
 * debuggers and tests that look into /proc.
 */
void secret_guard_process(void);

#endif

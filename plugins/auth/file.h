/* SPDX-License-Identifier: MIT */
/*
 * file - reading small local files at start and reload
 *
 * Errors: a sentence for the operator in err[FILE_ERROR_SIZE].
 */
#ifndef TOCSIN_AUTH_FILE_H
#define TOCSIN_AUTH_FILE_H

#include "refusal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FILE_ERROR_SIZE = 512 };

/* Identifies one version of a file; all zero when it cannot be read. */
struct file_stamp {
    uint64_t device, inode, size;
    int64_t mtime_ns, ctime_ns;
};

/* Reads a regular file of at most `max` bytes, terminated; the caller wipes and frees it.
 * A secret file may not be open to group or others.  NULL with a sentence in err. */
NODISCARD char *file_read(const char *path, size_t max, bool is_secret, size_t *len,
                          char err[FILE_ERROR_SIZE]);
/* True when the file is not the one stamped before; stamps it. */
bool file_has_changed(const char *path, struct file_stamp *stamp);
/* Overwrites and frees; NULL is fine. */
void file_wipe(void *data, size_t len);

#endif

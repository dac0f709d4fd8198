/* SPDX-License-Identifier: MIT */
/*
 * mem - allocation that returns or ends the program, and a growing byte buffer
 *
 * A command line has nothing useful to do without memory, and whatever must
 * survive is on disk (spool) or at the broker: so none of these return NULL.
 *
 * Ownership: what is returned is the caller's to free().
 */
#ifndef CLI_MEM_H
#define CLI_MEM_H
#include <stddef.h>

#define NODISCARD __attribute__((warn_unused_result))

void *xcalloc(size_t count, size_t size) NODISCARD;
void *xrealloc(void *old, size_t size) NODISCARD;
char *xstrdup(const char *s) NODISCARD;
char *xstrndup(const char *s, size_t len) NODISCARD;
char *xasprintf(const char *fmt, ...) NODISCARD __attribute__((format(printf, 1, 2)));
/* Wipes a NUL-terminated secret, then frees it. NULL is fine. */
void free_secret(char *secret);

/* Bytes, always followed by a NUL that is not counted. */
struct buf {
    char *data;
    size_t len, cap;
};

void buf_add(struct buf *b, const void *data, size_t len);
/* Drops the first `len` bytes. */
void buf_cut(struct buf *b, size_t len);
void buf_fini(struct buf *b);
#endif

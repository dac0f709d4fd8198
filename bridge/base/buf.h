/* SPDX-License-Identifier: MIT */
/*
 * buf - a growing run of bytes, always followed by a NUL
 *
 * The zero-initialised struct is an empty buffer.  Owner calls buf_fini().
 */
#ifndef TOCSIN_BASE_BUF_H
#define TOCSIN_BASE_BUF_H
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *data; /* NULL until the first append; then NUL-terminated */
    size_t length;
    size_t capacity;
};

void buf_fini(struct buf *buf);
void buf_clear(struct buf *buf); /* keeps the memory */
void buf_reserve(struct buf *buf, size_t more);
void buf_add(struct buf *buf, const void *bytes, size_t length);
void buf_add_text(struct buf *buf, const char *text);
void buf_add_char(struct buf *buf, char c);
void buf_add_u64(struct buf *buf, uint64_t value); /* decimal */
void buf_add_i64(struct buf *buf, int64_t value);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A JSON string with its quotes; the input is valid UTF-8. */
void buf_add_json(struct buf *buf, const char *text);
void buf_add_json_n(struct buf *buf, const char *text, size_t length);
/* A comma, the name (which needs no escaping) and the text; nothing when it is NULL or empty. */
void buf_add_member(struct buf *buf, const char *name, const char *text);
/* The text, or "" when nothing was added. */
const char *buf_text(const struct buf *buf);

#endif

/* SPDX-License-Identifier: MIT */
#include "base/buf.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

#define BUF_FIRST_BYTES 128

void buf_fini(struct buf *buf)
{
    free(buf->data);
    memset(buf, 0, sizeof *buf);
}

void buf_clear(struct buf *buf)
{
    buf->length = 0;
    if (buf->data)
        buf->data[0] = '\0';
}

/* Makes room for more bytes and the NUL behind them. */
void buf_reserve(struct buf *buf, size_t more)
{
    size_t capacity = buf->capacity ? buf->capacity : BUF_FIRST_BYTES;
    bool is_new = buf->data == NULL;

    if (more >= SIZE_MAX / 4 - buf->length)
        fatal("memory.exhausted", "a buffer was asked for more than an address space");
    if (!is_new && buf->capacity - buf->length > more)
        return;
    while (capacity - buf->length <= more)
        capacity *= 2;
    buf->data = xrealloc(buf->data, capacity);
    buf->capacity = capacity;
    if (is_new)
        buf->data[0] = '\0';
}

void buf_add(struct buf *buf, const void *bytes, size_t length)
{
    buf_reserve(buf, length);
    if (length)
        memcpy(buf->data + buf->length, bytes, length);
    buf->length += length;
    buf->data[buf->length] = '\0';
}

void buf_add_text(struct buf *buf, const char *text)
{
    buf_add(buf, text, strlen(text));
}

void buf_add_char(struct buf *buf, char c)
{
    buf_add(buf, &c, 1);
}

void buf_add_u64(struct buf *buf, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    buf_add(buf, digits + at, sizeof digits - at);
}

void buf_add_i64(struct buf *buf, int64_t value)
{
    uint64_t magnitude = (uint64_t)value;

    if (value < 0) {
        buf_add_char(buf, '-');
        magnitude = 0 - magnitude;
    }
    buf_add_u64(buf, magnitude);
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    ASSERT(length >= 0);
    buf_reserve(buf, (size_t)length);
    va_start(args, format);
    vsnprintf(buf->data + buf->length, (size_t)length + 1, format, args);
    va_end(args);
    buf->length += (size_t)length;
}

static void add_escape(struct buf *buf, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char unicode[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    char pair[2] = {'\\', 0};

    switch (c) {
    case '"':
    case '\\':
        pair[1] = (char)c;
        break;
    case '\b':
        pair[1] = 'b';
        break;
    case '\f':
        pair[1] = 'f';
        break;
    case '\n':
        pair[1] = 'n';
        break;
    case '\r':
        pair[1] = 'r';
        break;
    case '\t':
        pair[1] = 't';
        break;
    default:
        buf_add(buf, unicode, sizeof unicode);
        return;
    }
    buf_add(buf, pair, sizeof pair);
}

void buf_add_json(struct buf *buf, const char *text)
{
    buf_add_json_n(buf, text, strlen(text));
}

void buf_add_json_n(struct buf *buf, const char *text, size_t length)
{
    size_t start = 0;

    buf_reserve(buf, length + 2);
    buf_add_char(buf, '"');
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
            continue;
        buf_add(buf, text + start, i - start);
        add_escape(buf, c);
        start = i + 1;
    }
    buf_add(buf, text + start, length - start);
    buf_add_char(buf, '"');
}

const char *buf_text(const struct buf *buf)
{
    return buf->data ? buf->data : "";
}

void buf_add_member(struct buf *buf, const char *name, const char *text)
{
    if (!text || !text[0])
        return;
    buf_printf(buf, ",\"%s\":", name);
    buf_add_json(buf, text);
}

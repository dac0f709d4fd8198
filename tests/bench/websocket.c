/* SPDX-License-Identifier: MIT */
#include "websocket.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { OPCODE_CONTINUATION = 0, OPCODE_BINARY = 2, OPCODE_CLOSE = 8 };

int websocket_ask(int fd, const char *where)
{
    char text[512];
    int n = snprintf(text, sizeof(text),
                     "GET /mqtt HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                     "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Version: 13\r\n\r\n",
                     where);

    if (n < 0 || (size_t)n >= sizeof(text))
        return -1;
    return send(fd, text, (size_t)n, MSG_NOSIGNAL) == n ? 0 : -1;
}

int64_t websocket_answer(const uint8_t *bytes, size_t n)
{
    const uint8_t *end = memmem(bytes, n, "\r\n\r\n", 4);

    if (!end)
        return 0;
    return n > 12 && memcmp(bytes, "HTTP/1.1 101", 12) == 0 ? end + 4 - bytes : -1;
}

size_t websocket_put_header(uint8_t header[WEBSOCKET_HEADER_MAX], size_t n)
{
    size_t at = 2;

    header[0] = 0x80 | OPCODE_BINARY;
    if (n < 126) {
        header[1] = (uint8_t)(0x80 | n);
    } else if (n < 65536) {
        header[1] = 0x80 | 126;
        header[at++] = (uint8_t)(n >> 8);
        header[at++] = (uint8_t)(n & 0xff);
    } else {
        header[1] = 0x80 | 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            header[at++] = (uint8_t)((uint64_t)n >> shift & 0xff);
    }
    memset(header + at, 0, 4);
    return at + 4;
}

/* How long the header is that begins so; a server does not mask. */
static size_t header_length(const struct websocket *w)
{
    int code = w->header[1] & 0x7f;

    if (w->header_len < 2)
        return 2;
    return code < 126 ? 2 : code == 126 ? 4 : 10;
}

static int begin_frame(struct websocket *w)
{
    size_t length = header_length(w);

    w->opcode = w->header[0] & 0x0f;
    w->left = w->header[1] & 0x7f;
    if (length > 2)
        w->left = 0;
    for (size_t i = 2; i < length; i++)
        w->left = w->left << 8 | w->header[i];
    w->header_len = 0;
    errno = ECONNRESET;
    return w->opcode == OPCODE_CLOSE || w->header[1] & 0x80 ? -1 : 0;
}

int64_t websocket_unwrap(struct websocket *w, uint8_t *bytes, size_t n)
{
    size_t at = 0, kept = 0;

    while (at < n) {
        size_t take = n - at;

        if (w->left == 0) {
            w->header[w->header_len++] = bytes[at++];
            if (w->header_len >= 2 && w->header_len == header_length(w) && begin_frame(w))
                return -1;
            continue;
        }
        if (take > w->left)
            take = (size_t)w->left;
        if (w->opcode == OPCODE_BINARY || w->opcode == OPCODE_CONTINUATION) {
            memmove(bytes + kept, bytes + at, take);
            kept += take;
        }
        at += take;
        w->left -= take;
    }
    return (int64_t)kept;
}

/* SPDX-License-Identifier: MIT */
#include "io/http_server_guard.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define BARE_LF "a line must end with CR and LF"
#define HIDDEN  "a header line needs a name and may not contain NUL"

struct look {
    const char *fault;
    const char *head; /* where the library read the head to, and how much */
    size_t head_bytes;
    uintptr_t line_end; /* of the line before, where its text ended */
    unsigned hosts, lengths, encodings;
    struct http_framing *framing;
};

static bool is_token(const char *name, size_t length)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)name[i];
        unsigned char letter = c | 0x20;

        if (!((letter >= 'a' && letter <= 'z') || (c >= '0' && c <= '9') ||
              (c && strchr(marks, c))))
            return false;
    }
    return length > 0;
}

/* 18 digits are beyond any limit of a body, and within 64 bits. */
static bool read_length(const char *text, size_t length, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || i == 18)
            return false;
        *out = *out * 10 + (uint64_t)(text[i] - '0');
    }
    return length > 0;
}

/*
 * libmicrohttpd before 1.0 appends a folded line to the text of the header before it, without a
 * blank: "chun" and "ked" become "chunked", or the name of the header changes.  It does so in a
 * copy, while every other text stays where it was read.  Later releases refuse such a line.
 */
static bool is_folded(const struct look *look, const char *text, size_t length)
{
#if MHD_VERSION < 0x01000000
    uintptr_t head = (uintptr_t)look->head, at = (uintptr_t)text;

    return text && length && (at < head || at + length > head + look->head_bytes);
#else
    (void)look, (void)text, (void)length;
    return false;
#endif
}

/*
 * Whether the line that begins at `next` follows the one before, ended by `ends` line ends of CR
 * and LF.  libmicrohttpd before 1.0 takes LF alone for an end, reads a line up to its first NUL,
 * and leaves out a line without a name: what it shows has gaps where others may see a header.
 */
static const char *judge_gap(const struct look *look, uintptr_t next, unsigned ends)
{
#if MHD_VERSION < 0x01000000
    uintptr_t due = look->line_end + (uintptr_t)2 * ends;

    return next == due ? NULL : next < due ? BARE_LF : HIDDEN;
#else
    (void)look, (void)next, (void)ends;
    return NULL;
#endif
}

/* Where the text of a line ends: behind its name, the colon, blanks and the value. */
static uintptr_t end_of(const char *name, size_t name_length, size_t length)
{
    const char *at = name + name_length + 1;

    return (uintptr_t)(at + strspn(at, " \t") + length);
}

/* RFC 3986 3.2.2 and 3.2.3; it may be empty. */
static bool is_host(const char *text, size_t length)
{
    static const char marks[] = "-._~!$&'()*+,;=";
    bool is_literal = length && text[0] == '[';
    size_t at = is_literal ? 1 : 0;

    for (; at < length && text[at] != (is_literal ? ']' : ':'); at++) {
        unsigned char c = (unsigned char)text[at], letter = c | 0x20;

        if (c == '%' && !is_literal && length - at > 2 && isxdigit((unsigned char)text[at + 1]) &&
            isxdigit((unsigned char)text[at + 2]))
            continue;
        if (!((letter >= 'a' && letter <= 'z') || (c >= '0' && c <= '9') ||
              (c && strchr(marks, c)) || (c == ':' && is_literal)))
            return false;
    }
    if (is_literal && (at == 1 || at++ == length))
        return false;
    if (at < length && text[at++] != ':')
        return false;
    while (at < length && text[at] >= '0' && text[at] <= '9')
        at++;
    return at == length;
}

static const char *judge_header(struct look *look, const char *name, size_t name_length,
                                const char *value, size_t length)
{
    if (!is_token(name, name_length))
        return "the name of a header has a character that it may not have";
    if (length &&
        (memchr(value, '\r', length) || memchr(value, '\n', length) || memchr(value, '\0', length)))
        return "a header may not contain CR, LF or NUL";
    if (strcasecmp(name, MHD_HTTP_HEADER_HOST) == 0) {
        while (length && (value[length - 1] == ' ' || value[length - 1] == '\t'))
            length--;
        if (++look->hosts > 1)
            return "the Host header may be given once";
        if (!is_host(value, length))
            return "the Host header must be a host, and a port at most";
    }
    if (strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0) {
        if (++look->lengths > 1)
            return "the Content-Length header may be given once";
        if (!read_length(value, length, &look->framing->length))
            return "the Content-Length header must be a number";
    }
    if (strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING) == 0) {
        if (++look->encodings > 1 || length != 7 || strncasecmp(value, "chunked", 7) != 0)
            return "the only Transfer-Encoding supported is chunked, once";
        look->framing->is_chunked = true;
    }
    return NULL;
}

static enum MHD_Result on_header(void *ctx, enum MHD_ValueKind kind, const char *name,
                                 size_t name_length, const char *value, size_t length)
{
    struct look *look = ctx;

    (void)kind;
    length = value ? length : 0;
    if (is_folded(look, name, name_length) || is_folded(look, value, length))
        look->fault = "a header may not go on in the next line";
    else
        look->fault = judge_gap(look, (uintptr_t)name, 1);
    if (!look->fault)
        look->fault = judge_header(look, name, name_length, value ? value : "", length);
    if (look->fault)
        return MHD_NO;
    look->line_end = end_of(name, name_length, length);
    return MHD_YES;
}

const char *http_server_guard(struct MHD_Connection *connection, const char *method,
                              const char *version, struct http_framing *framing)
{
    const union MHD_ConnectionInfo *size =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    bool is_old = strcmp(version, MHD_HTTP_VERSION_1_1) != 0;
    struct look look = {
        .head = method, .head_bytes = size ? size->header_size : 0, .framing = framing};

    *framing = (struct http_framing){0};
    look.line_end = (uintptr_t)(version + strlen(version));
    MHD_get_connection_values_n(connection, MHD_HEADER_KIND, on_header, &look);
    if (look.fault)
        return look.fault;
    look.fault = judge_gap(&look, (uintptr_t)look.head + look.head_bytes, 2);
    if (look.fault)
        return look.fault;
    if (look.encodings && look.lengths)
        return "give Content-Length or Transfer-Encoding, not both";
    if (look.encodings && is_old)
        return "Transfer-Encoding needs HTTP/1.1";
    if (!look.hosts && !is_old)
        return "the Host header is missing";
    return NULL;
}

/* SPDX-License-Identifier: MIT */
#include "websocket/handshake.h"

#include "base/err.h"
#include "io/digest.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define GUID        "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define GUID_LENGTH (sizeof(GUID) - 1)

/* A run of bytes inside the head; bytes is NULL when there is none. */
struct span {
    const char *bytes;
    size_t length;
};

/* What the headers said, as far as it matters. */
struct request {
    struct span host, key, version, origin;
    bool is_websocket;       /* Upgrade names it */
    bool has_upgrade;        /* Connection names it */
    const char *subprotocol; /* the first that is served, in the client's order */
    bool has_body;
    const char *duplicate; /* what may be there once only, and was twice */
};

static bool is_token_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

static bool span_is(struct span span, const char *text)
{
    return span.length == strlen(text) && memcmp(span.bytes, text, span.length) == 0;
}

static bool span_is_word(struct span span, const char *word)
{
    return span.length == strlen(word) && strncasecmp(span.bytes, word, span.length) == 0;
}

static struct span span_trim(struct span span)
{
    while (span.length && (span.bytes[0] == ' ' || span.bytes[0] == '\t')) {
        span.bytes++;
        span.length--;
    }
    while (span.length &&
           (span.bytes[span.length - 1] == ' ' || span.bytes[span.length - 1] == '\t'))
        span.length--;
    return span;
}

/* Cuts off what lies before the separator, or all when there is none. */
static struct span span_cut(struct span *rest, char separator)
{
    const char *at = memchr(rest->bytes, separator, rest->length);
    struct span first = {rest->bytes, at ? (size_t)(at - rest->bytes) : rest->length};
    size_t used = first.length + (at ? 1 : 0);

    rest->bytes += used;
    rest->length -= used;
    return first;
}

/* Whether a comma-separated list names the word, in any case. */
static bool list_names(struct span list, const char *word)
{
    while (list.length) {
        struct span item = span_trim(span_cut(&list, ','));

        if (span_is_word(item, word))
            return true;
    }
    return false;
}

/* MQTT5 6; and what clients of MQTT 3.1 offer, which Mosquitto's own listener takes. */
static const char *find_subprotocol(struct span list)
{
    static const char *const served[] = {"mqtt", "mqttv3.1"};

    while (list.length) {
        struct span item = span_trim(span_cut(&list, ','));

        for (size_t i = 0; i < sizeof(served) / sizeof(served[0]); i++)
            if (span_is(item, served[i]))
                return served[i];
    }
    return NULL;
}

/* How many bytes of empty lines there are before the request line. */
static size_t empty_lines(const char *bytes, size_t length)
{
    size_t at = 0;

    while (length - at >= 2 && memcmp(bytes + at, "\r\n", 2) == 0)
        at += 2;
    return at;
}

size_t handshake_head(const char *bytes, size_t length, size_t looked_at)
{
    size_t from = empty_lines(bytes, length);

    if (looked_at > from + 2)
        from = looked_at - 2;
    for (const char *lf; from < length && (lf = memchr(bytes + from, '\n', length - from));) {
        size_t at = (size_t)(lf - bytes) + 1;

        if (at < length && bytes[at] == '\n')
            return at + 1;
        if (at + 1 < length && bytes[at] == '\r' && bytes[at + 1] == '\n')
            return at + 2;
        from = at;
    }
    return 0;
}

static void note_once(struct request *request, struct span *place, const char *name,
                      struct span value)
{
    if (place->bytes)
        request->duplicate = name;
    *place = value;
}

static void note_header(struct request *request, struct span name, struct span value)
{
    if (span_is_word(name, "host"))
        note_once(request, &request->host, "Host", value);
    else if (span_is_word(name, "sec-websocket-key"))
        note_once(request, &request->key, "Sec-WebSocket-Key", value);
    else if (span_is_word(name, "sec-websocket-version"))
        note_once(request, &request->version, "Sec-WebSocket-Version", value);
    else if (span_is_word(name, "origin"))
        note_once(request, &request->origin, "Origin", value);
    else if (span_is_word(name, "upgrade"))
        request->is_websocket |= list_names(value, "websocket");
    else if (span_is_word(name, "connection"))
        request->has_upgrade |= list_names(value, "upgrade");
    else if (span_is_word(name, "sec-websocket-protocol"))
        request->subprotocol =
            request->subprotocol ? request->subprotocol : find_subprotocol(value);
    else if (span_is_word(name, "content-length"))
        request->has_body |= !span_is(value, "0");
    else if (span_is_word(name, "transfer-encoding"))
        request->has_body = true;
}

/* One line without its end.  A line that begins with a blank would continue the one before. */
static int read_header(struct request *request, struct span line)
{
    struct span name = line;

    for (size_t i = 0; i < line.length; i++) {
        unsigned char c = (unsigned char)line.bytes[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return ERR_INVALID;
    }
    name.length = 0;
    while (name.length < line.length && is_token_char(line.bytes[name.length]))
        name.length++;
    if (!name.length || name.length == line.length || line.bytes[name.length] != ':')
        return ERR_INVALID;
    line.bytes += name.length + 1;
    line.length -= name.length + 1;
    note_header(request, name, span_trim(line));
    return 0;
}

/* Takes a line with its CRLF off; false when a bare LF or nothing ends it. */
static bool next_line(struct span *rest, struct span *line)
{
    if (!memchr(rest->bytes, '\n', rest->length))
        return false;
    *line = span_cut(rest, '\n');
    if (!line->length || line->bytes[line->length - 1] != '\r')
        return false;
    line->length--;
    return true;
}

/* The path of "/mqtt?x" and of "http://host/mqtt" (RFC 6455 4.1: a client may send either). */
static struct span target_path(struct span target)
{
    const char *scheme = memmem(target.bytes, target.length, "://", 3);

    if (scheme && target.bytes[0] != '/') {
        const char *end = target.bytes + target.length;
        const char *slash = memchr(scheme + 3, '/', (size_t)(end - scheme) - 3);

        target.bytes = slash ? slash : end;
        target.length = (size_t)(end - target.bytes);
    }
    return span_cut(&target, '?');
}

static bool is_served(const struct handshake_rules *rules, struct span path)
{
    for (size_t i = 0; i < rules->path_count; i++)
        if (span_is(path, rules->paths[i]))
            return true;
    return rules->path_count == 0;
}

/* HTTP/1.1, or a later version that is compatible with it (RFC 9110 2.5). */
static bool is_version(struct span version)
{
    return version.length == 8 && memcmp(version.bytes, "HTTP/1.", 7) == 0 &&
           version.bytes[7] >= '1' && version.bytes[7] <= '9';
}

static struct handshake judge_line(const struct handshake_rules *rules, struct span line)
{
    struct span method = span_cut(&line, ' '), target = span_cut(&line, ' ');

    if (!method.length || !target.length || strncmp(line.bytes, "HTTP/", 5) != 0)
        return handshake_refusal(400, "this is not an HTTP request");
    if (!is_version(line))
        return handshake_refusal(505, "a WebSocket begins with HTTP/1.1");
    if (!span_is(method, "GET"))
        return handshake_refusal(405, "a WebSocket begins with GET");
    if (!is_served(rules, target_path(target)))
        return handshake_refusal(404, "there is nothing at this path");
    return handshake_refusal(0, NULL);
}

static bool is_key(struct span key)
{
    if (key.length != HANDSHAKE_KEY_CHARS || memcmp(key.bytes + 22, "==", 2) != 0)
        return false;
    for (size_t i = 0; i < 22; i++) {
        char c = key.bytes[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              c == '+' || c == '/'))
            return false;
    }
    return true;
}

static bool may_come_from(const struct handshake_rules *rules, struct span origin)
{
    /* Browsers always say where a page came from; what is no browser could say anything. */
    if (!rules->origin_count || !origin.bytes)
        return true;
    for (size_t i = 0; i < rules->origin_count; i++)
        if (span_is_word(origin, rules->origins[i]))
            return true;
    return false;
}

static struct handshake judge_headers(const struct handshake_rules *rules,
                                      const struct request *request)
{
    if (request->duplicate)
        return handshake_refusal(400, "a header that may be there once is there twice");
    if (!request->host.bytes || request->has_body)
        return handshake_refusal(400, request->has_body ? "a WebSocket begins without a body"
                                                        : "the Host header is missing");
    if (!request->is_websocket || !request->has_upgrade)
        return handshake_refusal(426, "this is a WebSocket: ask for the upgrade");
    if (!request->version.bytes || !span_is(request->version, "13"))
        return handshake_refusal(426, "Sec-WebSocket-Version has to be 13");
    if (!request->key.bytes || !is_key(request->key))
        return handshake_refusal(400, "Sec-WebSocket-Key has to be 16 bytes in base64");
    if (!request->subprotocol)
        return handshake_refusal(400, "Sec-WebSocket-Protocol must offer mqtt (or mqttv3.1)");
    if (!may_come_from(rules, request->origin))
        return handshake_refusal(403, "pages of this origin may not connect");
    return handshake_refusal(101, NULL);
}

static void base64(const unsigned char *bytes, size_t length, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        unsigned group = (unsigned)bytes[i] << 16 | (left > 1 ? (unsigned)bytes[i + 1] << 8 : 0) |
                         (left > 2 ? bytes[i + 2] : 0);

        *out++ = digits[group >> 18];
        *out++ = digits[group >> 12 & 63];
        *out++ = left > 1 ? digits[group >> 6 & 63] : '=';
        *out++ = left > 2 ? digits[group & 63] : '=';
    }
    *out = '\0';
}

static void accept_key(struct span key, char accept[29])
{
    char joined[HANDSHAKE_KEY_CHARS + GUID_LENGTH];
    unsigned char sum[DIGEST_SHA1_BYTES];

    memcpy(joined, key.bytes, HANDSHAKE_KEY_CHARS);
    memcpy(joined + HANDSHAKE_KEY_CHARS, GUID, GUID_LENGTH);
    digest_sha1(joined, sizeof(joined), sum);
    base64(sum, sizeof(sum), accept);
}

void handshake_judge(const struct handshake_rules *rules, const char *head, size_t length,
                     struct handshake *out)
{
    size_t empty = empty_lines(head, length);
    struct span rest = {head + empty, length - empty}, line;
    struct request request = {0};

    *out = handshake_refusal(400, "this is not an HTTP request");
    if (!next_line(&rest, &line))
        return;
    *out = judge_line(rules, line);
    if (out->status)
        return;
    *out = handshake_refusal(400, "this is not a header of HTTP");
    while (next_line(&rest, &line)) {
        if (line.length == 0) {
            *out = judge_headers(rules, &request);
            break;
        }
        if (read_header(&request, line))
            return;
    }
    if (out->status != 101)
        return;
    accept_key(request.key, out->accept);
    out->subprotocol = request.subprotocol;
}

struct handshake handshake_refusal(int status, const char *why)
{
    return (struct handshake){.status = status, .why = why};
}

static const char *reason_phrase(int status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 426:
        return "Upgrade Required";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Error";
    }
}

void handshake_answer(const struct handshake *handshake, struct buf *out)
{
    int status = handshake->status;

    if (status == 101) {
        buf_printf(out,
                   "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                   "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n"
                   "Sec-WebSocket-Protocol: %s\r\n\r\n",
                   handshake->accept, handshake->subprotocol);
        return;
    }
    buf_printf(out,
               "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
               "Content-Length: %zu\r\nConnection: close\r\n",
               status, reason_phrase(status), strlen(handshake->why) + 1);
    if (status == 405)
        buf_add_text(out, "Allow: GET\r\n");
    if (status == 426)
        buf_add_text(out, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
    if (status == 429 || status == 503)
        buf_add_text(out, "Retry-After: 5\r\n");
    buf_printf(out, "\r\n%s\n", handshake->why);
}

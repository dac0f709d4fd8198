/* SPDX-License-Identifier: MIT */
#include "sink_http1.h"

#include "sink_stream.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { READ_MAX = 8 << 20 /* larger requests are refused */ };

struct conn {
    struct sink_stream stream; /* first, so that a watch is its connection */
    struct sink_wait wait;
    bool should_close;
};

/* What was found in one request's head. */
struct head {
    const char *path;
    size_t path_len;
    const char *key; /* webhook-id or Idempotency-Key */
    size_t key_len;
    size_t body_len;
    bool is_post;
    bool should_close;
    bool expects;
    bool is_chunked;
};

static struct conn *conn_of(struct sink_watch *watch)
{
    return (struct conn *)watch;
}

static void conn_close(struct sink *sink, struct conn *conn)
{
    sink_forget(sink, &conn->wait);
    sink_close(sink, &conn->stream.watch);
}

static void conn_free(struct sink_watch *watch)
{
    struct conn *conn = conn_of(watch);

    sink_stream_free(&conn->stream);
    free(conn);
}

static void conn_flush(struct sink *sink, struct conn *conn)
{
    if (sink_stream_flush(sink, &conn->stream))
        conn_close(sink, conn);
    else if (conn->stream.out_len == 0 && conn->should_close && conn->wait.kind == NULL)
        conn_close(sink, conn);
}

static void out_text(struct conn *conn, int status, const char *reason, const char *body)
{
    char text[SINK_STATS_MAX + 128];
    int n = snprintf(text, sizeof(text),
                     "HTTP/1.1 %d %s\r\ncontent-type: application/json\r\n"
                     "content-length: %zu\r\n\r\n%s",
                     status, reason, strlen(body), body);

    sink_stream_add(&conn->stream, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

/* Requests */

static bool name_is(const char *line, size_t len, const char *name)
{
    size_t n = strlen(name);

    return len > n && line[n] == ':' && strncasecmp(line, name, n) == 0;
}

static void head_line(struct head *head, const char *line, size_t len)
{
    const char *value = memchr(line, ':', len);
    size_t value_len;

    if (value == NULL)
        return;
    value++;
    while (value < line + len && *value == ' ')
        value++;
    value_len = (size_t)(line + len - value);
    if (name_is(line, len, "content-length"))
        head->body_len = (size_t)strtoull(value, NULL, 10);
    else if (name_is(line, len, "webhook-id") || name_is(line, len, "idempotency-key")) {
        head->key = value;
        head->key_len = value_len;
    } else if (name_is(line, len, "connection"))
        head->should_close = value_len >= 5 && strncasecmp(value, "close", 5) == 0;
    else if (name_is(line, len, "expect"))
        head->expects = true;
    else if (name_is(line, len, "transfer-encoding"))
        head->is_chunked = true;
}

/* Zero when the bytes up to `end` are a request's head. */
static int head_read(struct head *head, const char *data, const char *end)
{
    const char *space = memchr(data, ' ', (size_t)(end - data));
    const char *line, *next;

    *head = (struct head){0};
    if (space == NULL)
        return -1;
    head->is_post = space - data == 4 && memcmp(data, "POST", 4) == 0;
    head->path = space + 1;
    space = memchr(head->path, ' ', (size_t)(end - head->path));
    if (space == NULL || end - space < 9 || memcmp(space, " HTTP/1.1", 9) != 0)
        return -1;
    head->path_len = (size_t)(space - head->path);
    for (line = space + 9; line < end; line = next) {
        line += 2;
        next = memchr(line, '\r', (size_t)(end - line));
        if (next == NULL)
            next = end;
        head_line(head, line, (size_t)(next - line));
    }
    return head->is_chunked || head->body_len > READ_MAX ? -1 : 0;
}

static bool starts_with(const char *text, size_t len, const char *prefix)
{
    size_t n = strlen(prefix);

    return len >= n && memcmp(text, prefix, n) == 0;
}

static void out_answer(struct sink *sink, struct conn *conn, const struct sink_kind *kind)
{
    char text[SINK_ANSWER_MAX];
    size_t len = sink_api_answer(&sink->api, kind, text);

    sink_stream_add(&conn->stream, text, len);
    sink_sent(sink);
}

static void serve(struct sink *sink, struct conn *conn, const struct head *head, const char *body)
{
    struct sink_request request = {head->path,    head->path_len, head->key,
                                   head->key_len, body,           head->body_len};
    char text[SINK_STATS_MAX] = "{}\n";

    conn->should_close = head->should_close;
    if (starts_with(head->path, head->path_len, "/_sink/stats"))
        sink_stats(sink, text);
    else if (starts_with(head->path, head->path_len, "/_sink/reset"))
        sink_reset(sink);
    else if (head->is_post) {
        if (sink_take(sink, &conn->wait, &request)) {
            out_answer(sink, conn, conn->wait.kind);
            conn->wait.kind = NULL;
        }
        return;
    }
    out_text(conn, 200, "OK", text);
}

/* Serve what has arrived completely, until one must be waited for. */
static void conn_requests(struct sink *sink, struct conn *conn)
{
    struct sink_stream *stream = &conn->stream;
    size_t at = 0;

    while (stream->watch.fd >= 0 && conn->wait.kind == NULL && !conn->should_close &&
           at < stream->in_len) {
        const char *data = stream->in + at;
        const char *end = memmem(data, stream->in_len - at, "\r\n\r\n", 4);
        struct head head;
        size_t need;

        if (end == NULL)
            break;
        if (head_read(&head, data, end)) {
            sink->bad++;
            out_text(conn, 400, "Bad Request", "{}\n");
            conn->should_close = true;
            break;
        }
        need = (size_t)(end - data) + 4 + head.body_len;
        if (stream->in_len - at < need) {
            if (head.expects && stream->in_len - at == (size_t)(end - data) + 4)
                sink_stream_add(stream, "HTTP/1.1 100 Continue\r\n\r\n", 25);
            break;
        }
        serve(sink, conn, &head, end + 4);
        at += need;
    }
    sink_stream_eat(stream, at);
    if (stream->out_len > 0 || (conn->should_close && conn->wait.kind == NULL))
        conn_flush(sink, conn);
}

static void conn_readable(struct sink *sink, struct conn *conn)
{
    int got = sink_stream_read(&conn->stream, READ_MAX);

    if (got < 0)
        conn_close(sink, conn);
    else if (got > 0 && conn->wait.kind == NULL)
        conn_requests(sink, conn);
}

/* Events */

static void conn_due(struct sink *sink, struct sink_wait *wait)
{
    struct conn *conn = (struct conn *)((char *)wait - offsetof(struct conn, wait));
    const struct sink_kind *kind = wait->kind;

    sink_forget(sink, wait);
    out_answer(sink, conn, kind);
    conn_flush(sink, conn);
    if (conn->stream.watch.fd >= 0 && conn->stream.in_len > 0)
        conn_requests(sink, conn);
}

static void on_conn(struct sink *sink, struct sink_watch *watch, uint32_t events)
{
    struct conn *conn = conn_of(watch);

    if (events & EPOLLOUT)
        conn_flush(sink, conn);
    if (watch->fd >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        conn_readable(sink, conn);
}

static void conn_open(struct sink *sink, int fd)
{
    struct conn *conn = sink_must(calloc(1, sizeof(*conn)));

    conn->stream.watch.on_event = on_conn;
    conn->stream.watch.on_free = conn_free;
    conn->wait.on_due = conn_due;
    if (sink_watch_add(sink, &conn->stream.watch, fd, true)) {
        close(fd);
        free(conn);
    }
}

int sink_http1_open(struct sink *sink, uint16_t *port)
{
    return sink_stream_listen(sink, port, conn_open);
}

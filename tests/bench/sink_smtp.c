/* SPDX-License-Identifier: MIT */
#include "sink_smtp.h"

#include "sink_stream.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    MAIL_MAX = 8 << 20, /* larger ones end the connection */
    ADDRESS_MAX = 320,
};

struct conn {
    struct sink_stream stream; /* first, so that a watch is its connection */
    struct sink_wait wait;     /* of the mail whose reply is due */
    bool is_data;              /* the mail itself is being read */
    bool is_over;              /* QUIT was said */
    char recipient[ADDRESS_MAX];
    size_t recipient_len;
};

static void conn_close(struct sink *sink, struct conn *conn)
{
    sink_forget(sink, &conn->wait);
    sink_close(sink, &conn->stream.watch);
}

static void conn_free(struct sink_watch *watch)
{
    struct conn *conn = (struct conn *)watch;

    sink_stream_free(&conn->stream);
    free(conn);
}

static void say(struct conn *conn, const char *text)
{
    sink_stream_add(&conn->stream, text, strlen(text));
}

static void queued(struct sink *sink, struct conn *conn, const struct sink_kind *kind)
{
    struct sink_reply reply;
    char text[SINK_PART_MAX + 64];
    int n;

    sink_api_reply(&sink->api, kind, &reply);
    n = snprintf(text, sizeof(text), "250 2.0.0 Ok: queued as %s\r\n", reply.body);
    sink_stream_add(&conn->stream, text, (size_t)n);
    sink_sent(sink);
}

/* Commands */

static bool is_word(const char *line, size_t len, const char *word)
{
    size_t n = strlen(word);

    return len >= n && strncasecmp(line, word, n) == 0;
}

static void note_recipient(struct conn *conn, const char *line, size_t len)
{
    const char *from = memchr(line, '<', len);
    const char *to = from ? memchr(from, '>', (size_t)(line + len - from)) : NULL;
    size_t length = to ? (size_t)(to - from - 1) : 0;

    if (length >= sizeof(conn->recipient))
        length = sizeof(conn->recipient) - 1;
    if (to)
        memcpy(conn->recipient, from + 1, length);
    conn->recipient_len = length;
}

static void command(struct sink *sink, struct conn *conn, const char *line, size_t len)
{
    if (is_word(line, len, "EHLO")) {
        say(conn, "250-sink\r\n250-PIPELINING\r\n250-SIZE 8388608\r\n250-8BITMIME\r\n"
                  "250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n");
    } else if (is_word(line, len, "DATA")) {
        conn->is_data = true;
        say(conn, "354 go on\r\n");
    } else if (is_word(line, len, "QUIT")) {
        conn->is_over = true;
        say(conn, "221 2.0.0 bye\r\n");
    } else if (is_word(line, len, "RCPT TO:")) {
        note_recipient(conn, line, len);
        say(conn, "250 2.1.5 Ok\r\n");
    } else if (is_word(line, len, "HELO") || is_word(line, len, "MAIL FROM:") ||
               is_word(line, len, "RSET") || is_word(line, len, "NOOP")) {
        say(conn, "250 2.1.0 Ok\r\n");
    } else {
        sink->bad++;
        say(conn, "502 5.5.1 not known here\r\n");
    }
}

/* The mail up to its last line; returns how many bytes it took, 0 when it is not all there. */
static size_t mail(struct sink *sink, struct conn *conn, const char *data, size_t len)
{
    static const char path[] = "/_smtp";
    const char *end = memmem(data, len, "\r\n.\r\n", 5);
    struct sink_request request = {
        path, sizeof(path) - 1, conn->recipient, conn->recipient_len, data, 0};

    if (end == NULL)
        return 0;
    conn->is_data = false;
    request.body_len = (size_t)(end - data);
    if (sink_take(sink, &conn->wait, &request)) {
        queued(sink, conn, conn->wait.kind);
        conn->wait.kind = NULL;
    }
    return request.body_len + 5;
}

/* Takes what has arrived completely, until a mail must be waited for. */
static void take(struct sink *sink, struct conn *conn)
{
    struct sink_stream *stream = &conn->stream;
    size_t at = 0;

    while (conn->wait.kind == NULL && !conn->is_over && at < stream->in_len) {
        const char *data = stream->in + at;
        size_t left = stream->in_len - at, took;
        const char *end = memmem(data, left, "\r\n", 2);

        if (conn->is_data) {
            took = mail(sink, conn, data, left);
        } else {
            took = end ? (size_t)(end - data) + 2 : 0;
            if (took)
                command(sink, conn, data, took - 2);
        }
        if (took == 0)
            break;
        at += took;
    }
    sink_stream_eat(stream, at);
    if (stream->out_len > 0 && sink_stream_flush(sink, stream))
        conn_close(sink, conn);
    else if (conn->is_over && stream->out_len == 0)
        conn_close(sink, conn);
}

static void conn_due(struct sink *sink, struct sink_wait *wait)
{
    struct conn *conn = (struct conn *)((char *)wait - offsetof(struct conn, wait));
    const struct sink_kind *kind = wait->kind;

    sink_forget(sink, wait);
    queued(sink, conn, kind);
    take(sink, conn);
}

static void on_conn(struct sink *sink, struct sink_watch *watch, uint32_t events)
{
    struct conn *conn = (struct conn *)watch;
    int got;

    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        got = sink_stream_read(&conn->stream, MAIL_MAX);
        if (got < 0) {
            conn_close(sink, conn);
            return;
        }
        if (got == 0 && !(events & EPOLLOUT))
            return;
    }
    take(sink, conn);
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
        return;
    }
    say(conn, "220 sink ESMTP\r\n");
    take(sink, conn);
}

int sink_smtp_open(struct sink *sink, uint16_t *port)
{
    return sink_stream_listen(sink, port, conn_open);
}

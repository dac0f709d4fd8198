/* SPDX-License-Identifier: MIT */
#include "sink_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_START = 4096, OUT_START = 512 };

struct listener {
    struct sink_watch watch; /* first */
    sink_open_fn *open;
};

void sink_stream_add(struct sink_stream *stream, const char *data, size_t len)
{
    if (stream->out_len + len > stream->out_size) {
        stream->out_size = (stream->out_len + len) * 2 + OUT_START;
        stream->out = sink_must(realloc(stream->out, stream->out_size));
    }
    memcpy(stream->out + stream->out_len, data, len);
    stream->out_len += len;
}

int sink_stream_flush(struct sink *sink, struct sink_stream *stream)
{
    size_t sent = 0;

    while (sent < stream->out_len) {
        ssize_t n =
            send(stream->watch.fd, stream->out + sent, stream->out_len - sent, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            return -1;
        if (n < 0)
            break;
        sent += (size_t)n;
    }
    if (sent > 0)
        memmove(stream->out, stream->out + sent, stream->out_len - sent);
    stream->out_len -= sent;
    sink_want_out(sink, &stream->watch, stream->out_len > 0);
    return 0;
}

int sink_stream_read(struct sink_stream *stream, size_t max)
{
    ssize_t n;

    if (stream->in_len == stream->in_size) {
        if (stream->in_size >= max)
            return -1;
        stream->in_size = stream->in_size ? stream->in_size * 2 : READ_START;
        stream->in = sink_must(realloc(stream->in, stream->in_size));
    }
    n = recv(stream->watch.fd, stream->in + stream->in_len, stream->in_size - stream->in_len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0)
        return -1;
    stream->in_len += (size_t)n;
    return 1;
}

void sink_stream_eat(struct sink_stream *stream, size_t len)
{
    if (len == 0)
        return;
    memmove(stream->in, stream->in + len, stream->in_len - len);
    stream->in_len -= len;
}

void sink_stream_free(struct sink_stream *stream)
{
    free(stream->in);
    free(stream->out);
}

static void on_listener(struct sink *sink, struct sink_watch *watch, uint32_t events)
{
    struct listener *listener = (struct listener *)watch;
    int fd;

    (void)events;
    while ((fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        listener->open(sink, fd);
}

static void listener_free(struct sink_watch *watch)
{
    free((struct listener *)watch);
}

int sink_stream_listen(struct sink *sink, uint16_t *port, sink_open_fn *open)
{
    struct listener *listener = sink_must(calloc(1, sizeof(*listener)));
    int fd = sink_listen(port);

    listener->watch.on_event = on_listener;
    listener->watch.on_free = listener_free;
    listener->open = open;
    if (fd < 0 || sink_watch_add(sink, &listener->watch, fd, false)) {
        free(listener);
        return -1;
    }
    return 0;
}

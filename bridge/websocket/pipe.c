/* SPDX-License-Identifier: MIT */
#include "websocket/pipe.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

size_t pipe_held(const struct pipe *pipe)
{
    return pipe->held.length - pipe->at;
}

void pipe_drop(struct pipe *pipe)
{
    buf_fini(&pipe->held);
    *pipe = (struct pipe){0};
}

void pipe_add(struct pipe *pipe, const void *bytes, size_t length)
{
    if (length == 0)
        return;
    if (pipe->at) { /* what was written must not be what makes it grow */
        pipe->held.length -= pipe->at;
        memmove(pipe->held.data, pipe->held.data + pipe->at, pipe->held.length);
        pipe->at = 0;
    }
    buf_add(&pipe->held, bytes, length);
}

/* How many were taken; ERR_CLOSED when none ever will be. */
static int64_t send_some(int fd, const void *bytes, size_t length)
{
    ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (sent >= 0)
        return sent;
    return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? 0 : ERR_CLOSED;
}

int pipe_flush(struct pipe *pipe, int fd)
{
    int64_t sent;

    if (pipe_held(pipe) == 0)
        return 0;
    sent = send_some(fd, pipe->held.data + pipe->at, pipe_held(pipe));
    if (sent < 0)
        return ERR_CLOSED;
    pipe->at += (size_t)sent;
    if (pipe_held(pipe) == 0)
        pipe_drop(pipe);
    return 0;
}

int pipe_write(struct pipe *pipe, int fd, const void *bytes, size_t length)
{
    int64_t sent = 0;

    if (length && pipe_held(pipe) == 0) {
        sent = send_some(fd, bytes, length);
        if (sent < 0)
            return ERR_CLOSED;
    }
    pipe_add(pipe, (const char *)bytes + sent, length - (size_t)sent);
    return 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * pipe - what one side could not take yet
 *
 * Bytes go straight to the socket; only what it does not take is kept, and the memory goes with
 * the last of it.  Whoever feeds a pipe stops while it holds something: that is the back-pressure,
 * and what bounds it.
 *
 * Ownership: the caller owns the struct (zero-initialised is empty) and the socket; pipe_drop()
 *            gives the memory back.
 */
#ifndef TOCSIN_WEBSOCKET_PIPE_H
#define TOCSIN_WEBSOCKET_PIPE_H
#include "base/buf.h"
#include "base/err.h"

struct pipe {
    struct buf held;
    size_t at; /* how much of it was written */
};

size_t pipe_held(const struct pipe *pipe);
void pipe_drop(struct pipe *pipe);
/* Keeps bytes without writing. */
void pipe_add(struct pipe *pipe, const void *bytes, size_t length);
/* Writes what is held, as far as it goes.  ERR_CLOSED: nobody will ever take it. */
NODISCARD int pipe_flush(struct pipe *pipe, int fd);
/* Writes after what is held.  ERR_CLOSED as above. */
NODISCARD int pipe_write(struct pipe *pipe, int fd, const void *bytes, size_t length);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * sink_stream - a connection with what it has read and what it has still to write
 *
 * For protocols of text over TCP.  First member of a protocol's connection, whose calloc() is a
 * fit beginning; the protocol closes it.
 */
#ifndef TOCSIN_BENCH_SINK_STREAM_H
#define TOCSIN_BENCH_SINK_STREAM_H

#include "sink_loop.h"

struct sink_stream {
    struct sink_watch watch; /* first */
    char *in;
    size_t in_len;
    size_t in_size;
    char *out;
    size_t out_len;
    size_t out_size;
};

void sink_stream_add(struct sink_stream *stream, const char *data, size_t len);
/* Writes what goes out now, and wants the rest to; -1 when the connection is broken. */
int sink_stream_flush(struct sink *sink, struct sink_stream *stream);
/* Reads what is there; 1 when there was something, -1 when it is over, or too much. */
int sink_stream_read(struct sink_stream *stream, size_t max);
/* Drops the first bytes of what was read. */
void sink_stream_eat(struct sink_stream *stream, size_t len);
void sink_stream_free(struct sink_stream *stream); /* the buffers alone */

/* Calls open() for each connection to the port; 0 picks one and stores it.  -1 with errno. */
typedef void sink_open_fn(struct sink *sink, int fd);
int sink_stream_listen(struct sink *sink, uint16_t *port, sink_open_fn *open);

#endif

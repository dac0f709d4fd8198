/* SPDX-License-Identifier: MIT */
/*
 * sink_http1 - HTTP/1.1 with keep-alive, and the sink's own pages
 *
 *   GET  /_sink/stats   counts as JSON
 *   POST /_sink/reset   counts start again at nothing
 *   any other GET       200
 *
 * One request at a time per connection; chunked requests are refused.
 */
#ifndef TOCSIN_BENCH_SINK_HTTP1_H
#define TOCSIN_BENCH_SINK_HTTP1_H

#include "sink_loop.h"

/* Serve on that port (0 picks one and stores it); -1 with errno. */
int sink_http1_open(struct sink *sink, uint16_t *port);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * sink_http2 - HTTP/2 over TLS, for the providers that speak nothing else
 *
 * Built with nghttp2 where its headers are installed (sink_http2.c), else a
 * stand-in that says so (sink_http2_none.c).  A thousand streams from the
 * start: what APNs does at the start of a connection is tested against
 * tests/providers, not measured.
 */
#ifndef TOCSIN_BENCH_SINK_HTTP2_H
#define TOCSIN_BENCH_SINK_HTTP2_H

#include "sink_loop.h"

/* Serve on that port (0 picks one and stores it); -1 after a message on stderr.
 */
int sink_http2_open(struct sink *sink, uint16_t *port, const char *cert_file, const char *key_file);

#endif

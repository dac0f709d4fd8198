/* SPDX-License-Identifier: MIT */
/*
 * http_server_listen - the listening socket of an HTTP server
 *
 * "127.0.0.1:8080", "[::1]:8080", "localhost:0" (0 picks a port), ":8080" (every address).
 */
#ifndef TOCSIN_IO_HTTP_SERVER_LISTEN_H
#define TOCSIN_IO_HTTP_SERVER_LISTEN_H
#include <stddef.h>
#include <stdint.h>

/*
 * Returns a socket that does not block, the caller's to close, or -1 with a sentence in why.
 * Resolves a name, which blocks: servers are opened before the loop runs.
 */
int http_server_listen(const char *where, char *why, size_t why_bytes);
/* The port it is bound to; 0 when that cannot be read. */
uint16_t http_server_listen_port(int fd);

#endif

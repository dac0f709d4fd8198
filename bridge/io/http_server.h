/* SPDX-License-Identifier: MIT */
/*
 * http_server - the bridge's small HTTP port (libmicrohttpd on the loop's epoll)
 *
 * For health, metrics and provider callbacks.  Requests are read whole (bounded), handed to
 * on_request, and answered once with http_answer(), at once or later.
 *
 * Limits: body bytes, connections, the time a request may take to arrive and a connection may
 *         rest; over them 413 or a close.
 * Order:  an answer that comes late is sent even when the server gets no other event.
 */
#ifndef TOCSIN_IO_HTTP_SERVER_H
#define TOCSIN_IO_HTTP_SERVER_H
#include "base/err.h"
#include "io/loop.h"
#include <stddef.h>
#include <stdint.h>

struct http_server;
struct http_exchange;

struct http_server_config {
    const char *listen; /* "127.0.0.1:8080", "[::1]:8080"; port 0 picks one; borrowed */
    size_t body_max, connections_max;
    unsigned timeout_s;
};

struct http_server_request {
    const char *method;
    const char *path, *query; /* as they were sent, not decoded; query "" when there is none */
    const void *body;
    size_t body_bytes;
};

typedef void http_request_fn(void *ctx, struct http_exchange *exchange,
                             const struct http_server_request *request);

/* Binds and listens; why gets a sentence when it cannot. */
NODISCARD int http_server_open(struct loop *loop, const struct http_server_config *config,
                               http_request_fn *on_request, void *ctx, struct http_server **out,
                               char *why, size_t why_bytes);
/* Ends every connection.  Exchanges not answered are void: nobody may answer them after. */
void http_server_close(struct http_server *server);
uint16_t http_server_port(const struct http_server *server);
/* A request header by name (any case), NULL when absent or not one line; borrowed until the answer.
 */
const char *http_request_header(struct http_exchange *exchange, const char *name);
/* A header of the answer to come; name is borrowed until the exchange ends, value is copied. */
#define HTTP_ANSWER_HEADERS_MAX 8
void http_answer_header(struct http_exchange *exchange, const char *name, const char *value);
/* Ends the exchange.  body is copied; to a HEAD it is left out. */
void http_answer(struct http_exchange *exchange, int status, const char *content_type,
                 const void *body, size_t body_bytes);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * http_server - the bridge's small HTTP port (libmicrohttpd on the loop's epoll)
 *
 * For health, metrics, provider callbacks and tracking links.  A request's head is judged first
 * (on_head); then its body is read, bounded, the request handed to on_request, and answered once
 * with http_answer(), at once or later.
 *
 * Requests whose end is ambiguous get 400 and the connection ends (http_server_guard.h).
 * Limits: - a body: body_max, or what on_head allows; over it 413, or a close when its length was
 *           not announced.
 *         - all bodies being read, together: bodies_max.  A body of BODY_SMALL bytes or less always
 *           has room, so that small requests do not wait for large ones; what exceeds the bound is
 *           answered with 503.
 *         - connections: connections_max.  A connection beyond it takes the place of the one that
 *           has waited longest for its client: first of those without a request under way, then of
 *           those whose request has not arrived whole.  Requests that wait for us keep theirs.
 *         - time: head_s for the head of a request, timeout_s for its body, for the client to take
 *           the answer, and between two requests.
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

struct http_server_request {
    const char *method;
    const char *path, *query; /* as they were sent, not decoded; query "" when there is none */
    const void *body;
    size_t body_bytes;
};

/* What on_head says of a request whose body is still to come. */
struct http_server_verdict {
    size_t body_max;   /* preset from the configuration; may be lowered or raised */
    const char *text;  /* of a refusal: its body; borrowed, static */
    const char *allow; /* of a 405: the methods there are; borrowed, static */
};

/* 0 to read the body, or the status to refuse the request with; head has no body. */
typedef int http_head_fn(void *ctx, const struct http_server_request *head,
                         struct http_server_verdict *verdict);
/* request and its body are borrowed until the function returns. */
typedef void http_request_fn(void *ctx, struct http_exchange *exchange,
                             const struct http_server_request *request);

struct http_server_config {
    const char *listen;          /* "127.0.0.1:8080", "[::1]:8080"; port 0 picks one; borrowed */
    size_t body_max, bodies_max; /* bytes; bodies_max 0: connections_max small ones */
    size_t connections_max;
    unsigned head_s, timeout_s; /* head_s 0: as timeout_s */
    http_head_fn *on_head;      /* NULL: every request is read */
};

#define HTTP_SERVER_BODY_SMALL (16 * 1024)

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
/*
 * A header of the answer to come; name is borrowed until the exchange ends, value is copied.
 * A value of more than one line is left out, and logged.
 */
#define HTTP_ANSWER_HEADERS_MAX 8
void http_answer_header(struct http_exchange *exchange, const char *name, const char *value);
/* Ends the exchange.  body is copied; to a HEAD it is left out. */
void http_answer(struct http_exchange *exchange, int status, const char *content_type,
                 const void *body, size_t body_bytes);

#endif

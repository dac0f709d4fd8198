/* SPDX-License-Identifier: MIT */
/*
 * http_client - every request to a provider, on libcurl's multi handles
 *
 * Keep-alive, HTTP/2 where the server speaks it, bounded: response bodies and headers are cut
 * off (HTTP_FAIL_TOO_LARGE), slow answers end at the deadline, redirects are never followed.
 * Mail (SMTP submission) goes through the same engine.
 *
 * Ownership: a request is copied before http_send() returns, except where it says borrowed;
 *            the response lives until its callback returns.
 * Errors:    http_send() fails with ERR_FULL at max_inflight or ERR_INVALID for a bad URL and
 *            never calls back; otherwise on_response comes exactly once, later.
 */
#ifndef TOCSIN_IO_HTTP_CLIENT_H
#define TOCSIN_IO_HTTP_CLIENT_H
#include "base/err.h"
#include "base/secret.h"
#include "io/loop.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What went wrong below HTTP.  "Sent" tells whether the peer may have acted on the request. */
enum http_fail {
    HTTP_FAIL_NONE,      /* there is a status */
    HTTP_FAIL_RESOLVE,   /* never sent */
    HTTP_FAIL_CONNECT,   /* never sent; also when TCP or TLS were not ready in time */
    HTTP_FAIL_TLS,       /* never sent */
    HTTP_FAIL_FORBIDDEN, /* address in a private range and the request forbids that; never sent */
    HTTP_FAIL_TIMEOUT,
    HTTP_FAIL_RESET,   /* connection lost, or protocol broken below the status line */
    HTTP_FAIL_GARBAGE, /* not HTTP */
    HTTP_FAIL_TOO_LARGE,
    HTTP_FAIL_CLOSED /* http_client_close() */
};

/* SMTP: which command a reply answers. */
enum http_stage {
    HTTP_STAGE_NONE, /* no mail, or no reply */
    HTTP_STAGE_OPEN, /* the greeting, EHLO, STARTTLS or AUTH */
    HTTP_STAGE_MAIL,
    HTTP_STAGE_RCPT,
    HTTP_STAGE_DATA,
    HTTP_STAGE_TEXT /* the mail's last line */
};

/* HTTP_VERSION_2 means or fail, and over few connections to a host. */
enum http_version { HTTP_VERSION_ANY, HTTP_VERSION_1_1, HTTP_VERSION_2 };

struct http_header {
    const char *name, *value;
};

struct http_request {
    const char *method; /* "POST" */
    const char *url;
    const struct http_header *headers;
    unsigned header_count;
    const void *body;
    size_t body_bytes;
    const char *basic_user; /* HTTP Basic; NULL when unused */
    const struct secret *basic_password;
    enum http_version version;
    bool is_few;         /* by TLS over few connections to a host, which all speak HTTP/2 */
    bool is_public_only; /* refuse loopback, private, link-local ... peers (SSRF guard) */
    const char *ca_file; /* borrowed for the process's life; NULL takes the system's */
    int64_t connect_ms, timeout_ms;
    size_t response_max; /* body bytes kept; more fails; 0 takes 64 KiB */
};

struct http_mail {
    const char *host;
    uint16_t port;
    enum { HTTP_MAIL_PLAIN, HTTP_MAIL_STARTTLS, HTTP_MAIL_TLS } tls;
    const char *ca_file;
    const char *username; /* NULL: no AUTH */
    const struct secret *password;
    bool is_bearer; /* the password is an OAuth token: XOAUTH2 */
    const char *from;
    const char *const *recipients; /* NULL-terminated */
    const void *message;           /* complete RFC 5322 text with CRLF */
    size_t message_bytes;
    int64_t connect_ms, timeout_ms;
};

struct http_response {
    enum http_fail fail;
    bool is_sent;       /* some of the request reached the peer's host */
    bool is_fully_sent; /* all of it did: the outcome is unknown if there is no status */
    int status;         /* HTTP status, or SMTP reply code; 0 when there is none */
    int version;        /* 1 or 2 */
    enum http_stage stage;
    const char *body; /* NUL-terminated, "" when empty; for SMTP all lines of the reply, by \n */
    size_t body_bytes;
    int64_t retry_after_ms; /* -1 when absent or not understood; dates are already relative */
    int64_t queued_us, connect_us, total_us;
    const void *internal;
};

/* A response header by name (any case), the last one; NULL when absent. */
const char *http_response_header(const struct http_response *response, const char *name);

typedef void http_response_fn(void *ctx, const struct http_response *response);

struct http_client;
struct http_client_config {
    size_t max_inflight;    /* requests at once */
    size_t max_connections; /* in the pool, per host */
};

struct http_client *http_client_open(struct loop *loop, const struct http_client_config *config);
/* Every request under way gets its callback with HTTP_FAIL_CLOSED before return. */
void http_client_close(struct http_client *client);
size_t http_client_inflight(const struct http_client *client);

NODISCARD int http_send(struct http_client *client, const struct http_request *request,
                        http_response_fn *on_response, void *ctx);
NODISCARD int http_send_mail(struct http_client *client, const struct http_mail *mail,
                             http_response_fn *on_response, void *ctx);

void http_library_init(void);
void http_library_fini(void);

#endif

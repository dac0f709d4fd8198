/* SPDX-License-Identifier: MIT */
/*
 * http_client_private - what the files of http_client share and nobody else sees
 *
 * http_client.c has the engine, http_request.c and http_mail.c turn a request into libcurl
 * options, http_response.c turns libcurl's results into ours, http_address.c is the SSRF guard.
 */
#ifndef TOCSIN_IO_HTTP_CLIENT_PRIVATE_H
#define TOCSIN_IO_HTTP_CLIENT_PRIVATE_H
#include "base/buf.h"
#include "base/list.h"
#include "io/http_client.h"
#include <curl/curl.h>
#include <sys/socket.h>

/* One request under way, or resting with its handle in the pool. */
struct http_call {
    struct list_node node; /* in client->calls or client->resting */
    struct http_client *client;
    CURL *easy;
    struct loop_timer deadline;
    http_response_fn *on_response;
    void *ctx;
    int64_t started_us;

    struct curl_slist *headers, *recipients;
    struct buf sent;     /* body or message: libcurl reads it where it is */
    size_t sent_at;      /* mail: how much libcurl has taken */
    struct buf received; /* body, or the last SMTP reply line */
    size_t received_max;
    size_t header_bytes;
    unsigned starts; /* times a connection was about to carry the request */
    bool is_mail, is_public_only;
    bool is_forbidden, is_too_large; /* why we broke it off */
};

/* Fill a call's handle.  ERR_INVALID leaves it unusable for now; the engine cleans up. */
NODISCARD int http_call_prepare(struct http_call *call, const struct http_request *request);
NODISCARD int http_call_prepare_mail(struct http_call *call, const struct http_mail *mail);
/* What both have in common. */
void http_call_prepare_common(struct http_call *call, const char *ca_file, int64_t connect_ms,
                              int64_t timeout_ms);
/* No CR, LF or NUL can be in it: it goes into a line of a protocol. */
bool http_is_one_line(const char *text);

/* Fills response from a call that ended with code; valid while the call is. */
void http_call_result(struct http_call *call, CURLcode code, struct http_response *response);

/* Finds libnghttp2 behind our own nghttp2_submit_rst_stream() (http_reset.c says why). */
void http_reset_init(void);

/* Whether an address is on the public Internet: routable, unicast, not ours. */
bool http_address_is_public(const struct sockaddr *address);
bool http_address_text_is_public(const char *text);

#endif

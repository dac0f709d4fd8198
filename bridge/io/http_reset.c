/* SPDX-License-Identifier: MIT */
/*
 * A mend for libcurl 7.88 (Debian 12's): after an HTTP/2 answer without a body it resets the
 * stream with STREAM_CLOSED, although the stream has ended by itself.  Servers count resets
 * since CVE-2023-44487; those on libnghttp2 close the connection after about a thousand, and
 * what is under way on it is lost after it was sent, hence sent twice.  APNs and the browsers'
 * push services are the ones that answer without a body.
 *
 * libcurl finds this definition before libnghttp2's.  Only such needless resets go no further.
 * Later libcurls do not ask for them, and one with libnghttp2 inside never comes here.
 *
 * The second: a stream that the server resets with REFUSED_STREAM, or that is above the last one
 * its GOAWAY names, was not processed (RFC 9113 section 8.7).  libcurl knows it and tries once
 * more over another connection, but reports it as any other loss when that fails too.  The
 * callback in which libnghttp2 tells it of a stream's end is where we see the difference.
 */
#include "io/http_client_private.h"

#include <dlfcn.h>
#include <stdint.h>

/* RFC 9113 section 7 */
#define STREAM_CLOSED  5
#define REFUSED_STREAM 7

struct nghttp2_session;
typedef int submit_fn(struct nghttp2_session *session, uint8_t flags, int32_t stream,
                      uint32_t code);
typedef int remote_close_fn(struct nghttp2_session *session, int32_t stream);

/* As in <nghttp2/nghttp2.h>, which nothing else needs. */
int nghttp2_submit_rst_stream(struct nghttp2_session *session, uint8_t flags, int32_t stream,
                              uint32_t code);

struct nghttp2_session_callbacks;
typedef int close_fn(struct nghttp2_session *session, int32_t stream, uint32_t code, void *ctx);
typedef void set_close_fn(struct nghttp2_session_callbacks *callbacks, close_fn *on_close);
typedef void *stream_data_fn(struct nghttp2_session *session, int32_t stream);

void nghttp2_session_callbacks_set_on_stream_close_callback(
    struct nghttp2_session_callbacks *callbacks, close_fn *on_close);

static set_close_fn *next_set_close;
static stream_data_fn *stream_data;
static close_fn *next_close; /* libcurl's: the same for all its sessions */
static submit_fn *next_submit;
static remote_close_fn *remote_close;

void http_reset_init(void)
{
    next_submit = (submit_fn *)dlsym(RTLD_NEXT, "nghttp2_submit_rst_stream");
    remote_close = (remote_close_fn *)dlsym(RTLD_NEXT, "nghttp2_session_get_stream_remote_close");
    stream_data = (stream_data_fn *)dlsym(RTLD_NEXT, "nghttp2_session_get_stream_user_data");
    next_set_close =
        (set_close_fn *)dlsym(RTLD_NEXT, "nghttp2_session_callbacks_set_on_stream_close_callback");
}

/* libcurl's data of a stream is the handle, and ours of a handle is the call. */
static int on_stream_close(struct nghttp2_session *session, int32_t stream, uint32_t code,
                           void *ctx)
{
    CURL *easy = code == REFUSED_STREAM && stream_data ? stream_data(session, stream) : NULL;
    struct http_call *call = NULL;

    if (easy && curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&call) == CURLE_OK && call)
        call->is_refused = true;
    return next_close(session, stream, code, ctx);
}

void nghttp2_session_callbacks_set_on_stream_close_callback(
    struct nghttp2_session_callbacks *callbacks, close_fn *on_close)
{
    next_close = on_close;
    if (next_set_close)
        next_set_close(callbacks, on_close ? on_stream_close : NULL);
}

int nghttp2_submit_rst_stream(struct nghttp2_session *session, uint8_t flags, int32_t stream,
                              uint32_t code)
{
    if (!next_submit)
        return 0;
    /* 0: the peer has not ended it; else it has, or the stream is gone altogether. */
    if (code == STREAM_CLOSED && remote_close && remote_close(session, stream) != 0)
        return 0;
    return next_submit(session, flags, stream, code);
}

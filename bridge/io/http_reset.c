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
 */
#include "io/http_client_private.h"

#include <dlfcn.h>
#include <stdint.h>

#define STREAM_CLOSED 5 /* RFC 9113 section 7 */

struct nghttp2_session;
typedef int submit_fn(struct nghttp2_session *session, uint8_t flags, int32_t stream,
                      uint32_t code);
typedef int remote_close_fn(struct nghttp2_session *session, int32_t stream);

/* As in <nghttp2/nghttp2.h>, which nothing else needs. */
int nghttp2_submit_rst_stream(struct nghttp2_session *session, uint8_t flags, int32_t stream,
                              uint32_t code);

static submit_fn *next_submit;
static remote_close_fn *remote_close;

void http_reset_init(void)
{
    next_submit = (submit_fn *)dlsym(RTLD_NEXT, "nghttp2_submit_rst_stream");
    remote_close = (remote_close_fn *)dlsym(RTLD_NEXT, "nghttp2_session_get_stream_remote_close");
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

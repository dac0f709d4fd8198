/* SPDX-License-Identifier: MIT */
/*
 * http_server_guard - refuses requests that two HTTP implementations could read differently
 *
 * A proxy in front of this port decides by path who may ask for what.  A request whose end the
 * proxy sees elsewhere than we do carries a second request past that decision (request smuggling).
 * Such requests are answered with 400 and the connection ends (RFC 9112 5.1, 5.2, 6.1, 6.3;
 * RFC 9110 7.2).
 *
 * Guarantee: a request that passes has at most one Content-Length, of digits only; no
 *            Transfer-Encoding but a single "chunked", in HTTP/1.1 and without a Content-Length;
 *            one Host in HTTP/1.1, which is a host and a port at most; header names that are
 *            tokens; no CR, LF or NUL in a value; no folded header line, and no line that ends with
 *            LF alone (but behind a NUL, which libmicrohttpd does not distinguish from a CR).
 * Limit:     the lines within a chunked body are the library's to read, and it is lax: the server
 *            ends the connection behind such a body.
 */
#ifndef TOCSIN_IO_HTTP_SERVER_GUARD_H
#define TOCSIN_IO_HTTP_SERVER_GUARD_H
#include <stdbool.h>
#include <stdint.h>

#include <microhttpd.h>

/* What the headers say of the body. */
struct http_framing {
    uint64_t length; /* by Content-Length; 0 without one */
    bool is_chunked;
};

/*
 * Looks at the headers of a request; method and version as the access handler has them.  NULL when
 * the request is unambiguous, else a static sentence that says what is not.
 */
const char *http_server_guard(struct MHD_Connection *connection, const char *method,
                              const char *version, struct http_framing *framing);

#endif

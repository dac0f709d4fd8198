/* SPDX-License-Identifier: MIT */
/*
 * mime - a mail as RFC 5322 text
 *
 * Everything on the wire is ASCII in lines of at most 76 octets, 998 where a value cannot be
 * folded, and never more: bodies are quoted-printable, attachments base64, header fields as
 * channels/mime_header.h says.  Lines end in CRLF; dot-stuffing is the transport's.  The same email
 * gives the same bytes.
 *
 *   multipart/mixed            with attachments that the HTML does not show
 *     multipart/alternative    with both text and HTML
 *       text/plain
 *       multipart/related      with attachments that the HTML shows by cid: (RFC 2387, 2392)
 *         text/html
 *         inline attachments ...
 *     attachments ...
 *
 * An attachment of type message/... goes as it is (7bit) or, where it cannot, as
 * application/octet-stream, since RFC 2046 forbids to encode it.
 *
 * Purity: no I/O, no clock.
 */
#ifndef TOCSIN_CHANNELS_MIME_H
#define TOCSIN_CHANNELS_MIME_H
#include "base/buf.h"
#include "channels/email.h"
#include "channels/mime_header.h"

void mime_write(struct buf *out, const struct email *email);
/* Quoted-printable with CRLF line ends whatever the text's were; ends with CRLF. */
void mime_quoted_printable(struct buf *out, const char *text);

#endif

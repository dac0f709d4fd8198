/* SPDX-License-Identifier: MIT */
/*
 * mime - a mail as RFC 5322 text
 *
 * Everything on the wire is ASCII in lines of at most 76 (998 where a value cannot be folded):
 * bodies are quoted-printable, attachments base64, headers RFC 2047.  Lines end in CRLF;
 * dot-stuffing is the transport's.  The same email gives the same bytes.
 *
 *   multipart/mixed            only with attachments
 *     multipart/alternative    only with both text and html
 *       text/plain
 *       text/html
 *     attachments ...          inline ones carry a Content-ID
 *
 * Purity: no I/O, no clock.
 */
#ifndef TOCSIN_CHANNELS_MIME_H
#define TOCSIN_CHANNELS_MIME_H
#include "base/buf.h"
#include "channels/email.h"

void mime_write(struct buf *out, const struct email *email);
/* One header, encoded and folded, with its CRLF; used by mime_write() and its tests. */
void mime_header(struct buf *out, const char *name, const char *value);
/* "Name" <address> on one line, encoded where it must be. */
void mime_mailbox(struct buf *out, const struct mailbox *mailbox);
/* Quoted-printable with CRLF line ends whatever the text's were; ends with CRLF. */
void mime_quoted_printable(struct buf *out, const char *text);

#endif

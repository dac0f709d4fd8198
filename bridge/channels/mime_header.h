/* SPDX-License-Identifier: MIT */
/*
 * mime_header - header fields of a mail: encoded where they must be, folded, never too long
 *
 * No line that is written is longer than 998 octets (RFC 5322 2.1.1), the name of the field
 * counted.  Lines are folded before words at 76.  What is not ASCII, looks like an encoded word, or
 * has a word that does not fit a line becomes encoded words (RFC 2047), from which readers make
 * the same text.  In fields of ids and URLs (References, List-Unsubscribe, ...) encoded words mean
 * nothing: there a word that fits no line is refused (mime_header_fits).
 *
 * Purity: no I/O.  Values are clean UTF-8 (text_is_clean).
 */
#ifndef TOCSIN_CHANNELS_MIME_HEADER_H
#define TOCSIN_CHANNELS_MIME_HEADER_H
#include "base/buf.h"
#include "channels/mailbox.h"
#include <stdbool.h>

/* One field with its CRLF. */
void mime_header(struct buf *out, const char *name, const char *value);
/* Whether mime_header() can write it in lines that are short enough. */
bool mime_header_fits(const char *name, const char *value);
/* Name: "Display" <address> as a field, folded; and on one line, without the field's name. */
void mime_mailbox_header(struct buf *out, const char *name, const struct mailbox *mailbox);
void mime_mailbox(struct buf *out, const struct mailbox *mailbox);
/*
 * ";\r\n parameter=..." of a file name: a quoted string where it is ASCII, RFC 2231 where it is
 * not.  A name has at most 255 bytes, and so its line less than 998 octets.
 */
void mime_file_name(struct buf *out, const char *parameter, const char *name);

#endif

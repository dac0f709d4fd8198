/* SPDX-License-Identifier: MIT */
#include "channels/mime.h"
#include "channels/encode.h"
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define LINE_MAX_CHARS 76
#define LINE_MAX_HARD  998 /* RFC 5322 2.1.1, without the CRLF */

static void date_header(struct buf *out, int64_t wall_ms)
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;

    if (!gmtime_r(&seconds, &tm))
        return;
    buf_printf(out, "Date: %s, %d %s %d %02d:%02d:%02d +0000\r\n", days[tm.tm_wday], tm.tm_mday,
               months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static bool is_line_end(const char *p)
{
    return *p == '\0' || *p == '\n' || (*p == '\r' && p[1] == '\n');
}

void mime_quoted_printable(struct buf *out, const char *text)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t column = 0;

    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        bool is_plain =
            (c > 0x20 && c < 0x7F && c != '=') || ((c == ' ' || c == '\t') && !is_line_end(p + 1));
        size_t width = is_plain ? 1 : 3;

        if (c == '\r' && p[1] == '\n')
            continue;
        if (c == '\n') {
            buf_add_text(out, "\r\n");
            column = 0;
            continue;
        }
        if (column + width > LINE_MAX_CHARS - 1) {
            buf_add_text(out, "=\r\n");
            column = 0;
        }
        if (is_plain) {
            buf_add_char(out, (char)c);
        } else {
            buf_add_char(out, '=');
            buf_add_char(out, digits[c >> 4]);
            buf_add_char(out, digits[c & 15]);
        }
        column += width;
    }
    if (column)
        buf_add_text(out, "\r\n");
}

static void text_part(struct buf *out, const char *subtype, const char *text)
{
    buf_printf(out,
               "Content-Type: text/%s; charset=utf-8\r\n"
               "Content-Transfer-Encoding: quoted-printable\r\n\r\n",
               subtype);
    mime_quoted_printable(out, text);
}

/* ASCII in lines that are short enough: what message/rfc822 may be sent as (RFC 2046 5.2.1). */
static bool is_seven_bit(const struct content_attachment *attachment)
{
    const char *bytes = attachment->bytes;
    size_t column = 0;

    for (size_t i = 0; i < attachment->length; i++) {
        column = bytes[i] == '\n' ? 0 : column + 1;
        if ((unsigned char)bytes[i] >= 0x80 || !bytes[i] || column > LINE_MAX_HARD ||
            (bytes[i] == '\r' && (i + 1 == attachment->length || bytes[i + 1] != '\n')))
            return false;
    }
    return true;
}

static void add_base64(struct buf *out, const struct content_attachment *attachment)
{
    const size_t step = LINE_MAX_CHARS / 4 * 3;

    for (size_t at = 0; at < attachment->length; at += step) {
        size_t left = attachment->length - at;

        encode_base64(out, (const char *)attachment->bytes + at, left < step ? left : step);
        buf_add_text(out, "\r\n");
    }
}

static void add_seven_bit(struct buf *out, const struct content_attachment *attachment)
{
    const char *bytes = attachment->bytes;

    for (size_t i = 0; i < attachment->length; i++) {
        if (bytes[i] == '\n' && (i == 0 || bytes[i - 1] != '\r'))
            buf_add_char(out, '\r');
        buf_add_char(out, bytes[i]);
    }
    buf_add_text(out, "\r\n");
}

/*
 * A part of type message/... or multipart/... may not be base64 (RFC 2046): it goes as it is where
 * it can, and as a file of bytes where it cannot.
 */
static void attachment_part(struct buf *out, const struct content_attachment *attachment,
                            bool is_inline)
{
    bool is_composite = strncasecmp(attachment->type, "message/", 8) == 0 ||
                        strncasecmp(attachment->type, "multipart/", 10) == 0;
    bool is_plain = strncasecmp(attachment->type, "message/", 8) == 0 && is_seven_bit(attachment);

    buf_printf(out, "Content-Type: %s",
               is_composite && !is_plain ? "application/octet-stream" : attachment->type);
    mime_file_name(out, "name", attachment->name);
    buf_printf(out, "\r\nContent-Transfer-Encoding: %s\r\nContent-Disposition: %s",
               is_plain ? "7bit" : "base64", is_inline ? "inline" : "attachment");
    mime_file_name(out, "filename", attachment->name);
    buf_add_text(out, "\r\n");
    if (attachment->id)
        buf_printf(out, "Content-ID: <%s>\r\n", attachment->id);
    buf_add_text(out, "\r\n");
    (is_plain ? add_seven_bit : add_base64)(out, attachment);
}

/*
 * "=_" cannot occur in quoted-printable or base64, and no mail that is attached has our delivery's
 * id: these lines cannot occur in a body.  The level keeps the multiparts apart.
 */
static void boundary(struct buf *out, const struct email *email, const char *before, char level,
                     const char *after)
{
    /* The Message-ID's local part, without the angle bracket. */
    int length = (int)strcspn(email->message_id + 1, ".");

    buf_printf(out, "%s=_%c%.*s%s", before, level, length, email->message_id + 1, after);
}

/* The URL is the id and nothing more. */
static bool is_id(const char *url, const char *id, bool is_encoded)
{
    size_t length = strlen(id);

    return (is_encoded ? strncasecmp(url, id, length) : strncmp(url, id, length)) == 0 &&
           strchr("\"' \t\r\n)>;&,", url[length]) != NULL; /* or the end */
}

/* Whether the HTML shows the attachment: cid: and its id, perhaps percent-encoded (RFC 2392). */
static bool is_shown(const struct email *email, const struct content_attachment *attachment)
{
    struct buf encoded = {0};
    bool found = false;

    if (!email->html || !attachment->id)
        return false;
    encode_percent(&encoded, attachment->id);
    for (const char *at = email->html; !found && (at = strchr(at, ':')); at++) {
        if (at - email->html < 3 || strncasecmp(at - 3, "cid", 3) != 0)
            continue;
        found = is_id(at + 1, attachment->id, false) || is_id(at + 1, encoded.data, true);
    }
    buf_fini(&encoded);
    return found;
}

static size_t count_shown(const struct email *email)
{
    size_t count = 0;

    for (size_t i = 0; i < email->attachment_count; i++)
        count += is_shown(email, &email->attachments[i]);
    return count;
}

/* The line end before a boundary is the boundary's: the text's own must be there besides. */
static void text_of(struct buf *out, const char *subtype, const char *text, bool is_alone)
{
    size_t length = strlen(text);

    text_part(out, subtype, text);
    if (!is_alone && (length == 0 || text[length - 1] == '\n'))
        buf_add_text(out, "\r\n");
}

/* The HTML, with what it shows. */
static void html_part(struct buf *out, const struct email *email, bool is_alone)
{
    if (!count_shown(email)) {
        text_of(out, "html", email->html, is_alone);
        return;
    }
    boundary(out, email, "Content-Type: multipart/related; type=\"text/html\";\r\n boundary=\"",
             'r', "\"\r\n\r\n");
    boundary(out, email, "--", 'r', "\r\n");
    text_of(out, "html", email->html, false);
    for (size_t i = 0; i < email->attachment_count; i++) {
        if (!is_shown(email, &email->attachments[i]))
            continue;
        boundary(out, email, "--", 'r', "\r\n");
        attachment_part(out, &email->attachments[i], true);
    }
    boundary(out, email, "--", 'r', "--\r\n");
}

/* What is read: text, HTML, or both. */
static void body_part(struct buf *out, const struct email *email, bool is_alone)
{
    if (!email->html) {
        text_of(out, "plain", email->text, is_alone);
        return;
    }
    if (!email->text) {
        html_part(out, email, is_alone);
        return;
    }
    boundary(out, email, "Content-Type: multipart/alternative;\r\n boundary=\"", 'a', "\"\r\n\r\n");
    boundary(out, email, "--", 'a', "\r\n");
    text_of(out, "plain", email->text, false);
    boundary(out, email, "--", 'a', "\r\n");
    html_part(out, email, false);
    boundary(out, email, "--", 'a', "--\r\n");
}

void mime_write(struct buf *out, const struct email *email)
{
    size_t mixed = email->attachment_count - count_shown(email);

    mime_mailbox_header(out, "From", email->from);
    buf_printf(out, "To: %s\r\n", email->to);
    if (email->reply_to)
        mime_mailbox_header(out, "Reply-To", email->reply_to);
    mime_header(out, "Subject", email->subject);
    date_header(out, email->date_ms);
    buf_printf(out, "Message-ID: %s\r\n", email->message_id);
    for (size_t i = 0; i < email->header_count; i++)
        mime_header(out, email->headers[i].key, email->headers[i].value);
    buf_add_text(out, "MIME-Version: 1.0\r\n");
    if (!mixed) {
        body_part(out, email, true);
        return;
    }
    boundary(out, email, "Content-Type: multipart/mixed;\r\n boundary=\"", 'm', "\"\r\n\r\n");
    boundary(out, email, "--", 'm', "\r\n");
    body_part(out, email, false);
    for (size_t i = 0; i < email->attachment_count; i++) {
        if (is_shown(email, &email->attachments[i]))
            continue;
        boundary(out, email, "--", 'm', "\r\n");
        attachment_part(out, &email->attachments[i], false);
    }
    boundary(out, email, "--", 'm', "--\r\n");
}

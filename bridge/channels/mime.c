/* SPDX-License-Identifier: MIT */
#include "channels/mime.h"
#include "channels/encode.h"
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LINE_MAX_CHARS 76
#define WORD_MAX_CHARS 75 /* RFC 2047: an encoded word, all of it */

static size_t utf8_step(const char *text)
{
    size_t step = 1;

    while (((unsigned char)text[step] & 0xC0) == 0x80)
        step++;
    return step;
}

/* =?UTF-8?B?...?= words, whole characters each, one per line after the first. */
static void add_encoded_words(struct buf *out, const char *text, size_t column)
{
    static const char start[] = "=?UTF-8?B?";
    bool is_first = true;

    while (*text) {
        size_t room = WORD_MAX_CHARS - (sizeof start - 1) - 2, length = 0;

        if (is_first)
            room -= column < 40 ? column : 40;
        while (text[length] && (length + utf8_step(text + length) + 2) / 3 * 4 <= room)
            length += utf8_step(text + length);
        if (!is_first)
            buf_add_text(out, "\r\n ");
        buf_add_text(out, start);
        encode_base64(out, text, length);
        buf_add_text(out, "?=");
        text += length;
        is_first = false;
    }
}

/* Breaks before words once a line is full; a word that is longer than a line stays whole. */
static void add_folded(struct buf *out, const char *text, size_t column)
{
    while (*text) {
        size_t blanks = strspn(text, " "), word = strcspn(text + blanks, " ");

        if (column > 1 && blanks && word && column + blanks + word > LINE_MAX_CHARS) {
            buf_add_text(out, "\r\n");
            column = 0;
        }
        buf_add(out, text, blanks + word);
        column += blanks + word;
        text += blanks + word;
    }
}

void mime_header(struct buf *out, const char *name, const char *value)
{
    size_t column = strlen(name) + 2;

    buf_printf(out, "%s: ", name);
    /* What looks like an encoded word must be one, or it would be read as what it is not. */
    if (text_is_ascii(value) && !strstr(value, "=?"))
        add_folded(out, value, column);
    else
        add_encoded_words(out, value, column);
    buf_add_text(out, "\r\n");
}

/* The display name: a quoted string, or encoded words with breaks between them. */
static void add_name(struct buf *out, const char *name, size_t column)
{
    if (!text_is_ascii(name) || strstr(name, "=?")) {
        add_encoded_words(out, name, column);
        return;
    }
    buf_add_char(out, '"');
    for (; *name; name++) {
        if (*name == '"' || *name == '\\')
            buf_add_char(out, '\\');
        buf_add_char(out, *name);
    }
    buf_add_char(out, '"');
}

void mime_mailbox(struct buf *out, const struct mailbox *mailbox)
{
    struct buf name = {0};

    if (!mailbox->name[0]) {
        buf_add_text(out, mailbox->address);
        return;
    }
    add_name(&name, mailbox->name, 0);
    for (size_t i = 0; i < name.length; i++) {
        if (name.data[i] != '\r' && name.data[i] != '\n')
            buf_add_char(out, name.data[i]);
    }
    buf_fini(&name);
    buf_printf(out, " <%s>", mailbox->address);
}

static void mailbox_header(struct buf *out, const char *header, const struct mailbox *mailbox)
{
    buf_printf(out, "%s: ", header);
    if (!mailbox->name[0]) {
        buf_printf(out, "%s\r\n", mailbox->address);
        return;
    }
    add_name(out, mailbox->name, strlen(header) + 2);
    buf_printf(out, "\r\n <%s>\r\n", mailbox->address);
}

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

/* RFC 2231 where the name is not plain ASCII, a quoted string where it is. */
static void file_name(struct buf *out, const char *parameter, const char *name)
{
    if (!text_is_ascii(name)) {
        buf_printf(out, ";\r\n %s*=UTF-8''", parameter);
        encode_percent(out, name);
        return;
    }
    buf_printf(out, ";\r\n %s=\"", parameter);
    for (; *name; name++) {
        if (*name == '"' || *name == '\\')
            buf_add_char(out, '\\');
        buf_add_char(out, *name);
    }
    buf_add_char(out, '"');
}

static void attachment_part(struct buf *out, const struct content_attachment *attachment)
{
    const size_t step = LINE_MAX_CHARS / 4 * 3;

    buf_printf(out, "Content-Type: %s", attachment->type);
    file_name(out, "name", attachment->name);
    buf_printf(out, "\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: %s",
               attachment->id ? "inline" : "attachment");
    file_name(out, "filename", attachment->name);
    buf_add_text(out, "\r\n");
    if (attachment->id)
        buf_printf(out, "Content-ID: <%s>\r\n", attachment->id);
    buf_add_text(out, "\r\n");
    for (size_t at = 0; at < attachment->length; at += step) {
        size_t left = attachment->length - at;

        encode_base64(out, (const char *)attachment->bytes + at, left < step ? left : step);
        buf_add_text(out, "\r\n");
    }
}

/*
 * "=_" cannot occur in quoted-printable or base64, so these lines cannot occur in a body.  The
 * level keeps the two multiparts apart.
 */
static void boundary(struct buf *out, const struct email *email, const char *before, char level,
                     const char *after)
{
    /* The Message-ID's local part, without the angle bracket. */
    int length = (int)strcspn(email->message_id + 1, ".");

    buf_printf(out, "%s=_%c%.*s%s", before, level, length, email->message_id + 1, after);
}

/* The line end before a boundary is the boundary's: the text's own must be there besides. */
static void text_in_multipart(struct buf *out, const char *subtype, const char *text)
{
    size_t length = strlen(text);

    text_part(out, subtype, text);
    if (length == 0 || text[length - 1] == '\n')
        buf_add_text(out, "\r\n");
}

static void body_part(struct buf *out, const struct email *email)
{
    bool is_alone = !email->attachment_count;

    if (!email->html || !email->text) {
        (is_alone ? text_part : text_in_multipart)(out, email->html ? "html" : "plain",
                                                   email->html ? email->html : email->text);
        return;
    }
    boundary(out, email, "Content-Type: multipart/alternative;\r\n boundary=\"", 'a', "\"\r\n\r\n");
    boundary(out, email, "--", 'a', "\r\n");
    text_in_multipart(out, "plain", email->text);
    boundary(out, email, "--", 'a', "\r\n");
    text_in_multipart(out, "html", email->html);
    boundary(out, email, "--", 'a', "--\r\n");
}

void mime_write(struct buf *out, const struct email *email)
{
    mailbox_header(out, "From", email->from);
    buf_printf(out, "To: %s\r\n", email->to);
    if (email->reply_to)
        mailbox_header(out, "Reply-To", email->reply_to);
    mime_header(out, "Subject", email->subject);
    date_header(out, email->date_ms);
    buf_printf(out, "Message-ID: %s\r\n", email->message_id);
    for (size_t i = 0; i < email->header_count; i++)
        mime_header(out, email->headers[i].key, email->headers[i].value);
    buf_add_text(out, "MIME-Version: 1.0\r\n");
    if (!email->attachment_count) {
        body_part(out, email);
        return;
    }
    boundary(out, email, "Content-Type: multipart/mixed;\r\n boundary=\"", 'm', "\"\r\n\r\n");
    boundary(out, email, "--", 'm', "\r\n");
    body_part(out, email);
    for (size_t i = 0; i < email->attachment_count; i++) {
        boundary(out, email, "--", 'm', "\r\n");
        attachment_part(out, &email->attachments[i]);
    }
    boundary(out, email, "--", 'm', "--\r\n");
}

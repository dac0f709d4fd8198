/* SPDX-License-Identifier: MIT */
#include "channels/mime_header.h"
#include "channels/encode.h"
#include <string.h>
#include <strings.h>

#define LINE_MAX_CHARS 76  /* where lines are folded; RFC 2047 demands it of encoded words */
#define LINE_MAX_HARD  998 /* RFC 5322 2.1.1, without the CRLF */
#define WORD_MAX_CHARS 75  /* RFC 2047: an encoded word, all of it */
#define WORD_MIN_CHARS 24  /* less is not worth beginning on a line */

static size_t utf8_step(const char *text)
{
    size_t step = 1;

    while (((unsigned char)text[step] & 0xC0) == 0x80)
        step++;
    return step;
}

/* =?UTF-8?B?...?= words, whole characters each, one per line; column: where the first begins. */
static void add_encoded_words(struct buf *out, const char *text, size_t column)
{
    static const char start[] = "=?UTF-8?B?";
    bool is_first = true;

    if (column + WORD_MIN_CHARS > LINE_MAX_CHARS) {
        buf_add_text(out, "\r\n ");
        column = 1;
    }
    while (*text) {
        size_t room = LINE_MAX_CHARS - (is_first ? column : 1), length = 0;

        room = (room < WORD_MAX_CHARS ? room : WORD_MAX_CHARS) - (sizeof start - 1) - 2;
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

/*
 * Breaks before words once a line is full; a word that is longer than a line stays whole.  The
 * longest line that comes of it; out may be NULL.
 */
static size_t fold(struct buf *out, const char *text, size_t column)
{
    size_t longest = column;

    while (*text) {
        size_t blanks = strspn(text, " "), word = strcspn(text + blanks, " ");

        if (column > 1 && blanks && word && column + blanks + word > LINE_MAX_CHARS) {
            if (out)
                buf_add_text(out, "\r\n");
            column = 0;
        }
        if (out)
            buf_add(out, text, blanks + word);
        column += blanks + word;
        longest = column > longest ? column : longest;
        text += blanks + word;
    }
    return longest;
}

/* Headers of ids and URLs, in which encoded words have no meaning. */
static bool is_structured(const char *name)
{
    static const char *const names[] = {
        "references",  "in-reply-to", "auto-submitted",    "precedence",
        "importance",  "priority",    "content-base",      "autocrypt",
        "feedback-id", "errors-to",   "return-receipt-to", "disposition-notification-to"};

    if (strncasecmp(name, "list-", 5) == 0 && strcasecmp(name, "list-id") != 0)
        return true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcasecmp(name, names[i]) == 0)
            return true;
    return false;
}

/* What looks like an encoded word must be one, or it would be read as what it is not. */
static bool is_plain(const char *value)
{
    size_t length = strlen(value);

    return text_is_ascii(value) && !strstr(value, "=?") && length && value[0] != ' ' &&
           value[length - 1] != ' ';
}

bool mime_header_fits(const char *name, const char *value)
{
    return !is_structured(name) || !text_is_ascii(value) || fold(NULL, value, 1) <= LINE_MAX_HARD;
}

void mime_header(struct buf *out, const char *name, const char *value)
{
    size_t column = strlen(name) + 2;
    bool is_word = !is_structured(name);

    buf_printf(out, "%s: ", name);
    if (is_word ? !is_plain(value) || fold(NULL, value, column) > LINE_MAX_HARD
                : !text_is_ascii(value)) {
        add_encoded_words(out, value, column);
    } else if (fold(NULL, value, column) > LINE_MAX_HARD) {
        buf_add_text(out, "\r\n "); /* the first word has a line of its own */
        (void)fold(out, value, 1);
    } else {
        (void)fold(out, value, column);
    }
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

void mime_mailbox_header(struct buf *out, const char *header, const struct mailbox *mailbox)
{
    buf_printf(out, "%s: ", header);
    if (!mailbox->name[0]) {
        buf_printf(out, "%s\r\n", mailbox->address);
        return;
    }
    add_name(out, mailbox->name, strlen(header) + 2);
    buf_printf(out, "\r\n <%s>\r\n", mailbox->address);
}

/* RFC 2231 where the name is not plain ASCII, a quoted string where it is. */
void mime_file_name(struct buf *out, const char *parameter, const char *name)
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

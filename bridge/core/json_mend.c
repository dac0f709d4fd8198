/* SPDX-License-Identifier: MIT */
#include "core/json_mend.h"

#include <stdbool.h>
#include <string.h>

struct mender {
    const char *at, *end;
    struct buf *out;
    char closers[JSON_MEND_DEPTH]; /* what the open brackets end with */
    size_t depth;
};

static bool is_one_of(char c, const char *set)
{
    return c && strchr(set, c) != NULL;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex4(const char *at, const char *end)
{
    if (end - at < 4)
        return false;
    for (int i = 0; i < 4; i++)
        if (!is_digit(at[i]) && !is_one_of(at[i], "abcdefABCDEF"))
            return false;
    return true;
}

/* After the opening quote, which is written. */
static void mend_string(struct mender *m)
{
    while (m->at < m->end && *m->at != '"') {
        char c = *m->at++;

        if (c == '\\' && m->at < m->end &&
            (is_one_of(*m->at, "\"\\/bfnrt") || (*m->at == 'u' && is_hex4(m->at + 1, m->end)))) {
            buf_add_char(m->out, c);
            buf_add_char(m->out, *m->at++);
        } else if (c == '\\') {
            buf_add_text(m->out, "\\\\");
        } else {
            buf_add_char(m->out, (unsigned char)c < 0x20 ? ' ' : c);
        }
    }
    m->at += m->at < m->end;
    buf_add_char(m->out, '"');
}

static size_t digits(const char *at, size_t length)
{
    size_t count = 0;

    while (count < length && is_digit(at[count]))
        count++;
    return count;
}

static bool is_number(const char *at, size_t length)
{
    size_t used = length && *at == '-', run = digits(at + used, length - used);

    if (!run || (run > 1 && at[used] == '0'))
        return false;
    used += run;
    if (used < length && at[used] == '.') {
        run = digits(at + used + 1, length - used - 1);
        if (!run)
            return false;
        used += run + 1;
    }
    if (used < length && is_one_of(at[used], "eE")) {
        used++;
        used += used < length && is_one_of(at[used], "+-");
        run = digits(at + used, length - used);
        if (!run)
            return false;
        used += run;
    }
    return used == length;
}

static bool is_word(const char *at, size_t length, const char *word)
{
    return length == strlen(word) && memcmp(at, word, length) == 0;
}

static void mend_bare(struct mender *m)
{
    const char *from = m->at;
    size_t length;

    while (m->at < m->end && !is_one_of(*m->at, " \t\r\n,:[]{}\""))
        m->at++;
    length = (size_t)(m->at - from);
    if (is_number(from, length) || is_word(from, length, "true") ||
        is_word(from, length, "false") || is_word(from, length, "null"))
        buf_add(m->out, from, length);
    else
        buf_add_text(m->out, "null");
}

static char last(const struct mender *m)
{
    return m->out->length ? m->out->data[m->out->length - 1] : '\0';
}

/* A value follows another: the comma between them is missing. */
static void begin_value(struct mender *m)
{
    if (last(m) && !is_one_of(last(m), ",:[{"))
        buf_add_char(m->out, ',');
}

/* What was left open before a comma or bracket. */
static void end_value(struct mender *m)
{
    if (last(m) == ':')
        buf_add_text(m->out, "null");
}

static void close_one(struct mender *m)
{
    if (last(m) == ',')
        m->out->data[--m->out->length] = '\0';
    end_value(m);
    buf_add_char(m->out, m->closers[--m->depth]);
}

static bool open_one(struct mender *m, char c)
{
    if (m->depth == JSON_MEND_DEPTH)
        return false;
    begin_value(m);
    m->closers[m->depth++] = c == '{' ? '}' : ']';
    buf_add_char(m->out, c);
    return true;
}

static bool mend_step(struct mender *m)
{
    char c = *m->at;

    if (is_one_of(c, " \t\r\n")) {
        m->at++;
    } else if (c == '"') {
        m->at++;
        begin_value(m);
        buf_add_char(m->out, c);
        mend_string(m);
    } else if (c == '{' || c == '[') {
        m->at++;
        return open_one(m, c);
    } else if (c == '}' || c == ']') {
        m->at++;
        if (m->depth)
            close_one(m);
    } else if (c == ',') {
        m->at++;
        end_value(m);
        if (!is_one_of(last(m), ",[{"))
            buf_add_char(m->out, c);
    } else if (c == ':') {
        m->at++;
        buf_add_char(m->out, c);
    } else {
        begin_value(m);
        mend_bare(m);
    }
    return true;
}

void json_mend(const char *text, size_t bytes, struct buf *out)
{
    struct mender m = {.at = text, .end = text + bytes, .out = out};

    buf_clear(out);
    while (m.at < m.end) {
        if (!mend_step(&m)) {
            buf_clear(out);
            buf_add(out, text, bytes);
            return;
        }
    }
    while (m.depth)
        close_one(&m);
}

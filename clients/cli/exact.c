/* SPDX-License-Identifier: MIT */
#include "exact.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>

#define MARK      "\\u0001" /* as it is written in a JSON text */
#define MARK_LEN  6
#define INT_CHARS 18 /* digits that fit 64 bits whatever they are */

/* After an opening quote: the length up to the closing one, or to the end. */
static size_t string_len(const char *text, size_t len)
{
    size_t at = 0;

    while (at < len && text[at] != '"')
        at += text[at] == '\\' && at + 1 < len ? 2 : 1;
    return at < len ? at : len;
}

/* What follows a string's closing quote makes it a member's name. */
static bool is_name(const char *text, size_t len)
{
    size_t at = 0;

    while (at < len && strchr(" \t\r\n", text[at]) && text[at])
        at++;
    return at < len && text[at] == ':';
}

static size_t number_len(const char *text, size_t len)
{
    size_t at = 0;

    while (at < len && text[at] && strchr("+-.0123456789eE", text[at]))
        at++;
    return at;
}

/* A number that jansson would change or refuse, and that is written as JSON wants it. */
static bool must_mark(const char *text, size_t len)
{
    char copy[400];
    json_t *value;

    if (len >= sizeof(copy))
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (!strpbrk(copy, ".eE") && len <= INT_CHARS && strcmp(copy, "-0") != 0)
        return false;
    if (!strpbrk(copy, ".eE")) { /* too many digits are no fault of the form */
        size_t sign = copy[0] == '-', digits = strspn(copy + sign, "0123456789");

        return copy[sign] != '0' ? digits == len - sign : digits == 1 && len == sign + 1;
    }
    value = json_loads(copy, JSON_DECODE_ANY, NULL);
    json_decref(value);
    return value != NULL;
}

/* The text with marks; true when there are any. */
static bool mark(const char *text, size_t len, struct buf *out)
{
    bool has_marks = false;

    for (size_t at = 0; at < len;) {
        size_t run;

        if (text[at] == '"') {
            run = string_len(text + at + 1, len - at - 1);
            buf_add(out, "\"", 1);
            if (run >= MARK_LEN && strncmp(text + at + 1, MARK, MARK_LEN) == 0 &&
                at + run + 2 <= len && !is_name(text + at + run + 2, len - at - run - 2)) {
                buf_add(out, MARK, MARK_LEN);
                has_marks = true;
            }
            buf_add(out, text + at + 1, run + (at + run + 1 < len));
            at += run + 2;
            continue;
        }
        run = number_len(text + at, len - at);
        if (run && (text[at] == '-' || (text[at] >= '0' && text[at] <= '9')) &&
            must_mark(text + at, run)) {
            buf_add(out, "\"" MARK, MARK_LEN + 1);
            buf_add(out, text + at, run);
            buf_add(out, "\"", 1);
            has_marks = true;
        } else {
            run = run ? run : 1;
            buf_add(out, text + at, run);
        }
        at += run;
    }
    return has_marks;
}

json_t *exact_load(const char *text, size_t len, size_t flags, json_error_t *where)
{
    struct buf marked = {0};
    json_t *value = NULL;

    /* What is said about a text that is wrong is said about this one. */
    if (mark(text, len, &marked))
        value = json_loadb(marked.data, marked.len, flags, NULL);
    if (!value)
        value = json_loadb(text, len, flags, where);
    buf_fini(&marked);
    return value;
}

char *exact_dump(const json_t *value, size_t flags)
{
    char *text = json_dumps(value, flags), *to = text;

    if (!text || !strstr(text, "\"" MARK))
        return text;
    for (const char *at = text; *at;) {
        size_t run;

        if (*at != '"') {
            *to++ = *at++;
            continue;
        }
        run = string_len(at + 1, strlen(at + 1));
        if (run < MARK_LEN || strncmp(at + 1, MARK, MARK_LEN) != 0 ||
            is_name(at + run + 2, strlen(at + run + 2))) {
            memmove(to, at, run + 2);
            to += run + 2;
        } else if (strncmp(at + 1 + MARK_LEN, MARK, MARK_LEN) == 0) {
            *to++ = '"';
            memmove(to, at + 1 + MARK_LEN, run + 1 - MARK_LEN);
            to += run + 1 - MARK_LEN;
        } else {
            memmove(to, at + 1 + MARK_LEN, run - MARK_LEN);
            to += run - MARK_LEN;
        }
        at += run + 2;
    }
    *to = '\0';
    return text;
}

bool exact_number(const json_t *value, double *number)
{
    const char *text = json_string_value(value);

    if (json_is_number(value))
        *number = json_number_value(value);
    else if (text && text[0] == '\x01' && text[1] != '\x01')
        *number = strtod(text + 1, NULL);
    else
        return false;
    return true;
}

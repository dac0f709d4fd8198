/* SPDX-License-Identifier: MIT */
#include "json_scan.h"

#include <string.h>

struct json_scan json_scan_over(const char *text, size_t len)
{
    return (struct json_scan){.at = text, .end = text + len};
}

static void skip_space(struct json_scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\t' || *s->at == '\r'))
        s->at++;
}

bool json_scan_enter(struct json_scan *s, char bracket)
{
    skip_space(s);
    if (s->at >= s->end || *s->at != bracket)
        return false;
    s->at++;
    return true;
}

/* From an opening quote to just past the closing one, or NULL. */
static const char *past_string(const char *at, const char *end)
{
    at++;
    while (at < end) {
        const char *quote = memchr(at, '"', (size_t)(end - at));
        if (!quote)
            return NULL;
        size_t slashes = 0;
        while (quote - slashes > at && quote[-1 - (long)slashes] == '\\')
            slashes++;
        if (slashes % 2 == 0)
            return quote + 1;
        at = quote + 1;
    }
    return NULL;
}

static const char *past_nest(const char *at, const char *end)
{
    int depth = 0;

    while (at && at < end) {
        char c = *at;

        if (c == '"') {
            at = past_string(at, end);
            continue;
        }
        at++;
        if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && --depth == 0)
            return at;
    }
    return NULL;
}

static bool take_value(struct json_scan *s, struct json_slice *value)
{
    const char *start = s->at, *stop = start;

    if (start >= s->end)
        return false;
    if (*start == '"')
        stop = past_string(start, s->end);
    else if (*start == '{' || *start == '[')
        stop = past_nest(start, s->end);
    else
        while (stop < s->end && !memchr(",]} \n\t\r", *stop, 7))
            stop++;
    if (!stop || stop == start)
        return false;
    *value = (struct json_slice){.at = start, .len = (size_t)(stop - start)};
    s->at = stop;
    return true;
}

static void skip_comma(struct json_scan *s)
{
    skip_space(s);
    if (s->at < s->end && *s->at == ',')
        s->at++;
    skip_space(s);
}

bool json_scan_member(struct json_scan *s, struct json_slice *key, struct json_slice *value)
{
    skip_comma(s);
    if (s->at >= s->end || *s->at != '"')
        return false;
    if (!take_value(s, key) || !json_slice_text(*key, key))
        return false;
    skip_space(s);
    if (s->at >= s->end || *s->at != ':')
        return false;
    s->at++;
    skip_space(s);
    return take_value(s, value);
}

bool json_scan_element(struct json_scan *s, struct json_slice *value)
{
    skip_comma(s);
    if (s->at >= s->end || *s->at == ']')
        return false;
    return take_value(s, value);
}

bool json_slice_text(struct json_slice value, struct json_slice *text)
{
    if (value.len < 2 || value.at[0] != '"')
        return false;
    *text = (struct json_slice){.at = value.at + 1, .len = value.len - 2};
    return true;
}

bool json_slice_is(struct json_slice text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.at, word, text.len) == 0;
}

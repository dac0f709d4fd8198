/* SPDX-License-Identifier: MIT */
#include "core/html.h"

#include <stdint.h>
#include <string.h>

/* The text, and how far it has been copied. */
struct scan {
    const char *at, *end, *copied;
    struct buf *out;
    html_link_fn *on_link;
    void *ctx;
    const char *tail; /* NULL once it is in */
    struct buf value;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool is_letter(char c)
{
    return lower(c) >= 'a' && lower(c) <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* ---- entities ---- */

static void add_utf8(struct buf *out, uint32_t c)
{
    if (c < 0x80) {
        buf_add_char(out, (char)c);
    } else if (c < 0x800) {
        buf_add_char(out, (char)(0xc0 | c >> 6));
        buf_add_char(out, (char)(0x80 | (c & 0x3f)));
    } else if (c < 0x10000) {
        buf_add_char(out, (char)(0xe0 | c >> 12));
        buf_add_char(out, (char)(0x80 | (c >> 6 & 0x3f)));
        buf_add_char(out, (char)(0x80 | (c & 0x3f)));
    } else {
        buf_add_char(out, (char)(0xf0 | c >> 18));
        buf_add_char(out, (char)(0x80 | (c >> 12 & 0x3f)));
        buf_add_char(out, (char)(0x80 | (c >> 6 & 0x3f)));
        buf_add_char(out, (char)(0x80 | (c & 0x3f)));
    }
}

static int digit_of(char c, int base)
{
    int digit = is_digit(c) ? c - '0' : is_letter(c) ? lower(c) - 'a' + 10 : 99;

    return digit < base ? digit : -1;
}

/* Of "&#38;" or "&#x26;" what stands between mark and semicolon; 0 when it is no character. */
static uint32_t number_of(const char *text, size_t length)
{
    int base = length && lower(*text) == 'x' ? 16 : 10;
    uint32_t c = 0;

    for (size_t i = base == 16; i < length; i++) {
        int digit = digit_of(text[i], base);

        if (digit < 0 || c > 0x10ffff)
            return 0;
        c = c * (uint32_t)base + (uint32_t)digit;
    }
    /* Controls, surrogates and the numbers that browsers read as Windows' are not for links. */
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff ? 0
                                                                                              : c;
}

static uint32_t name_of(const char *text, size_t length)
{
    static const struct {
        const char *name;
        uint32_t c;
    } names[] = {{"amp", '&'},    {"AMP", '&'},    {"lt", '<'},     {"gt", '>'},     {"quot", '"'},
                 {"apos", '\''},  {"num", '#'},    {"equals", '='}, {"quest", '?'},  {"sol", '/'},
                 {"colon", ':'},  {"comma", ','},  {"period", '.'}, {"lowbar", '_'}, {"plus", '+'},
                 {"percnt", '%'}, {"commat", '@'}, {"excl", '!'}};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strlen(names[i].name) == length && memcmp(names[i].name, text, length) == 0)
            return names[i].c;
    return 0;
}

/*
 * What follows an ampersand; *used is how much of it belongs to the entity.  Returns the
 * character, '&' itself with nothing used where none is meant, or 0 in doubt.
 */
static uint32_t entity(const char *text, const char *end, size_t *used)
{
    const char *at = text;
    bool is_number = at < end && *at == '#';

    *used = 0;
    if (!is_number && (at == end || !(is_letter(*at) || is_digit(*at))))
        return '&';
    at += is_number;
    while (at < end && (is_letter(*at) || is_digit(*at)))
        at++;
    if (at < end && *at == ';') {
        *used = (size_t)(at - text) + 1;
        return is_number ? number_of(text + 1, (size_t)(at - text) - 1)
                         : name_of(text, (size_t)(at - text));
    }
    /* "&b=2": the standard reads an ampersand; without the sign it depends on the name. */
    return !is_number && at < end && *at == '=' ? '&' : 0;
}

bool html_decode(struct buf *out, const char *text, size_t length)
{
    const char *end = text + length;

    while (text < end) {
        const char *mark = memchr(text, '&', (size_t)(end - text));
        uint32_t c;
        size_t used;

        if (!mark) {
            buf_add(out, text, (size_t)(end - text));
            return true;
        }
        buf_add(out, text, (size_t)(mark - text));
        c = entity(mark + 1, end, &used);
        if (!c)
            return false;
        add_utf8(out, c);
        text = mark + 1 + used;
    }
    return true;
}

void html_escape(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '&')
            buf_add_text(out, "&amp;");
        else if (*text == '"')
            buf_add_text(out, "&quot;");
        else if (*text == '<')
            buf_add_text(out, "&lt;");
        else if (*text == '>')
            buf_add_text(out, "&gt;");
        else
            buf_add_char(out, *text);
    }
}

/* ---- tags ---- */

static bool is_name(const char *text, size_t length, const char *name)
{
    if (strlen(name) != length)
        return false;
    for (size_t i = 0; i < length; i++)
        if (lower(text[i]) != name[i])
            return false;
    return true;
}

/* Copies what was passed up to here. */
static void copy_to(struct scan *scan, const char *to)
{
    buf_add(scan->out, scan->copied, (size_t)(to - scan->copied));
    scan->copied = to;
}

/* What was begun never ends: nothing can be put behind it. */
static void give_up(struct scan *scan)
{
    scan->at = scan->end;
    scan->tail = NULL;
}

static const char *find(const char *from, const char *end, const char *what)
{
    return from < end ? memmem(from, (size_t)(end - from), what, strlen(what)) : NULL;
}

struct attribute {
    const char *name, *value;
    size_t name_length, value_length;
    const char *from, *to; /* the value with its quotes */
};

/* Reads the value behind an equals sign; false when the text ends in it. */
static bool read_value(struct scan *scan, struct attribute *attribute)
{
    const char *close;

    while (scan->at < scan->end && is_blank(*scan->at))
        scan->at++;
    if (scan->at == scan->end)
        return false;
    attribute->from = scan->at;
    if (*scan->at == '"' || *scan->at == '\'') {
        close = memchr(scan->at + 1, *scan->at, (size_t)(scan->end - scan->at - 1));
        if (!close)
            return false;
        attribute->value = scan->at + 1;
        attribute->value_length = (size_t)(close - scan->at - 1);
        scan->at = close + 1;
    } else {
        attribute->value = scan->at;
        while (scan->at < scan->end && !is_blank(*scan->at) && *scan->at != '>')
            scan->at++;
        attribute->value_length = (size_t)(scan->at - attribute->value);
    }
    attribute->to = scan->at;
    return true;
}

enum step { STEP_ATTRIBUTE, STEP_TAG_END, STEP_TEXT_END };

static enum step next_attribute(struct scan *scan, struct attribute *attribute)
{
    memset(attribute, 0, sizeof(*attribute));
    while (scan->at < scan->end && (is_blank(*scan->at) || *scan->at == '/'))
        scan->at++;
    if (scan->at == scan->end)
        return STEP_TEXT_END;
    if (*scan->at == '>') {
        scan->at++;
        return STEP_TAG_END;
    }
    attribute->name = scan->at++; /* also an equals sign: then it is the name's first */
    while (scan->at < scan->end && !is_blank(*scan->at) && !strchr("/>=", *scan->at))
        scan->at++;
    attribute->name_length = (size_t)(scan->at - attribute->name);
    while (scan->at < scan->end && is_blank(*scan->at))
        scan->at++;
    if (scan->at < scan->end && *scan->at == '=') {
        scan->at++;
        return read_value(scan, attribute) ? STEP_ATTRIBUTE : STEP_TEXT_END;
    }
    return STEP_ATTRIBUTE;
}

static void replace_link(struct scan *scan, const struct attribute *attribute)
{
    const char *from = attribute->value, *to = from + attribute->value_length, *url;

    while (from < to && is_blank(*from))
        from++;
    while (to > from && is_blank(to[-1]))
        to--;
    buf_clear(&scan->value);
    if (from == to || memchr(from, '\0', (size_t)(to - from)) ||
        !html_decode(&scan->value, from, (size_t)(to - from)))
        return;
    url = scan->on_link(scan->ctx, buf_text(&scan->value));
    if (!url)
        return;
    copy_to(scan, attribute->from);
    buf_add_char(scan->out, '"');
    html_escape(scan->out, url);
    buf_add_char(scan->out, '"');
    scan->copied = attribute->to;
}

/* Whether the tag is over before the text is; a start tag's link is replaced on the way. */
static bool pass_attributes(struct scan *scan, bool is_link)
{
    struct attribute attribute, href = {0};
    enum step step;

    while ((step = next_attribute(scan, &attribute)) == STEP_ATTRIBUTE)
        if (is_link && !href.name && is_name(attribute.name, attribute.name_length, "href"))
            href = attribute; /* of several, the first counts */
    if (step == STEP_TAG_END && href.from)
        replace_link(scan, &href);
    return step == STEP_TAG_END;
}

/* The content of these is text whatever it looks like, up to their own end tag. */
static bool is_raw(const char *name, size_t length)
{
    static const char *const raw[] = {"script", "style",   "textarea", "title", "xmp",
                                      "iframe", "noembed", "noframes", NULL};

    for (size_t i = 0; raw[i]; i++)
        if (is_name(name, length, raw[i]))
            return true;
    return false;
}

static void pass_raw(struct scan *scan, const char *name, size_t length)
{
    const char *at = scan->at;

    while ((at = find(at, scan->end, "</"))) {
        const char *after = at + 2 + length;
        size_t i = 0;

        while (after < scan->end && i < length && lower(at[2 + i]) == lower(name[i]))
            i++;
        if (after < scan->end && i == length &&
            (is_blank(*after) || *after == '/' || *after == '>')) {
            scan->at = at;
            return;
        }
        at += 2;
    }
    give_up(scan);
}

static void pass_tag(struct scan *scan)
{
    const char *open = scan->at++;
    bool is_end = *scan->at == '/';
    const char *name = scan->at + is_end;
    size_t length = 0;
    bool is_link;

    while (name + length < scan->end && !is_blank(name[length]) && name[length] != '/' &&
           name[length] != '>')
        length++;
    scan->at = name + length;
    is_link =
        scan->on_link && !is_end && (is_name(name, length, "a") || is_name(name, length, "area"));
    if (!pass_attributes(scan, is_link)) {
        give_up(scan);
        return;
    }
    if (is_end && scan->tail && is_name(name, length, "body")) {
        copy_to(scan, open);
        buf_add_text(scan->out, scan->tail);
        scan->tail = NULL;
    }
    if (!is_end && is_raw(name, length))
        pass_raw(scan, name, length);
}

static void pass_comment(struct scan *scan)
{
    const char *inside = scan->at + strlen("<!--");
    const char *close = find(inside, scan->end, "-->"), *other = find(inside, scan->end, "--!>");

    if (inside < scan->end && *inside == '>') { /* <!--> is a whole one */
        scan->at = inside + 1;
    } else if (inside + 1 < scan->end && inside[0] == '-' && inside[1] == '>') {
        scan->at = inside + 2;
    } else if (other && (!close || other < close)) {
        scan->at = other + strlen("--!>");
    } else if (close) {
        scan->at = close + strlen("-->");
    } else {
        give_up(scan);
    }
}

/* A "<" and what it begins. */
static void pass_markup(struct scan *scan)
{
    size_t left = (size_t)(scan->end - scan->at);
    const char *close;

    if (left >= 2 &&
        (is_letter(scan->at[1]) || (left >= 3 && scan->at[1] == '/' && is_letter(scan->at[2])))) {
        pass_tag(scan);
    } else if (left >= 4 && memcmp(scan->at, "<!--", 4) == 0) {
        pass_comment(scan);
    } else if (left >= 2 && scan->at[1] && strchr("!?/", scan->at[1])) {
        close = memchr(scan->at, '>', left);
        if (close)
            scan->at = close + 1;
        else
            give_up(scan);
    } else {
        scan->at++;
    }
}

void html_rewrite(struct buf *out, const char *html, size_t length, html_link_fn *on_link,
                  void *ctx, const char *tail)
{
    struct scan scan = {.at = html,
                        .end = html + length,
                        .copied = html,
                        .out = out,
                        .on_link = on_link,
                        .ctx = ctx,
                        .tail = tail};

    while (scan.at < scan.end) {
        const char *open = memchr(scan.at, '<', (size_t)(scan.end - scan.at));

        scan.at = open ? open : scan.end;
        if (open)
            pass_markup(&scan);
    }
    copy_to(&scan, scan.end);
    if (scan.tail)
        buf_add_text(out, scan.tail);
    buf_fini(&scan.value);
}

/* SPDX-License-Identifier: MIT */
#include "core/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/json_digest.h"
#include "core/json_string.h"

#define FEW_MEMBERS 16 /* up to here a new key is compared with each before it */

struct noted {
    struct noted *next;
    size_t item;
    struct json_trouble trouble;
};

struct reader {
    const char *text, *at, *end;
    char *copy; /* of the text: strings are unescaped in place in it */
    struct arena *arena;
    struct json_doc *doc;
    unsigned depth_max;
    size_t spaces; /* bytes of white space passed over so far */
    size_t item;   /* that we are in */
    struct noted *noted;
};

static int read_value(struct reader *r, struct json *json, unsigned depth);

static int syntax_error(struct reader *r, const char *what)
{
    r->doc->error = what;
    r->doc->error_at = (size_t)(r->at - r->text);
    return ERR_INVALID;
}

/* Only the first of an item counts, and items come one after the other. */
static void note(struct reader *r, enum json_fault fault, const struct json *at)
{
    struct noted *noted;

    if (fault == JSON_FAULT_NONE || (r->noted && r->noted->item == r->item))
        return;
    noted = arena_alloc(r->arena, sizeof *noted);
    noted->next = r->noted;
    noted->item = r->item;
    noted->trouble.fault = fault;
    noted->trouble.at = at;
    r->noted = noted;
}

static void skip_space(struct reader *r)
{
    const char *from = r->at;

    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t'))
        r->at++;
    r->spaces += (size_t)(r->at - from);
}

static bool take(struct reader *r, char c)
{
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

/* After the opening quote.  The text is unescaped at the place it has in the copy. */
static int read_string(struct reader *r, const char **text, uint32_t *length,
                       enum json_fault *fault)
{
    char *out = r->copy + (r->at - r->text);
    struct json_string string = {.fault = JSON_FAULT_NONE};
    int err = json_string_read(r->at, (size_t)(r->end - r->at), out, &string);

    r->at += string.consumed;
    if (err)
        return syntax_error(r, string.error);
    *text = out;
    *length = (uint32_t)string.length;
    *fault = string.fault;
    return 0;
}

static const char *skip_digits(const char *at, const char *end)
{
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at;
}

static bool read_integer(const char *at, const char *end, bool is_negative, int64_t *value)
{
    uint64_t magnitude = 0, limit = (uint64_t)INT64_MAX + is_negative;

    for (; at < end; at++) {
        uint64_t digit = (uint64_t)(*at - '0');

        if (magnitude > (limit - digit) / 10)
            return false;
        magnitude = magnitude * 10 + digit;
    }
    *value = is_negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

static double read_real(struct reader *r, const char *from)
{
    char *copy = r->copy + (from - r->text);

    copy[r->at - from] = '\0'; /* the delimiter's place: nobody needs it in the copy */
    return strtod(copy, NULL);
}

static int read_number(struct reader *r, struct json *json)
{
    const char *from = r->at, *digits, *last;
    bool is_negative = take(r, '-');

    digits = r->at;
    r->at = last = skip_digits(r->at, r->end);
    if (last == digits)
        return syntax_error(r, "a number needs digits");
    if (*digits == '0' && last - digits > 1)
        return syntax_error(r, "a number does not begin with a zero");
    json->kind = JSON_KIND_INTEGER;
    if (take(r, '.')) {
        json->kind = JSON_KIND_REAL;
        last = skip_digits(r->at, r->end);
        if (last == r->at)
            return syntax_error(r, "digits must follow the decimal point");
        r->at = last;
    }
    if (take(r, 'e') || take(r, 'E')) {
        json->kind = JSON_KIND_REAL;
        if (!take(r, '+'))
            (void)take(r, '-');
        last = skip_digits(r->at, r->end);
        if (last == r->at)
            return syntax_error(r, "digits must follow the exponent");
        r->at = last;
    }
    if (json->kind == JSON_KIND_INTEGER) {
        if (!read_integer(digits, last, is_negative, &json->value.integer))
            note(r, JSON_FAULT_NUMBER, json);
        json->digest = json_digest_integer(json->value.integer);
    } else {
        json->value.real = read_real(r, from);
        if (!isfinite(json->value.real))
            note(r, JSON_FAULT_NUMBER, json);
        json->digest = json_digest_real(json->value.real);
    }
    return 0;
}

static int read_word(struct reader *r, struct json *json)
{
    static const struct {
        const char *word;
        size_t length;
        enum json_kind kind;
        bool value;
    } words[] = {{"true", 4, JSON_KIND_BOOL, true},
                 {"false", 5, JSON_KIND_BOOL, false},
                 {"null", 4, JSON_KIND_NULL, false}};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if ((size_t)(r->end - r->at) < words[i].length ||
            memcmp(r->at, words[i].word, words[i].length) != 0)
            continue;
        r->at += words[i].length;
        json->kind = words[i].kind;
        json->value.boolean = words[i].value;
        json->digest = json_digest_mix(
            json->kind == JSON_KIND_BOOL ? JSON_DIGEST_BOOL : JSON_DIGEST_NULL, words[i].value);
        return 0;
    }
    return syntax_error(r, "here a value must stand");
}

/* What is nested too deep is passed over: only that its brackets end is looked at. */
static int skip_container(struct reader *r)
{
    size_t depth = 0;
    bool is_string = false;

    for (; r->at < r->end; r->at++) {
        char c = *r->at;

        if (is_string && c == '\\')
            r->at += r->end - r->at > 1;
        else if (c == '"')
            is_string = !is_string;
        else if (is_string)
            continue;
        else if (c == '[' || c == '{')
            depth++;
        else if ((c == ']' || c == '}') && --depth == 0) {
            r->at++;
            return 0;
        }
    }
    return syntax_error(r, "the text ends inside an array or object");
}

static struct json *new_child(struct reader *r, struct json *parent, struct json **link)
{
    struct json *child = arena_zalloc(r->arena, sizeof *child);

    child->parent = parent;
    child->text = "";
    *link = child;
    parent->count++;
    return child;
}

static int read_array(struct reader *r, struct json *json, unsigned depth)
{
    struct json **link = &json->first;
    uint64_t digest = JSON_DIGEST_ARRAY;

    skip_space(r);
    if (take(r, ']'))
        goto done;
    do {
        struct json *child = new_child(r, json, link);
        int err;

        link = &child->next;
        if (depth == 0) /* the batch itself */
            r->item = json->count - 1;
        skip_space(r);
        err = read_value(r, child, depth + 1);
        if (err)
            return err;
        digest = json_digest_mix(digest, child->digest);
        skip_space(r);
    } while (take(r, ','));
    if (!take(r, ']'))
        return syntax_error(r, "after an element comes , or ]");
done:
    json->digest = json_digest_mix(JSON_DIGEST_ARRAY, digest + json->count);
    return 0;
}

static bool is_same_key(const struct json *a, const struct json *b)
{
    return a->key_length == b->key_length && memcmp(a->key, b->key, a->key_length) == 0;
}

struct keyed { /* a member and where it stands */
    const struct json *member;
    uint32_t index;
};

static int compare_keys(const void *left, const void *right)
{
    const struct keyed *a = left, *b = right;
    int order;

    if (a->member->key_length != b->member->key_length)
        return a->member->key_length < b->member->key_length ? -1 : 1;
    order = memcmp(a->member->key, b->member->key, a->member->key_length);
    if (order != 0)
        return order;
    return a->index < b->index ? -1 : 1;
}

/* Sorting keeps an object of thousands of members from costing their square. */
static const struct json *duplicate_of_many(struct reader *r, const struct json *object)
{
    struct keyed *sorted = arena_alloc(r->arena, object->count * sizeof *sorted);
    const struct json *found = NULL;
    uint32_t count = 0, first = UINT32_MAX;

    for (const struct json *at = object->first; at; at = at->next, count++)
        sorted[count] = (struct keyed){at, count};
    qsort(sorted, count, sizeof *sorted, compare_keys);
    for (uint32_t i = 1; i < count; i++)
        if (sorted[i].index < first && is_same_key(sorted[i - 1].member, sorted[i].member)) {
            first = sorted[i].index;
            found = sorted[i].member;
        }
    return found;
}

static const struct json *find_duplicate(struct reader *r, const struct json *object)
{
    if (object->count > FEW_MEMBERS)
        return duplicate_of_many(r, object);
    for (const struct json *at = object->first; at; at = at->next)
        for (const struct json *before = object->first; before != at; before = before->next)
            if (is_same_key(before, at))
                return at;
    return NULL;
}

static int read_member(struct reader *r, struct json *child, unsigned depth)
{
    enum json_fault fault = JSON_FAULT_NONE;
    int err;

    skip_space(r);
    if (!take(r, '"'))
        return syntax_error(r, "a member begins with its name in quotes");
    err = read_string(r, &child->key, &child->key_length, &fault);
    if (err)
        return err;
    note(r, fault, child->parent); /* such a name cannot be pointed at */
    skip_space(r);
    if (!take(r, ':'))
        return syntax_error(r, "after a member's name comes :");
    skip_space(r);
    return read_value(r, child, depth + 1);
}

static int read_object(struct reader *r, struct json *json, unsigned depth)
{
    struct json **link = &json->first;
    const struct json *duplicate;
    uint64_t digest = 0;

    skip_space(r);
    if (take(r, '}'))
        goto done;
    do {
        struct json *child = new_child(r, json, link);
        int err = read_member(r, child, depth);

        link = &child->next;
        if (err)
            return err;
        digest += json_digest_mix(json_digest_text(child->key, child->key_length), child->digest);
        skip_space(r);
    } while (take(r, ','));
    if (!take(r, '}'))
        return syntax_error(r, "after a member comes , or }");
    duplicate = find_duplicate(r, json);
    if (duplicate)
        note(r, JSON_FAULT_DUPLICATE, duplicate);
done:
    json->digest = json_digest_mix(JSON_DIGEST_OBJECT, digest + json->count);
    return 0;
}

static int read_container(struct reader *r, struct json *json, unsigned depth)
{
    bool is_object = *r->at == '{';

    json->kind = is_object ? JSON_KIND_OBJECT : JSON_KIND_ARRAY;
    if (depth > r->depth_max) {
        note(r, JSON_FAULT_DEPTH, json);
        return skip_container(r);
    }
    r->at++;
    return is_object ? read_object(r, json, depth) : read_array(r, json, depth);
}

static int read_value(struct reader *r, struct json *json, unsigned depth)
{
    enum json_fault fault = JSON_FAULT_NONE;
    size_t spaces = r->spaces;
    int err;

    json->raw = r->at;
    switch (r->at < r->end ? *r->at : '\0') {
    case '"':
        r->at++;
        json->kind = JSON_KIND_STRING;
        err = read_string(r, &json->text, &json->length, &fault);
        if (!err)
            json->digest = json_digest_text(json->text, json->length);
        note(r, fault, json);
        break;
    case '{':
    case '[':
        err = read_container(r, json, depth);
        break;
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4': /* clang-format off */
    case '5': case '6': case '7': case '8': case '9': /* clang-format on */
        err = read_number(r, json);
        break;
    default:
        err = read_word(r, json);
        break;
    }
    json->raw_length = (uint32_t)(r->at - json->raw);
    json->is_compact = r->spaces == spaces;
    return err;
}

static struct json_trouble *sort_troubles(struct reader *r, size_t items)
{
    struct json_trouble *troubles;

    if (!r->noted)
        return NULL;
    troubles = arena_zalloc(r->arena, items * sizeof *troubles);
    for (const struct noted *at = r->noted; at; at = at->next)
        troubles[at->item] = at->trouble;
    return troubles;
}

int json_read(const char *text, size_t bytes, unsigned depth_max, struct arena *arena,
              struct json_doc *doc)
{
    struct reader r = {.text = text,
                       .at = text,
                       .end = text + bytes,
                       .arena = arena,
                       .doc = doc,
                       .depth_max = depth_max};
    bool is_array;
    int err;

    *doc = (struct json_doc){0};
    if (bytes > UINT32_MAX)
        return syntax_error(&r, "the text is too long");
    r.copy = arena_alloc(arena, bytes + 1);
    if (bytes)
        memcpy(r.copy, text, bytes);
    r.copy[bytes] = '\0';
    doc->root = arena_zalloc(arena, sizeof *doc->root);
    doc->root->text = "";
    skip_space(&r);
    is_array = r.at < r.end && *r.at == '[';
    err = read_value(&r, doc->root, is_array ? 0 : 1);
    if (err)
        return err;
    skip_space(&r);
    if (r.at != r.end)
        return syntax_error(&r, "after the value nothing may follow");
    doc->troubles = sort_troubles(&r, is_array ? doc->root->count : 1);
    return 0;
}

const struct json *json_member(const struct json *object, const char *name)
{
    size_t length = strlen(name);

    for (const struct json *at = object->first; at; at = at->next)
        if (at->key && at->key_length == length && memcmp(at->key, name, length) == 0)
            return at;
    return NULL;
}

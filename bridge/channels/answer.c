/* SPDX-License-Identifier: MIT */
#include "channels/answer.h"
#include "base/alloc.h"
#include "base/arena.h"
#include "core/json.h"
#include "core/json_mend.h"
#include "core/utf8.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct answer {
    const struct json *root; /* in the arena; NULL when the body is not JSON */
    struct arena *arena;
    char *body; /* a copy: raw spans point into it */
};

#define PATH_PART_MAX 64
#define DEPTH_MAX     64

struct answer *answer_new(const char *body, size_t length)
{
    struct answer *answer = xcalloc(1, sizeof *answer);
    struct json_doc doc;

    answer->arena = arena_new(0);
    if (length >= 3 && memcmp(body, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark */
        body += 3;
        length -= 3;
    }
    answer->body = arena_copy(answer->arena, length ? body : "", length);
    /* Faults (doc.troubles) are of no interest: each spoils its own value at most. */
    if (json_read(answer->body, length, DEPTH_MAX, answer->arena, &doc) == 0)
        answer->root = doc.root;
    return answer;
}

struct answer *answer_new_mended(const char *body, size_t length)
{
    struct buf mended = {0};
    struct answer *answer;

    json_mend(body, length, &mended);
    answer = answer_new(buf_text(&mended), mended.length);
    buf_fini(&mended);
    return answer;
}

void answer_free(struct answer *answer)
{
    if (!answer)
        return;
    arena_free(answer->arena);
    free(answer);
}

bool answer_is_json(const struct answer *answer)
{
    return answer->root != NULL;
}

/* Of members with one name the last counts, as in most readers. */
static const struct json *member(const struct json *object, const char *name, size_t length)
{
    const struct json *found = NULL;

    for (const struct json *at = object->first; at; at = at->next)
        if (at->key_length == length && memcmp(at->key, name, length) == 0)
            found = at;
    return found;
}

static const struct json *step(const struct json *at, const char *part, size_t length)
{
    const struct json *element = at->first;

    if (at->kind == JSON_KIND_OBJECT)
        return member(at, part, length);
    if (at->kind != JSON_KIND_ARRAY || part[0] < '0' || part[0] > '9')
        return NULL;
    for (unsigned long place = strtoul(part, NULL, 10); element && place; place--)
        element = element->next;
    return element;
}

static const struct json *find(const struct answer *answer, const char *path)
{
    const struct json *at = answer->root;

    while (at && *path) {
        size_t length = strcspn(path, "/");

        if (length >= PATH_PART_MAX)
            return NULL;
        at = step(at, path, length);
        path += length + (path[length] == '/');
    }
    return at;
}

/* The value, or a copy with '?' for each byte that is not UTF-8: it may end in a database. */
static const char *clean(struct answer *answer, const struct json *string)
{
    char *copy;

    if (utf8_is_valid(string->text, string->length))
        return string->text;
    copy = arena_copy(answer->arena, string->text, string->length);
    for (size_t i = 0, left = string->length; left;) {
        size_t size = utf8_char(copy + i, left), step = size ? size : 1;

        if (!size)
            copy[i] = '?';
        i += step;
        left -= step;
    }
    return copy;
}

const char *answer_text(struct answer *answer, const char *path)
{
    const struct json *at = find(answer, path);

    if (!at)
        return NULL;
    switch (at->kind) {
    case JSON_KIND_STRING:
        return clean(answer, at);
    case JSON_KIND_BOOL:
        return at->value.boolean ? "true" : "false";
    case JSON_KIND_INTEGER:
    case JSON_KIND_REAL:
        return arena_copy(answer->arena, at->raw, at->raw_length);
    case JSON_KIND_NULL:
    case JSON_KIND_ARRAY:
    case JSON_KIND_OBJECT:
        break;
    }
    return NULL;
}

const char *answer_string(struct answer *answer, const char *path)
{
    const struct json *at = find(answer, path);

    return at && at->kind == JSON_KIND_STRING ? clean(answer, at) : NULL;
}

const char *answer_json(struct answer *answer, const char *path)
{
    const struct json *at = find(answer, path);

    return at ? json_text(at, answer->arena) : NULL;
}

int64_t answer_number(struct answer *answer, const char *path, int64_t otherwise)
{
    const struct json *at = find(answer, path);

    if (at && at->kind == JSON_KIND_INTEGER)
        return at->value.integer;
    if (at && at->kind == JSON_KIND_REAL && fabs(at->value.real) < 9e18)
        return (int64_t)at->value.real;
    return otherwise;
}

bool answer_is_array(struct answer *answer, const char *path)
{
    const struct json *at = find(answer, path);

    return at && at->kind == JSON_KIND_ARRAY;
}

bool answer_has(struct answer *answer, const char *path)
{
    return find(answer, path) != NULL;
}

size_t answer_count(struct answer *answer, const char *path)
{
    const struct json *at = find(answer, path);

    return at && at->kind == JSON_KIND_ARRAY ? at->count : 0;
}

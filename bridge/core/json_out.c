/* SPDX-License-Identifier: MIT */
#include "core/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define POINTER_MAX 512

static unsigned place_of(const struct json *element)
{
    unsigned place = 0;

    if (!element->parent)
        return 0;
    for (const struct json *at = element->parent->first; at != element; at = at->next)
        place++;
    return place;
}

/* Writes one step, "/" and the name or place, escaped as RFC 6901 says; 0 when it does not fit. */
static size_t write_step(const struct json *at, char *out, size_t room)
{
    size_t used = 1;

    if (room < 24)
        return 0;
    out[0] = '/';
    if (!at->key)
        return used + (size_t)snprintf(out + 1, room - 1, "%u", place_of(at));
    for (size_t i = 0; i < at->key_length; i++) {
        char c = at->key[i];

        if (used + 2 > room)
            return 0;
        if (c == '~' || c == '/') {
            out[used++] = '~';
            out[used++] = c == '~' ? '0' : '1';
        } else {
            out[used++] = c;
        }
    }
    return used;
}

const char *json_pointer(const struct json *item, const struct json *at, struct arena *arena)
{
    const struct json *path[64];
    char out[POINTER_MAX];
    size_t depth = 0, used = 0;

    for (; at && at != item && depth < sizeof path / sizeof *path; at = at->parent)
        path[depth++] = at;
    while (depth > 0) {
        size_t step = write_step(path[--depth], out + used, sizeof out - used);

        if (step == 0)
            break;
        used += step;
    }
    return arena_copy(arena, out, used);
}

void json_write(const struct json *json, struct buf *out)
{
    bool is_object = json->kind == JSON_KIND_OBJECT;

    if (json->is_compact) {
        buf_add(out, json->raw, json->raw_length);
        return;
    }
    buf_add_char(out, is_object ? '{' : '[');
    for (const struct json *at = json->first; at; at = at->next) {
        if (at != json->first)
            buf_add_char(out, ',');
        if (is_object) {
            buf_add_json_n(out, at->key, at->key_length);
            buf_add_char(out, ':');
        }
        json_write(at, out);
    }
    buf_add_char(out, is_object ? '}' : ']');
}

const char *json_text(const struct json *json, struct arena *arena)
{
    struct buf out = {0};
    const char *text;

    if (json->is_compact)
        return arena_copy(arena, json->raw, json->raw_length);
    json_write(json, &out);
    text = arena_copy(arena, out.data, out.length);
    buf_fini(&out);
    return text;
}

/* SPDX-License-Identifier: MIT */
#include "channels/answer.h"
#include "base/alloc.h"
#include "base/arena.h"
#include <jansson.h>
#include <string.h>

struct answer {
    json_t *root; /* owned; NULL when the body is not JSON */
    struct arena *arena;
};

#define PATH_PART_MAX 64

struct answer *answer_new(const char *body, size_t length)
{
    struct answer *answer = xcalloc(1, sizeof *answer);

    answer->root = json_loadb(body, length, JSON_DECODE_ANY, NULL);
    return answer;
}

void answer_free(struct answer *answer)
{
    if (!answer)
        return;
    json_decref(answer->root);
    arena_free(answer->arena);
    free(answer);
}

static json_t *step(json_t *at, const char *part)
{
    if (json_is_object(at))
        return json_object_get(at, part);
    if (json_is_array(at) && part[0] >= '0' && part[0] <= '9')
        return json_array_get(at, strtoul(part, NULL, 10));
    return NULL;
}

static json_t *find(const struct answer *answer, const char *path)
{
    json_t *at = answer->root;

    while (at && *path) {
        size_t length = strcspn(path, "/");
        char part[PATH_PART_MAX];

        if (length >= sizeof part)
            return NULL;
        memcpy(part, path, length);
        part[length] = '\0';
        at = step(at, part);
        path += length + (path[length] == '/');
    }
    return at;
}

static struct arena *arena_of(struct answer *answer)
{
    if (!answer->arena)
        answer->arena = arena_new(0);
    return answer->arena;
}

const char *answer_text(struct answer *answer, const char *path)
{
    json_t *at = find(answer, path);

    if (json_is_string(at))
        return json_string_value(at);
    if (json_is_boolean(at))
        return json_is_true(at) ? "true" : "false";
    if (!json_is_integer(at))
        return NULL;
    return arena_printf(arena_of(answer), "%lld", (long long)json_integer_value(at));
}

const char *answer_json(struct answer *answer, const char *path)
{
    json_t *at = find(answer, path);
    size_t size;
    char *text;

    if (!at)
        return NULL;
    size = json_dumpb(at, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
    text = arena_alloc(arena_of(answer), size + 1);
    (void)json_dumpb(at, text, size, JSON_COMPACT | JSON_ENCODE_ANY);
    text[size] = '\0';
    return text;
}

int64_t answer_number(struct answer *answer, const char *path, int64_t otherwise)
{
    json_t *at = find(answer, path);

    return json_is_integer(at) ? (int64_t)json_integer_value(at) : otherwise;
}

bool answer_has(struct answer *answer, const char *path)
{
    return find(answer, path) != NULL;
}

size_t answer_count(struct answer *answer, const char *path)
{
    return json_array_size(find(answer, path));
}

/* SPDX-License-Identifier: MIT */
#include "core/edit.h"

#include <string.h>

static bool is_content(const char *name)
{
    static const char *const names[] = {"type",  "priority", "title",   "body",
                                        "data",  "template", "locale",  "content",
                                        "group", "schedule", "campaign"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static int reject(struct edit *edit, enum reject reason, const char *pointer, const char *detail)
{
    edit->rejection = (struct rejection){reason, pointer, detail};
    return ERR_INVALID;
}

/* Decoded as if a service asked for it: once to an address, once to a user's client. */
static struct request_item decode(const struct json *given, const char *to, struct arena *arena)
{
    struct request_batch batch;
    struct buf text = {0};
    const char *copy;

    buf_printf(&text, "{\"id\":\"edit\",\"to\":%s", to);
    for (const struct json *at = given->first; at; at = at->next) {
        buf_add_char(&text, ',');
        buf_add_json(&text, at->key);
        buf_add_char(&text, ':');
        json_write(at, &text);
    }
    buf_add_char(&text, '}');
    copy = arena_copy(arena, text.data, text.length);
    request_decode(copy, text.length, 0, arena, &batch);
    buf_fini(&text);
    return batch.items[0];
}

int edit_read(const struct json *given, struct arena *arena, struct edit *edit)
{
    struct request_item item;

    *edit = (struct edit){.rejection = {.pointer = ""}};
    if (given->kind != JSON_KIND_OBJECT)
        return reject(edit, REJECT_BAD_VALUE, "", "content is an object");
    for (const struct json *at = given->first; at; at = at->next)
        if (!is_content(at->key))
            return reject(edit, REJECT_UNKNOWN_FIELD, json_pointer(given, at, arena),
                          "a request's content has no such member");
    item = decode(given, "{\"email\":\"a@example.org\"}", arena);
    if (item.rejection.reason)
        return reject(edit, item.rejection.reason, item.rejection.pointer, item.rejection.detail);
    edit->content = item.request.content;
    edit->content_bytes = item.request.content_bytes;
    edit->type = item.request.type;
    edit->fits_in_app = decode(given, "{\"user\":\"a\"}", arena).rejection.reason == REJECT_NONE;
    return 0;
}

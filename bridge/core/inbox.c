/* SPDX-License-Identifier: MIT */
#include "core/inbox.h"

#include "core/json.h"
#include "core/request.h"
#include "core/utf8.h"

#include <string.h>

static bool has_member(const char *content, size_t bytes, const char *name)
{
    return memmem(content, bytes, name, strlen(name)) != NULL;
}

/* The in-app override of a member, or the member itself. */
static const struct json *choose(const struct json *member, const struct json *override)
{
    const struct json *own = NULL;

    if (override && (strcmp(member->key, "title") == 0 || strcmp(member->key, "body") == 0))
        own = json_member(override, member->key);
    return own ? own : member;
}

static bool is_hidden(const char *key)
{
    return strcmp(key, "content") == 0 || strcmp(key, "campaign") == 0 ||
           strcmp(key, "schedule") == 0 || strcmp(key, "template") == 0;
}

static void write_member(const char *key, const struct json *value, struct buf *out)
{
    buf_add_text(out, ",\"");
    buf_add_text(out, key);
    buf_add_text(out, "\":");
    json_write(value, out);
}

static void write_chosen(const struct json *root, struct buf *out)
{
    const struct json *content = json_member(root, "content");
    const struct json *override = content ? json_member(content, "in_app") : NULL;
    static const char *const added[] = {"title", "body"};

    for (const struct json *member = root->first; member; member = member->next)
        if (!is_hidden(member->key))
            write_member(member->key, choose(member, override), out);
    for (size_t i = 0; override && i < 2; i++) {
        const struct json *own = json_member(override, added[i]);

        if (own && !json_member(root, added[i]))
            write_member(added[i], own, out);
    }
}

bool inbox_is_object(const char *content, size_t bytes, struct arena *scratch)
{
    struct json_doc doc;

    return utf8_is_valid(content, bytes) &&
           !json_read(content, bytes, REQUEST_DEPTH_MAX + 1, scratch, &doc) &&
           doc.root->kind == JSON_KIND_OBJECT;
}

int inbox_write_members(const char *content, size_t bytes, struct arena *scratch, struct buf *out)
{
    struct json_doc doc;

    if (bytes < 2 || content[0] != '{' || content[bytes - 1] != '}')
        return ERR_INVALID;
    /* Mostly there is nothing to leave out: these words do not even occur. */
    if (!has_member(content, bytes, "\"content\":") &&
        !has_member(content, bytes, "\"campaign\":") &&
        !has_member(content, bytes, "\"schedule\":") &&
        !has_member(content, bytes, "\"template\":")) {
        if (bytes > 2)
            buf_add_char(out, ',');
        buf_add(out, content + 1, bytes - 2);
        return 0;
    }
    if (json_read(content, bytes, REQUEST_DEPTH_MAX + 1, scratch, &doc))
        return ERR_INVALID;
    write_chosen(doc.root, out);
    return 0;
}

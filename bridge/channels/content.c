/* SPDX-License-Identifier: MIT */
#include "channels/content.h"
#include "base/timefmt.h"
#include "channels/encode.h"
#include "core/json.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More than a request may have, so that nothing stored is cut. */
#define CONTENT_DEPTH_MAX 64

struct reader {
    struct arena *arena;
    struct content *content;
    char *why;
    size_t why_bytes;
    int err;
};

__attribute__((format(printf, 2, 3))) static void fail(struct reader *reader, const char *format,
                                                       ...)
{
    va_list args;

    if (reader->err)
        return;
    reader->err = ERR_INVALID;
    va_start(args, format);
    (void)vsnprintf(reader->why, reader->why_bytes, format, args);
    va_end(args);
}

/* The member of that name, unless it is null; object may be NULL. */
static const struct json *given(const struct json *object, const char *name)
{
    const struct json *value = object ? json_member(object, name) : NULL;

    return value && value->kind != JSON_KIND_NULL ? value : NULL;
}

/* Sets *out when the member is there; an empty text counts as given. */
static void read_text(struct reader *reader, const struct json *object, const char *name,
                      const char **out)
{
    const struct json *value = given(object, name);

    if (!value)
        return;
    if (value->kind != JSON_KIND_STRING) {
        fail(reader, "%s must be a string", name);
        return;
    }
    *out = value->text;
}

static void read_json(struct reader *reader, const struct json *object, const char *name,
                      const char **out)
{
    const struct json *value = given(object, name);

    if (value)
        *out = json_text(value, reader->arena);
}

static void read_integer(struct reader *reader, const struct json *object, const char *name,
                         int64_t *out)
{
    const struct json *value = given(object, name);

    if (!value)
        return;
    if (value->kind == JSON_KIND_INTEGER && value->value.integer >= 0)
        *out = value->value.integer;
    else
        fail(reader, "%s must be a whole number, 0 or more", name);
}

static void read_duration(struct reader *reader, const struct json *object, const char *name,
                          int64_t *out_ms)
{
    const char *text = NULL;

    read_text(reader, object, name, &text);
    if (text && timefmt_parse_duration(text, out_ms) != 0)
        fail(reader, "%s must be a duration", name);
}

/* Pairs of one or two objects; the second's win. */
static void read_pairs(struct reader *reader, const char *name, const struct json *first,
                       const struct json *second, const struct content_pair **out, size_t *count)
{
    const struct json *objects[2] = {first, second};
    struct content_pair *pairs;
    size_t most = 0, used = 0;

    for (unsigned i = 0; i < 2; i++) {
        if (objects[i] && objects[i]->kind != JSON_KIND_OBJECT) {
            fail(reader, "%s must be an object", name);
            return;
        }
        most += objects[i] ? objects[i]->count : 0;
    }
    if (!most)
        return;
    pairs = arena_alloc(reader->arena, most * sizeof *pairs);
    for (unsigned i = 0; i < 2; i++) {
        for (const struct json *at = objects[i] ? objects[i]->first : NULL; at; at = at->next) {
            if (i == 0 && second && json_member(second, at->key))
                continue;
            pairs[used].key = at->key;
            pairs[used++].value =
                at->kind == JSON_KIND_STRING ? at->text : json_text(at, reader->arena);
        }
    }
    *out = pairs;
    *count = used;
}

static void read_attachment(struct reader *reader, const struct json *item,
                            struct content_attachment *out)
{
    const char *content = NULL;
    struct buf bytes = {0};
    char *copy;

    *out = (struct content_attachment){.type = "application/octet-stream"};
    if (item->kind != JSON_KIND_OBJECT) {
        fail(reader, "an attachment must be an object");
        return;
    }
    read_text(reader, item, "name", &out->name);
    read_text(reader, item, "type", &out->type);
    read_text(reader, item, "content_id", &out->id);
    read_text(reader, item, "url", &out->url);
    read_text(reader, item, "content", &content);
    if (!out->name || !text_is_clean(out->name) || strlen(out->name) > 255)
        fail(reader, "an attachment needs a name of at most 255 bytes");
    else if (!text_is_ascii(out->type) || !strchr(out->type, '/') || strlen(out->type) > 127)
        fail(reader, "an attachment's type must be a media type");
    else if (out->id && (!*out->id || !text_is_ascii(out->id) || strpbrk(out->id, "<> ") ||
                         strlen(out->id) > 127))
        fail(reader, "an attachment's content_id is not usable");
    else if (!content == !out->url)
        fail(reader, "an attachment needs either content (base64) or url");
    if (!content || reader->err)
        return;
    if (decode_base64(&bytes, content, strlen(content)) != 0)
        fail(reader, "an attachment's content is not base64");
    copy = arena_alloc(reader->arena, bytes.length + 1);
    if (bytes.length)
        memcpy(copy, bytes.data, bytes.length);
    out->bytes = copy;
    out->length = bytes.length;
    buf_fini(&bytes);
}

static void read_attachments(struct reader *reader, const struct json *email)
{
    const struct json *list = given(email, "attachments");
    struct content_attachment *attachments;
    size_t count = 0;

    if (!list)
        return;
    if (list->kind != JSON_KIND_ARRAY || list->count > CONTENT_ATTACHMENTS_MAX) {
        fail(reader, "attachments must be an array of at most %d", CONTENT_ATTACHMENTS_MAX);
        return;
    }
    attachments = arena_zalloc(reader->arena, (list->count + 1) * sizeof *attachments);
    for (const struct json *item = list->first; item; item = item->next)
        read_attachment(reader, item, &attachments[count++]);
    reader->content->attachments = attachments;
    reader->content->attachment_count = count;
}

static void read_push(struct reader *reader, const struct json *over)
{
    struct content *content = reader->content;

    read_text(reader, over, "image", &content->image);
    read_text(reader, over, "sound", &content->sound);
    read_text(reader, over, "url", &content->url);
    read_text(reader, over, "channel_id", &content->channel_id);
    read_integer(reader, over, "badge", &content->badge);
    read_duration(reader, over, "ttl", &content->ttl_ms);
}

static void read_email(struct reader *reader, const struct json *over)
{
    struct content *content = reader->content;

    read_text(reader, over, "subject", &content->title);
    read_text(reader, over, "text", &content->body);
    read_text(reader, over, "html", &content->html);
    read_text(reader, over, "from", &content->from);
    read_text(reader, over, "reply_to", &content->reply_to);
    read_text(reader, over, "list_unsubscribe", &content->list_unsubscribe);
    read_pairs(reader, "headers", given(over, "headers"), NULL, &content->headers,
               &content->header_count);
    read_attachments(reader, over);
}

static void read_chat(struct reader *reader, const struct json *over)
{
    struct content *content = reader->content;

    read_text(reader, over, "text", &content->body);
    read_json(reader, over, "blocks", &content->blocks_json);
    read_json(reader, over, "card", &content->card_json);
    read_json(reader, over, "template", &content->template_json);
}

static void read_override(struct reader *reader, enum channel channel, const struct json *over)
{
    if (!over)
        return;
    if (over->kind != JSON_KIND_OBJECT) {
        fail(reader, "content.%s must be an object", channel_name(channel));
        return;
    }
    if (channel != CHANNEL_WEBHOOK) { /* whose body is sent as it is */
        read_text(reader, over, "title", &reader->content->title);
        read_text(reader, over, "body", &reader->content->body);
    }
    switch (channel) {
    case CHANNEL_PUSH:
        read_push(reader, over);
        break;
    case CHANNEL_SMS:
        read_text(reader, over, "text", &reader->content->body);
        read_text(reader, over, "from", &reader->content->from);
        break;
    case CHANNEL_EMAIL:
        read_email(reader, over);
        break;
    case CHANNEL_CHAT:
        read_chat(reader, over);
        break;
    case CHANNEL_WEBHOOK:
        read_json(reader, over, "body", &reader->content->body_json);
        break;
    case CHANNEL_IN_APP:
    case CHANNEL_COUNT:
        break;
    }
}

int content_parse(const char *json, size_t bytes, enum channel channel, struct arena *arena,
                  struct content *content, char *why, size_t why_bytes)
{
    struct reader reader = {arena, content, why, why_bytes, 0};
    const struct json *root, *over, *data;
    struct json_doc doc;

    *content = (struct content){.badge = -1, .ttl_ms = -1};
    if (json_read(json, bytes, CONTENT_DEPTH_MAX, arena, &doc) ||
        doc.root->kind != JSON_KIND_OBJECT) {
        fail(&reader, "the content is not a JSON object");
        return reader.err;
    }
    root = doc.root;
    over = given(given(root, "content"), channel_name(channel));
    data = given(root, "data");
    read_text(&reader, root, "title", &content->title);
    read_text(&reader, root, "body", &content->body);
    if (data && data->kind == JSON_KIND_OBJECT)
        read_json(&reader, root, "data", &content->data_json);
    read_pairs(&reader, "data", data, channel == CHANNEL_PUSH ? given(over, "data") : NULL,
               &content->data, &content->data_count);
    read_override(&reader, channel, over);
    return reader.err;
}

void content_write_pairs(struct buf *out, const struct content_pair *pairs, size_t count)
{
    buf_add_char(out, '{');
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_add_char(out, ',');
        buf_add_json(out, pairs[i].key);
        buf_add_char(out, ':');
        buf_add_json(out, pairs[i].value);
    }
    buf_add_char(out, '}');
}

/* SPDX-License-Identifier: MIT */
#include "channels/content.h"
#include "base/timefmt.h"
#include "channels/encode.h"
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* Sets *out when the member is there; an empty text counts as given. */
static void read_text(struct reader *reader, const json_t *object, const char *name,
                      const char **out)
{
    const json_t *value = json_object_get(object, name);

    if (!value || json_is_null(value))
        return;
    if (!json_is_string(value)) {
        fail(reader, "%s must be a string", name);
        return;
    }
    *out = arena_strndup(reader->arena, json_string_value(value), json_string_length(value));
}

static const char *dump(struct reader *reader, const json_t *value)
{
    size_t size = json_dumpb(value, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
    char *text = arena_alloc(reader->arena, size + 1);

    (void)json_dumpb(value, text, size, JSON_COMPACT | JSON_ENCODE_ANY);
    text[size] = '\0';
    return text;
}

static void read_json(struct reader *reader, const json_t *object, const char *name,
                      const char **out)
{
    const json_t *value = json_object_get(object, name);

    if (value && !json_is_null(value))
        *out = dump(reader, value);
}

static void read_integer(struct reader *reader, const json_t *object, const char *name,
                         int64_t *out)
{
    const json_t *value = json_object_get(object, name);

    if (!value || json_is_null(value))
        return;
    if (json_is_integer(value) && json_integer_value(value) >= 0)
        *out = (int64_t)json_integer_value(value);
    else
        fail(reader, "%s must be a whole number, 0 or more", name);
}

static void read_duration(struct reader *reader, const json_t *object, const char *name,
                          int64_t *out_ms)
{
    const char *text = NULL;

    read_text(reader, object, name, &text);
    if (text && timefmt_parse_duration(text, out_ms) != 0)
        fail(reader, "%s must be a duration", name);
}

/* Pairs of one or two objects; the second's win. */
static void read_pairs(struct reader *reader, const char *name, json_t *first, json_t *second,
                       const struct content_pair **out, size_t *count)
{
    size_t most = json_object_size(first) + json_object_size(second), used = 0;
    struct content_pair *pairs;
    json_t *objects[2] = {first, second};

    for (unsigned i = 0; i < 2; i++) {
        if (objects[i] && !json_is_object(objects[i]) && !json_is_null(objects[i]))
            fail(reader, "%s must be an object", name);
    }
    if (!most)
        return;
    pairs = arena_alloc(reader->arena, most * sizeof *pairs);
    for (unsigned i = 0; i < 2; i++) {
        const char *key;
        json_t *value;

        json_object_foreach(objects[i], key, value)
        {
            if (i == 0 && json_object_get(second, key))
                continue;
            pairs[used].key = arena_strdup(reader->arena, key);
            pairs[used++].value = json_is_string(value)
                                      ? arena_strdup(reader->arena, json_string_value(value))
                                      : dump(reader, value);
        }
    }
    *out = pairs;
    *count = used;
}

static void read_attachment(struct reader *reader, json_t *item, struct content_attachment *out)
{
    const char *content = NULL;
    struct buf bytes = {0};
    char *copy;

    *out = (struct content_attachment){.type = "application/octet-stream"};
    if (!json_is_object(item)) {
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

static void read_attachments(struct reader *reader, const json_t *email)
{
    json_t *list = json_object_get(email, "attachments"), *item;
    struct content_attachment *attachments;
    size_t i;

    if (!list || json_is_null(list))
        return;
    if (!json_is_array(list) || json_array_size(list) > CONTENT_ATTACHMENTS_MAX) {
        fail(reader, "attachments must be an array of at most %d", CONTENT_ATTACHMENTS_MAX);
        return;
    }
    attachments = arena_zalloc(reader->arena, (json_array_size(list) + 1) * sizeof *attachments);
    json_array_foreach(list, i, item) read_attachment(reader, item, &attachments[i]);
    reader->content->attachments = attachments;
    reader->content->attachment_count = json_array_size(list);
}

static void read_push(struct reader *reader, const json_t *over)
{
    struct content *content = reader->content;

    read_text(reader, over, "title", &content->title);
    read_text(reader, over, "body", &content->body);
    read_text(reader, over, "image", &content->image);
    read_text(reader, over, "sound", &content->sound);
    read_text(reader, over, "url", &content->url);
    read_text(reader, over, "channel_id", &content->channel_id);
    read_integer(reader, over, "badge", &content->badge);
    read_duration(reader, over, "ttl", &content->ttl_ms);
}

static void read_email(struct reader *reader, const json_t *over)
{
    struct content *content = reader->content;

    read_text(reader, over, "subject", &content->title);
    read_text(reader, over, "text", &content->body);
    read_text(reader, over, "html", &content->html);
    read_text(reader, over, "from", &content->from);
    read_text(reader, over, "reply_to", &content->reply_to);
    read_text(reader, over, "list_unsubscribe", &content->list_unsubscribe);
    read_pairs(reader, "headers", json_object_get(over, "headers"), NULL, &content->headers,
               &content->header_count);
    read_attachments(reader, over);
}

static void read_chat(struct reader *reader, const json_t *over)
{
    struct content *content = reader->content;

    read_text(reader, over, "text", &content->body);
    read_json(reader, over, "blocks", &content->blocks_json);
    read_json(reader, over, "card", &content->card_json);
    read_json(reader, over, "template", &content->template_json);
}

static void read_override(struct reader *reader, enum channel channel, const json_t *over)
{
    if (!over)
        return;
    if (!json_is_object(over)) {
        fail(reader, "content.%s must be an object", channel_name(channel));
        return;
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
    json_t *root = json_loadb(json, bytes, 0, NULL);
    json_t *over = json_object_get(json_object_get(root, "content"), channel_name(channel));

    *content = (struct content){.badge = -1, .ttl_ms = -1};
    if (!json_is_object(root)) {
        fail(&reader, "the content is not a JSON object");
        goto out;
    }
    read_text(&reader, root, "title", &content->title);
    read_text(&reader, root, "body", &content->body);
    if (json_is_object(json_object_get(root, "data")))
        read_json(&reader, root, "data", &content->data_json);
    read_pairs(&reader, "data", json_object_get(root, "data"),
               channel == CHANNEL_PUSH ? json_object_get(over, "data") : NULL, &content->data,
               &content->data_count);
    read_override(&reader, channel, over);
out:
    json_decref(root);
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

/* SPDX-License-Identifier: MIT */
#include "core/shrink.h"

#include "core/json.h"
#include "core/rpc.h"

#include <string.h>

/* Our own messages: content of a request at its depth, in a page of a reply. */
#define DEPTH_MAX  64
#define DLQ_PREFIX "notify/v1/dlq/"

struct shrink {
    size_t limit, count;
    struct buf out;
    shrink_emit_fn *emit;
    void *ctx;
};

static void emit(struct shrink *shrink)
{
    if (shrink->out.length > 0 && shrink->out.length <= shrink->limit) {
        shrink->emit(shrink->ctx, buf_text(&shrink->out), shrink->out.length);
        shrink->count++;
    }
    buf_clear(&shrink->out);
}

/* Appends an object without one of its members. */
static void write_without(const struct json *object, const char *name, struct buf *out)
{
    char before = '{';

    for (const struct json *member = object->first; member; member = member->next) {
        if (strcmp(member->key, name) == 0)
            continue;
        buf_add_char(out, before);
        buf_add_json(out, member->key);
        buf_add_char(out, ':');
        json_write(member, out);
        before = ',';
    }
    if (before == '{')
        buf_add_char(out, '{');
    buf_add_char(out, '}');
}

static void shrink_object(struct shrink *shrink, const struct json *object, const char *name)
{
    write_without(object, name, &shrink->out);
    emit(shrink);
}

static void close_array(struct shrink *shrink)
{
    if (shrink->out.length > 0)
        buf_add_char(&shrink->out, ']');
    emit(shrink);
}

static void shrink_receipts(struct shrink *shrink, const struct json *root)
{
    struct buf one = {0};

    for (const struct json *at = root->first; at; at = at->next) {
        buf_clear(&one);
        json_write(at, &one);
        if (one.length + 2 > shrink->limit && at->kind == JSON_KIND_OBJECT) {
            buf_clear(&one);
            write_without(at, "detail", &one);
        }
        if (one.length + 2 > shrink->limit)
            continue;
        /* One byte for the comma or the first bracket, one for the last. */
        if (shrink->out.length + one.length + 2 > shrink->limit)
            close_array(shrink);
        buf_add_char(&shrink->out, shrink->out.length ? ',' : '[');
        buf_add(&shrink->out, buf_text(&one), one.length);
    }
    close_array(shrink);
    buf_fini(&one);
}

static void shrink_reply(struct shrink *shrink, const struct json *root, size_t bytes)
{
    const struct json *rpc = json_member(root, "rpc");

    buf_add_char(&shrink->out, '{');
    if (rpc) {
        buf_add_text(&shrink->out, "\"rpc\":");
        json_write(rpc, &shrink->out);
        buf_add_char(&shrink->out, ',');
    }
    buf_printf(&shrink->out,
               "\"error\":{\"code\":\"" RPC_TOO_LARGE "\",\"message\":\"the answer has %zu bytes,"
               " more than the broker takes in one message: ask for less at once\"}}",
               bytes);
    emit(shrink);
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);

    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

size_t shrink_message(const char *topic, const char *payload, size_t bytes, size_t limit,
                      shrink_emit_fn *emit_fn, void *ctx)
{
    struct shrink shrink = {
        .limit = limit < bytes ? limit : bytes - (bytes > 0), .emit = emit_fn, .ctx = ctx};
    struct arena *arena = arena_new(0);
    struct json_doc doc;
    enum json_kind kind = JSON_KIND_NULL;

    if (json_read(payload, bytes, DEPTH_MAX, arena, &doc) == 0)
        kind = doc.root->kind;
    if (kind == JSON_KIND_ARRAY && ends_with(topic, "/down/receipt"))
        shrink_receipts(&shrink, doc.root);
    else if (kind == JSON_KIND_OBJECT && strstr(topic, "/down/") && json_member(doc.root, "result"))
        shrink_reply(&shrink, doc.root, bytes); /* on down/reply, or a Response Topic */
    else if (kind == JSON_KIND_OBJECT && ends_with(topic, "/down/receipt"))
        shrink_object(&shrink, doc.root, "detail");
    else if (kind == JSON_KIND_OBJECT && strncmp(topic, DLQ_PREFIX, strlen(DLQ_PREFIX)) == 0)
        shrink_object(&shrink, doc.root, "content");
    buf_fini(&shrink.out);
    arena_free(arena);
    return shrink.count;
}

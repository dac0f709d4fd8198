/* SPDX-License-Identifier: MIT */
/*
 * Any payload: nothing is read beyond it, jansson agrees on what is JSON, and what is accepted
 * keeps what the header promises.
 */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/panic.h"
#include "core/json.h"
#include "core/receipt.h"
#include "core/request.h"
#include "core/topic.h"
#include "core/utf8.h"

#define NOW_MS INT64_C(1795132800000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_too_deep(const struct json_doc *doc)
{
    size_t items = doc->root->kind == JSON_KIND_ARRAY ? doc->root->count : 1;

    for (size_t i = 0; doc->troubles && i < items; i++)
        if (doc->troubles[i].fault == JSON_FAULT_DEPTH)
            return true;
    return false;
}

/*
 * jansson says yes or no to the whole; what lies deeper than we look is not compared.  Nor is a
 * text with a NUL in it, which jansson 2.14 passes over after a word: "[true\0]" is good to it.
 */
static void compare_with_jansson(const char *text, size_t bytes, struct arena *arena)
{
    struct json_doc doc;
    json_t *judge = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
    int err = json_read(text, bytes, REQUEST_DEPTH_MAX, arena, &doc);

    if (!memchr(text, '\0', bytes) && (err || !is_too_deep(&doc)))
        ASSERT((judge != NULL) == (err == 0 && !doc.troubles));
    json_decref(judge);
}

static void check_good(const struct request *request)
{
    json_t *content =
        json_loadb(request->content, request->content_bytes, JSON_REJECT_DUPLICATES, NULL);
    char encoded[TOPIC_ID_MAX + 1];

    ASSERT(json_is_object(content));
    ASSERT(strcmp(json_string_value(json_object_get(content, "type")), request->type) == 0);
    ASSERT(request->content[request->content_bytes] == '\0');
    ASSERT(request->recipient_count >= 1 && request->recipient_count <= REQUEST_USERS_MAX);
    for (size_t i = 0; i < request->recipient_count && request->to <= RECIPIENT_ROLE; i++)
        ASSERT(topic_encode_id(request->recipients[i], encoded) == 0);
    ASSERT(strlen(request->id) >= 1 && strlen(request->id) <= REQUEST_ID_MAX);
    ASSERT(request->deliver_at_ms >= 0 && request->expires_at_ms >= 0);
    json_decref(content);
}

/* A rejection can always be told. */
static void check_receipt(const struct request_item *item)
{
    const struct receipt receipt = {.id = item->request.id,
                                    .status = "rejected",
                                    .reason = reject_name(item->rejection.reason),
                                    .field = item->rejection.pointer,
                                    .detail = item->rejection.detail};
    struct buf out = {0};
    json_t *json;

    ASSERT(utf8_is_valid(receipt.field, strlen(receipt.field)));
    receipt_write(&receipt, &out);
    json = json_loadb(out.data, out.length, JSON_REJECT_DUPLICATES, NULL);
    ASSERT(json != NULL && json_object_get(json, "detail") != NULL);
    json_decref(json);
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *arena = arena_new(0);
    struct request_batch batch;

    request_decode((const char *)data, size, NOW_MS, arena, &batch);
    ASSERT(batch.count >= 1 && batch.count <= REQUEST_BATCH_MAX);
    for (size_t i = 0; i < batch.count; i++) {
        if (batch.items[i].rejection.reason == REJECT_NONE)
            check_good(&batch.items[i].request);
        else
            check_receipt(&batch.items[i]);
    }
    compare_with_jansson((const char *)data, size, arena);
    arena_free(arena);
    return 0;
}

/* SPDX-License-Identifier: MIT */
#include "core/request.h"

#include <string.h>

#include "base/panic.h"

#include "core/request_draft.h"
#include "core/utf8.h"

/* The envelope of an in-app notification: id, seq, times, priority, and the members' names. */
#define INBOX_ENVELOPE_BYTES 256

const char *reject_name(enum reject reject)
{
    switch (reject) {
    case REJECT_NONE:
        return "";
    case REJECT_MALFORMED:
        return "malformed";
    case REJECT_UNKNOWN_FIELD:
        return "unknown_field";
    case REJECT_MISSING_FIELD:
        return "missing_field";
    case REJECT_BAD_VALUE:
        return "bad_value";
    case REJECT_TOO_LARGE:
        return "too_large";
    case REJECT_ID_REUSED:
        return "id_reused";
    case REJECT_NOT_ALLOWED:
        return "not_allowed";
    case REJECT_RATE_LIMITED:
        return "rate_limited";
    case REJECT_UNKNOWN_TEMPLATE:
        return "unknown_template";
    case REJECT_UNKNOWN_USER:
        return "unknown_user";
    case REJECT_UNAVAILABLE:
        return "unavailable";
    }
    panic("a rejection of no known kind");
}

static void set_defaults(struct request *request)
{
    memset(request, 0, sizeof *request);
    request->priority = PRIORITY_NORMAL;
    request->receipts = RECEIPTS_FINAL;
    request->escalate_after_ms = -1;
    request->retry = (struct retry_override){
        .attempts = -1, .base_ms = -1, .max_ms = -1, .factor = -1, .jitter = -1};
}

/* Also for an item that will be rejected, so that its sender knows which; NULL when in doubt. */
static const char *readable_id(const struct json *item, struct arena *arena)
{
    const char *id = NULL;

    if (item->kind != JSON_KIND_OBJECT)
        return NULL;
    for (const struct json *at = item->first; at; at = at->next) {
        if (at->key_length != 2 || memcmp(at->key, "id", 2) != 0)
            continue;
        if (id || at->kind != JSON_KIND_STRING || at->length == 0 || at->length > REQUEST_ID_MAX ||
            !utf8_is_valid(at->text, at->length))
            return NULL;
        id = arena_copy(arena, at->text, at->length);
    }
    return id;
}

/* Times in the past are good ("now", "too late"), but 0 is taken: it says "now" and "never". */
static void settle_times(struct request_draft *draft, int64_t now_wall_ms)
{
    struct request *request = draft->request;

    if (request->deliver_at_ms < 0)
        request->deliver_at_ms = 0;
    if (draft->expires_at && request->expires_at_ms <= 0)
        request->expires_at_ms = 1;
    if (draft->ttl)
        request->expires_at_ms =
            (request->deliver_at_ms > now_wall_ms ? request->deliver_at_ms : now_wall_ms) +
            draft->ttl_ms;
}

/* What the schema can say of two members together. */
static bool check_pairs(struct fields *fields, const struct request_draft *draft)
{
    const struct json *template = draft->kept[KEPT_TEMPLATE];

    if (draft->at && draft->kept[KEPT_SCHEDULE])
        return fields_reject(fields, REJECT_BAD_VALUE, draft->kept[KEPT_SCHEDULE],
                             "give at or schedule, not both");
    if (draft->expires_at && draft->ttl)
        return fields_reject(fields, REJECT_BAD_VALUE, draft->ttl,
                             "give expires_at or ttl, not both");
    if (template && (draft->kept[KEPT_TITLE] || draft->kept[KEPT_BODY]))
        return fields_reject(fields, REJECT_BAD_VALUE, template,
                             "give a template, or title and body, not both");
    if (draft->at && draft->expires_at &&
        draft->request->expires_at_ms <= draft->request->deliver_at_ms)
        return fields_reject(fields, REJECT_BAD_VALUE, draft->expires_at,
                             "this would expire before it is due");
    return true;
}

/* An override of title or body is what the client gets (core/inbox.h). */
static const struct json *shown(const struct request_draft *draft, enum kept which,
                                const char *name)
{
    const struct json *content = draft->kept[KEPT_CONTENT], *own = NULL;

    if (content)
        own = json_member(content, "in_app");
    if (own)
        own = json_member(own, name);
    return own ? own : draft->kept[which];
}

/* Where neither channels nor an address are named, in_app is what it may come to. */
static bool check_inbox_size(struct fields *fields, const struct request_draft *draft)
{
    const struct json *parts[] = {draft->kept[KEPT_DATA], shown(draft, KEPT_BODY, "body"),
                                  shown(draft, KEPT_TITLE, "title"), draft->kept[KEPT_GROUP],
                                  draft->kept[KEPT_TYPE]};
    const struct json *largest = NULL;
    size_t bytes = INBOX_ENVELOPE_BYTES;

    if (draft->request->channels != 0 ? !(draft->request->channels & 1U << CHANNEL_IN_APP)
                                      : draft->request->to >= RECIPIENT_EMAIL)
        return true;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (!parts[i])
            continue;
        bytes += parts[i]->raw_length;
        if (!largest || parts[i]->raw_length > largest->raw_length)
            largest = parts[i];
    }
    return bytes <= REQUEST_INBOX_MAX ||
           fields_reject(fields, REJECT_TOO_LARGE, largest,
                         "an in-app notification has at most 10 KiB: refer to what is larger by "
                         "URL, or name other channels");
}

static void decode_item(const struct json *json, const struct json_trouble *trouble,
                        int64_t now_wall_ms, struct arena *arena, struct request_item *item)
{
    struct request_draft draft = {.request = &item->request};
    struct fields fields = {
        .arena = arena, .item = json, .rejection = &item->rejection, .out = &draft};

    set_defaults(&item->request);
    item->rejection = (struct rejection){REJECT_NONE, "", ""};
    item->text = json->raw;
    item->text_bytes = json->raw_length;
    item->request.id = readable_id(json, arena);
    if (json->kind != JSON_KIND_OBJECT) {
        (void)fields_reject(&fields, REJECT_MALFORMED, json, "a request is an object");
        return;
    }
    if (!fields_check_troubles(&fields, trouble) || !request_decode_fields(&fields, json) ||
        !check_pairs(&fields, &draft) || !check_inbox_size(&fields, &draft))
        return;
    settle_times(&draft, now_wall_ms);
    item->request.digest = json->digest;
    request_write_content(&draft, arena);
}

static void reject_all(struct request_batch *batch, struct arena *arena, enum reject reason,
                       const char *detail)
{
    batch->items = arena_zalloc(arena, sizeof *batch->items);
    batch->count = 1;
    set_defaults(&batch->items[0].request);
    batch->items[0].rejection = (struct rejection){reason, "", detail};
}

static void decode_doc(const struct json_doc *doc, int64_t now_wall_ms, struct arena *arena,
                       struct request_batch *batch)
{
    const struct json *at = doc->root;
    size_t count = 1;

    batch->is_array = doc->root->kind == JSON_KIND_ARRAY;
    if (batch->is_array) {
        at = doc->root->first;
        count = doc->root->count;
    }
    if (count == 0 || count > REQUEST_BATCH_MAX) {
        reject_all(batch, arena, count ? REJECT_TOO_LARGE : REJECT_BAD_VALUE,
                   "a batch has 1 to 500 requests");
        return;
    }
    batch->items = arena_alloc(arena, count * sizeof *batch->items);
    batch->count = count;
    for (size_t i = 0; i < count; i++, at = at->next)
        decode_item(at, doc->troubles ? &doc->troubles[i] : NULL, now_wall_ms, arena,
                    &batch->items[i]);
}

void request_decode(const char *payload, size_t bytes, int64_t now_wall_ms, struct arena *arena,
                    struct request_batch *batch)
{
    struct json_doc doc;
    struct arena *scratch;

    *batch = (struct request_batch){0};
    if (bytes > REQUEST_BYTES_MAX) {
        reject_all(batch, arena, REJECT_TOO_LARGE, "a payload has at most 64 KiB");
        return;
    }
    /* The tree is several times as large as the text; it dies here, the results live on. */
    scratch = arena_new(bytes * 8 + 1024);
    if (json_read(payload, bytes, REQUEST_DEPTH_MAX, scratch, &doc) != 0)
        reject_all(batch, arena, REJECT_MALFORMED,
                   arena_printf(arena, "not JSON: %s (at byte %zu)", doc.error, doc.error_at));
    else
        decode_doc(&doc, now_wall_ms, arena, batch);
    arena_free(scratch);
}

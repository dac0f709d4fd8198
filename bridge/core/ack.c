/* SPDX-License-Identifier: MIT */
#include "core/ack.h"

#include <string.h>

#include "base/panic.h"

#include "core/fields.h"
#include "core/id.h"
#include "core/syntax.h"

#define ACK_DEPTH_MAX 4 /* an object with a list: anything deeper is a mistake */

static const char *const kind_names[ACK_KIND_COUNT] = {
    [ACK_ACK] = "ack",         [ACK_READ] = "read",     [ACK_UNREAD] = "unread",
    [ACK_ARCHIVE] = "archive", [ACK_DELETE] = "delete", [ACK_CLICK] = "click",
    [ACK_SEEN] = "seen",
};

const char *ack_kind_name(enum ack_kind kind)
{
    ASSERT((unsigned)kind < ACK_KIND_COUNT);
    return kind_names[kind];
}

int ack_kind_parse(const char *event, enum ack_kind *kind)
{
    for (unsigned i = 0; i < ACK_KIND_COUNT; i++)
        if (strcmp(event, kind_names[i]) == 0) {
            *kind = (enum ack_kind)i;
            return 0;
        }
    return ERR_NOT_FOUND;
}

static bool decode_ids(struct fields *fields, const struct json *value)
{
    static const char *const detail = "ids lists 1 to 500 ids of notifications";
    struct ack *ack = fields->out;

    if (value->kind != JSON_KIND_ARRAY || value->count == 0)
        return fields_reject(fields, REJECT_BAD_VALUE, value, detail);
    if (value->count > ACK_IDS_MAX)
        return fields_reject(fields, REJECT_TOO_LARGE, value, detail);
    ack->ids = arena_alloc(fields->arena, value->count * sizeof *ack->ids);
    for (const struct json *at = value->first; at; at = at->next)
        if (at->kind != JSON_KIND_STRING || id_parse(at->text, &ack->ids[ack->id_count++]) != 0)
            return fields_reject(fields, REJECT_BAD_VALUE, at,
                                 "an id is that of a notification as the inbox gave it");
    return true;
}

static bool decode_all(struct fields *fields, const struct json *value)
{
    struct ack *ack = fields->out;

    if (value->kind != JSON_KIND_BOOL || !value->value.boolean)
        return fields_reject(fields, REJECT_BAD_VALUE, value, "all is true or absent");
    ack->is_all = true;
    return true;
}

static bool decode_before(struct fields *fields, const struct json *value)
{
    struct ack *ack = fields->out;

    return fields_time(fields, value, "before is an RFC 3339 time with an offset", &ack->before_ms);
}

static bool decode_url(struct fields *fields, const struct json *value)
{
    struct ack *ack = fields->out;

    return fields_text(fields, value, 1, 2048, syntax_is_url,
                       "url is an http or https URL of at most 2,048 ASCII characters", &ack->url);
}

/* ids or all; before only with all. */
static bool check_choice(struct fields *fields, const struct ack *ack)
{
    const struct json *before = json_member(fields->item, "before");

    if (ack->is_all && ack->id_count > 0)
        return fields_reject(fields, REJECT_BAD_VALUE, json_member(fields->item, "all"),
                             "give ids or all, not both");
    if (!ack->is_all && ack->id_count == 0)
        return fields_reject_missing(fields, fields->item, "ids", "give ids, or all: true");
    if (before && !ack->is_all)
        return fields_reject(fields, REJECT_BAD_VALUE, before, "before goes with all");
    return true;
}

static bool decode_object(struct fields *fields, enum ack_kind kind)
{
    static const struct field only_ids[] = {{"ids", decode_ids, true}};
    static const struct field click[] = {{"ids", decode_ids, true}, {"url", decode_url, true}};
    static const struct field choice[] = {
        {"ids", decode_ids, false}, {"all", decode_all, false}, {"before", decode_before, false}};
    static const char *const detail = "the payload is an object";

    switch (kind) {
    case ACK_ACK:
        return fields_decode(fields, fields->item, only_ids, 1, detail);
    case ACK_CLICK:
        return fields_decode(fields, fields->item, click, 2, detail);
    case ACK_READ:
    case ACK_UNREAD:
    case ACK_ARCHIVE:
    case ACK_DELETE:
    case ACK_SEEN:
        return fields_decode(fields, fields->item, choice, 3, detail) &&
               check_choice(fields, fields->out);
    case ACK_KIND_COUNT:
        break;
    }
    panic("an event of no known kind");
}

int ack_decode(enum ack_kind kind, const char *payload, size_t bytes, struct arena *arena,
               struct ack *ack, struct rejection *rejection)
{
    struct fields fields = {.arena = arena, .rejection = rejection, .out = ack};
    struct json_doc doc;
    struct arena *scratch;
    bool is_good = false;

    *ack = (struct ack){.kind = kind, .before_ms = INT64_MAX};
    *rejection = (struct rejection){REJECT_MALFORMED, "", "the payload is not JSON"};
    if (bytes > REQUEST_BYTES_MAX) {
        rejection->reason = REJECT_TOO_LARGE;
        rejection->detail = "a payload has at most 64 KiB";
        return ERR_INVALID;
    }
    scratch = arena_new(bytes * 8 + 512);
    if (json_read(payload, bytes, ACK_DEPTH_MAX, scratch, &doc) == 0) {
        fields.item = doc.root;
        is_good = fields_check_troubles(&fields, doc.troubles) && decode_object(&fields, kind);
    }
    arena_free(scratch);
    if (!is_good)
        return ERR_INVALID;
    *rejection = (struct rejection){REJECT_NONE, "", ""};
    return 0;
}

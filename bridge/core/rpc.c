/* SPDX-License-Identifier: MIT */
#include "core/rpc.h"

#include <string.h>

#include "core/id.h"
#include "core/topic.h"
#include "core/utf8.h"

/* The rejection as an error; pointers are relative to the payload. */
static bool set_error(struct rpc_call *call, const struct rejection *rejection)
{
    call->error->code = reject_name(rejection->reason);
    call->error->message = rejection->detail;
    call->error->field = rejection->pointer[0] ? rejection->pointer : NULL;
    return false;
}

static struct fields fields_of(struct rpc_call *call, struct rejection *rejection)
{
    return (struct fields){.arena = call->arena, .item = call->root, .rejection = rejection};
}

static bool fail_at(struct rpc_call *call, enum reject reason, const struct json *at,
                    const char *message)
{
    struct rejection rejection;
    struct fields fields = fields_of(call, &rejection);

    (void)fields_reject(&fields, reason, at, message);
    return set_error(call, &rejection);
}

/*
 * The id of a call whose other values cannot be read, so that its sender can match the error.  It
 * must be readable itself, and be given once.
 */
static const char *salvage_id(const struct json *root, struct arena *arena)
{
    const struct json *found = NULL;
    struct json_doc alone;

    for (const struct json *at = root->first; at; at = at->next)
        if (strcmp(at->key, "rpc") == 0) {
            if (found)
                return NULL;
            found = at;
        }
    if (!found || found->kind != JSON_KIND_STRING || found->length == 0 ||
        json_read(found->raw, found->raw_length, RPC_DEPTH_MAX, arena, &alone) != 0 ||
        alone.troubles || utf8_count(found->text, found->length) > RPC_ID_MAX)
        return NULL;
    return found->text;
}

static bool check_envelope(struct rpc_call *call, const struct json_doc *doc)
{
    const struct json *rpc;
    struct rejection rejection;
    struct fields fields = fields_of(call, &rejection);

    if (call->root->kind != JSON_KIND_OBJECT)
        return fail_at(call, REJECT_MALFORMED, call->root,
                       "a call is an object: {\"rpc\":\"1\",\"params\":{...}}");
    if (!fields_check_troubles(&fields, doc->troubles)) {
        call->rpc = salvage_id(call->root, call->arena);
        return set_error(call, &rejection);
    }
    rpc = json_member(call->root, "rpc");
    if (!rpc) {
        (void)fields_reject_missing(
            &fields, call->root, "rpc",
            "a call is {\"rpc\":\"1\",\"params\":{...}}; rpc is a text that "
            "comes back in the answer");
        return set_error(call, &rejection);
    }
    if (!fields_text(&fields, rpc, 1, RPC_ID_MAX, NULL, "rpc is text of 1 to 128 characters",
                     &call->rpc))
        return set_error(call, &rejection);
    for (const struct json *at = call->root->first; at; at = at->next)
        if (strcmp(at->key, "rpc") != 0 && strcmp(at->key, "params") != 0)
            return fail_at(call, REJECT_UNKNOWN_FIELD, at,
                           fields_is_slip(at->key, "params")
                               ? "there is no such field; is \"params\" meant?"
                               : "a call is {\"rpc\":\"1\",\"params\":{...}}: what the method "
                                 "takes goes under params");
    call->params = json_member(call->root, "params");
    if (call->params && call->params->kind != JSON_KIND_OBJECT)
        return fail_at(call, REJECT_BAD_VALUE, call->params, "params is an object");
    if (call->params && call->params->count > RPC_PARAMS_MAX)
        return fail_at(call, REJECT_TOO_LARGE, call->params, "there are too many parameters");
    return true;
}

int rpc_read(struct rpc_call *call, const char *payload, size_t bytes, struct arena *arena)
{
    struct json_doc doc;
    char *copy;

    *call = (struct rpc_call){.arena = arena};
    call->error = &call->own_error;
    if (bytes > REQUEST_BYTES_MAX) {
        (void)rpc_fail(call, "too_large", "a payload has at most 64 KiB", NULL);
        return ERR_INVALID;
    }
    /* Raw spans point into the text: it must live as long as the call. */
    copy = arena_alloc(arena, bytes);
    if (bytes)
        memcpy(copy, payload, bytes);
    if (json_read(copy, bytes, RPC_DEPTH_MAX, arena, &doc) != 0) {
        (void)rpc_fail(call, "malformed", "the payload is not JSON", NULL);
        return ERR_INVALID;
    }
    call->root = doc.root;
    return check_envelope(call, &doc) ? 0 : ERR_INVALID;
}

bool rpc_has(const struct rpc_call *call, const char *name)
{
    return call->params && json_member(call->params, name);
}

/*
 * Looks a parameter up.  Returns false when the accessor has nothing more to do; *is_good is
 * then what it returns.
 */
static bool find(struct rpc_call *call, const char *name, enum rpc_need need,
                 const struct json **value, bool *is_good)
{
    uint64_t bit = 1;

    *is_good = false;
    if (call->error->code)
        return false;
    for (*value = call->params ? call->params->first : NULL; *value;
         *value = (*value)->next, bit <<= 1)
        if (strcmp((*value)->key, name) == 0) {
            call->asked |= bit;
            return true;
        }
    *is_good = need == RPC_OPTIONAL || rpc_fail(call, "missing_field", "is required", name);
    return false;
}

bool rpc_text(struct rpc_call *call, const char *name, enum rpc_need need, size_t max,
              const char **out)
{
    const struct json *value;
    struct rejection rejection;
    struct fields fields = fields_of(call, &rejection);
    bool is_good;

    if (!find(call, name, need, &value, &is_good))
        return is_good;
    if (value->kind == JSON_KIND_STRING && value->length > 0 &&
        fields_text(&fields, value, 1, max, NULL, "", out))
        return true;
    return fail_at(call, REJECT_BAD_VALUE, value,
                   arena_printf(call->arena, "must be text of 1 to %zu characters", max));
}

bool rpc_principal(struct rpc_call *call, const char *name, enum rpc_need need, const char **out)
{
    const char *raw = NULL;
    char id[TOPIC_ID_MAX + 1];

    if (!rpc_text(call, name, need, TOPIC_ID_MAX, &raw))
        return false;
    if (!raw)
        return true;
    if (topic_encode_id(raw, id))
        return rpc_fail(call, "bad_value", "an id has at most 128 bytes when percent-encoded",
                        name);
    *out = arena_strdup(call->arena, id);
    return true;
}

bool rpc_int(struct rpc_call *call, const char *name, enum rpc_need need, int64_t min, int64_t max,
             int64_t *out)
{
    const struct json *value;
    struct rejection rejection;
    struct fields fields = fields_of(call, &rejection);
    bool is_good;
    int64_t number;

    if (!find(call, name, need, &value, &is_good))
        return is_good;
    if (!fields_integer(&fields, value, min, max, "", &number))
        return fail_at(call, REJECT_BAD_VALUE, value,
                       arena_printf(call->arena, "must be an integer from %lld to %lld",
                                    (long long)min, (long long)max));
    *out = number;
    return true;
}

bool rpc_bool(struct rpc_call *call, const char *name, enum rpc_need need, bool *out)
{
    const struct json *value;
    bool is_good;

    if (!find(call, name, need, &value, &is_good))
        return is_good;
    if (value->kind != JSON_KIND_BOOL)
        return fail_at(call, REJECT_BAD_VALUE, value, "must be true or false");
    *out = value->value.boolean;
    return true;
}

bool rpc_time(struct rpc_call *call, const char *name, enum rpc_need need, int64_t *out)
{
    const struct json *value;
    struct rejection rejection;
    struct fields fields = fields_of(call, &rejection);
    bool is_good;
    int64_t wall_ms;

    if (!find(call, name, need, &value, &is_good))
        return is_good;
    if (!fields_time(&fields, value, "must be an RFC 3339 time with an offset", &wall_ms))
        return set_error(call, &rejection);
    *out = wall_ms ? wall_ms : -1;
    return true;
}

bool rpc_duration(struct rpc_call *call, const char *name, enum rpc_need need, int64_t min_ms,
                  int64_t max_ms, int64_t *out)
{
    const struct json *value;
    struct rejection rejection;
    struct fields fields = fields_of(call, &rejection);
    bool is_good;
    int64_t ms;

    if (!find(call, name, need, &value, &is_good))
        return is_good;
    if (!fields_duration(&fields, value, min_ms, max_ms,
                         "must be a duration such as 30s or 2h, within its limits", &ms))
        return set_error(call, &rejection);
    *out = ms;
    return true;
}

bool rpc_id(struct rpc_call *call, const char *name, enum rpc_need need, uint64_t *out)
{
    const struct json *value;
    bool is_good;

    if (!find(call, name, need, &value, &is_good))
        return is_good;
    if (value->kind != JSON_KIND_STRING || id_parse(value->text, out) != 0)
        return fail_at(call, REJECT_BAD_VALUE, value, "must be an id of 16 hex digits");
    return true;
}

/* The array of 1 to max elements of that name; as find() otherwise. */
static bool find_list(struct rpc_call *call, const char *name, enum rpc_need need, size_t max,
                      const struct json **list, bool *is_good)
{
    if (!find(call, name, need, list, is_good))
        return false;
    if ((*list)->kind == JSON_KIND_ARRAY && (*list)->count > 0 && (*list)->count <= max)
        return true;
    *is_good = fail_at(call, REJECT_BAD_VALUE, *list,
                       arena_printf(call->arena, "must be a list of 1 to %zu", max));
    return false;
}

bool rpc_ids(struct rpc_call *call, const char *name, enum rpc_need need, size_t max,
             uint64_t **out, size_t *count)
{
    const struct json *list;
    uint64_t *ids;
    size_t used = 0;
    bool is_good;

    if (!find_list(call, name, need, max, &list, &is_good))
        return is_good;
    ids = arena_alloc(call->arena, list->count * sizeof *ids);
    for (const struct json *at = list->first; at; at = at->next)
        if (at->kind != JSON_KIND_STRING || id_parse(at->text, &ids[used++]) != 0)
            return fail_at(call, REJECT_BAD_VALUE, at, "must be an id of 16 hex digits");
    *out = ids;
    *count = used;
    return true;
}

bool rpc_texts(struct rpc_call *call, const char *name, enum rpc_need need, size_t max,
               size_t max_length, const char ***out, size_t *count)
{
    const struct json *list;
    struct rejection rejection;
    struct fields fields = fields_of(call, &rejection);
    const char **texts;
    size_t used = 0;
    bool is_good;

    if (!find_list(call, name, need, max, &list, &is_good))
        return is_good;
    texts = arena_alloc(call->arena, list->count * sizeof *texts);
    for (const struct json *at = list->first; at; at = at->next)
        if (!fields_text(&fields, at, 1, max_length, NULL, "must be text, and not too long",
                         &texts[used++]))
            return set_error(call, &rejection);
    *out = texts;
    *count = used;
    return true;
}

bool rpc_choice(struct rpc_call *call, const char *name, enum rpc_need need,
                const char *const *names, size_t *out)
{
    const struct json *value;
    struct rejection rejection;
    struct fields fields = fields_of(call, &rejection);
    struct buf message = {0};
    bool is_good;

    if (!find(call, name, need, &value, &is_good))
        return is_good;
    if (fields_choice(&fields, value, names, "", out))
        return true;
    buf_add_text(&message, "must be one of");
    for (size_t i = 0; names[i]; i++)
        buf_printf(&message, "%s %s", i ? "," : "", names[i]);
    (void)fail_at(call, REJECT_BAD_VALUE, value, arena_strdup(call->arena, buf_text(&message)));
    buf_fini(&message);
    return false;
}

bool rpc_json(struct rpc_call *call, const char *name, enum rpc_need need, const struct json **out)
{
    const struct json *value;
    bool is_good;

    if (!find(call, name, need, &value, &is_good))
        return is_good;
    *out = value;
    return true;
}

bool rpc_object(struct rpc_call *call, const char *name, enum rpc_need need, struct rpc_call *inner)
{
    const struct json *value;
    bool is_good;

    *inner = (struct rpc_call){
        .rpc = call->rpc, .error = call->error, .root = call->root, .arena = call->arena};
    if (!find(call, name, need, &value, &is_good))
        return is_good;
    if (value->kind != JSON_KIND_OBJECT || value->count > RPC_PARAMS_MAX)
        return fail_at(call, REJECT_BAD_VALUE, value, "must be an object");
    inner->params = value;
    return true;
}

bool rpc_objects(struct rpc_call *call, const char *name, enum rpc_need need, size_t max,
                 struct rpc_call **inner, size_t *count)
{
    const struct json *list;
    struct rpc_call *calls;
    size_t used = 0;
    bool is_good;

    if (!find(call, name, need, &list, &is_good))
        return is_good;
    if (list->kind != JSON_KIND_ARRAY || list->count > max)
        return fail_at(call, REJECT_BAD_VALUE, list,
                       arena_printf(call->arena, "must be a list of at most %zu objects", max));
    calls = arena_zalloc(call->arena, (list->count + 1) * sizeof *calls);
    for (const struct json *at = list->first; at; at = at->next) {
        if (at->kind != JSON_KIND_OBJECT || at->count > RPC_PARAMS_MAX)
            return fail_at(call, REJECT_BAD_VALUE, at, "must be an object");
        calls[used++] = (struct rpc_call){
            .error = call->error, .root = call->root, .params = at, .arena = call->arena};
    }
    *inner = calls;
    *count = used;
    return true;
}

bool rpc_done(struct rpc_call *call)
{
    uint64_t bit = 1;

    if (call->error->code)
        return false;
    if (!call->params)
        return true;
    for (const struct json *at = call->params->first; at; at = at->next, bit <<= 1)
        if (!(call->asked & bit))
            return fail_at(call, REJECT_UNKNOWN_FIELD, at, "there is no such parameter");
    return true;
}

bool rpc_fail(struct rpc_call *call, const char *code, const char *message, const char *name)
{
    call->error->code = code;
    call->error->message = message;
    call->error->field = NULL;
    if (name)
        call->error->field = arena_printf(
            call->arena, "%s/%s",
            call->params ? json_pointer(call->root, call->params, call->arena) : "/params", name);
    return false;
}

static void begin(const struct rpc_call *call, struct buf *out, const char *member)
{
    buf_add_char(out, '{');
    if (call->rpc) {
        buf_add_text(out, "\"rpc\":");
        buf_add_json(out, call->rpc);
        buf_add_char(out, ',');
    }
    buf_add_text(out, member);
}

void rpc_begin_result(const struct rpc_call *call, struct buf *out)
{
    begin(call, out, "\"result\":");
}

void rpc_end_result(struct buf *out)
{
    buf_add_char(out, '}');
}

void rpc_write_error(const struct rpc_call *call, struct buf *out)
{
    const struct rpc_error *error = call->error;

    begin(call, out, "\"error\":{\"code\":");
    buf_add_json(out, error->code ? error->code : RPC_INTERNAL);
    buf_add_text(out, ",\"message\":");
    buf_add_json(out, error->code ? error->message : "something went wrong here");
    if (error->field) {
        buf_add_text(out, ",\"field\":");
        buf_add_json(out, error->field);
    }
    buf_add_text(out, "}}");
}

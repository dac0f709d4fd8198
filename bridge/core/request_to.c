/* SPDX-License-Identifier: MIT */
/* Who is to be told: the member `to` of a request. */
#include "core/request_draft.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#include "core/address.h"
#include "core/syntax.h"
#include "core/topic.h"

static bool set_one(struct fields *fields, enum recipient_kind kind, const char *recipient)
{
    struct request_draft *draft = fields->out;
    struct request *request = draft->request;

    request->to = kind;
    request->recipients = arena_alloc(fields->arena, sizeof *request->recipients);
    request->recipients[0] = recipient;
    request->recipient_count = 1;
    return true;
}

/* A name that becomes one level of a topic. */
static bool take_name(struct fields *fields, const struct json *value, size_t max,
                      const char *detail, const char **name)
{
    char encoded[TOPIC_ID_MAX + 1] = "";
    int err = 0;

    if (value->kind != JSON_KIND_STRING || value->length == 0)
        return fields_reject(fields, REJECT_BAD_VALUE, value, detail);
    if (value->length > max / 3) /* a shorter one fits whatever is in it */
        err = topic_encode_id(value->text, encoded);
    if (!err && strlen(encoded) > max)
        err = ERR_TOO_LARGE;
    if (err)
        return fields_reject(fields, err == ERR_TOO_LARGE ? REJECT_TOO_LARGE : REJECT_BAD_VALUE,
                             value, detail);
    *name = arena_copy(fields->arena, value->text, value->length);
    return true;
}

static bool decode_name(struct fields *fields, const struct json *value, enum recipient_kind kind,
                        size_t max, const char *detail)
{
    const char *name = NULL;

    return take_name(fields, value, max, detail, &name) && set_one(fields, kind, name);
}

static bool decode_text(struct fields *fields, const struct json *value, enum recipient_kind kind,
                        size_t max, bool (*check)(const char *text), const char *detail)
{
    const char *text = NULL;

    return fields_text(fields, value, 1, max, check, detail, &text) && set_one(fields, kind, text);
}

/* The recipient in the form in which addresses are stored and sent. */
static bool use_wire(struct fields *fields, const struct json *value, enum channel channel)
{
    struct request_draft *draft = fields->out;
    struct request *request = draft->request;
    const char *wire = address_wire_strict(channel, request->recipients[0], fields->arena);

    if (!wire)
        return fields_reject(fields, REJECT_BAD_VALUE, value,
                             "email is an address whose domain is a valid (internationalized) "
                             "domain name, of at most 254 bytes in its ASCII form");
    request->recipients[0] = wire;
    return true;
}

static bool decode_user(struct fields *fields, const struct json *value)
{
    return decode_name(fields, value, RECIPIENT_USER, TOPIC_ID_MAX,
                       "user is an id of 1 to 128 bytes when it is percent-encoded");
}

static bool decode_role(struct fields *fields, const struct json *value)
{
    return decode_name(fields, value, RECIPIENT_ROLE, TOPIC_ROLE_MAX,
                       "role is a name of 1 to 64 bytes when it is percent-encoded");
}

static bool decode_topic(struct fields *fields, const struct json *value)
{
    return decode_name(fields, value, RECIPIENT_TOPIC, TOPIC_ID_MAX,
                       "topic is a name of 1 to 128 bytes when it is percent-encoded");
}

static bool decode_broadcast(struct fields *fields, const struct json *value)
{
    if (value->kind != JSON_KIND_BOOL || !value->value.boolean)
        return fields_reject(fields, REJECT_BAD_VALUE, value, "broadcast is true or absent");
    return set_one(fields, RECIPIENT_BROADCAST, "");
}

static bool decode_email(struct fields *fields, const struct json *value)
{
    return decode_text(fields, value, RECIPIENT_EMAIL, 254, syntax_is_email,
                       "email is one address of at most 254 bytes, without a name") &&
           use_wire(fields, value, CHANNEL_EMAIL);
}

static bool decode_phone(struct fields *fields, const struct json *value)
{
    return decode_text(fields, value, RECIPIENT_PHONE, 16, syntax_is_phone,
                       "phone is an E.164 number: + and 7 to 15 digits");
}

static bool decode_push_token(struct fields *fields, const struct json *value)
{
    return decode_text(fields, value, RECIPIENT_PUSH_TOKEN, 4096, syntax_is_push_token,
                       "push_token is 1 to 4,096 visible ASCII characters") &&
           use_wire(fields, value, CHANNEL_PUSH);
}

static bool decode_url(struct fields *fields, const struct json *value)
{
    return decode_text(fields, value, RECIPIENT_URL, 2048, syntax_is_url,
                       "url is an http or https URL of at most 2,048 ASCII characters");
}

struct placed { /* an id and where it was in the list */
    const char *id;
    const struct json *value;
    size_t place;
};

static int compare_placed(const void *left, const void *right)
{
    const struct placed *a = left, *b = right;
    int order;

    /* The digests stand for the texts, and are faster to compare. */
    if (a->value->digest != b->value->digest)
        return a->value->digest < b->value->digest ? -1 : 1;
    order = strcmp(a->id, b->id);
    if (order != 0)
        return order;
    return a->place < b->place ? -1 : 1;
}

/* The first that repeats an earlier one; NULL when each is there once. */
static const struct json *find_repeat(struct placed *placed, size_t count)
{
    const struct json *found = NULL;
    size_t first = count;

    qsort(placed, count, sizeof *placed, compare_placed);
    for (size_t i = 1; i < count; i++)
        if (placed[i].place < first && strcmp(placed[i - 1].id, placed[i].id) == 0) {
            first = placed[i].place;
            found = placed[i].value;
        }
    return found;
}

static bool decode_users(struct fields *fields, const struct json *value)
{
    static const char *const detail = "users is a list of 1 to 10,000 ids, each of them once";
    struct request_draft *draft = fields->out;
    struct request *request = draft->request;
    const struct json *repeat;
    struct placed *placed;
    size_t count = 0;

    if (value->kind != JSON_KIND_ARRAY || value->count == 0)
        return fields_reject(fields, REJECT_BAD_VALUE, value, detail);
    if (value->count > REQUEST_USERS_MAX)
        return fields_reject(fields, REJECT_TOO_LARGE, value, detail);
    request->to = RECIPIENT_USER;
    request->recipients = arena_alloc(fields->arena, value->count * sizeof *request->recipients);
    placed = xcalloc(value->count, sizeof *placed);
    for (const struct json *at = value->first; at; at = at->next, count++) {
        if (!take_name(fields, at, TOPIC_ID_MAX,
                       "a user is an id of 1 to 128 bytes when percent-encoded",
                       &request->recipients[count])) {
            free(placed);
            return false;
        }
        placed[count] = (struct placed){request->recipients[count], at, count};
    }
    repeat = find_repeat(placed, count);
    free(placed);
    request->recipient_count = count;
    return !repeat || fields_reject(fields, REJECT_BAD_VALUE, repeat, detail);
}

bool request_decode_to(struct fields *fields, const struct json *value)
{
    static const struct field table[] = {
        {"user", decode_user, false},   {"users", decode_users, false},
        {"role", decode_role, false},   {"broadcast", decode_broadcast, false},
        {"topic", decode_topic, false}, {"email", decode_email, false},
        {"phone", decode_phone, false}, {"push_token", decode_push_token, false},
        {"url", decode_url, false},
    };
    static const char *const detail =
        "to has exactly one of user, users, role, broadcast, topic, email, phone, push_token, url";

    if (!fields_decode(fields, value, table, sizeof table / sizeof *table, detail))
        return false;
    if (value->count == 0)
        return fields_reject(fields, REJECT_MISSING_FIELD, value, detail);
    return value->count == 1 || fields_reject(fields, REJECT_BAD_VALUE, value, detail);
}

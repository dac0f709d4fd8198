/* SPDX-License-Identifier: MIT */
#include "core/fields.h"

#include <string.h>

#include "base/panic.h"
#include "base/timefmt.h"

#include "core/utf8.h"

#define TIME_TEXT_MAX 64 /* bytes; longer is no time and no duration */

bool fields_reject(struct fields *fields, enum reject reason, const struct json *at,
                   const char *detail)
{
    fields->rejection->reason = reason;
    fields->rejection->pointer = json_pointer(fields->item, at, fields->arena);
    fields->rejection->detail = detail;
    return false;
}

bool fields_reject_missing(struct fields *fields, const struct json *object, const char *name,
                           const char *detail)
{
    fields->rejection->reason = REJECT_MISSING_FIELD;
    fields->rejection->pointer = arena_printf(
        fields->arena, "%s/%s", json_pointer(fields->item, object, fields->arena), name);
    fields->rejection->detail = detail;
    return false;
}

bool fields_check_troubles(struct fields *fields, const struct json_trouble *trouble)
{
    if (!trouble)
        return true;
    switch (trouble->fault) {
    case JSON_FAULT_DUPLICATE:
        return fields_reject(fields, REJECT_MALFORMED, trouble->at, "this field is here twice");
    case JSON_FAULT_DEPTH:
        return fields_reject(fields, REJECT_TOO_LARGE, trouble->at,
                             "objects and arrays are nested too deep");
    case JSON_FAULT_TEXT:
        return fields_reject(fields, REJECT_MALFORMED, trouble->at, "this is not UTF-8 text");
    case JSON_FAULT_NUL:
        return fields_reject(fields, REJECT_BAD_VALUE, trouble->at, "text does not contain U+0000");
    case JSON_FAULT_NUMBER:
        return fields_reject(fields, REJECT_BAD_VALUE, trouble->at,
                             "an integer fits in 64 bits, another number in a double");
    case JSON_FAULT_NONE:
        break;
    }
    return true;
}

/* At most one letter was added, lost, changed, or two changed places. */
static bool is_slip(const char *typed, size_t typed_length, const char *name)
{
    size_t length = strlen(name), front = 0, back = 0;
    size_t shorter = typed_length < length ? typed_length : length;
    size_t longer = typed_length < length ? length : typed_length;

    if (longer - shorter > 1)
        return false;
    while (front < shorter && typed[front] == name[front])
        front++;
    while (back < shorter - front && typed[typed_length - 1 - back] == name[length - 1 - back])
        back++;
    if (longer - front - back <= 1)
        return true;
    return typed_length == length && length - front - back == 2 &&
           typed[front] == name[front + 1] && typed[front + 1] == name[front];
}

bool fields_is_slip(const char *typed, const char *name)
{
    return is_slip(typed, strlen(typed), name);
}

static bool reject_unknown(struct fields *fields, const struct json *member,
                           const struct field *table, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (is_slip(member->key, member->key_length, table[i].name))
            return fields_reject(fields, REJECT_UNKNOWN_FIELD, member,
                                 arena_printf(fields->arena,
                                              "there is no such field; is \"%s\" meant?",
                                              table[i].name));
    return fields_reject(fields, REJECT_UNKNOWN_FIELD, member,
                         "there is no such field; what is to be carried along goes under data");
}

static size_t find(const struct json *member, const struct field *table, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *name = table[i].name;

        /* The key is followed by a NUL, so that this reads no further than both are equal. */
        if (name[0] == member->key[0] && strcmp(name, member->key) == 0)
            return i;
    }
    return count;
}

bool fields_decode(struct fields *fields, const struct json *object, const struct field *table,
                   size_t count, const char *detail)
{
    uint64_t seen = 0;

    ASSERT(count <= 64);
    if (object->kind != JSON_KIND_OBJECT)
        return fields_reject(fields, REJECT_BAD_VALUE, object, detail);
    for (const struct json *member = object->first; member; member = member->next) {
        size_t i = find(member, table, count);

        if (i == count)
            return reject_unknown(fields, member, table, count);
        if (!table[i].decode(fields, member))
            return false;
        seen |= UINT64_C(1) << i;
    }
    for (size_t i = 0; i < count; i++)
        if (table[i].is_required && !(seen >> i & 1))
            return fields_reject_missing(fields, object, table[i].name, "this field is required");
    return true;
}

bool fields_text(struct fields *fields, const struct json *value, size_t min, size_t max,
                 bool (*check)(const char *text), const char *detail, const char **out)
{
    if (value->kind != JSON_KIND_STRING || value->length < min)
        return fields_reject(fields, REJECT_BAD_VALUE, value, detail);
    /* There are never more characters than bytes, so that the short are not counted. */
    if (value->length > max && utf8_count(value->text, value->length) > max)
        return fields_reject(fields, REJECT_TOO_LARGE, value, detail);
    if (check && !check(value->text))
        return fields_reject(fields, REJECT_BAD_VALUE, value, detail);
    if (out)
        *out = arena_copy(fields->arena, value->text, value->length);
    return true;
}

/* 3.0 is an integer, as in JSON Schema. */
static bool to_integer(const struct json *value, int64_t *out)
{
    if (value->kind == JSON_KIND_INTEGER) {
        *out = value->value.integer;
        return true;
    }
    if (value->kind != JSON_KIND_REAL || value->value.real < -9007199254740992.0 ||
        value->value.real > 9007199254740992.0)
        return false;
    *out = (int64_t)value->value.real;
    return (double)*out == value->value.real;
}

bool fields_integer(struct fields *fields, const struct json *value, int64_t min, int64_t max,
                    const char *detail, int64_t *out)
{
    if (!to_integer(value, out) || *out < min || *out > max)
        return fields_reject(fields, REJECT_BAD_VALUE, value, detail);
    return true;
}

bool fields_boolean(struct fields *fields, const struct json *value, const char *detail, bool *out)
{
    if (value->kind != JSON_KIND_BOOL)
        return fields_reject(fields, REJECT_BAD_VALUE, value, detail);
    *out = value->value.boolean;
    return true;
}

bool fields_duration(struct fields *fields, const struct json *value, int64_t min_ms,
                     int64_t max_ms, const char *detail, int64_t *out)
{
    if (value->kind != JSON_KIND_STRING || value->length > TIME_TEXT_MAX ||
        timefmt_parse_duration(value->text, out) != 0 || *out < min_ms || *out > max_ms)
        return fields_reject(fields, REJECT_BAD_VALUE, value, detail);
    return true;
}

bool fields_time(struct fields *fields, const struct json *value, const char *detail, int64_t *out)
{
    if (value->kind != JSON_KIND_STRING || value->length > TIME_TEXT_MAX ||
        timefmt_parse_wall(value->text, out) != 0)
        return fields_reject(fields, REJECT_BAD_VALUE, value, detail);
    return true;
}

bool fields_choice(struct fields *fields, const struct json *value, const char *const *names,
                   const char *detail, size_t *out)
{
    for (size_t i = 0; value->kind == JSON_KIND_STRING && names[i]; i++)
        if (strcmp(value->text, names[i]) == 0) {
            *out = i;
            return true;
        }
    return fields_reject(fields, REJECT_BAD_VALUE, value, detail);
}

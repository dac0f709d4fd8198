/* SPDX-License-Identifier: MIT */
/*
 * fields - the members of a JSON object, decoded by a table, strictly
 *
 * A table says which members an object may have and what decodes each.  Any other member is
 * refused by name, a required one that is missing too.  The first thing that is wrong ends the
 * decoding and is described in a rejection: reason, pointer, and a sentence that says what would
 * be right.  Sentences are constants: they never echo what was sent.
 *
 * All functions return true when the value is good.
 *
 * Ownership: texts that are given out live in the arena of struct fields.
 */
#ifndef TOCSIN_CORE_FIELDS_H
#define TOCSIN_CORE_FIELDS_H
#include "core/json.h"
#include "core/request.h"

struct fields {
    struct arena *arena;
    const struct json *item; /* what pointers are relative to */
    struct rejection *rejection;
    void *out; /* what is being filled */
};

typedef bool field_fn(struct fields *fields, const struct json *value);

struct field {
    const char *name;
    field_fn *decode;
    bool is_required;
};

/* Whether typed is name but for one letter: left out, added, another, or two exchanged. */
bool fields_is_slip(const char *typed, const char *name);
/* Rejects the item for what the reader found wrong in it; trouble may be NULL. */
bool fields_check_troubles(struct fields *fields, const struct json_trouble *trouble);

/* Decodes an object's members in the order they come; at most 64 fields. */
bool fields_decode(struct fields *fields, const struct json *object, const struct field *table,
                   size_t count, const char *detail);

/* Both return false, so that they can be returned. */
bool fields_reject(struct fields *fields, enum reject reason, const struct json *at,
                   const char *detail);
bool fields_reject_missing(struct fields *fields, const struct json *object, const char *name,
                           const char *detail);

/*
 * detail says what the value must be and is used for every way in which it is not.  Text is
 * counted in characters; check and out may be NULL.  What is out is copied into the arena.
 */
bool fields_text(struct fields *fields, const struct json *value, size_t min, size_t max,
                 bool (*check)(const char *text), const char *detail, const char **out);
bool fields_integer(struct fields *fields, const struct json *value, int64_t min, int64_t max,
                    const char *detail, int64_t *out);
bool fields_boolean(struct fields *fields, const struct json *value, const char *detail, bool *out);
bool fields_duration(struct fields *fields, const struct json *value, int64_t min_ms,
                     int64_t max_ms, const char *detail, int64_t *out);
bool fields_time(struct fields *fields, const struct json *value, const char *detail, int64_t *out);
/* One of names (ended by NULL); out is its place. */
bool fields_choice(struct fields *fields, const struct json *value, const char *const *names,
                   const char *detail, size_t *out);

#endif

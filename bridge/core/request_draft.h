/* SPDX-License-Identifier: MIT */
/*
 * request_draft - a request while it is being decoded; private to request*.c
 */
#ifndef TOCSIN_CORE_REQUEST_DRAFT_H
#define TOCSIN_CORE_REQUEST_DRAFT_H
#include "core/fields.h"
#include "core/request.h"

/* The members that are kept as request.content, in the order in which they are written. */
enum kept {
    KEPT_TYPE,
    KEPT_PRIORITY,
    KEPT_TITLE,
    KEPT_BODY,
    KEPT_TEMPLATE,
    KEPT_LOCALE,
    KEPT_DATA,
    KEPT_CONTENT,
    KEPT_GROUP,
    KEPT_SCHEDULE,
    KEPT_CAMPAIGN,
    KEPT_COUNT
};

struct request_draft {
    struct request *request;
    const struct json *kept[KEPT_COUNT]; /* NULL where not given */
    const struct json *at, *expires_at, *ttl;
    int64_t ttl_ms;
};

/* The member `to`. */
bool request_decode_to(struct fields *fields, const struct json *value);
/* All members; fields->out is the draft. */
bool request_decode_fields(struct fields *fields, const struct json *item);
/* Fills content and content_bytes from what was kept. */
void request_write_content(struct request_draft *draft, struct arena *arena);

#endif

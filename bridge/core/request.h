/* SPDX-License-Identifier: MIT */
/*
 * request - what a service asks for, decoded strictly (topics.md section 3)
 *
 * A payload is one request or an array of at most REQUEST_BATCH_MAX.  Every item stands for
 * itself: a bad one is described (reason, JSON pointer of the field, a sentence) and its
 * neighbours go on.  Only a payload that is not JSON, larger than REQUEST_BYTES_MAX, or an array of
 * none or too many is one rejection for the whole.  schemas/json/request.schema.json is the
 * published form of the same rules, and a test requires the same verdicts of both.
 *
 * Unknown fields, duplicate keys, nesting deeper than REQUEST_DEPTH_MAX, text that is not UTF-8
 * and numbers out of range are refused.
 *
 * Rules the fields have between them: at or schedule; expires_at or ttl (which counts from `at`
 * where that is given); a template, or title and body; expires_at after at; retry.max not
 * shorter than retry.base; escalate_after only with the mode first.  Where in_app is among the
 * channels, or none are named and the recipient is no address, what a client would get must fit
 * REQUEST_INBOX_MAX.
 *
 * Purity:    no I/O, no clock: now is a parameter.
 * Ownership: everything lives in the arena given.
 */
#ifndef TOCSIN_CORE_REQUEST_H
#define TOCSIN_CORE_REQUEST_H
#include "base/arena.h"
#include "base/err.h"
#include "core/channel.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REQUEST_BYTES_MAX 65536
#define REQUEST_BATCH_MAX 500
#define REQUEST_DEPTH_MAX 32
#define REQUEST_USERS_MAX 10000
#define REQUEST_ID_MAX    128
#define REQUEST_INBOX_MAX 10240 /* what a client gets, in bytes of JSON */

/* topics.md section 6, "Rejected". */
enum reject {
    REJECT_NONE = 0,
    REJECT_MALFORMED,
    REJECT_UNKNOWN_FIELD,
    REJECT_MISSING_FIELD,
    REJECT_BAD_VALUE,
    REJECT_TOO_LARGE,
    REJECT_ID_REUSED,
    REJECT_NOT_ALLOWED,
    REJECT_RATE_LIMITED,
    REJECT_UNKNOWN_TEMPLATE,
    REJECT_UNKNOWN_USER,
    REJECT_UNAVAILABLE /* a fault of ours: the same request may be taken later */
};
const char *reject_name(enum reject reject);

struct rejection {
    enum reject reason;
    const char *pointer; /* RFC 6901, relative to the item; "" is the item itself */
    const char *detail;  /* what is wrong and what would be right; echoes no values */
};

enum recipient_kind {
    RECIPIENT_USER, /* one or more ids in recipients[] */
    RECIPIENT_ROLE,
    RECIPIENT_BROADCAST,
    RECIPIENT_TOPIC,
    RECIPIENT_EMAIL,
    RECIPIENT_PHONE,
    RECIPIENT_PUSH_TOKEN,
    RECIPIENT_URL
};

enum receipts_wanted { RECEIPTS_FINAL, RECEIPTS_ALL, RECEIPTS_NONE };

struct retry_override { /* -1 (or < 0) where the request says nothing */
    int attempts;
    int64_t base_ms, max_ms;
    double factor;
    int jitter; /* 0 off, 1 full */
};

struct request {
    const char *id; /* the service's; also set, when it could be read, on a rejected item */
    const char *type;
    enum recipient_kind to;
    const char **recipients; /* users as written, addresses in their wire form */
    size_t recipient_count;
    unsigned channels; /* bit set by enum channel; 0 when the request names none */
    enum channel channel_order[CHANNEL_COUNT]; /* as listed, for route "first" */
    size_t channel_count;
    bool has_route, is_route_first;
    int64_t escalate_after_ms; /* -1 when absent */
    enum priority priority;
    enum receipts_wanted receipts;
    const char *template_name, *locale; /* NULL when absent */
    int64_t deliver_at_ms;              /* wall; 0 = now ("at") */
    bool has_schedule;                  /* `schedule` was given (well-formed) */
    int64_t expires_at_ms;              /* wall; 0 = never; from expires_at or ttl */
    const char *collapse_key;           /* NULL when absent */
    bool has_group;
    const char *campaign;
    struct retry_override retry;
    /*
     * What is stored and handed to adapters: one compact JSON object with the members type,
     * priority, title, body, template, locale, data, content, group, schedule, campaign that
     * were given, in this order and as they were written; priority is always there.
     */
    const char *content;
    size_t content_bytes;
    /* The same for any order of members and any white space: tells a repeat from a reuse. */
    uint64_t digest;
};

struct request_item {
    struct request request;
    struct rejection rejection; /* reason REJECT_NONE when the request is good */
    const char *text;           /* this item of the payload; borrowed from it */
    size_t text_bytes;
};

struct request_batch {
    struct request_item *items;
    size_t count;
    bool is_array;
};

/* Never fails: what is wrong is in the items.  A hopeless payload is one rejected item. */
void request_decode(const char *payload, size_t bytes, int64_t now_wall_ms, struct arena *arena,
                    struct request_batch *batch);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * callback_tools - what several readers of callbacks share
 */
#ifndef TOCSIN_CHANNELS_CALLBACK_TOOLS_H
#define TOCSIN_CHANNELS_CALLBACK_TOOLS_H
#include "base/buf.h"
#include "channels/answer.h"
#include "channels/callback.h"
#include "channels/http_outcome.h"

/* Keys in the adapters' tables. */
#define CALLBACK_SECRET_KEY "callback_secret_file"

/* Sets why and returns the verdict. */
enum callback_verdict callback_refuse(struct callback_result *result, const char *why);
enum callback_verdict callback_misread(struct callback_result *result, const char *why);

/* In constant time for strings of one length; a missing one equals nothing. */
bool callback_equal(const void *a, size_t a_bytes, const void *b, size_t b_bytes);
bool callback_equal_text(const char *a, const char *b);
/* The same for hex digits, of which given may have capital ones. */
bool callback_equal_hex(const char *made, const char *given);
/* Lower-case hex of HMAC-SHA256, and of SHA-256. */
void callback_hmac_hex(struct buf *out, const struct secret *key, const void *message,
                       size_t length);
void callback_sha256_hex(struct buf *out, const void *bytes, size_t length);

/*
 * Appends an event with copies of the texts.  key is the provider's own; NULL makes one of id, name
 * and code.  An event that names neither a message nor a delivery, or is one too many, is unread.
 */
void callback_add(struct callback_result *result, const struct callback_event *event);
/* Notes a part that was not understood, to be kept as it came; raw NULL: the whole request. */
void callback_unread(struct callback_result *result, const char *raw);
/*
 * The request's body as JSON.  When it is none, it is mended (channels/answer.h) so that its
 * readable parts are events, and kept unread as a whole besides.
 */
struct answer *callback_json(const struct callback_request *request,
                             struct callback_result *result);
/* The delivery that a provider hands back as we gave it: 16 hex digits; 0 when it is none. */
uint64_t callback_delivery(const char *text);
/* Whether the word is in the list, which ends with NULL. */
bool callback_is_among(const char *word, const char *const list[]);
/*
 * What somebody sent to us: sets result->word when it is a keyword and comes from a phone, with
 * or without its plus.  Any of the texts may be NULL.
 */
void callback_hear(struct callback_result *result, const char *from, const char *text,
                   const char *id, int64_t at_ms);
/*
 * The reason of a failure: the adapter's own error table knows its provider's codes, and
 * `otherwise` is for those it does not know.
 */
enum reason callback_reason(const char *adapter, const char *code, enum reason otherwise);

/* A bounce: it suppresses the address if it is a proof (channels/bounce.h), else it has failed. */
void callback_bounced(struct callback_event *event, bool is_proof);

/* Milliseconds of a number of seconds since 1970; 0 when it is none, or no time of this age. */
int64_t callback_seconds(const char *text);

/* A form or query, decoded, in the order in which it was sent; at most CALLBACK_PAIRS_MAX. */
#define CALLBACK_PAIRS_MAX 5000
struct callback_form {
    struct callback_pair {
        const char *name, *value;
    } * pairs; /* in the arena */
    size_t count, room;
};
/* False when there are too many. */
bool callback_form_read(struct callback_form *form, struct arena *arena, const char *text,
                        size_t bytes);
/* The first value of that name; NULL when absent. */
const char *callback_form_get(const struct callback_form *form, const char *name);

/*
 * The claims of a compact JWT signed with HS256, HS384 or HS512; NULL when it is not that or the
 * signature is wrong.  The caller frees the answer and judges the claims.
 */
struct answer *callback_jwt(const char *token, const struct secret *key);

#endif

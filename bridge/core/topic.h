/* SPDX-License-Identifier: MIT */
/*
 * topic - the names of topics.md, taken apart and put together
 *
 * An id in a topic is percent-encoded into one level (topics.md section 1).  Inside the bridge and
 * in the database ids are always in this encoded form: it is what the broker vouches for.  Outside
 * of topics (JSON that comes in or goes out, the configuration) they are as the token has them:
 * topic_add_id() and rpc_principal() are the two doors.
 */
#ifndef TOCSIN_CORE_TOPIC_H
#define TOCSIN_CORE_TOPIC_H
#include "base/buf.h"
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>

#define TOPIC_ID_MAX    128 /* encoded bytes */
#define TOPIC_ROLE_MAX  64  /* encoded bytes of a role: as PRINCIPAL_ROLE_MAX of the auth plugin */
#define TOPIC_BYTES_MAX 256
/* Levels below down/ that a Response Topic may have; the auth plugin allows filters as deep. */
#define TOPIC_REPLY_LEVELS 2

enum topic_kind { TOPIC_SERVICE, TOPIC_USER, TOPIC_ADMIN };

struct topic_up { /* notify/v1/{kind}s/{id}/up/{event...} */
    enum topic_kind kind;
    char id[TOPIC_ID_MAX + 1];
    const char *event; /* points into the topic: "request", "ack", "rpc/dlq.list" */
};

NODISCARD int topic_parse_up(const char *topic, struct topic_up *up);
/* Is it what topic_encode_id() gives for some id?  Any other form is refused in a topic. */
bool topic_is_encoded_id(const char *id, size_t length);
/* The id as the token had it; ERR_INVALID when the encoded form is not well-formed. */
NODISCARD int topic_decode_id(const char *id, char out[TOPIC_ID_MAX + 1]);
/* Appends ,"name":"..." with the id as the token had it; nothing when id is NULL or "". */
void topic_add_id(struct buf *out, const char *name, const char *id);
/* Encodes one raw id; ERR_TOO_LARGE past 128 bytes, ERR_INVALID when empty or not UTF-8. */
NODISCARD int topic_encode_id(const char *raw, char out[TOPIC_ID_MAX + 1]);
/*
 * May an answer to this principal be published there?  One or two levels below its own down/, as
 * answers/7: the name of a topic, with no wildcard and no empty level.
 */
bool topic_is_own_down(enum topic_kind kind, const char *id, const char *topic);
/*
 * "notify/v1/users/{id}/down/{leaf}"; id is encoded already; writes and returns out.  Panics
 * when they do not fit: ids are bounded and leaves are ours.
 */
/* The empty text, which no broker takes, when it would be longer than that. */
char *topic_down(enum topic_kind kind, const char *id, const char *leaf, char out[TOPIC_BYTES_MAX]);

#endif

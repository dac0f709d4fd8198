/* SPDX-License-Identifier: MIT */
/*
 * content - what a delivery says, as one channel should say it
 *
 * A parsed view of job.content.  The members title, body and data are for every channel;
 * content.{push,sms,email,chat,webhook} override them member by member:
 *
 *   each    title body (the text of email, sms and chat, where text is not given)
 *   push    image sound badge url channel_id ttl, data (added to data)
 *   sms     text from
 *   email   subject text html from reply_to list_unsubscribe attachments headers
 *   chat    text blocks card template
 *   webhook body (sent as it is)
 *
 * What a service gave as JSON goes out as it came: numbers and strings keep their spelling (29.95
 * stays 29.95, 1.10 stays 1.10), only white space between tokens is left out.
 *
 * Purity:    no I/O.  Knows no provider.
 * Ownership: everything lives in the arena given; NULL means not given.  JSON members come as
 *            compact JSON text.  The text given is not needed afterwards.
 */
#ifndef TOCSIN_CHANNELS_CONTENT_H
#define TOCSIN_CHANNELS_CONTENT_H
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "core/channel.h"
#include <stddef.h>
#include <stdint.h>

#define CONTENT_ATTACHMENTS_MAX 20

struct content_pair {
    const char *key, *value; /* a string as it is; anything else as compact JSON */
};

struct content_attachment {
    const char *name, *type, *id; /* id: Content-ID of an inline part, or NULL */
    const char *url;              /* either this ... */
    const void *bytes;            /* ... or decoded bytes */
    size_t length;
};

struct content {
    const char *title, *body; /* with the channel's overrides applied */
    const char *data_json;    /* one object */
    const struct content_pair *data;
    size_t data_count;
    /* push */
    const char *image, *sound, *url, *channel_id;
    int64_t badge, ttl_ms; /* -1 when not given */
    /* email: title is the subject, body the text; also sms: from */
    const char *html, *from, *reply_to, *list_unsubscribe;
    const struct content_pair *headers;
    size_t header_count;
    const struct content_attachment *attachments;
    size_t attachment_count;
    /* chat */
    const char *blocks_json, *card_json, *template_json;
    /* webhook */
    const char *body_json;
};

/*
 * Reads one channel's view.  ERR_INVALID when it is not an object or a member has another type
 * than it should; why then gets a sentence without any of the content.
 */
NODISCARD int content_parse(const char *json, size_t bytes, enum channel channel,
                            struct arena *arena, struct content *content, char *why,
                            size_t why_bytes);
/* {"k":"v",...}: all pairs as strings. */
void content_write_pairs(struct buf *out, const struct content_pair *pairs, size_t count);

#endif

/* SPDX-License-Identifier: MIT */
#include "core/receipt.h"

#include <string.h>

#include "base/timefmt.h"

#include "core/id.h"
#include "core/topic.h"
#include "core/utf8.h"

/* What a vendor wrote may be no text at all: it is left out, since a receipt must be JSON. */
static void add_member(struct buf *out, const char *name, const char *text)
{
    if (!text || !utf8_is_valid(text, strlen(text)))
        return;
    buf_add_text(out, name);
    buf_add_json(out, text);
}

static void add_quoted(struct buf *out, const char *name, const char *text)
{
    buf_add_text(out, name);
    buf_add_text(out, text);
    buf_add_char(out, '"');
}

void receipt_write(const struct receipt *receipt, struct buf *out)
{
    char id[ID_TEXT_BYTES], at[TIMEFMT_BYTES];

    buf_reserve(out, 256);
    buf_add(out, "{", 1);
    add_quoted(out, "\"status\":\"", receipt->status);
    add_member(out, ",\"id\":", receipt->id);
    if (receipt->notification)
        add_quoted(out, ",\"notification\":\"", id_format(receipt->notification, id));
    add_member(out, ",\"channel\":", receipt->channel);
    topic_add_id(out, "user", receipt->user);
    add_member(out, ",\"target\":", receipt->target);
    if (receipt->attempt) {
        buf_add_text(out, ",\"attempt\":");
        buf_add_i64(out, receipt->attempt);
    }
    if (receipt->segments) {
        buf_add_text(out, ",\"segments\":");
        buf_add_i64(out, receipt->segments);
    }
    add_member(out, ",\"provider\":", receipt->provider);
    add_member(out, ",\"provider_id\":", receipt->provider_id);
    add_member(out, ",\"reason\":", receipt->reason);
    add_member(out, ",\"field\":", receipt->field);
    add_member(out, ",\"detail\":", receipt->detail);
    add_quoted(out, ",\"at\":\"", timefmt_wall(receipt->at_ms, at));
    buf_add_char(out, '}');
}

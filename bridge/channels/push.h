/* SPDX-License-Identifier: MIT */
/*
 * push - what the push adapters share: when a push is of no use any more, and JSON members
 */
#ifndef TOCSIN_CHANNELS_PUSH_H
#define TOCSIN_CHANNELS_PUSH_H
#include "channels/call.h"
#include "channels/encode.h"

static inline bool push_has_content(const struct content *content)
{
    return content->title || content->body || content->data_count;
}
/*
 * Seconds that a push may wait for its device: content.push.ttl or what is left of the
 * notification, the shorter; -1 when neither says.
 */
int64_t push_ttl_s(const struct call *call);
/* "name":"value" with a comma before all but the first; nothing for NULL. */
void push_member(struct buf *out, bool *is_first, const char *name, const char *value);
/*
 * ,"key":"value" of each pair of data, beside members that were written before it: no name comes
 * twice in one object.  tocsin_id is always ours; url and image, where content.push names them,
 * stand for the whole push and win over a pair of data with that name; at Apple image
 * is such a member, and aps is Apple's own.
 */
void push_add_data(struct buf *out, const struct content *content, bool is_apple);

#endif

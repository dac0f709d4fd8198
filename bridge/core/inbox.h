/* SPDX-License-Identifier: MIT */
/*
 * inbox - what of a notification's content a user's client gets
 *
 * type, priority, title, body, data, locale and group as they are; title and body as
 * content.in_app says where it says so.  The rest of `content` is for other channels, and
 * campaign and schedule are nobody's business.
 *
 * Purity: no I/O.
 */
#ifndef TOCSIN_CORE_INBOX_H
#define TOCSIN_CORE_INBOX_H
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include <stddef.h>

/*
 * Whether stored content is one JSON object, in UTF-8.  Asked before it becomes a part of an answer
 * that holds others: what the bridge did not write would make all of them unreadable.
 */
bool inbox_is_object(const char *content, size_t bytes, struct arena *scratch);
/*
 * Appends the members, each with a comma before it; content is a request's stored content.
 * ERR_INVALID, and nothing was appended: it is not a JSON object.  Only a row that the bridge did
 * not write holds such content.  A JSON object without `content`, `campaign`, `schedule` and
 * `template` is copied and not parsed.
 */
NODISCARD int inbox_write_members(const char *content, size_t bytes, struct arena *scratch,
                                  struct buf *out);

#endif

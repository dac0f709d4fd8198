/* SPDX-License-Identifier: MIT */
/*
 * edit - content that an admin writes in place of a request's own
 *
 * It has the members that a request's stored content has (core/request.h), is held to the same
 * rules, and names the type of the notification that it is for.
 *
 * Purity:    no I/O, no clock.
 * Ownership: everything lives in the arena given.
 */
#ifndef TOCSIN_CORE_EDIT_H
#define TOCSIN_CORE_EDIT_H
#include "core/json.h"
#include "core/request.h"

struct edit {
    const char *content; /* as a request's: compact, in the fixed order */
    size_t content_bytes;
    const char *type;
    bool fits_in_app;           /* within REQUEST_INBOX_MAX */
    struct rejection rejection; /* its pointer is relative to what was given */
};

/* ERR_INVALID when it is none; rejection says why. */
NODISCARD int edit_read(const struct json *given, struct arena *arena, struct edit *edit);

#endif

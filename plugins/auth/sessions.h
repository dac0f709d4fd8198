/* SPDX-License-Identifier: MIT */
/*
 * sessions - client ids whose connection has ended and whose session may not have
 *
 * A session that stays behind costs the broker memory for as long as it
 * lasts, so a principal may have only so many.  The plugin cannot know how
 * long that is: MQTT 5 clients say it to the broker alone.  So each id is
 * asked about: at once, and then after waits that double from five seconds
 * to two days, until the broker no longer knows it.  Ids restored from
 * disk are not asked about (the broker does not stand it, see left.c); they
 * are forgotten at a given time.
 *
 * Purity:    no I/O, no clock, no broker symbols; the caller passes monotonic
 *            milliseconds, and does the asking.
 * Ownership: the table owns its entries.
 * Errors:    out of memory an id is not counted.
 * Limits:    as many entries as the broker has sessions; the bound for one
 *            principal is the caller's.
 */
#ifndef TOCSIN_AUTH_SESSIONS_H
#define TOCSIN_AUTH_SESSIONS_H

#include "map.h"

#include <stdbool.h>
#include <stdint.h>

enum { SESSIONS_LEVELS = 17 };

struct session;

/* First in, first out: all of a level wait equally long. */
struct session_line {
    struct session *first, *last;
};

struct sessions {
    struct map ids, owners;
    struct session_line levels[SESSIONS_LEVELS], restored;
};

NODISCARD int sessions_init(struct sessions *s);
void sessions_fini(struct sessions *s);

/* `subject` is "user/alice".  The id has been left behind just now. */
void sessions_add(struct sessions *s, const char *subject, const char *client_id, int64_t now_ms);
/* It was restored from disk and is forgotten at `until_ms` (INT64_MAX: never). */
void sessions_add_restored(struct sessions *s, const char *subject, const char *client_id,
                           int64_t until_ms);
/* Connected again, or no longer known to the broker; no harm when it is not in the table. */
void sessions_remove(struct sessions *s, const char *client_id);

bool sessions_has(const struct sessions *s, const char *client_id);
/* How many the principal has left behind. */
unsigned sessions_count(const struct sessions *s, const char *subject);

/* An id that is to be asked about; NULL when none is due.  Then sessions_remove() it, or say that
 * the broker still has it with sessions_stays(). */
const char *sessions_due(struct sessions *s, int64_t now_ms);
void sessions_stays(struct sessions *s, const char *client_id, int64_t now_ms);
/* Forgets restored ids whose time has come. */
void sessions_expire(struct sessions *s, int64_t now_ms);

#endif

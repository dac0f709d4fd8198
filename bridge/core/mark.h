/* SPDX-License-Identifier: MIT */
/*
 * mark - what a user's events make of the state of an inbox entry
 *
 * Several events on one entry fold into one mark, in their order: the state each former state
 * becomes, and whether it counts as seen.  A deleted entry stays deleted, whatever comes.
 *
 *   read, click  unread -> read                 unread   read, archived -> unread
 *   archive      unread, read -> archived       delete   any -> deleted
 *   seen         no state; every other event but unread makes an entry seen as well
 *
 * unread for all entries at once leaves archived ones where they are.
 *
 * Purity: no I/O.
 */
#ifndef TOCSIN_CORE_MARK_H
#define TOCSIN_CORE_MARK_H
#include "core/ack.h"
#include <stdbool.h>

/* As stored. */
enum inbox_state { INBOX_UNREAD, INBOX_READ, INBOX_ARCHIVED, INBOX_DELETED, INBOX_STATE_COUNT };

struct mark {
    enum inbox_state to[INBOX_DELETED]; /* by former state */
    bool is_seen;
    bool is_read, is_clicked; /* the service may want to know */
    bool has_state;           /* more than seen was said ... */
    bool has_seen;            /* ... and seen was */
};

void mark_init(struct mark *mark);
void mark_add(struct mark *mark, enum ack_kind kind, bool is_all);
/* "unread", "read", "archived", "deleted" */
const char *inbox_state_name(enum inbox_state state);
/* What other devices are told: the entry's state, or "seen" when nothing else was said. */
const char *mark_told(const struct mark *mark, enum inbox_state state);
/* Are they told "seen" as well?  Only an unread entry may be seen without their knowing. */
bool mark_tells_seen(const struct mark *mark, enum inbox_state state);

#endif

/* SPDX-License-Identifier: MIT */
#include "core/mark.h"

static const char *const state_names[INBOX_STATE_COUNT] = {
    [INBOX_UNREAD] = "unread",
    [INBOX_READ] = "read",
    [INBOX_ARCHIVED] = "archived",
    [INBOX_DELETED] = "deleted",
};

const char *inbox_state_name(enum inbox_state state)
{
    return (unsigned)state < INBOX_STATE_COUNT ? state_names[state] : "unknown";
}

void mark_init(struct mark *mark)
{
    *mark = (struct mark){.to = {INBOX_UNREAD, INBOX_READ, INBOX_ARCHIVED}};
}

static enum inbox_state step(enum inbox_state state, enum ack_kind kind, bool is_all)
{
    if (state == INBOX_DELETED)
        return state;
    switch (kind) {
    case ACK_READ:
    case ACK_CLICK:
        return state == INBOX_UNREAD ? INBOX_READ : state;
    case ACK_UNREAD:
        return is_all && state == INBOX_ARCHIVED ? state : INBOX_UNREAD;
    case ACK_ARCHIVE:
        return INBOX_ARCHIVED;
    case ACK_DELETE:
        return INBOX_DELETED;
    case ACK_ACK:
    case ACK_SEEN:
    case ACK_KIND_COUNT:
        break;
    }
    return state;
}

void mark_add(struct mark *mark, enum ack_kind kind, bool is_all)
{
    for (int i = 0; i < INBOX_DELETED; i++)
        mark->to[i] = step(mark->to[i], kind, is_all);
    if (kind != ACK_UNREAD && kind != ACK_ACK)
        mark->is_seen = true;
    if (kind == ACK_READ || kind == ACK_CLICK)
        mark->is_read = true;
    if (kind == ACK_CLICK)
        mark->is_clicked = true;
    if (kind == ACK_SEEN)
        mark->has_seen = true;
    else if (kind != ACK_ACK)
        mark->has_state = true;
}

const char *mark_told(const struct mark *mark, enum inbox_state state)
{
    return mark->has_state ? inbox_state_name(state) : "seen";
}

bool mark_tells_seen(const struct mark *mark, enum inbox_state state)
{
    return mark->has_seen && mark->has_state && state == INBOX_UNREAD;
}

/* SPDX-License-Identifier: MIT */
/*
 * inbox - a user's inbox: what was marked, how much is unread, what was missed
 *
 * Every statement is bound to the user given: an id of somebody else's entry finds nothing.
 * inbox_user rows are locked first, in their order, as ingest does: nobody waits in a circle.
 */
#ifndef TOCSIN_STORE_INBOX_H
#define TOCSIN_STORE_INBOX_H
#include "core/mark.h"
#include "store/store.h"

struct inbox_mark {
    const char *user;
    uint64_t delivery;
    struct mark mark;
    const char *roles; /* the user's, joined by ',': for what was told to many */
    /* The caller's own. */
    const char *url;
    bool is_found;
};
/* An entry that was named and is the user's; strings borrowed for the callback. */
struct inbox_marked {
    const char *user;
    uint64_t delivery, notification;
    int64_t seq, until_seq; /* until: the user's last number before */
    enum inbox_state state;
    const char *service, *request; /* NULL unless it asked to be told of reading */
};
struct inbox_mark_call {
    void (*on_row)(void *ctx, const struct inbox_marked *marked);
    void (*on_done)(void *ctx, int err, size_t rows);
    void *ctx;
};
/* Answers with every entry that was there, changed or not: what comes again is told again. */
NODISCARD int store_inbox_mark(struct store *store, const struct inbox_mark *marks, size_t count,
                               const struct inbox_mark_call *call);
/* Some of a user's entries: of notifications before `before`, with a number in (after, until]. */
struct inbox_range {
    const char *user;
    uint64_t before;
    int64_t after_seq, until_seq;
    int limit;
    const char *roles; /* as in struct inbox_mark */
};
/* In the order of numbers.  Answers with those that changed. */
NODISCARD int store_inbox_mark_all(struct store *store, const struct inbox_range *range,
                                   const struct mark *mark, const struct inbox_mark_call *call);

struct inbox_badge_call {
    void (*on_row)(void *ctx, const char *user, int64_t unread, int64_t unseen);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
NODISCARD int store_inbox_badges(struct store *store, const char *const *users, size_t count,
                                 const struct inbox_badge_call *call);

struct inbox_query {
    const char *user;
    int64_t since_seq, before_seq; /* numbers between, both exclusive */
    uint64_t before;               /* notifications before this one */
    int state;                     /* -1: any but deleted */
    const char *type;              /* NULL: any */
    int limit;
    bool is_rising; /* in the order of numbers; else newest first */
};
/* last_seq: of the user; total: entries between the bounds, -1 when there may be more. */
struct inbox_head {
    int64_t last_seq, total;
};
struct inbox_entry { /* strings borrowed for the callback */
    uint64_t delivery;
    /* rank: the entry's place between the bounds, from 1, deleted and unwanted ones counted */
    int64_t seq, rank, created_ms, expires_ms;
    enum inbox_state state;
    bool is_seen;
    const char *content; /* NULL when retention has taken it */
    size_t content_bytes;
};
struct inbox_history_call {
    void (*on_head)(void *ctx, const struct inbox_head *head);
    void (*on_entry)(void *ctx, const struct inbox_entry *entry);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
NODISCARD int store_inbox_history(struct store *store, const struct inbox_query *query,
                                  const struct inbox_history_call *call);

#endif

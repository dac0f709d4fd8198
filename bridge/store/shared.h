/* SPDX-License-Identifier: MIT */
/*
 * shared - what was told to everybody or to a role, and what users made of it
 *
 * One row for each such notification, whoever may read it; a row for a user only when the user
 * did something about it.  A user's roles come from the broker's plugin (services/presence), never
 * from a payload.
 */
#ifndef TOCSIN_STORE_SHARED_H
#define TOCSIN_STORE_SHARED_H
#include "store/inbox.h"

struct shared_query {
    const char *user, *roles;      /* roles: joined by ',' */
    int64_t after_seq, before_seq; /* numbers between, both exclusive */
    /*
     * Besides, what was shown after the user's own entry since_own came (0: whenever), and of
     * notifications before the user's own entry before_own (INT64_MAX: any) and before `before`.
     */
    int64_t since_own, before_own;
    uint64_t before;
    int state;        /* -1: any but deleted */
    const char *type; /* NULL: any */
    int limit;
    bool is_rising;
};
struct shared_entry { /* strings borrowed for the callback */
    uint64_t delivery;
    int64_t seq, created_ms, expires_ms;
    enum inbox_state state;
    bool is_seen;
    const char *role;    /* "" for everybody */
    const char *content; /* NULL when retention has taken it */
    size_t content_bytes;
};
struct shared_call {
    /* is_cut: something that was asked for is gone. */
    void (*on_head)(void *ctx, int64_t last_seq, bool is_cut);
    void (*on_entry)(void *ctx, const struct shared_entry *entry);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
NODISCARD int store_shared(struct store *store, const struct shared_query *query,
                           const struct shared_call *call);

/* As store_inbox_mark(), of the users' shared entries; others are passed over. */
NODISCARD int store_shared_mark(struct store *store, const struct inbox_mark *marks, size_t count,
                                const struct inbox_mark_call *call);
/* As store_inbox_mark_all(); the numbers are those of shared entries. */
NODISCARD int store_shared_mark_all(struct store *store, const struct inbox_range *range,
                                    const struct mark *mark, const struct inbox_mark_call *call);

#endif

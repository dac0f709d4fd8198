/* SPDX-License-Identifier: MIT */
/*
 * people - how users are reached (targets), and addresses that nothing is sent to (suppression)
 *
 * A user has at most PEOPLE_TARGETS_MAX targets on a channel.  A target that a provider calls
 * dead is kept with the reason and not used; the settle statements of queue.c do that in the
 * commit that ends the delivery.  User ids are percent-encoded, as everywhere.
 */
#ifndef TOCSIN_STORE_PEOPLE_H
#define TOCSIN_STORE_PEOPLE_H
#include "core/channel.h"
#include "core/outcome.h"
#include "core/request.h"
#include "store/store.h"
#include "store/upkeep.h"

#define PEOPLE_TARGETS_MAX 16
/* Longer ones do not fit an index. */
#define PEOPLE_TOKEN_MAX   1024
#define PEOPLE_ADDRESS_MAX 2048

struct target {
    enum channel channel;
    enum recipient_kind kind;
    const char *platform; /* "fcm", "apns" or "webpush"; "" where there is but one kind */
    const char *token;    /* as its owner knows it */
    const char *address;  /* as the provider is given it */
    bool is_active;
    enum reason reason; /* why it is not */
    int64_t created_ms, changed_ms, last_seen_ms;
};

/* How many rows were touched; of targets that were put, how many were given. */
typedef void store_people_count_fn(void *ctx, int err, int64_t count);
/* Of a change by an admin, its row in the audit (store/audit.h), in the same transaction. */
struct audited;

/*
 * Adds targets, or refreshes and reactivates those that are there.  On the channels in replaced
 * (a bit set) the user keeps no others.  A device's token leaves whoever had it before; the oldest
 * of more than PEOPLE_TARGETS_MAX devices go.
 */
NODISCARD int store_targets_put(struct store *store, const char *user, const struct target *targets,
                                size_t count, unsigned replaced, const struct audited *audited,
                                store_people_count_fn *on_done, void *ctx);

struct targets_call {
    void (*on_row)(void *ctx, const struct target *target);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
/* A user's targets on all channels, active or not. */
NODISCARD int store_targets(struct store *store, const char *user, const struct targets_call *call);

/* channel -1: all; token NULL: all. */
NODISCARD int store_targets_drop(struct store *store, const char *user, int channel,
                                 const char *token, const struct audited *audited,
                                 store_people_count_fn *on_done, void *ctx);

/* ---- what ingest asks, for a whole batch at once ---- */
struct reach_ask {
    const char *user;    /* NULL: about an address */
    const char *address; /* NULL: about a user */
    enum channel channel;
    const char *type; /* the notification's */
};
struct reach_row {
    size_t index; /* of the question */
    enum recipient_kind kind;
    const char *platform, *address; /* "" when the question was about an address */
    enum reason suppressed;         /* REASON_NONE: may be sent to */
};
struct reach_call {
    void (*on_row)(void *ctx, const struct reach_row *row);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
/*
 * Of a user: the targets in use, those last seen first, and whether each is suppressed; of an
 * address: one row if it is.  Rows come in the order of the questions.
 */
NODISCARD int store_reach(struct store *store, const struct reach_ask *asks, size_t count,
                          const struct reach_call *call);

struct reach_many {
    const char *const *users;
    size_t user_count;
    unsigned channels; /* bit set */
};
/* By how many the targets of these users on these channels exceed one for each that has any. */
NODISCARD int store_reach_count(struct store *store, const struct reach_many *many,
                                store_count_fn *on_done, void *ctx);

/* ---- suppression ---- */
struct suppression {
    uint64_t id;
    enum channel channel;
    const char *address, *scope; /* a notification's type, or "" for all */
    enum reason reason;
    const char *source;
    int64_t created_ms;
};
/* The count is 0 when it was there already. */
NODISCARD int store_suppress(struct store *store, const struct suppression *suppression,
                             const struct audited *audited, store_people_count_fn *on_done,
                             void *ctx);
/*
 * scope NULL: all of them.  source: only entries of it may be removed, NULL for any; where there is
 * one of another, nothing is, and the count is -1.  Targets that a provider's refusal of this kind
 * had put out of use are used again.
 */
NODISCARD int store_unsuppress(struct store *store, enum channel channel, const char *address,
                               const char *scope, const char *source, const struct audited *audited,
                               store_people_count_fn *on_done, void *ctx);

struct suppression_filter {
    int channel;         /* -1: any */
    const char *address; /* NULL: any */
    uint64_t after;      /* id */
    int limit;
};
struct suppression_call {
    void (*on_row)(void *ctx, const struct suppression *suppression);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
NODISCARD int store_suppressions(struct store *store, const struct suppression_filter *filter,
                                 const struct suppression_call *call);
/* Those numbered after `after`, at most limit; -1: the newest. */
NODISCARD int store_suppressed_since(struct store *store, int64_t after, int limit,
                                     const struct suppression_call *call);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * removal - what leaves inboxes by itself or by its service
 *
 * An older notification of a collapse_key, one that has expired, and one that its service takes
 * back: what was not sent ends, entries of inboxes become deleted, and the counters follow, in
 * one statement.  Each takes a bounded bite; any bridge may sweep at any time, one does at a time.
 */
#ifndef TOCSIN_STORE_REMOVAL_H
#define TOCSIN_STORE_REMOVAL_H
#include "core/channel.h"
#include "store/store.h"
#include "store/upkeep.h"

#define REMOVAL_BITE 1000
#define SHARED_BITE  5000 /* of store_trim_shared() */

/* A delivery that has ended; strings borrowed for the callback. */
struct removed_delivery {
    uint64_t delivery, notification;
    enum channel channel;
    int recipient_kind, receipts;
    const char *recipient, *service, *request;
    const char *user; /* whose address that is; "" when nobody was looked up */
};
struct removal_call {
    void (*on_delivery)(void *ctx, const struct removed_delivery *row);
    /* An entry of a user's inbox; in the order of users. */
    void (*on_entry)(void *ctx, const char *user, uint64_t delivery);
    /* Something told to many; role is "" for everybody. */
    void (*on_shared)(void *ctx, const char *role, uint64_t delivery);
    /* A notification or a delivery that a bridge may have in memory: its mark is in `recall`. */
    void (*on_recalled)(void *ctx, uint64_t id);
    /* is_more: the bite was full. */
    void (*on_done)(void *ctx, int err, bool is_more);
    void *ctx;
};

/* What a newer one of its collapse_key has replaced. */
NODISCARD int store_collapse(struct store *store, int64_t epoch, const struct removal_call *call);
/* Entries that have expired; their deliveries end where they are sent. */
NODISCARD int store_expire(struct store *store, const struct removal_call *call);
/*
 * A notification that its service takes back: store_cancel() what is not being sent and nobody was
 * shown, store_retract() also entries of inboxes.  ERR_CLOSED when there is no epoch: nobody would
 * send the receipts after a crash.
 */
NODISCARD int store_cancel(struct store *store, int64_t epoch, uint64_t notification,
                           const struct removal_call *call);
NODISCARD int store_retract(struct store *store, int64_t epoch, uint64_t notification,
                            const struct removal_call *call);

/*
 * Retention: trims what is older than `before` (wall ms) of what was told to many, and the keys of
 * what was replaced, in bites.  Whoever asks for a history that reaches there is told that it is
 * not complete.  Users' own entries: store/retention.h.
 */
NODISCARD int store_trim_shared(struct store *store, int64_t before_ms, store_count_fn *on_done,
                                void *ctx);

#endif

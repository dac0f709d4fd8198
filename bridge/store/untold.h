/* SPDX-License-Identifier: MIT */
/*
 * untold - how deliveries ended of which services may not have been told
 *
 * The duty to tell for an epoch that is over is a row of its own: made when the epoch is ended
 * (store_reap, store_leave), taken over with it, and gone when the broker has everything.
 */
#ifndef TOCSIN_STORE_UNTOLD_H
#define TOCSIN_STORE_UNTOLD_H
#include "core/channel.h"
#include "store/store.h"

/* How a delivery ended. */
struct ending {
    uint64_t delivery, notification;
    int state, outcome, reason, number, receipts;
    enum channel channel;
    const char *service, *request, *provider, *provider_id, *detail;
    const char *recipient, *user; /* user: whose address it is, or NULL */
    int recipient_kind;
    int segments;
    int64_t at_us; /* wall */
};
struct endings_call {
    void (*on_row)(void *ctx, const struct ending *ending);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
/* A place among an epoch's endings: behind that delivery of that moment. */
struct unsent_place {
    int64_t at_us; /* wall */
    uint64_t delivery;
};
/*
 * What the epoch settled behind that place and up to until_us (wall; INT64_MIN: at all), in that
 * order, limit rows at most; of each delivery its last end alone.
 */
NODISCARD int store_unsent(struct store *store, int64_t epoch, const struct unsent_place *behind,
                           int64_t until_us, int limit, const struct endings_call *call);
/* The broker has all that `epoch` left untold; nothing if another than `teller` is at it now. */
NODISCARD int store_told(struct store *store, int64_t epoch, int64_t teller, store_done_fn *on_done,
                         void *ctx);

#endif

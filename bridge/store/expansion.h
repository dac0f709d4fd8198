/* SPDX-License-Identifier: MIT */
/*
 * expansion - requests that are accepted and whose deliveries are made later, slice by slice
 *
 * store_defer() commits the request as it came; store_expand() makes the deliveries of some of its
 * recipients and advances it in the same transaction, so that every recipient is served once
 * whichever bridge does it and wherever one dies.  The last slice removes the expansion.
 */
#ifndef TOCSIN_STORE_EXPANSION_H
#define TOCSIN_STORE_EXPANSION_H
#include "store/requests.h"

/* rows: notifications by ingest_rows_add(), each followed by ingest_rows_add_deferred(). */
NODISCARD int store_defer(struct store *store, int64_t accepted_ms, const struct ingest_rows *rows,
                          const struct ingest_answer *answer);

struct expansion_slice {
    uint64_t notification;
    int32_t from, to; /* its recipients; to is past the last */
    uint64_t next_id; /* of the first delivery after this slice */
    bool is_last;
};
/*
 * rows: the deliveries of the slice.  The answer names the notification when the slice was made;
 * it does not when another has made it before, or the request was cancelled.
 */
NODISCARD int store_expand(struct store *store, int64_t epoch, const struct expansion_slice *slice,
                           const struct ingest_rows *rows, const struct ingest_answer *answer);

struct expansion_row {
    uint64_t notification, next_id;
    const char *service;
    int64_t accepted_ms;
    int32_t next;
    const void *request;
    size_t request_bytes;
};
struct expansion_call {
    void (*on_row)(void *ctx, const struct expansion_row *row); /* once, or not at all */
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
/* Of the highest priority: the oldest of the next service in turn.  after_service is borrowed. */
NODISCARD int store_expansion_next(struct store *store, const char *after_service,
                                   const struct expansion_call *call);
/*
 * After success no slice of it is made; statements sent then see all that were.  ERR_AGAIN: a slice
 * holds its row, and nothing happened.
 */
NODISCARD int store_expansion_drop(struct store *store, uint64_t notification,
                                   store_done_fn *on_done, void *ctx);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * callbacks - /callbacks/{destination}: providers report, and are believed when they can prove it
 *
 * A request is verified and read (channels/callback.h), its events are kept, and the provider is
 * answered after that commit: 200 kept (or of no interest), 401 not proved, 404 no such
 * destination, 413 too large, 503 not now.  What comes while a commit is under way is committed
 * together.  Kept events are folded into what was sent; whatever moves is told to the service
 * that asked (receipts), after that commit, and marked as told when the broker has it: what a
 * bridge that dies between the two leaves behind is told by another (callbacks_tell.c).
 *
 * Bounded: requests waiting and their bytes; past it 503, and every provider tries again.
 */
#ifndef TOCSIN_SERVICES_CALLBACKS_H
#define TOCSIN_SERVICES_CALLBACKS_H
#include "base/metrics.h"
#include "channels/callback.h"
#include "core/fence.h"
#include "core/receipt.h"
#include "core/task.h"
#include "io/http_client.h"
#include "io/http_server.h"
#include "store/callbacks.h"

#define CALLBACKS_PATH "/callbacks/"

struct callbacks;
struct callbacks_config {
    const char *public_url; /* what providers put before our paths; copied */
    int sent_days, event_days;
};
struct callbacks_ops {
    void (*receipt)(void *ctx, const char *service, const struct receipt *receipt);
    /* A delivery that was sent has failed after all, and that is committed. */
    void (*dead)(void *ctx, const struct task *task, const struct outcome *outcome, int attempts,
                 const char *destination);
    /* A place among the receipts, and whether the broker has all up to there. */
    uint64_t (*mark)(void *ctx);
    bool (*is_past)(void *ctx, uint64_t mark);
    /* The database's number of a destination; 0 until it is known. */
    int32_t (*destination_id)(void *ctx, const char *name);
    const char *(*destination_name)(void *ctx, int32_t id); /* NULL: not one of ours now */
    void *ctx;
};

struct callbacks *callbacks_new(struct loop *loop, const struct callbacks_config *config,
                                struct store *store, const struct fence *fence,
                                struct http_client *http, struct metrics *metrics,
                                const struct callbacks_ops *ops);
/* Before the HTTP server: what still waits is answered with 503. */
void callbacks_free(struct callbacks *callbacks);
/*
 * Takes the account over, in the place of the one before; an account without a reader makes the
 * destination unknown here.  name is copied.
 */
void callbacks_set(struct callbacks *callbacks, const char *name,
                   const struct callback_account *account);
/* Whether this path, which starts with CALLBACKS_PATH, names a destination with callbacks. */
bool callbacks_has(const struct callbacks *callbacks, const char *path);
/* A request whose path starts with CALLBACKS_PATH. */
void callbacks_request(struct callbacks *callbacks, struct http_exchange *exchange,
                       const struct http_server_request *request);
/* Whether our own links report, too. */
void callbacks_track(struct callbacks *callbacks, bool has_tracking);
/* Events were kept: look at them now. */
void callbacks_poke(struct callbacks *callbacks);
/* No more requests, no more folding: receipts could not be told any more. */
void callbacks_stop(struct callbacks *callbacks);

#endif

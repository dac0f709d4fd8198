/* SPDX-License-Identifier: MIT */
/*
 * tracking - /t/...: what a mail's reader does with it, and the way out (channels/tracker.h)
 *
 *   GET  /t/o/...  an image, never kept by caches; the mail was opened
 *   GET  /t/c/...  redirects to the link's own URL; it was clicked
 *   GET  /t/u/...  a page with a button; POST, from the button or a mail client: no more of this
 *
 * Opens and clicks are answered at once and counted afterwards, at best: what waits is bounded,
 * and a reader never waits for the database.  HEAD and what says that it only fetches ahead
 * (Sec-Purpose, X-Moz, X-Purpose) is answered and not counted.  An unsubscription is answered
 * after its commit: 200 done, 503 not now.
 *
 * Private: neither who asked (address, browser) nor what (the path) is logged or kept.
 */
#ifndef TOCSIN_SERVICES_TRACKING_H
#define TOCSIN_SERVICES_TRACKING_H
#include "base/metrics.h"
#include "channels/tracker.h"
#include "io/http_server.h"
#include "store/store.h"

struct tracking;
struct tracking_ops {
    void (*kept)(void *ctx); /* there are new events to be folded */
    void *ctx;
};

/* tracker is borrowed. */
struct tracking *tracking_new(struct loop *loop, const struct tracker *tracker, struct store *store,
                              struct metrics *metrics, const struct tracking_ops *ops);
/* After the store and before the HTTP server. */
void tracking_free(struct tracking *tracking);
/* A request whose path starts with TRACKER_PATH. */
void tracking_request(struct tracking *tracking, struct http_exchange *exchange,
                      const struct http_server_request *request);

#endif

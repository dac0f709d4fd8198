/* SPDX-License-Identifier: MIT */
/*
 * health - /healthz, /readyz and /metrics; callbacks and tracking come in by the same port
 *
 * Paths and methods that are not served are refused at the headers, and so are bodies over 64 KiB
 * except those of a known destination's callbacks, which may have 1 MiB.  health_listen gives
 * /healthz, /readyz and /metrics a listener of their own; the common one then refuses them.
 *
 * healthz: the loop turns.  readyz: consuming and committing work, by what was done lately and
 * not by what is configured; the body names what is missing.
 */
#ifndef TOCSIN_SERVICES_HEALTH_H
#define TOCSIN_SERVICES_HEALTH_H
#include "base/metrics.h"
#include "io/http_server.h"

#define HEALTH_CONNECTIONS 256 /* of each listener */

struct health;
struct health_config {
    const char *listen;
    const char *health_listen; /* NULL: none of its own */
};
struct health_ops {
    /* Appends "what: why\n" for each thing that is missing; true when nothing is. */
    bool (*is_ready)(void *ctx, struct buf *missing);
    /* Sets gauges that are read on demand. */
    void (*refresh)(void *ctx);
    /* Whether this path, below /callbacks/, is one that callbacks may come to. */
    bool (*has_callbacks)(void *ctx, const char *path);
    /* Takes a request below /callbacks/ over. */
    void (*on_callback)(void *ctx, struct http_exchange *exchange,
                        const struct http_server_request *request);
    /* The same below /t/. */
    void (*on_tracking)(void *ctx, struct http_exchange *exchange,
                        const struct http_server_request *request);
    void *ctx;
};
NODISCARD int health_open(struct loop *loop, const struct health_config *config,
                          struct metrics *metrics, const struct health_ops *ops,
                          struct health **out, char *why, size_t why_bytes);
void health_close(struct health *health);
uint16_t health_port(const struct health *health);
/* Of health_listen; 0 without one. */
uint16_t health_own_port(const struct health *health);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * edge - where clients come in: the listening socket, and how many there may be
 *
 * Limits:    at connections_max, and when the system has no more descriptors, nobody is accepted
 *            until somebody has gone; those who come meanwhile wait in the kernel.  Who has
 *            per_address_max connections already is told so (429).
 * Ownership: owns its relays.
 * Order:     edge_stop(), then on_stopped() once when the last relay is gone, at once if there is
 *            none; then edge_free().
 */
#ifndef TOCSIN_WEBSOCKET_EDGE_H
#define TOCSIN_WEBSOCKET_EDGE_H
#include "base/metrics.h"
#include "io/loop.h"
#include "websocket/relay.h"

struct edge_config {
    struct relay_config relay;
    struct sockaddr_storage listen;
    socklen_t listen_length;
    size_t connections_max, per_address_max; /* per address 0: as many as they like */
};

struct edge;

/* Binds and listens; why gets a sentence when it cannot.  config is borrowed. */
NODISCARD int edge_open(struct loop *loop, const struct edge_config *config, struct edge **out,
                        char *why, size_t why_bytes);
/* Closes every connection in an orderly way; drain_ms later, all that are left at once. */
void edge_stop(struct edge *edge, int64_t drain_ms, void (*on_stopped)(void *ctx), void *ctx);
void edge_free(struct edge *edge);
size_t edge_connections(const struct edge *edge);
uint16_t edge_port(const struct edge *edge);
bool edge_is_broker_away(const struct edge *edge);
void edge_measure(struct edge *edge, struct metrics *metrics);

#endif

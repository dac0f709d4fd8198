/* SPDX-License-Identifier: MIT */
/*
 * relay - one client's WebSocket, and the connection to the broker that its bytes go to
 *
 * A relay reads the request's head, connects to the broker, grants the upgrade, and hands bytes on
 * in both directions until one side ends; then it ends the other one in an orderly way.  It does
 * not understand MQTT: who may do what is the broker's business, which sees the same bytes as from
 * a client over TCP.
 *
 * While one side does not take what it was given, the other one is not read: at most RELAY_CHUNK
 * and its frame's header wait in each direction, and RELAY_ANSWERS of answers to pings.  An idle
 * relay has no buffers and no timer.
 *
 * Ownership: a relay ends itself, tells its owner by on_end(), which is the last that is heard of
 *            it, and is gone.  The home is borrowed and outlives it.
 * Order:     on_end() comes from within any call or event of the relay, but for relay_open().
 */
#ifndef TOCSIN_WEBSOCKET_RELAY_H
#define TOCSIN_WEBSOCKET_RELAY_H
#include "base/list.h"
#include "io/loop.h"
#include "websocket/frame.h"
#include "websocket/handshake.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define RELAY_CHUNK   32768 /* bytes read at once */
#define RELAY_ANSWERS 32768 /* pongs that wait until the client is not read any more */

enum relay_reason {
    RELAY_CLIENT_CLOSED, /* with a close frame */
    RELAY_CLIENT_LOST,   /* without */
    RELAY_CLIENT_STALLED,
    RELAY_BROKER_CLOSED,
    RELAY_BROKER_LOST,
    RELAY_BROKER_STALLED,
    RELAY_BROKER_AWAY, /* could not be reached */
    RELAY_REFUSED,     /* its request was */
    RELAY_BROKEN,      /* its frames broke the rules */
    RELAY_LATE,        /* no whole request in time */
    RELAY_STOPPED,     /* we are going */
    RELAY_REASONS
};

struct relay_config {
    struct handshake_rules rules;
    struct sockaddr_storage broker;
    socklen_t broker_length;
    int64_t handshake_ms, connect_ms, stall_ms, close_ms;
    unsigned dead_s; /* how long a silent peer may not even acknowledge */
};

struct relay;

/* What all relays share. */
struct relay_home {
    struct loop *loop;
    const struct relay_config *config;
    uint8_t *scratch;   /* RELAY_CHUNK + FRAME_HEADER_MAX */
    struct list silent; /* relays whose request is not whole or was refused, the oldest first */
    uint64_t bytes_up, bytes_down;
    uint64_t ended[RELAY_REASONS];
    bool is_broker_away; /* the last attempt failed */
    void (*on_end)(void *ctx, struct relay *relay);
    void *ctx;
};

/* The constant in lower case ("client_closed"). */
const char *relay_reason_name(enum relay_reason reason);
/*
 * Takes the client's socket and one that is not connected yet, for the broker; neither blocks. peer
 * has at least the room of an IPv6 address.  With a refusal that is all the client will ever hear.
 */
struct relay *relay_open(struct relay_home *home, int client, int broker,
                         const struct sockaddr *peer, const struct handshake *refusal);
/* Closes in an orderly way (1001), or at once where there was no upgrade yet. */
void relay_stop(struct relay *relay);
void relay_abort(struct relay *relay);
/* Ends the oldest relay that has not become a WebSocket; false when there is none. */
bool relay_evict_silent(struct relay_home *home);
/* For its owner's list. */
struct list_node *relay_node(struct relay *relay);
struct relay *relay_of_node(struct list_node *node);
const struct sockaddr *relay_peer(const struct relay *relay);
size_t relay_held(const struct relay *relay); /* bytes that wait in buffers */

#endif

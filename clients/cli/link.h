/* SPDX-License-Identifier: MIT */
/*
 * link - one MQTT 5 connection that comes back by itself
 *
 * What the library reports (paho.h) becomes handlers called on the caller's
 * thread, inside link_dispatch() and link_tick().
 *
 * Reconnecting is ours, not the library's: its own waits without jitter and
 * cannot take a renewed token. A connection counts as up when every
 * subscription is confirmed, which on_up reports, also after each reconnect;
 * what was published and not confirmed before a loss must be published again
 * by the caller.
 *
 * Order:     link_open, then poll link_fd() and call link_dispatch() when it is
 *            readable and link_tick() when link_tick() said to; link_close.
 * Ownership: the link is the caller's to link_close(). Messages are borrowed
 *            for the length of the callback.
 */
#ifndef CLI_LINK_H
#define CLI_LINK_H
#include "config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINK_MAX_SUBSCRIPTIONS 64

struct link_message {
    const char *topic;
    const char *payload; /* followed by a NUL that is not counted */
    size_t len;
    bool is_retained;
};

struct link_handlers {
    void *ctx;
    /* Connected and subscribed; `again` when it is not the first time. */
    void (*on_up)(void *ctx, bool again);
    /* The connection went; it will be tried again. */
    void (*on_down)(void *ctx);
    void (*on_message)(void *ctx, const struct link_message *msg);
    /*
     * The broker confirmed publication `tag` (0), refused it (an MQTT reason code, 0x80 or
     * more), or it failed (< 0). The library hides 0x10, "no matching subscribers".
     */
    void (*on_published)(void *ctx, uint64_t tag, int code);
    /* It is over and was said why: an exit status. Nothing follows. */
    void (*on_failed)(void *ctx, int status);
};

struct link;

/*
 * Starts connecting. `session` names a session that the broker keeps for a
 * day between runs, NULL for one that ends with the connection. `conf` and
 * `handlers` are borrowed until link_close(). New, or NULL after saying why.
 */
struct link *link_open(struct config *conf, const char *session,
                       const struct link_handlers *handlers) NODISCARD;
/* Adds a subscription (QoS 1), before the first dispatch. An optional one may be refused. */
void link_subscribe(struct link *link, const char *filter, bool is_optional);
/* While patient, the first connection may take for ever; connect_timeout_ms counts otherwise. */
void link_be_patient(struct link *link, bool is_patient);
int link_fd(const struct link *link);
bool link_is_up(const struct link *link);
/* Runs the handlers for everything that has happened. */
void link_dispatch(struct link *link);
/* Connects again when it is time. Returns ms until it wants to be called next, -1 for never. */
int64_t link_tick(struct link *link);
/* Queues a QoS 1 publication; its fate is told by on_published. -1 when the link is not up. */
int link_publish(struct link *link, const char *topic, const void *payload, size_t len,
                 uint64_t tag) NODISCARD;
/* Says good-bye to the broker, waits a moment for it, and frees everything. NULL is fine. */
void link_close(struct link *link);
/* "not authorized": a reason code of the protocol or an error of the library. Static. */
const char *link_reason(int code);
#endif

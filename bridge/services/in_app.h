/* SPDX-License-Identifier: MIT */
/*
 * in_app - the channel that ends in a user's own client: publish, and wait for its `ack`
 *
 * A delivery to a user is published on notify/v1/users/{u}/down/inbox and is `delivered` only
 * by the client's own acknowledgement (services/events.c).  Until then one of these ends it:
 * the broker says that nobody is there (PUBACK 0x10: user_offline, at once), it has it for the
 * session of a user who is known to be away (the same), no ack in time (ack_timeout), or the
 * connection to the broker is lost (costs no attempt).  Broadcasts and
 * roles are one publish and end as accepted: nobody acknowledges them one by one.
 *
 * The payload is {id, seq, type, title, body, data, priority, created_at, expires_at?, key?}; one
 * that would be over REQUEST_INBOX_MAX is payload_too_large.
 */
#ifndef TOCSIN_SERVICES_IN_APP_H
#define TOCSIN_SERVICES_IN_APP_H
#include "channels/adapter.h"

struct in_app;

struct in_app_config {
    int64_t ack_timeout_ms;
};

typedef void in_app_result_fn(void *ctx, int err, uint8_t reason);

struct in_app_ops {
    /* As outbox_watch(). */
    int (*watch)(void *ctx, const char *topic, const void *payload, size_t bytes, uint32_t expiry_s,
                 in_app_result_fn *on_result, void *result_ctx);
    /* Nobody of this user is connected, and that is known. */
    bool (*is_away)(void *ctx, const char *user);
    /* The first attempt at something of this user's is on its way. */
    void (*shown)(void *ctx, const char *user);
    void *ctx;
};

struct in_app *in_app_open(struct loop *loop, const struct in_app_config *config,
                           const struct in_app_ops *ops);
void in_app_close(struct in_app *in_app); /* nothing under way any more */
/* As an adapter's send(); state is the struct in_app. */
int in_app_send(void *state, const struct job *job, adapter_outcome_fn *on_outcome, void *ctx);
/*
 * Shows a notification that is not stored yet (the database is away), and forgets about it: the
 * stored copy follows under the same id.
 */
void in_app_show(struct in_app *in_app, const struct job *job);
/* Its user has it and that is committed: ends the wait as delivered.  false: nobody waits. */
bool in_app_acked(struct in_app *in_app, uint64_t delivery);
/* How many wait. */
size_t in_app_waiting(const struct in_app *in_app);
/* Ends every wait as a lost connection: for shutdown. */
void in_app_abandon(struct in_app *in_app);

#endif

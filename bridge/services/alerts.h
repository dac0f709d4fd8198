/* SPDX-License-Identifier: MIT */
/*
 * alerts - alerts/{name}: what is wrong, told once when it begins and once when it is over
 *
 * The bridge that speaks for all (queue_stats.h) looks at the same numbers that it publishes, and
 * at its own connections.  A change is stored first, compared with what was stored, and then
 * published, retained, and sent as a notification to whom the configuration names; so neither a
 * second speaker nor a restart tells it twice, and whoever takes over tells what was not told.
 *
 * When the database is away its alert is published at once and stored later.  When the broker is
 * away nothing can be published: the log and /metrics have it, and the message leaves when the
 * broker is back.
 */
#ifndef TOCSIN_SERVICES_ALERTS_H
#define TOCSIN_SERVICES_ALERTS_H
#include "base/metrics.h"
#include "core/alert.h"
#include "store/store.h"

struct alerts;

struct alerts_config {
    struct alert_limits limits;
    const char *to; /* "user:alice email:a@example.org", or NULL; borrowed for the call */
};

struct alerts_ops {
    bool (*is_speaker)(void *ctx);
    bool (*is_broker_up)(void *ctx);
    /* Retained; only while the broker is up. */
    bool (*publish)(void *ctx, const char *topic, const void *payload, size_t bytes);
    /* A request of our own: taken like any service's. */
    void (*request)(void *ctx, const void *payload, size_t bytes);
    void *ctx;
};

struct alerts *alerts_new(struct loop *loop, const struct alerts_config *config,
                          struct store *store, struct metrics *metrics,
                          const struct alerts_ops *ops);
/* Nothing may be under way below. */
void alerts_free(struct alerts *alerts);
/* At reload; copies. */
void alerts_configure(struct alerts *alerts, const struct alerts_config *config);
/* New numbers, from the speaker alone; borrowed for the call. */
void alerts_look(struct alerts *alerts, const struct queue_line *lines, size_t count,
                 int64_t now_ms);

/* For how many days after this one every table has its partition; from the speaker alone. */
void alerts_set_days_ahead(struct alerts *alerts, int64_t days);

#endif

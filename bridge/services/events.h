/* SPDX-License-Identifier: MIT */
/*
 * events - the users lane: what people's devices tell, committed before it is acknowledged
 *
 * An `ack` makes an in-app delivery delivered, whichever bridge holds it, and only for the user
 * whose topic it came on; so do `read`, also of all at once, and `click`.  Not here: questions
 * (rpc), and what the other events do, which is the inbox's; they share the lane's batch.
 */
#ifndef TOCSIN_SERVICES_EVENTS_H
#define TOCSIN_SERVICES_EVENTS_H
#include "base/metrics.h"
#include "core/ack.h"
#include "core/fence.h"
#include "core/receipt.h"
#include "core/topic.h"
#include "io/mqtt.h"
#include "store/store.h"

struct events;

struct events_config {
    struct mqtt_config lane;
};

struct events_ops {
    /* The delivery is delivered and that is committed; false: not in our memory. */
    bool (*acked)(void *ctx, uint64_t delivery);
    /* The delivery is in our memory, and others neither go before nor after it. */
    bool (*is_plain)(void *ctx, uint64_t delivery);
    /* The user has acknowledged something: they are here. */
    void (*heard)(void *ctx, const char *user);
    void (*receipt)(void *ctx, const char *service, const struct receipt *receipt);
    void (*rpc)(void *ctx, const struct topic_up *from, const struct mqtt_message *message);
    /* Answers what cannot be read; rejection NULL: the topic names nothing. */
    void (*refuse)(void *ctx, const struct topic_up *from, const struct mqtt_message *message,
                   const struct rejection *rejection);
    /* read, archive and so on: gathered, then written by commit, or forgotten: they come again. */
    void (*mark)(void *ctx, const char *user, const struct ack *ack);
    bool (*has_marks)(void *ctx);
    int (*commit)(void *ctx, store_done_fn *on_done, void *done_ctx);
    void (*forget)(void *ctx);
    void (*doubt)(void *ctx); /* what was ended just now could not be told */
    void *ctx;
};

struct events *events_new(struct loop *loop, const struct events_config *config,
                          struct store *store, const struct fence *fence, struct metrics *metrics,
                          const struct events_ops *ops);
void events_free(struct events *events);
void events_open(struct events *events);
void events_close(struct events *events);
/*
 * Reads no more, and closes once what was read is recorded and told: to be called until it says
 * true.  What was not recorded comes again to whoever reads the lane next.
 */
bool events_stop(struct events *events);
/* When the oldest of what is read and not yet told was (boot clock); INT64_MAX: nothing is. */
int64_t events_since_ms(const struct events *events);
bool events_is_open(const struct events *events);
bool events_is_ready(const struct events *events);

#endif

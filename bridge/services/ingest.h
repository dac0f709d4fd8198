/* SPDX-License-Identifier: MIT */
/*
 * ingest - the requests lane: read a batch, store it, and only then let it be acknowledged
 *
 * libmosquitto queues the PUBACK before it calls us and has no manual acknowledgement; io/mqtt.h
 * keeps it back until mqtt_release(), which is called here and only after the commit, and after
 * the broker has the receipts.  So killing this process at any instant loses nothing: what was not
 * committed and told was not acknowledged, and what was committed but not acknowledged comes again,
 * is recognised by its key and answered by the same receipt.
 *
 * A batch that cannot be stored for a passing reason is dropped with its acknowledgements, and
 * the broker sends it again.  A row that can never be stored is found by halving and kept aside
 * (ingest_reject); its neighbours are stored.
 *
 * Not here: what is done with a delivery (dispatch), what services and users ask (admin).
 */
#ifndef TOCSIN_SERVICES_INGEST_H
#define TOCSIN_SERVICES_INGEST_H
#include "base/metrics.h"
#include "channels/adapter.h"
#include "core/fence.h"
#include "core/receipt.h"
#include "core/route.h"
#include "core/task.h"
#include "core/topic.h"
#include "io/mqtt.h"
#include "store/store.h"

struct ingest;

struct ingest_config {
    struct mqtt_config lane;
};

struct ingest_ops {
    /* The channels that have a destination, and those of a type (NULL: no policy). */
    unsigned (*available)(void *ctx);
    const struct route_type *(*type_route)(void *ctx, const char *type);
    /* May this service address that many people at once (requests.broadcast, requests.roles)? */
    bool (*may_reach)(void *ctx, const char *service, enum recipient_kind kind);
    /* Deliveries a second that one service may ask for (requests.deliveries_rate); 0: any number.
     */
    int64_t (*deliveries_rate)(void *ctx);
    /* As dispatch_choose(). */
    int (*choose)(void *ctx, enum channel channel, enum recipient_kind kind, const char *recipient,
                  const char *type, const char *adapter, int32_t *destination);
    /* As dispatch_admit(), _enter(), _withdraw() and _poke(). */
    bool (*admit)(void *ctx, int32_t destination, const char *service);
    void (*enter)(void *ctx, int32_t destination, struct task *task);
    void (*withdraw)(void *ctx, int32_t destination);
    void (*poke)(void *ctx, int32_t destination);
    void (*doubt)(void *ctx);
    void (*receipt)(void *ctx, const char *service, const struct receipt *receipt);
    /* As outbox_mark() and outbox_is_past(). */
    uint64_t (*mark)(void *ctx);
    bool (*is_past)(void *ctx, uint64_t mark);
    void (*replaced)(void *ctx); /* something stored may replace what is older */
    void (*rpc)(void *ctx, const struct topic_up *from, const struct mqtt_message *message);
    /* Answers a message whose topic names nothing; rejection is NULL. */
    void (*refuse)(void *ctx, const struct topic_up *from, const struct mqtt_message *message,
                   const struct rejection *rejection);
    /* As in_app_show(). */
    void (*show)(void *ctx, const struct job *job);
    void *ctx;
};

struct ingest *ingest_new(struct loop *loop, const struct ingest_config *config,
                          struct store *store, const struct fence *fence, struct metrics *metrics,
                          const struct ingest_ops *ops);
void ingest_free(struct ingest *ingest);
/* The lane is ours and the database is there: connect and read. */
void ingest_open(struct ingest *ingest);
/*
 * The lane is ours and the database is away: read without acknowledging, as far as the broker
 * lets us, and show urgent in-app notifications at once.  The broker sends everything again
 * later; what was shown is then stored under the ids it was shown with.
 */
void ingest_open_degraded(struct ingest *ingest);
/* Either is not: disconnect, dropping what is not committed. */
void ingest_close(struct ingest *ingest);
/* After every turn's receipts have gone to the outbox: acknowledges what has been told. */
void ingest_turn(struct ingest *ingest);
bool ingest_is_open(const struct ingest *ingest);
/* Connected and subscribed, and no batch is stuck. */
bool ingest_is_ready(const struct ingest *ingest);

#endif

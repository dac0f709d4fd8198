/* SPDX-License-Identifier: MIT */
/*
 * dispatch - the active set: who may be sent now, and what came of it
 *
 * Deliveries enter leased: straight from ingest after its commit, or by claim.  Each waits in
 * its destination's queue (core/active.h), leaves when the destination's window, rate limits
 * and breaker allow, and its outcome is judged (core/delivery.h) and recorded in batches.  Only
 * after that commit are services told.  What cannot be recorded stays in memory and is recorded
 * again; when our epoch ends everything here is forgotten, for others to claim.
 *
 * Bounded: deliveries and bytes in all, and per destination; what does not fit stays in the
 * database as ready.  At the bound nothing is lost and nothing is read.
 */
#ifndef TOCSIN_SERVICES_DISPATCH_H
#define TOCSIN_SERVICES_DISPATCH_H
#include "base/metrics.h"
#include "channels/adapter.h"
#include "core/fence.h"
#include "core/queue_stats.h"
#include "core/receipt.h"
#include "core/route.h"
#include "core/slots.h"
#include "core/task.h"
#include "core/throttle.h"
#include "store/store.h"

struct dispatch;

struct dispatch_config {
    size_t active_max, bytes_max;
    int64_t poll_min_ms, poll_max_ms; /* how often a quiet destination is looked at */
    size_t settle_batch;
    int64_t hold_max_ms;     /* how long what does not expire waits for its user at most */
    int64_t wake_after_ms;   /* from a user's coming to what waits for them */
    int64_t wake_per_second; /* deliveries */
    size_t wake_users_max;
};

struct channel_config { /* the type's rows override these */
    struct retry_policy retry;
};

struct type_config {
    const char *name;
    int attempts; /* -1: the channel's */
    int64_t base_ms, max_ms;
    double factor;
    struct route_type route;
    enum offline_policy offline;
    bool is_at_most_once; /* an unknown outcome is the end, not repeated */
    unsigned tracking;    /* of its mails: JOB_TRACK_... */
};

struct destination_config {
    const char *name;
    enum channel channel;
    const char *adapter_name;
    struct throttle_config throttle;
    struct rate_config rate;
    /* An opened adapter; for in-app the struct in_app. */
    int (*send)(void *state, const struct job *job, adapter_outcome_fn *on_outcome, void *ctx);
    void *state;
    void (*close)(void *state); /* NULL: not ours to close */
    /* Words separated by spaces, NULL: all.  Phone prefixes ("+49"); types ("order.*"). */
    const char *prefixes, *types;
    unsigned weight;    /* 0: by order alone */
    bool is_idempotent; /* a repeat of the same delivery id has no second effect */
    bool has_receipts;
};

struct dispatch_ops {
    void (*receipt)(void *ctx, const char *service, const struct receipt *receipt);
    /* A delivery has died and that is committed. */
    void (*dead)(void *ctx, const struct task *task, const struct outcome *outcome, int attempts,
                 const char *destination);
    bool (*is_full)(void *ctx); /* receipts cannot be told now: start nothing */
    /* As presence_is_away() and presence_awaits(). */
    bool (*is_away)(void *ctx, const char *user);
    bool (*awaits)(void *ctx, const char *user, int64_t since_ms);
    void *ctx;
};

struct dispatch *dispatch_new(struct loop *loop, const struct dispatch_config *config,
                              const struct channel_config channels[CHANNEL_COUNT],
                              const struct type_config *types, size_t type_count,
                              struct store *store, const struct fence *fence,
                              struct metrics *metrics, const struct dispatch_ops *ops);
/* Nothing may be under way below. */
void dispatch_free(struct dispatch *dispatch);

/* All destinations are added before the first turn; id is the database's number. */
void dispatch_add_destination(struct dispatch *dispatch, const struct destination_config *config,
                              int32_t id);

/*
 * Puts new settings in the place of a destination's; what is under way ends on the old adapter,
 * which is closed then.  ERR_NOT_FOUND when there is none of this name.
 */
NODISCARD int dispatch_reload_destination(struct dispatch *dispatch,
                                          const struct destination_config *config);
void dispatch_reload_policies(struct dispatch *dispatch,
                              const struct channel_config channels[CHANNEL_COUNT],
                              const struct type_config *types, size_t type_count);

/* ---- for ingest ---- */
struct choice {
    enum channel channel;
    enum recipient_kind recipient_kind;
    const char *recipient, *type;
    const char *adapter; /* NULL: any */
};
/* The destination for a new delivery; ERR_NOT_FOUND when none is configured that fits. */
NODISCARD int dispatch_choose(struct dispatch *dispatch, const struct choice *choice, int32_t *id);
/* The type's channels; NULL when nothing is configured for it. */
const struct route_type *dispatch_type_route(struct dispatch *dispatch, const char *type);
/* Reserves room for one delivery; false: store it as ready.  Pair with one of the next two. */
bool dispatch_admit(struct dispatch *dispatch, int32_t destination, const char *service);
/* Takes the task, whose commit is done. */
void dispatch_enter(struct dispatch *dispatch, int32_t destination, struct task *task);
/* The reservation is not needed after all. */
void dispatch_withdraw(struct dispatch *dispatch, int32_t destination);
/* Something ready was written for this destination (0: any): look soon. */
void dispatch_poke(struct dispatch *dispatch, int32_t destination);
/* Deliveries came back that may have been due for long: look soon, at all that is due. */
void dispatch_look_again(struct dispatch *dispatch, int32_t destination);

/* ---- for events ---- */
/* The user's acknowledgement of an in-app delivery is committed; false: not in memory. */
bool dispatch_acked(struct dispatch *dispatch, uint64_t delivery);
/* Its row is gone: it is not sent any more, and what comes of an attempt is not recorded. */
void dispatch_gone(struct dispatch *dispatch, uint64_t delivery);

/*
 * A notification or a delivery was called back (REASON_NONE) or replaced, and that is committed:
 * ends what waits in memory of it, and what a claim under way brings.  What is being sent is not
 * touched.  Returns how many it ended; their receipts follow their own commit.
 */
size_t dispatch_recall(struct dispatch *dispatch, uint64_t id, enum reason reason);

/* One that was not in memory was acknowledged: it only counts. */
void dispatch_acked_elsewhere(struct dispatch *dispatch);

/* It is in memory, and others neither go before nor after it (route first). */
bool dispatch_is_plain(const struct dispatch *dispatch, uint64_t delivery);

/* ---- for presence ---- */
/* The user is here: what waits for them is sent again, paced (dispatch_wake.c). */
void dispatch_wake(struct dispatch *dispatch, const char *user);

/* ---- for queue_stats ---- */
/* What each destination has seen since the start, and its breaker now. */
void dispatch_flows(const struct dispatch *dispatch,
                    void (*on_flow)(void *ctx, int32_t destination, enum breaker breaker,
                                    const struct queue_flow *flow),
                    void *ctx);

/* ---- for main ---- */
/* Whether an admin has stopped all of a channel's destinations. */
bool dispatch_is_held(const struct dispatch *dispatch, enum channel channel);
/* One turn: sends, settles, claims.  Returns the ms until it wants the next one, -1 for none. */
int64_t dispatch_turn(struct dispatch *dispatch);
/* Our epoch is over: forget everything. */
void dispatch_fenced(struct dispatch *dispatch);
/* A statement of intake was lost in doubt: ask the database what it thinks is ours. */
void dispatch_reconcile(struct dispatch *dispatch);
/* No more claims and new sends; what is under way goes on. */
void dispatch_drain(struct dispatch *dispatch);
/* Under way or unrecorded. */
size_t dispatch_busy(const struct dispatch *dispatch);
size_t dispatch_active(const struct dispatch *dispatch);

#endif

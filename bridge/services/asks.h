/* SPDX-License-Identifier: MIT */
/*
 * asks - calls by rpc: who may ask what, how many at once, and the one place that answers
 *
 * Services hand in tables of methods; main hands in the messages on up/rpc/{method}.  Who asks is
 * taken from the topic and from nothing else.  A method reads its parameters, asks the store and
 * answers exactly once, now or later:
 *
 *   static void user_get(struct ask *ask)
 *   {
 *       struct people *people = ask->service;
 *
 *       if (!rpc_text(&ask->rpc, "user", RPC_REQUIRED, 128, &user) || !rpc_done(&ask->rpc)) {
 *           ask_answer(ask);                      the error that rpc_text() has set
 *           return;
 *       }
 *       ask_begin(ask);                           then one JSON value into ask->out
 *       if (store_targets(people->store, user, ...))
 *           ask_fail(ask, ERR_CLOSED);            later: ask_end(ask)
 *   }
 *
 * Requests beyond what may run at once wait in turn (asks_queue.h); beyond that they are answered
 * with `busy`, whose message says whether the caller's own are too many or those of all its kind.
 * Not here: what the methods do.
 */
#ifndef TOCSIN_SERVICES_ASKS_H
#define TOCSIN_SERVICES_ASKS_H
#include "base/metrics.h"
#include "core/rpc.h"
#include "core/topic.h"
#include "io/mqtt.h"
#include "services/asks_queue.h"
#include "services/reply.h"
#include "store/store.h"

/* An answer is one MQTT message: a list has no entry that makes it longer, but for its first. */
#define ASK_ANSWER_BYTES 200000
/* Entries of a list at most, and how many when the caller does not say. */
#define ASK_LIST_MAX     500
#define ASK_LIST_DEFAULT 50

struct asks;

/* One call under way.  It and all its texts live in its arena, until it is answered. */
struct ask {
    struct rpc_call rpc;
    struct arena *arena;
    const struct method *method;
    void *service; /* who handed in the method */
    void *own;     /* method->own_bytes of the method's own, zeroed */
    enum topic_kind kind;
    const char *from;  /* who asks, percent-encoded */
    const char *admin; /* the same when it is an admin, else NULL */
    struct buf out;
    /* Where it makes sense: JSON of what a change changes, for the audit (ask_audited()). */
    const char *before, *after;
    /* From here on the module's own. */
    struct asks *asks;
    struct reply reply;
    struct asks_place place;
};

/* Who may call a method. */
enum {
    ASK_SERVICES = 1 << TOPIC_SERVICE,
    ASK_USERS = 1 << TOPIC_USER,
    ASK_ADMINS = 1 << TOPIC_ADMIN
};

/* Besides: of services only those that the configuration names (requests.people). */
#define ASK_NAMED_SERVICES (1 << 8 | ASK_SERVICES)

struct method {
    const char *name;
    unsigned kinds;
    size_t own_bytes;
    void (*run)(struct ask *ask);
};

struct asks_ops {
    void (*reply)(void *ctx, const struct reply *reply); /* payload and all are copied */
    bool (*is_named)(void *ctx, const char *service);    /* in requests.people */
    size_t (*packet_max)(void *ctx); /* the largest message that the broker takes; NULL: any */
    void *ctx;
};

struct asks *asks_new(struct loop *loop, struct store *store, struct metrics *metrics,
                      const struct asks_ops *ops);
void asks_free(struct asks *asks);
/* The table is borrowed for as long as asks lives; at most ASKS_TABLES of them. */
#define ASKS_TABLES 16
void asks_add(struct asks *asks, const struct method *methods, size_t count, void *service);
/* The event of `from` begins with "rpc/". */
void asks_receive(struct asks *asks, const struct topic_up *from,
                  const struct mqtt_message *message);

/* ---- for methods ---- */

/* Publishes what is in out, or the error that was set, and ends the call. */
void ask_answer(struct ask *ask);
/*
 * Answers `unavailable`: the database is away.  With ERR_NOT_FOUND `not_found`, with ERR_DATA
 * `bad_value`; with ERR_FULL, or ERR_CLOSED while the database is there, `busy`: no place was free.
 */
void ask_fail(struct ask *ask, int err);
/* Between them the method writes one JSON value to ask->out; ask_end() answers. */
void ask_begin(struct ask *ask);
void ask_end(struct ask *ask);
/*
 * An entry of a list is complete, which began at `before` in out.  false: the answer would be too
 * long with it, so that it was taken out again, and the list ends here.  A first entry stays.
 */
bool ask_keep_entry(struct ask *ask, size_t before, bool is_first);
/* How long out may become before the broker does not take it. */
size_t ask_answer_max(const struct ask *ask);
/* Ends {"...":[ and answers; next is where the next page goes on, 0: this was the last. */
void ask_end_page(struct ask *ask, uint64_t next);
/*
 * The row of the audit for a change that an admin or a service is about to make, which counts what
 * `counted` says; NULL for a user's, which concerns themselves.  Lives as long as the ask.
 */
const struct audited *ask_audited(struct ask *ask, const char *counted);
/* Answers a change that is committed with {name: count}. */
void ask_changed(struct ask *ask, const char *name, int64_t count);
/* The parameters as they go into the audit: as given, but addresses are masked. */
const char *ask_params(struct ask *ask);
/* ,"name":"2026-01-31T12:00:00.000Z" */
void ask_add_time(struct ask *ask, const char *name, int64_t wall_ms);
/* ,"target":"..." masked, but for admins */
void ask_add_target(struct ask *ask, const char *address);
/* The same, or ,"user": or ,"role":, as the kind says (enum recipient_kind); user: whose it is. */
void ask_add_recipient(struct ask *ask, int kind, const char *recipient, const char *user);

#endif

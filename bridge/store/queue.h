/* SPDX-License-Identifier: MIT */
/*
 * queue - claiming deliveries and recording what came of them
 *
 * Every write is a compare-and-set on the epoch: what is not ours any more is not touched and
 * not named in the answer.  Each statement names the state it moves from:
 *
 *   store_claim      ready  -> leased          store_retry  leased -> ready or held
 *   store_wake       ready, held, dead -> leased
 *   store_settle     leased -> a final state   store_bury   leased -> dead (moves the row)
 *   store_ack        any    -> delivered       store_reconcile  leased by us -> ready
 */
#ifndef TOCSIN_STORE_QUEUE_H
#define TOCSIN_STORE_QUEUE_H
#include "core/channel.h"
#include "core/delivery.h"
#include "core/outcome.h"
#include "store/store.h"

struct claimed { /* strings borrowed for the callback */
    uint64_t id, notification;
    int64_t seq, due_ms, created_ms, expires_ms;
    int attempts, crashes, receipts, recipient_kind;
    int deferrals; /* tries that cost no attempt */
    enum channel channel;
    enum priority priority;
    const char *recipient, *service, *request, *type, *collapse_key, *retry;
    const char *user; /* whose address the recipient is; "" when nobody's */
    const char *content;
    size_t content_bytes;
    /* A bridge died over it, and the request of this attempt may have left, to here; 0: not. */
    int32_t started_via;
    bool is_unsure;         /* an attempt of it was sent in full and not answered */
    bool is_replay;         /* it was tried before */
    bool was_dead;          /* woken from a dead letter */
    bool is_recalled;       /* called back while another bridge had it */
    bool is_step;           /* others go before or after it */
    enum reason suppressed; /* REASON_NONE: the recipient may be sent to */
    unsigned desk;          /* set of enum task_desk */
};

struct claim {
    void (*on_row)(void *ctx, const struct claimed *claimed);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};

/*
 * A delivery that was leased by this many bridges when they died is a suspect: it is claimed
 * apart from the others, one at a time, so that a further crash tells.
 */
#define STORE_SUSPECT_CRASHES 3
#define STORE_POISON_CRASHES  6 /* and this many settle it: dead, as poison */

/*
 * Takes up to room[p] due deliveries of each priority p, the longest due first, none due before
 * since_ms[p] (a watermark: what lies before was seen empty; 0 looks at everything).
 */
NODISCARD int store_claim(struct store *store, int64_t epoch, int32_t destination,
                          const unsigned room[PRIORITY_COUNT],
                          const int64_t since_ms[PRIORITY_COUNT], bool is_suspect,
                          const struct claim *claim);

/* Whose, and the last delivery and dead letter that were taken already (0: none). */
struct wake_user {
    const char *name; /* borrowed */
    uint64_t after[2];
};
/*
 * Takes what waits for these users: in-app deliveries that could not be shown to them, held or
 * between two tries, and dead letters of the same kind.  At most each of a user and total in all,
 * and as many dead letters again; user by user, in the order given, and of each by id.  Two bridges
 * that ask at the same time share them.
 */
NODISCARD int store_wake(struct store *store, int64_t epoch, const struct wake_user *users,
                         size_t count, unsigned each, unsigned total, const struct claim *claim);

/* Gives back what the database says is ours and memory does not know. */
NODISCARD int store_reconcile(struct store *store, int64_t epoch, const uint64_t *known,
                              size_t count, void (*on_done)(void *ctx, int err), void *ctx);

/* One outcome to record. */
struct settlement {
    uint64_t id;
    enum delivery_state state; /* READY, HELD, DEAD or another final one, or SENT */
    int attempts;              /* made so far, as stored */
    int number;                /* of this attempt; 0 when none was made */
    int64_t due_ms;            /* READY, HELD: wall */
    int64_t dead_since_ms;     /* a dead target that was registered later stays; 0: any dies */
    bool is_step;              /* others wait for how it ends */
    int32_t destination;       /* by which it was tried, and is to be tried again */
    bool is_awaited;           /* SENT: its provider may report later */
    const struct outcome *outcome;
};

/* A delivery that was called off because another of its steps has reached the user. */
struct called_off {
    uint64_t id, notification;
    enum channel channel;
    const char *user; /* "" when the request named the address itself */
};

/* Names what was really ours; notification for receipts of rows memory has lost. */
struct settled {
    void (*on_off)(void *ctx, const struct called_off *off); /* before the rows that did it */
    void (*on_row)(void *ctx, uint64_t id, uint64_t notification, int attempts);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};

/* All of one call have the same kind of state: final (not DEAD), READY or HELD, or DEAD. */
NODISCARD int store_settle(struct store *store, int64_t epoch, const struct settlement *items,
                           size_t count, const struct settled *settled);
NODISCARD int store_retry(struct store *store, int64_t epoch, const struct settlement *items,
                          size_t count, const struct settled *settled);
/* Writes no end: an attempt row without one, before the request leaves. */
NODISCARD int store_start(struct store *store, int64_t epoch, const struct settlement *items,
                          size_t count, const struct settled *settled);
NODISCARD int store_bury(struct store *store, int64_t epoch, const struct settlement *items,
                         size_t count, const struct settled *settled);

/* In-app deliveries that their own user has acknowledged, whoever holds them. */
struct ack_item {
    uint64_t id;
    const char *user;
    bool is_plain; /* known to have no steps before or after it */
};
struct acked_row {
    uint64_t id, notification;
    int attempts;
    const char *user;
    enum delivery_state state; /* DELIVERED, or CANCELLED: a step that has become needless */
    enum channel channel;
};
struct acked { /* names what was really there and this user's */
    void (*on_row)(void *ctx, const struct acked_row *row);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
NODISCARD int store_ack(struct store *store, int64_t epoch, const struct ack_item *items,
                        size_t count, const struct acked *acked);

/*
 * For who has read all: the entries of a user's inbox that are unread, of notifications before
 * `before`, and still wait for an acknowledgement, or others for theirs.  The oldest
 * STORE_UNREAD_MAX of each user.
 */
#define STORE_UNREAD_MAX 10000
struct unread_of {
    const char *user;
    uint64_t before;
};
struct unread_call {
    void (*on_row)(void *ctx, uint64_t delivery, const char *user); /* borrowed */
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
NODISCARD int store_unread(struct store *store, const struct unread_of *users, size_t count,
                           const struct unread_call *call);

/* Those of these deliveries that an ack committed under our epoch has ended: after a doubt. */
NODISCARD int store_ended(struct store *store, int64_t epoch, const uint64_t *ids, size_t count,
                          const struct acked *ended);

/*
 * What our epoch has recorded of these deliveries in the last hour: for outcomes that were in doubt
 * and whose rows are not ours any more, as either our own statement or somebody else ended them.
 */
struct recorded { /* state: -1 for a try that did not end it */
    void (*on_row)(void *ctx, uint64_t id, int number, int state);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
NODISCARD int store_recorded(struct store *store, int64_t epoch, const uint64_t *ids, size_t count,
                             const struct recorded *recorded);

/* What receipts need to know of a notification. */
struct about {
    uint64_t notification;
    int receipts;
    const char *service, *request;
};
struct about_call {
    void (*on_row)(void *ctx, const struct about *about);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
NODISCARD int store_about(struct store *store, const uint64_t *notifications, size_t count,
                          const struct about_call *call);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * dlq - dead letters: looked at by people, marked by them, put back into the queue in small bites
 *
 * A retry has two steps.  store_dlq_mark() accepts it: status retrying, with who and why, in the
 * transaction that also writes the audit.  store_dlq_feed() puts marked ones into the queue while
 * little waits there.  Between them the row itself is the promise: nothing is lost when a bridge
 * dies, and nothing is put twice, since both statements name the status that they move from.
 *
 * All but the chores run on the connection for people's questions: what they ask may be slow, and
 * delays no delivery.
 */
#ifndef TOCSIN_STORE_DLQ_H
#define TOCSIN_STORE_DLQ_H
#include "core/dead_status.h"
#include "store/store.h"
#include "store/upkeep.h"

struct dead_filter { /* -1, 0 or NULL: any */
    int channel, reason;
    const char *type, *service, *user;
    int64_t since_ms, until_ms; /* died since, and before */
    unsigned statuses;          /* bit set of enum dead_status; 0: any */
    const uint64_t *ids;        /* NULL: any */
    size_t id_count;
};

/* Strings borrowed; NULL where there is none.  Times are 0 where there is none. */
struct dead_row {
    uint64_t delivery, notification;
    int channel, reason, status, attempts, retries, recipient_kind, priority;
    int64_t died_ms, changed_ms, created_ms, expires_ms;
    const char *service, *request, *type, *destination, *recipient, *code, *detail;
    const char *changed_by, *note, *resolved_by, *collapse_key;
    const char *user;             /* whose address it is */
    const char *content, *edited; /* where asked for; NULL when its notification is gone */
    size_t content_bytes, edited_bytes;
};
struct dead_call {
    void (*on_row)(void *ctx, const struct dead_row *row);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
/* In the order of delivery ids, those after `after`, at most limit. */
NODISCARD int store_dlq_list(struct store *store, const struct dead_filter *filter, uint64_t after,
                             int limit, bool with_content, const struct dead_call *call);
NODISCARD int store_dlq_count(struct store *store, const struct dead_filter *filter,
                              store_count_fn *on_done, void *ctx);

/* One group of the statistics: of a status, of a channel and reason, of a day, or of all. */
enum dead_group { DEAD_BY_ALL, DEAD_BY_STATUS, DEAD_BY_REASON, DEAD_BY_DAY };
struct dead_stat {
    enum dead_group group;
    int channel, reason, status;
    int64_t day_ms; /* its first moment, UTC */
    int64_t count, pending;
};
struct dead_stat_call {
    void (*on_stat)(void *ctx, const struct dead_stat *stat); /* group by group; days descending */
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
#define STORE_DLQ_DAYS_MAX 366
NODISCARD int store_dlq_stats(struct store *store, const struct dead_filter *filter,
                              const struct dead_stat_call *call);

/* What was tried, in the order of time. */
struct dead_try {
    int number, outcome, reason, status_code, state /* -1: not the end */;
    int64_t at_ms;
    const char *destination, *code, *provider_id, *detail;
};
struct dead_try_call {
    void (*on_try)(void *ctx, const struct dead_try *try);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
#define STORE_DLQ_TRIES_MAX 500
NODISCARD int store_dlq_tries(struct store *store, uint64_t delivery,
                              const struct dead_try_call *call);

/* A change of status.  Only those are touched from whose status the move is legal. */
struct dead_mark {
    enum dead_status to;
    struct dead_filter filter; /* its statuses: those that may be moved */
    uint64_t after;            /* goes on after this delivery */
    int limit;
    const char *note;        /* NULL: as it is */
    const char *destination; /* a retry by this one; NULL: by its own */
    const char *content;     /* a retry with this content; NULL: with its own */
    size_t content_bytes;
    const char *content_type; /* then only those of this type */
    bool fits_in_app;         /* then in-app ones only if true */
    /* For the audit; it is written when something changed, and when is_first. */
    const char *admin, *action, *params, *call, *word /* "retried" */;
    bool is_first;
};
struct dead_mark_call {
    /* is_over: nothing is left after `last`. */
    void (*on_done)(void *ctx, int err, int64_t count, uint64_t last, bool is_over);
    void *ctx;
};
NODISCARD int store_dlq_mark(struct store *store, const struct dead_mark *mark,
                             const struct dead_mark_call *call);

/* A destination, and how many retries may wait for it in the queue. */
struct dead_room {
    int32_t destination;
    int32_t room;
};
struct dead_feed_call {
    /* For each destination that had marked ones: what waited for it in the queue, what was added.
     */
    void (*on_fed)(void *ctx, int32_t destination, int waiting, int fed);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
NODISCARD int store_dlq_feed(struct store *store, const struct dead_room *rooms, size_t count,
                             const struct dead_feed_call *call);

/* ---- chores: one bounded bite each ---- */

/* Retries that have ended otherwise than dead. */
NODISCARD int store_dlq_resolve_retried(struct store *store, store_count_fn *on_done, void *ctx);
/* What nobody looked at for so long. */
NODISCARD int store_dlq_resolve_old(struct store *store, int64_t age_ms, store_count_fn *on_done,
                                    void *ctx);
#define DLQ_PURGE_BITE 2000
/* Those whose notification has been dropped with its day (upkeep.h). */
NODISCARD int store_dlq_purge(struct store *store, int keep_days, store_count_fn *on_done,
                              void *ctx);

#endif

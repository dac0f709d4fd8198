/* SPDX-License-Identifier: MIT */
/*
 * callbacks - what providers report: kept first, then folded into what was sent
 *
 * Two steps, so that a provider is answered as soon as its words are safe, and words that come
 * before the attempt they speak of is recorded are not lost: what finds no message is looked at
 * again, ever less often, for ten minutes.
 */
#ifndef TOCSIN_STORE_CALLBACKS_H
#define TOCSIN_STORE_CALLBACKS_H
#include "core/channel.h"
#include "core/outcome.h"
#include "core/report.h"
#include "store/store.h"

/* In the place of a destination: what our own links in mails report (services/tracking.h). */
#define STORE_OURSELVES 0

struct callback_row {
    int32_t destination; /* STORE_OURSELVES: provider_id is the delivery, in decimal */
    enum report report;
    enum reason reason;
    int64_t at_ms; /* 0: not said */
    const char *key, *provider_id, *name, *code;
    uint64_t delivery; /* where the provider names it: finds the message when provider_id is "" */
    bool is_unread;    /* not understood: kept, and never folded */
    const void *raw;
    size_t raw_bytes;
};
/* Those whose key is there already are dropped; on_done learns how many were new. */
NODISCARD int store_callbacks_keep(struct store *store, const struct callback_row *rows,
                                   size_t count, void (*on_done)(void *ctx, int err, int64_t count),
                                   void *ctx);

/* Somebody answered STOP or START by SMS; a repeat of the same message changes nothing. */
struct heard {
    int32_t destination;
    bool is_stop;
    const char *address; /* E.164 */
    const char *key;     /* of the message */
    int64_t at_ms;       /* 0: not said */
};
NODISCARD int store_heard(struct store *store, const struct heard *heard, store_done_fn *on_done,
                          void *ctx);

/* Somebody wants no more mails of a type: suppressed, and told as a report of the delivery. */
struct unsubscription {
    uint64_t delivery;
    enum channel channel;
    const char *address, *type;
};
NODISCARD int store_unsubscribe(struct store *store, const struct unsubscription *what,
                                store_done_fn *on_done, void *ctx);

/*
 * Lets the next fold find the messages of which only we ourselves can report: a row in `sent` for
 * those whose delivery is settled by now.
 */
void store_callbacks_adopt(struct store *store);

#define STORE_FOLD_BITE 500

/* A step that an event made its message take, by message and then rank; strings borrowed. */
struct folded {
    int64_t event;
    uint64_t delivery, notification;
    enum report report;
    enum reason reason;
    int32_t destination;
    enum channel channel;
    int recipient_kind, number, receipts;
    int64_t at_ms;
    const char *recipient, *provider_id, *code;
    const char *user;              /* whose address it is, or NULL */
    const char *service, *request; /* NULL when the notification was dropped meanwhile */
    bool is_dead;                  /* the delivery is a dead letter by this */
    /* of the notification, for the dead letter */
    const char *type, *content;
    size_t content_bytes;
    enum priority priority;
    int64_t created_ms;
};
struct fold_call {
    void (*on_row)(void *ctx, const struct folded *folded);
    /* A step that was to come and is called off by what has arrived; without event and report. */
    void (*on_off)(void *ctx, const struct folded *folded);
    /* is_more: as many were looked at as one call may. */
    void (*on_done)(void *ctx, int err, bool is_more);
    void *ctx;
};
/*
 * Folds what is due.  Every row is ours to tell until store_callbacks_told() says that it was: if
 * our epoch ends before, another bridge tells it.
 */
NODISCARD int store_callbacks_fold(struct store *store, int64_t epoch,
                                   const struct fold_call *call);
/* Takes over what bridges that are gone have not told; is_own_too: and what we may have forgotten.
 */
NODISCARD int store_callbacks_untold(struct store *store, int64_t epoch, bool is_own_too,
                                     const struct fold_call *call);
NODISCARD int store_callbacks_told(struct store *store, const int64_t *events, size_t count,
                                   store_done_fn *on_done, void *ctx);

#define CALLBACKS_PURGE_BITE 5000
/* Forgets some of what is older than so many days; on_done learns how many of the more numerous. */
NODISCARD int store_callbacks_purge(struct store *store, int sent_days, int event_days,
                                    void (*on_done)(void *ctx, int err, int64_t count), void *ctx);

#endif

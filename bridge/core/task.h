/* SPDX-License-Identifier: MIT */
/*
 * task - a leased delivery in memory, and the notification it shares with its siblings
 *
 * Purity:    data only.
 * Ownership: a note lives as long as one of its tasks; each task holds one count of it.  Both
 *            are one allocation with their texts behind them.
 */
#ifndef TOCSIN_CORE_TASK_H
#define TOCSIN_CORE_TASK_H
#include "core/active.h"
#include "core/channel.h"
#include "core/delivery.h"
#include "core/request.h"
#include <stddef.h>
#include <stdint.h>

struct note {
    uint64_t id;
    unsigned tasks;
    enum priority priority;
    enum receipts_wanted receipts;
    int64_t created_ms, expires_ms; /* wall; expires 0 = never */
    struct retry_override retry;
    const char *service, *request, *type, *collapse_key; /* collapse_key may be NULL */
    const char *content;
    size_t content_bytes;
    size_t bytes; /* of the allocation */
};

/* Copies the texts of source; the new note has no task yet. */
struct note *note_new(const struct note *source);
/* For a note that got no task after all. */
void note_drop_unused(struct note *note);

/* What the desk did to it; stored in the database: never renumber. */
enum task_desk {
    TASK_RETRIED = 1, /* an admin's retry */
    TASK_PINNED = 2,  /* by this destination and no other */
    TASK_EDITED = 4,  /* with content of its own, not its notification's */
    TASK_RESUMED = 8  /* it was a dead letter until its user came back */
};

struct task {
    struct active_entry entry;
    struct note *note;
    void *destination; /* the dispatcher's */
    uint64_t id;
    int64_t seq;
    enum channel channel;
    enum recipient_kind recipient_kind;
    enum delivery_state state; /* LEASED until judged */
    enum reason suppressed;    /* why it must not be sent; REASON_NONE: it may */
    int attempts;              /* made before this one */
    int deferrals;             /* tries before this one that cost no attempt */
    int64_t pinned_until_ms;   /* wall; no other destination may take it until then */
    unsigned desk;             /* set of enum task_desk */
    bool is_suspect;
    bool is_sending;
    bool is_started;  /* an attempt row says that the request may have left */
    bool is_starting; /* that row is being written: the node is in a list of the dispatcher's */
    bool is_recalled; /* called back while it waited */
    bool is_acked;    /* its user confirmed while it was under way */
    bool is_replay;   /* tried before, in this life or an earlier one */
    bool is_step;     /* others go before or after it */
    int64_t woken_ms; /* boot: when it was brought back because its user came; 0: it was not */
    int64_t tried_ms; /* boot: when the attempt began that is being judged */
    const char *user; /* whose address the recipient is; NULL: nobody's, or the recipient itself */
    char recipient[]; /* and the user behind it */
};

/* Copies the texts; user may be NULL or "". */
struct task *task_new(struct note *note, uint64_t id, const char *recipient, const char *user);
void task_free(struct task *task);
size_t task_bytes(const struct task *task);

/* The retry override as kept in the database: "attempts base_ms max_ms factor jitter". */
char *retry_override_write(const struct retry_override *retry, char *out, size_t out_bytes);
void retry_override_read(struct retry_override *retry, const char *text /* NULL: none */);
bool retry_override_is_set(const struct retry_override *retry);
/* The policy with what the request says in its place. */
struct retry_policy retry_policy_with(const struct retry_policy *policy,
                                      const struct retry_override *retry);

#endif

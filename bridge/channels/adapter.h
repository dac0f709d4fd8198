/* SPDX-License-Identifier: MIT */
/*
 * adapter - the one interface between the dispatcher and every vendor's API
 *
 * An adapter turns a delivery into a provider's request and the answer into an outcome.  A
 * *destination* is an adapter opened with one of our accounts: state, limits and breaker belong
 * to it.  Adding a provider is one file with a struct adapter, one line in adapters.c, its
 * tests and its page in docs/providers/.
 *
 * Adapters never touch the store, another adapter, or a queue.  Credentials come from files at
 * open and reload.
 *
 * Ownership: the job and its strings are borrowed until on_outcome returns (the dispatcher
 *            keeps them alive until then).
 * Errors:    send() either returns a negative err and never calls back (ERR_FULL: no room
 *            below, try later), or returns 0 and calls on_outcome exactly once, later.
 */
#ifndef TOCSIN_CHANNELS_ADAPTER_H
#define TOCSIN_CHANNELS_ADAPTER_H
#include "base/err.h"
#include "core/channel.h"
#include "core/outcome.h"
#include "io/http_client.h"
#include "io/loop.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tracker;

enum target_kind {
    TARGET_USER,
    TARGET_ROLE,
    TARGET_BROADCAST,
    TARGET_EMAIL,
    TARGET_PHONE,
    TARGET_PUSH_TOKEN,
    TARGET_URL
};

/* What a mail tells of its reader, as its type wants it (channels/tracker.h). */
enum { JOB_TRACK_OPENS = 1, JOB_TRACK_CLICKS = 2, JOB_TRACK_UNSUBSCRIBE = 4 };

struct job {
    uint64_t delivery, notification;
    int attempt;                   /* 1-based */
    bool is_replay;                /* it may have been shown before */
    const char *service, *request; /* who asked, under which id */
    const char *type;
    enum priority priority;
    enum target_kind target_kind;
    const char *target;  /* address; for in-app the encoded user id or role */
    int64_t seq;         /* in-app: the user's sequence number; 0 when none */
    const char *content; /* request.content: one JSON object */
    size_t content_bytes;
    int64_t created_ms, expires_ms; /* wall; expires 0 = never */
    const char *collapse_key;       /* NULL when none */
    unsigned tracking;              /* JOB_TRACK_...; 0: nothing */
};

typedef void adapter_outcome_fn(void *ctx, const struct outcome *outcome);

/* A destination's settings as read from the configuration: text by key. */
struct adapter_settings {
    const char *name; /* the destination's, for messages */
    /* The value or NULL; the pointer lives as long as the configuration. */
    const char *(*get)(void *ctx, const char *key);
    void *ctx;
};

struct adapter_env {
    struct loop *loop;
    struct http_client *http;
    int64_t (*wall_ms)(void);      /* tests set their own */
    const struct tracker *tracker; /* NULL: none */
    int64_t timeout_ms;            /* of one request; 0: the adapters' own */
};

enum adapter_key_kind {
    ADAPTER_TEXT,
    ADAPTER_URL,
    ADAPTER_FILE,
    ADAPTER_DURATION,
    ADAPTER_NUMBER,
    ADAPTER_BOOL
};
struct adapter_key {
    const char *name;
    enum adapter_key_kind kind;
    bool is_required;
    const char *fallback; /* text of the default, NULL when none */
    const char *help;     /* one line, for docs/config.md */
};

struct adapter {
    const char *name; /* "twilio" */
    enum channel channel;
    const struct adapter_key
        *keys;          /* ended by a NULL name; concurrency, rates, timeout are common */
    bool is_idempotent; /* the provider drops a repeat of the same delivery id */
    bool has_receipts;  /* callbacks may follow: SENT is not the end */
    /* why gets a sentence naming the key.  Reads files: called at start and reload only. */
    int (*open)(const struct adapter_env *env, const struct adapter_settings *settings,
                void **state, char *why, size_t why_bytes);
    void (*close)(void *state); /* nothing under way any more */
    int (*send)(void *state, const struct job *job, adapter_outcome_fn *on_outcome, void *ctx);
};

/* By name; NULL when there is none. */
const struct adapter *adapter_find(const char *name);
/* All, ended by NULL. */
const struct adapter *const *adapter_all(void);

#endif

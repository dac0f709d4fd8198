/* SPDX-License-Identifier: MIT */
/*
 * callbacks_internal - what the files of the callbacks service share; nobody else includes it
 */
#ifndef TOCSIN_SERVICES_CALLBACKS_INTERNAL_H
#define TOCSIN_SERVICES_CALLBACKS_INTERNAL_H
#include "base/list.h"
#include "base/panic.h"
#include "services/callbacks.h"

#define CALLBACK_ENDPOINTS_MAX 64

struct endpoint {
    struct callbacks *callbacks;
    char *name; /* the destination's */
    struct callback_account account;
    /* SES: the certificate that was fetched last, and the requests that wait for one */
    char *certificate_url, *certificate, *fetching_url;
    struct list waiting;
    struct metric *good, *refused, *malformed, *unread;
};

/* A request under way. */
struct post {
    struct list_node node; /* in one of the lists */
    struct endpoint *endpoint;
    struct http_exchange *exchange;
    struct callback_request request;
    struct callback_result result;
};

struct callbacks {
    struct loop *loop;
    struct store *store;
    struct http_client *http;
    struct metrics *metrics;
    struct callbacks_ops ops;
    char *public_url;
    int sent_days, event_days;
    bool has_tracking;
    bool is_careful; /* one call a statement: the database has refused the data of one */
    struct endpoint *endpoints[CALLBACK_ENDPOINTS_MAX];
    size_t count;
    size_t posts, post_bytes;
    struct list waiting, keeping; /* for the next commit; in the one under way */
    struct loop_deferred flush;
    struct loop_timer timer;
    unsigned tick;
    bool is_keeping, is_folding, wants_fold, is_stopped;
    bool is_purging; /* the last bite was full: the next does not wait for its turn */
    const struct fence *fence;
    /* Events whose receipts were handed on: since the mark, and before it. */
    int64_t *fresh, *handed;
    size_t fresh_count, fresh_room, handed_count;
    uint64_t mark;
    int64_t epoch; /* of both */
    bool is_telling, is_looking, is_in_doubt;
    struct metric *events, *moves[16]; /* by report / 5 */
};

/* Reads again and goes on from there. */
void post_read(struct post *post);
void post_end(struct post *post, int status, const char *text);
void callbacks_fold(struct callbacks *callbacks);

/* callbacks_tell.c: tells what a row says, and sees to it that it is told. */
void callbacks_tell(void *ctx, const struct folded *row);
/* At most once by us; who takes over our epoch tells what it ended shortly before. */
void callbacks_tell_off(void *ctx, const struct folded *row);
void callbacks_tell_turn(struct callbacks *callbacks);

/* callbacks_fetch.c: gets result.fetch, then reads the request again. */
void callbacks_fetch(struct post *post);
/* Gets a URL that confirms a subscription; whoever asked is not kept waiting. */
void callbacks_confirm(struct endpoint *endpoint, const char *url);

#endif

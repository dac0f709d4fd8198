/* SPDX-License-Identifier: MIT */
/*
 * token - one OAuth access token per destination, fetched once for everybody
 *
 * Single flight: however many attempts want a token, one request is under way.  It is renewed
 * ahead of its end while the old one still serves; a fetch that failed is not repeated for a
 * few seconds.  Nobody waits longer than the fetch's own timeout, and at most
 * TOKEN_WAITERS_MAX wait: beyond that ERR_FULL.
 *
 * Ownership: waiters are the caller's, linked in until they are called.
 * Errors:    token_wait() either fails and never calls back or calls exactly once, later.
 */
#ifndef TOCSIN_CHANNELS_TOKEN_H
#define TOCSIN_CHANNELS_TOKEN_H
#include "base/list.h"
#include "channels/call.h"

#define TOKEN_WAITERS_MAX 10000

struct token_waiter {
    struct list_node node;
    /* why is NULL when token_current() has a token, else the outcome to hand on. */
    void (*on_token)(void *ctx, const struct outcome *why);
    void *ctx;
};

struct token_config {
    const struct endpoint *endpoint;  /* borrowed: timeouts, CA, clients */
    const char *url;                  /* borrowed: the token endpoint */
    const struct error_table *errors; /* by its "error" member */
    /* Writes the form body of the request; called anew for each fetch. */
    void (*write_form)(void *ctx, struct buf *out);
    void *ctx;
};

struct token_source;

struct token_source *token_source_new(const struct token_config *config);
/* Nobody may be waiting; a fetch under way is let go. */
void token_source_free(struct token_source *source); /* NULL is allowed */
/* The token, or NULL when there is none that is good now.  May start a renewal. */
const char *token_current(struct token_source *source);
NODISCARD int token_wait(struct token_source *source, struct token_waiter *waiter);
/* The provider refused this token: forget it, if it is still the one we have. */
void token_refused(struct token_source *source, uint64_t generation);
/* Grows with every new token; remember it beside each use. */
uint64_t token_generation(const struct token_source *source);

#endif

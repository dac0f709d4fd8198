/* SPDX-License-Identifier: MIT */
/*
 * badge - how much is unread, kept by the broker for each user
 *
 * Whoever changed something about a user's inbox touches the user; within a moment the counters
 * are read from the database, many users at a time, and published retained.  The same user is
 * read again a second later at the earliest, and at least once: two bridges that published the
 * same user's badge at one moment may have done so in the wrong order, and the one whose figures
 * are not true any more mends that.
 *
 * Bounded: BADGE_USERS_MAX users are remembered; past that a touch is dropped and counted, and
 * the user's next one mends it.  At most BADGE_BATCH users are read in BADGE_TICK_MS: under load
 * badges come later, and traffic does not suffer.
 * Not here: who is told what was read (inbox).
 */
#ifndef TOCSIN_SERVICES_BADGE_H
#define TOCSIN_SERVICES_BADGE_H
#include "base/metrics.h"
#include "store/store.h"

#define BADGE_USERS_MAX 50000
#define BADGE_BATCH     100
#define BADGE_TICK_MS   100
#define BADGE_PAUSE_MS  1000

struct badge;

struct badge_ops {
    void (*publish)(void *ctx, const char *topic, const void *payload, size_t bytes);
    bool (*is_full)(void *ctx); /* nothing is published while it is */
    void *ctx;
};

struct badge *badge_new(struct loop *loop, struct store *store, struct metrics *metrics,
                        const struct badge_ops *ops);
/* The store is closed before. */
void badge_free(struct badge *badge);
/* user is the encoded id of the topic. */
void badge_touch(struct badge *badge, const char *user);

#endif

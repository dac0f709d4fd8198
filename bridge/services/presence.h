/* SPDX-License-Identifier: MIT */
/*
 * presence - which users are connected, as the broker's plugin tells, and who has come back
 *
 * A connection of its own, without a session: the broker sends everything that is retained at
 * each connect, and what is known ends with the connection.  So a user is *here*, *away*, or not
 * known, and everybody must do without knowing: a broker without the plugin tells nothing.
 *
 * Whoever comes (a first or a further connection, or one that took over) is told to ops.came(),
 * once; so is a user who acknowledges something, at most every HEARD_EVERY_MS, since what waits
 * for them may have been put there by another bridge, or on a broker that tells nothing.
 *
 * Bounded: users_max users; past it those who have been away the longest are forgotten, and when
 * all are here, a further one is not known.  0 turns the connection off.
 * Not here: what waits for a user (dispatch), and the table of the broker (plugins/auth).
 */
#ifndef TOCSIN_SERVICES_PRESENCE_H
#define TOCSIN_SERVICES_PRESENCE_H
#include "base/metrics.h"
#include "io/mqtt.h"
#include "services/asks.h"

struct presence;

struct presence_config {
    struct mqtt_config mqtt; /* a lane without a session */
    size_t users_max;
};

struct presence_ops {
    void (*came)(void *ctx, const char *user); /* percent-encoded, borrowed */
    void *ctx;
};

/* Also answers presence.get. */
struct presence *presence_new(struct loop *loop, const struct presence_config *config,
                              struct metrics *metrics, struct asks *asks,
                              const struct presence_ops *ops);
void presence_free(struct presence *presence);

/* Known to have no connection: nothing that is published can be shown now. */
bool presence_is_away(const struct presence *presence, const char *user);
/* The user's roles, percent-encoded and joined by ','; "" when none are known. */
const char *presence_roles(const struct presence *presence, const char *user);
/*
 * Something waits for this user since a try that began at since_ms (boot clock).  True when they
 * have come since then, so that nothing will tell of it again; else their next sign will.
 */
bool presence_awaits(struct presence *presence, const char *user, int64_t since_ms);
/* The user's client has acknowledged something. */
void presence_heard(struct presence *presence, const char *user);

#endif

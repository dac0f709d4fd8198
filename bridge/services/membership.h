/* SPDX-License-Identifier: MIT */
/*
 * membership - this bridge's place in the fleet: its epoch, its lease, its lanes
 *
 * Registers, sends a heartbeat every fifth of the lease, takes its part of the lanes, and ends
 * bridges that have died.  The fence is moved only by a heartbeat that was answered, and from
 * the moment it was sent.  When our row is gone, or the loop stood still for longer than the
 * lease (a stopped process, a sleeping machine), the epoch is over: everything is told so and
 * a new one is taken.
 */
#ifndef TOCSIN_SERVICES_MEMBERSHIP_H
#define TOCSIN_SERVICES_MEMBERSHIP_H
#include "core/fence.h"
#include "io/loop.h"
#include "store/fleet.h"
#include "store/store.h"

enum lane { LANE_REQUESTS, LANE_USERS, LANE_ADMINS, LANE_COUNT };
const char *lane_name(enum lane lane);

struct membership;

struct membership_config {
    const char *name; /* host and port we listen on: only one process can have it; or NULL */
    const char *host;
    int node; /* 0: the database chooses */
    int64_t lease_ms, grace_ms;
};

struct membership_ops {
    void (*on_joined)(void *ctx);
    void (*on_fenced)(void *ctx); /* close lanes, forget deliveries */
    /* crashes: how often its reader was lost since a batch of it was last acknowledged. */
    void (*on_lane)(void *ctx, enum lane lane, unsigned crashes);
    /* We have to tell what another's epoch, which is over, settled since then (wall). */
    void (*on_untold)(void *ctx, int64_t epoch, int64_t since_us);
    /* A heartbeat was answered: the clock is right, and nothing of the dead waits to be swept. */
    void (*on_beat)(void *ctx);
    void (*on_swept)(void *ctx);   /* orphans are ready again */
    int64_t (*told_ms)(void *ctx); /* boot: the broker has all we settled before; now: all of it */
    void *ctx;
};

struct membership *membership_new(struct loop *loop, const struct membership_config *config,
                                  struct store *store, struct fence *fence,
                                  const struct membership_ops *ops);
void membership_free(struct membership *membership);
/* The database is there (again). */
void membership_store_up(struct membership *membership);
/* It is gone: lanes count as lost until a heartbeat has shown that they are still ours. */
void membership_store_down(struct membership *membership);
/* Ends the epoch for good; on_left comes once. */
void membership_leave(struct membership *membership, void (*on_left)(void *ctx), void *ctx);
bool membership_is_joined(const struct membership *membership);
/* Which lanes are ours is known: the database has answered under this epoch. */
bool membership_has_asked(const struct membership *membership);
bool membership_has_lane(const struct membership *membership, enum lane lane);
/* Boot-clock ms of the last heartbeat that was committed. */
int64_t membership_beat_ms(const struct membership *membership);
/* To be called every turn, before anything is sent. */
void membership_turn(struct membership *membership);

#endif

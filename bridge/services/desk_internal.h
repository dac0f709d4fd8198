/* SPDX-License-Identifier: MIT */
/*
 * desk_internal - shared by the files of the desk; no one else
 */
#ifndef TOCSIN_SERVICES_DESK_INTERNAL_H
#define TOCSIN_SERVICES_DESK_INTERNAL_H
#include "services/desk.h"
#include "store/dlq.h"

struct desk {
    struct loop *loop;
    struct store *store;
    const struct fence *fence;
    struct desk_ops ops;
    /* desk_feed.c */
    struct loop_timer timer;
    struct dead_room rooms[DESK_DESTINATIONS_MAX];
    size_t room_count;
    bool is_feeding, has_waiting;
    size_t changing; /* changes under way: they go first */
    /* desk_tell.c: the first `telling` of untold are being read */
    uint64_t *untold;
    size_t untold_count, untold_room, telling;
    size_t tell_max;          /* read at once: fewer after a failure; 0: as many as may be */
    int64_t refused_since_ms; /* the reading of the first, by itself; 0: it is not */
    bool is_telling;
};

/* The own state of the questions, and of the changes. */
struct desk_listing {
    int64_t limit, rows;
    uint64_t last, delivery;
    bool is_cut, has_content;
    int group; /* dlq.stats: the one that is open */
};
struct desk_changing {
    struct dead_mark mark;
    size_t id_count;
    int64_t total;
};

/*
 * Reads the members of a filter: channel, reason, type, service, user, since, until, status.
 * `statuses` is the set that is meant when the caller names none.
 */
bool desk_read_filter(struct rpc_call *call, unsigned statuses, struct dead_filter *filter);

/* The methods. */
void desk_list(struct ask *ask);
void desk_export(struct ask *ask);
void desk_count(struct ask *ask);
void desk_stats(struct ask *ask);
void desk_get(struct ask *ask);
void desk_retry(struct ask *ask);
void desk_resolve(struct ask *ask);
void desk_ignore(struct ask *ask);

void desk_feed_start(struct desk *desk);
void desk_feed_stop(struct desk *desk);
/* Called every second or so: tells what desk_tell() has gathered. */
void desk_tell_turn(struct desk *desk);
/* There is something to feed. */
void desk_feed_poke(struct desk *desk);

#endif

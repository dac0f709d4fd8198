/* SPDX-License-Identifier: MIT */
/*
 * inbox_internal - what the files of the inbox share; nobody else includes it
 */
#ifndef TOCSIN_SERVICES_INBOX_INTERNAL_H
#define TOCSIN_SERVICES_INBOX_INTERNAL_H
#include "base/list.h"
#include "io/loop.h"
#include "services/inbox.h"

#define INBOX_ASKING 16

enum sweep { SWEEP_COLLAPSE, SWEEP_EXPIRE, SWEEPS };

struct inbox {
    struct loop *loop;
    struct store *store;
    const struct fence *fence;
    struct inbox_ops ops;
    struct batch *batch; /* being gathered; NULL when there is nothing */
    struct list waiting; /* questions that the database has not been asked yet */
    size_t asking;
    struct loop_timer sweep_timer;
    bool is_sweeping[SWEEPS], wants_sweep[SWEEPS], is_stopped;
    struct metric *marked, *removed;
};

/* The next message to one user's devices; zeroed at first. */
struct told {
    char user[TOPIC_ID_MAX + 1];
    const char *state, *why; /* why: of "deleted" by nobody's hand, else NULL */
    size_t count;
    struct buf payload;
};
/* Entries come by user: those in one state go into one message. */
void told_add(struct inbox *inbox, struct told *told, const char *user, uint64_t delivery,
              const char *state, const char *why);
void told_flush(struct inbox *inbox, struct told *told);
void told_fini(struct told *told);

/* inbox_rpc.c, inbox_removal.c */
void inbox_add_methods(struct inbox *inbox, struct asks *asks);
void inbox_add_removal(struct inbox *inbox, struct asks *asks);
void inbox_start_sweeps(struct inbox *inbox);

#endif

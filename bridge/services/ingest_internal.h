/* SPDX-License-Identifier: MIT */
/*
 * ingest_internal - shared by ingest.c (storing, telling, the lane), ingest_read.c (from a message
 * to what is to be stored) and ingest_targets.c (how users are reached); no one else
 */
#ifndef TOCSIN_SERVICES_INGEST_INTERNAL_H
#define TOCSIN_SERVICES_INGEST_INTERNAL_H
#include "base/arena.h"
#include "base/map.h"
#include "core/id.h"
#include "core/route.h"
#include "services/ingest.h"
#include "store/requests.h"

/* One delivery to be. */
struct plan {
    uint64_t id;
    int32_t destination;
    enum channel channel;
    enum recipient_kind kind;
    const char *recipient;
    const char *user;       /* whose target that is; NULL: the request named it itself */
    enum reason suppressed; /* REASON_NONE: it may be sent */
    bool is_admitted;       /* room is reserved for it */
    size_t step;            /* where channels go one after the other: its place; 0 goes at once */
    size_t for_whom;        /* which of the request's recipients */
    uint64_t head;          /* the delivery whose acknowledgement ends the others; 0: no steps */
};

/* A target of a user. */
struct found {
    struct found *next;
    enum recipient_kind kind;
    const char *address;
    const char *adapter; /* the only one that can reach it; NULL: any of the channel */
    enum reason suppressed;
};

/* One recipient on one channel other than in-app, of whom the database is asked. */
struct need {
    struct entry *entry;
    enum channel channel;
    const char *recipient;
    struct found *first, **last;
    size_t count;
    enum reason suppressed; /* of an address that the request names itself */
};

/* One item of a request message. */
struct entry {
    const char *service;
    const struct request *request;
    struct rejection rejection;
    struct route route;
    struct request_key key;
    uint64_t id; /* the notification's */
    struct plan *plans;
    size_t plan_count;
    bool is_waiting;    /* for its targets: has neither plans nor an id yet */
    struct need *needs; /* channel by channel, recipient by recipient; NULL: none were asked */
    const char *retry;
    struct note *note;
    const char *payload; /* of the message it came in, for ingest_reject */
    size_t payload_bytes;
    bool is_stored, is_duplicate;
    bool is_told; /* its receipt has been written */
};

struct range {
    size_t from, to;
};

struct ingest {
    struct loop *loop;
    struct ingest_config config;
    struct store *store;
    const struct fence *fence;
    struct ingest_ops ops;
    struct mqtt *lane;
    bool is_up, is_degraded;
    unsigned degraded_downs;
    struct loop_timer give_up;
    struct strmap shown; /* "service\nrequest" -> struct shown */
    unsigned generation; /* of the lane: answers that come after it was dropped are ignored */
    struct id_source ids;
    /* the batch */
    struct arena *arena;
    struct entry **entries; /* all, in the order they came */
    struct entry **good;    /* those to be stored, ids ascending */
    size_t count, good_count, capacity;
    size_t waiting_count;
    struct need **needs;
    size_t need_count;
    struct ingest_rows rows;
    struct range *ranges; /* a stack: what is still to be stored, the next on top */
    size_t range_count, range_capacity;
    unsigned again;
    size_t looking_count;  /* entries seen before, whose notification is being looked up */
    int64_t held_since_ms; /* 0 while reading */
    bool is_telling;       /* all is committed; its receipts are on their way to the broker */
    uint64_t told_mark;    /* when the outbox is past this the broker has them; 0: not yet taken */
    struct metric *messages, *accepted, *rejected, *duplicates, *batch_rows, *commit_seconds;
    int64_t sent_us;
};

/* An urgent notification that its users saw before it was stored. */
struct shown {
    uint64_t id;
    unsigned generation; /* of the batch that has this id last */
};

/* One statement under way. */
struct storing {
    struct ingest *ingest;
    unsigned generation;
    struct range range;
};

/* ingest_read.c */
void ingest_on_message(void *ctx, const struct mqtt_message *message);
void ingest_refuse(struct entry *entry, enum reject reason, const char *pointer,
                   const char *detail);
/* What was shown while the database was away is known by this. */
const char *ingest_shown_key(struct ingest *ingest, const struct entry *entry);
/* Shows what is urgent in the batch, forgets the batch, and reads on. */
void ingest_degraded_batch(struct ingest *ingest);

/* Its deliveries and their ids, when its targets are known.  false: it is refused. */
bool ingest_plan(struct ingest *ingest, struct entry *entry);

/* ingest_targets.c */
/* Whether an entry's deliveries depend on what the database knows of people. */
bool ingest_must_ask(const struct entry *entry);
/* Asks for all that waits, plans it, and goes on with ingest_store(). */
void ingest_find_targets(struct ingest *ingest);

/* ingest.c: stores what is planned. */
void ingest_store(struct ingest *ingest);
/* Drops the batch, which the broker will send again. */
void ingest_abandon(struct ingest *ingest, int err);
/* Forgets the batch; what the broker has not been told of, it will send again. */
void ingest_reset(struct ingest *ingest);
#endif

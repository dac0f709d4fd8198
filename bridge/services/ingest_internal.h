/* SPDX-License-Identifier: MIT */
/*
 * ingest_internal - shared by the files of ingest; no one else
 *
 * ingest.c          the lane, the order of work, telling
 * ingest_read.c     from a message to entries
 * ingest_share.c    what one service may ask for: a budget in deliveries, a share of each batch
 * ingest_plan.c     from an entry to its deliveries
 * ingest_targets.c  how the users of a group are reached
 * ingest_store.c    a group in the database, and what came of it
 * ingest_expand.c   requests whose deliveries are made later, slice by slice
 *
 * A batch is worked on in *groups* of some thousand deliveries: planned, stored and forgotten one
 * after the other, so that memory does not grow with what a batch asks for.  Between two groups one
 * slice of an expansion is made.  One group or slice is under way at a time (struct work).
 */
#ifndef TOCSIN_SERVICES_INGEST_INTERNAL_H
#define TOCSIN_SERVICES_INGEST_INTERNAL_H
#include "base/arena.h"
#include "base/map.h"
#include "core/id.h"
#include "core/route.h"
#include "services/ingest.h"
#include "store/expansion.h"
#include "store/people.h"

/* Deliveries of one request. */
#define PLANS_MAX 100000
/* Deliveries in one statement. */
#define CHUNK_MAX 4000

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

/* What one service has asked for in this batch. */
struct share {
    size_t asks;   /* recipients x channels of what is not deferred */
    size_t urgent; /* those of them that are urgent */
    size_t plans;  /* deliveries that they have become */
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
    bool is_waiting;    /* for its targets */
    struct need *needs; /* channel by channel, recipient by recipient; NULL: none were asked */
    size_t need_stride; /* the recipients of each channel in needs */
    bool is_counted;    /* its targets were counted, and paid for, when it was accepted */
    const char *retry;
    struct note *note;
    const char *payload; /* of the message it came in, for ingest_reject */
    size_t payload_bytes;
    const char *text; /* the item alone */
    size_t text_bytes;
    struct share *share;
    unsigned round;   /* of the batch: 0 before all others, then share by share */
    size_t place;     /* among those of the batch, as they came */
    bool is_deferred; /* accepted now; its deliveries are made later, by an expansion */
    bool is_limited;  /* over its service's budget: refused, unless it was accepted before */
    bool is_stored, is_duplicate;
    size_t charged; /* what its service's budget has paid for it */
    bool is_failed; /* the database refused it, and not because of what it says */
    bool is_told;   /* its receipt has been written */
};

/* Entries of the work that one statement stores; all are deferred, or none is. */
struct range {
    size_t from, to;
};

/* A group of the batch, or one slice of an expansion. */
struct work {
    struct arena *arena;
    struct entry **entries; /* ids ascending once they are planned; deferred ones at the end */
    size_t count, capacity;
    size_t deferred; /* how many of them are deferred */
    size_t counting; /* the next of them that may be too large, and is counted first */
    struct need **needs;
    size_t need_count;
    struct ingest_rows rows;
    struct range *ranges; /* a stack: what is still to be stored, the next on top */
    size_t range_count, range_capacity;
    unsigned again, collisions; /* for the range that failed last */
    bool is_busy, is_slice;
};

/* The expansion at hand. */
struct expand {
    bool is_wanted;                 /* there may be some */
    bool is_due;                    /* the next piece of work is a slice */
    char service[TOPIC_ID_MAX + 1]; /* of the last one: turns go on behind it */
    struct loop_timer timer;
    struct entry *entry; /* in the arena of the work; NULL: there is none */
    struct expansion_slice slice;
    size_t recipients; /* of the whole request */
    size_t unreached;  /* deliveries of the slice that no destination takes any more */
    size_t limit;      /* recipients in a slice; smaller after one that could not be stored */
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
    struct strmap shown;   /* "service\nrequest" -> struct shown */
    struct strmap budgets; /* service -> struct budget */
    unsigned generation;   /* of the lane: answers that come after it was dropped are ignored */
    struct id_source ids;
    size_t chunk; /* deliveries in one statement: fewer after one was not answered in time */
    /* the batch */
    struct arena *arena;
    unsigned batch;         /* counts batches */
    int64_t read_ms;        /* wall: when its first message came; 0: none has */
    struct strmap shares;   /* service -> struct share */
    struct entry **entries; /* all, in the order they came */
    struct entry **good;    /* those to be stored */
    size_t count, good_count, capacity;
    size_t next;           /* the first of good that no group has had */
    size_t looking_count;  /* entries seen before, whose notification is being looked up */
    bool is_batch;         /* it is read; its groups are worked on */
    int64_t held_since_ms; /* 0 while reading */
    bool is_ending;        /* all groups are stored */
    bool is_given_back;    /* what repeats had taken is back in their budgets */
    bool is_telling;       /* all is committed; its receipts are on their way to the broker */
    uint64_t told_mark;    /* when the outbox is past this the broker has them; 0: not yet taken */
    struct work work;
    struct expand expand;
    struct metric *messages, *accepted, *rejected, *duplicates, *limited, *deferred, *slices,
        *commit_seconds;
    struct queue_metrics queue;
    int64_t sent_us;
};

/* An urgent notification that its users saw before it was stored. */
struct shown {
    uint64_t id;
    unsigned batch; /* that has this id last */
};

/* One statement under way. */
struct storing {
    struct ingest *ingest;
    unsigned generation;
    struct range range;
};

/* ingest_read.c */
/* Lets it in, or marks it as limited. */
void ingest_take_in(struct ingest *ingest, struct entry *entry);
void ingest_on_message(void *ctx, const struct mqtt_message *message);
void ingest_refuse(struct entry *entry, enum reject reason, const char *pointer,
                   const char *detail);
/* What was shown while the database was away is known by this. */
const char *ingest_shown_key(struct ingest *ingest, const struct entry *entry);
/* Shows what is urgent in the batch, forgets the batch, and reads on. */
void ingest_degraded_batch(struct ingest *ingest);

/* ingest_share.c */
/* The share of a service in this batch; lives as long as the batch. */
struct share *ingest_share(struct ingest *ingest, const char *service);
/* Takes deliveries from the service's budget; false: it is used up, and nothing is taken. */
bool ingest_charge(struct ingest *ingest, struct entry *entry, size_t deliveries);
/* The same for what a request became after it was let in: the budget may go below zero. */
void ingest_charge_more(struct ingest *ingest, struct entry *entry, size_t deliveries);
/* Gives back what was taken for it. */
void ingest_refund(struct ingest *ingest, struct entry *entry);
/* Takes what it asks for from its service's share, and says when it is served: later by an
 * expansion, or in which round of the batch. */
void ingest_take_share(struct entry *entry);
/* These deliveries are many, and its service has had its share of this batch. */
bool ingest_is_over_plans(const struct share *share, size_t plans);
/* The batch's entries by rounds; in a round what is urgent first, else as they came. */
void ingest_put_in_order(struct ingest *ingest);

/* ingest_plan.c */
/* The most deliveries that it can become. */
size_t ingest_most_plans(const struct entry *entry);
/* It may be too large: when it is deferred its targets are counted, and paid for, at once. */
bool ingest_is_counted(const struct entry *entry);
/*
 * Its deliveries and their ids, when its targets are known; or it is deferred, and has an id.
 * false: it is refused.
 */
bool ingest_plan(struct ingest *ingest, struct entry *entry);
/* Its id, with room for all that it can become.  false: there are no ids now. */
bool ingest_defer(struct ingest *ingest, struct entry *entry);
/* The deliveries of one slice: of as many of the recipients as one statement takes. */
size_t ingest_plan_slice(struct ingest *ingest, struct entry *entry, uint64_t *next_id);
/* New ids, since these are taken; its deliveries follow. */
bool ingest_new_ids(struct ingest *ingest, struct entry *entry);
void ingest_withdraw(struct ingest *ingest, struct entry *entry);

/* ingest_targets.c */
/* Whether an entry's deliveries depend on what the database knows of people. */
bool ingest_must_ask(const struct entry *entry);
/* Asks for all entries of the work that wait, and goes on with ingest_planned(). */
void ingest_find_targets(struct ingest *ingest);

/* ingest_store.c */
/* Puts as much of the batch into the work as one group has. */
void ingest_start_group(struct ingest *ingest);
/* All targets are known: plans the group and stores it. */
void ingest_planned(struct ingest *ingest);
/* Stores the slice that is planned. */
void ingest_store_slice(struct ingest *ingest);
void ingest_work_reset(struct ingest *ingest);

/* ingest_expand.c */
/* Makes the next slice, if there may be one. */
void ingest_expand(struct ingest *ingest);
/* Its targets are known. */
void ingest_expand_planned(struct ingest *ingest);
/* Its slice is stored (is_made), was made before or cancelled, or failed. */
void ingest_expand_done(struct ingest *ingest, int err, bool is_made);
void ingest_expand_start(struct ingest *ingest);
void ingest_expand_stop(struct ingest *ingest);

/* ingest.c */
/* A statement has ended: frees `storing`.  NULL when the batch that sent it was dropped meanwhile.
 */
struct ingest *ingest_statement_ended(struct storing *storing);
/* The group or slice is over: goes on with the next. */
void ingest_next(struct ingest *ingest);
/* Tells its service what became of it; once. */
void ingest_tell(struct ingest *ingest, struct entry *entry, int64_t now_ms);
/* Forgets the batch, whatever became of it. */
void ingest_batch_reset(struct ingest *ingest);
/* Drops the batch, which the broker will send again. */
void ingest_abandon(struct ingest *ingest, int err);
#endif

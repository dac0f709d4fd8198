/* SPDX-License-Identifier: MIT */
/*
 * dispatch_internal - shared by dispatch.c, dispatch_settle.c and dispatch_claim.c; no one else
 */
#ifndef TOCSIN_SERVICES_DISPATCH_INTERNAL_H
#define TOCSIN_SERVICES_DISPATCH_INTERNAL_H
#include "base/list.h"
#include "base/map.h"
#include "base/random.h"
#include "services/dispatch.h"
#include "store/queue.h"

struct waker;

/* An adapter as it was opened; outlives a reload while attempts are under way on it. */
struct opened {
    int (*send)(void *state, const struct job *job, adapter_outcome_fn *on_outcome, void *ctx);
    void *state;
    void (*close)(void *state);
    size_t inflight;
    bool is_retired;
};

/* Deliveries one statement takes at most. */
#define DISPATCH_CLAIM_MAX 1000
/* How far a claim looks back behind what was claimed last: commits are not in the order of time. */
#define WATERMARK_SLACK_MS 10000

#define TURN_SLOTS 509

/* A message that was refused for the destination's settings. */
struct refusal {
    uint64_t delivery;
    int64_t at_ms; /* loop time of the last refusal */
    int alone;     /* how often it seemed to be at fault itself */
};

/* Messages a destination remembers so: the oldest makes room, and is then looked at anew. */
#define DISPATCH_REFUSALS 256

struct destination {
    struct destination_config config;
    struct opened *opened;
    int32_t id;
    struct active_queue *queue;
    struct throttle throttle;
    struct refusal *refusals; /* DISPATCH_REFUSALS of them, made at the first refusal; or NULL */
    unsigned next_refusal;
    struct slots slots;
    bool is_taking;
    bool is_held;              /* an admin has stopped it, or its channel */
    bool is_held_next;         /* as the answer under way says */
    size_t cap;                /* most deliveries of this destination in memory */
    size_t held;               /* in memory or reserved */
    bool has_turns;            /* some of them are not 0 */
    uint8_t turns[TURN_SLOTS]; /* let in beyond the cap since the last turn, by service's hash */
    unsigned claim_max;        /* what the database has lately been quick enough for */
    bool is_claiming;
    unsigned suspect_looks, suspect_priority; /* looks left, and where the next one is */
    bool has_backlog;               /* more is ready in the database than the last claim took */
    unsigned share[PRIORITY_COUNT]; /* what the last claim brought of each */
    int64_t watermark_ms[PRIORITY_COUNT];
    int64_t next_claim_ms;  /* boot clock */
    int64_t next_sweep_ms;  /* claim without a watermark */
    struct queue_flow flow; /* since the start; read by dispatch_flows() */
    struct metric *outcomes[OUTCOME_COUNT], *queued, *inflight, *breaker, *took;
    struct metric *moves[BREAKER_COUNT];
};

/* A judged task that waits to be recorded. */
struct settling {
    struct list_node node;
    struct task *task;
    struct outcome outcome;
    struct settlement row;
    bool was_in_doubt;     /* an earlier try may have committed: ask before telling */
    bool is_recorded;      /* it has */
    int64_t not_before_ms; /* boot clock: after the database has refused it alone; else 0 */
    bool is_refused;       /* alone, and not stored since */
};

enum settle_kind { SETTLE_FINAL, SETTLE_RETRY, SETTLE_BURY, SETTLE_KINDS };

struct dispatch {
    struct loop *loop;
    struct dispatch_config config;
    struct channel_config channels[CHANNEL_COUNT];
    const struct type_config *types;
    size_t type_count;
    struct strmap type_by_name;
    struct store *store;
    const struct fence *fence;
    struct dispatch_ops ops;
    struct destination *destinations[64];
    size_t destination_count, turn_start;
    struct idmap tasks;   /* every task, by delivery id */
    size_t active, bytes; /* tasks and reservations; bytes of tasks */
    size_t sending;
    struct list unstarted; /* tasks to be recorded before they are sent */
    bool is_starting;
    struct list settling[SETTLE_KINDS];
    bool is_settling[SETTLE_KINDS];
    size_t
        settle_max[SETTLE_KINDS]; /* rows in a statement: fewer while one of them is bad; 0: all */
    size_t asking;                /* batches in doubt, whose record is being asked for */
    int64_t settle_after_ms;      /* boot clock: not before, after a failure */
    bool has_suspect;             /* one delivery that may be poison is in memory */
    bool is_asking_suspect;       /* or may be on its way here */
    int64_t next_reconcile_ms;    /* boot clock */
    bool is_asking_pauses;
    bool knows_pauses; /* what admins have stopped was read once: before that nothing is sent */
    int64_t next_pauses_ms; /* boot clock */
    bool is_looking;        /* for new suppressions */
    int64_t next_look_ms;   /* boot clock */
    int64_t suppressed_since;
    struct idmap suppressed_ids; /* seen by the last look */
    struct idmap recalled[2];    /* dispatch_recall.c: marks by id, the newer and the older ones */
    int64_t forget_recalled_ms, next_recall_look_ms; /* boot clock */
    int64_t recalled_since_us;                       /* the database's clock */
    bool is_looking_recalled;
    bool is_draining, wants_reconcile, is_reconciling;
    struct waker *waker;
    unsigned generation; /* of our epoch: answers to older questions are dropped */
    struct rng rng;
    int64_t wall_offset_ms; /* wall - boot, read once a turn */
    struct metrics *metrics;
    struct queue_metrics settle_queue;
    struct metric *settle_refused;
    size_t refused; /* outcomes that the database refuses by themselves */
    struct metric *active_gauge, *settled[DELIVERY_STATE_COUNT], *settle_batch;
};

/* Into its destination's queue. */
void dispatch_queue(struct destination *destination, struct task *task);
/* The same, before all others of its service. */
void dispatch_requeue(struct destination *destination, struct task *task);
bool destination_is_shut(struct dispatch *dispatch, struct destination *destination);
/* dispatch_choose.c */
bool destination_is_away(struct dispatch *dispatch, struct destination *destination);
/* The one for this delivery; one that is away only when no other fits; NULL when none does. */
struct destination *dispatch_pick(struct dispatch *dispatch, const struct choice *choice);
struct destination *dispatch_pick_for(struct dispatch *dispatch, const struct task *task,
                                      const struct destination *from);
/* Another of its channel that is not away and has room; NULL when there is none. */
struct destination *dispatch_stand_in(struct dispatch *dispatch, struct destination *away);
/* Moves what waits for a destination that is away to those that step in. */
void dispatch_rescue(struct dispatch *dispatch, struct destination *away);
struct destination *dispatch_find(struct dispatch *dispatch, int32_t id);
static inline int64_t dispatch_wall_ms(const struct dispatch *dispatch)
{
    return loop_now_ms(dispatch->loop) + dispatch->wall_offset_ms;
}
/* Removes the task from memory and gives its room back. */
void dispatch_forget(struct dispatch *dispatch, struct task *task);
/* dispatch_probe.c */
/* Which message had this outcome, as far as it matters. */
struct witness dispatch_witness(const struct task *task, const struct outcome *outcome);
/* The outcome, PERMANENT where the message alone is at fault for it; before throttle_give(). */
struct outcome dispatch_blame(struct destination *destination, const struct task *task,
                              const struct outcome *outcome, int64_t now_ms);
/* Logs where this outcome has moved the breaker to. */
void dispatch_note_breaker(const struct destination *destination, enum breaker before,
                           const struct outcome *outcome);
/* Takes the next task of a queue that is not empty; for a probe, one that proves something. */
struct task *dispatch_next(struct dispatch *dispatch, struct destination *destination);
/* dispatch_rates.c */
void dispatch_rates_turn(struct dispatch *dispatch);
/* Gives back to the database what waits for a destination that is held and has no stand-in. */
void dispatch_give_back(struct dispatch *dispatch, struct destination *held);
/* Tells the others of a pause that an answer has brought; before_ms is the end of the one before.
 */
void dispatch_share_pause(struct dispatch *dispatch, struct destination *destination,
                          int64_t before_ms);
/* dispatch_suppress.c: returns the ms until the next look, -1 when nothing waits */
int64_t dispatch_suppress_turn(struct dispatch *dispatch);
/* dispatch_recall.c: whether it was called back or replaced; marks the task as such */
bool dispatch_is_recalled(const struct dispatch *dispatch, struct task *task);
int64_t dispatch_recall_turn(struct dispatch *dispatch);
void dispatch_recall_free(struct dispatch *dispatch);
/* What needs no attempt to be judged.  Returns true when it was. */
bool dispatch_judge_untried(struct dispatch *dispatch, struct task *task);
/* dispatch_start.c */
/* The type forbids a repeat that may be a second message. */
bool dispatch_is_at_most_once(struct dispatch *dispatch, const struct task *task);
/* An unknown outcome is the end, since a repeat at its destination may be a second message. */
bool dispatch_ends_unknown(struct dispatch *dispatch, const struct task *task);
/* It must be known, after a crash, whether its request may have left. */
bool dispatch_must_record(struct dispatch *dispatch, const struct task *task);
void dispatch_start(struct dispatch *dispatch, struct task *task);
void dispatch_start_turn(struct dispatch *dispatch);
void dispatch_start_clear(struct dispatch *dispatch);
/* The type's policy; NULL when it has none. */
const struct type_config *dispatch_type(struct dispatch *dispatch, const char *name);
/* Judges an outcome and queues the record of it. */
void dispatch_judge(struct dispatch *dispatch, struct task *task, const struct outcome *outcome);
struct retry_policy dispatch_policy(struct dispatch *dispatch, const struct task *task);
/* Sends what waits to be recorded. */
void dispatch_settle_turn(struct dispatch *dispatch);
void dispatch_settle_clear(struct dispatch *dispatch);
/* Claims where there is room; returns the ms until the next look. */
int64_t dispatch_claim_turn(struct dispatch *dispatch);
/* A task of a row that is leased to us; *before is the note of the row before it, or NULL. */
struct task *dispatch_make(struct note **before, const struct claimed *row);
/* Takes it into memory, into the queue of a destination that may be full: it is leased already. */
void dispatch_place(struct dispatch *dispatch, struct destination *destination, struct task *task);
/* How many it may take: what its own bound and the common one leave. */
size_t dispatch_room(const struct dispatch *dispatch, const struct destination *destination);
/* dispatch_wake.c */
struct waker *waker_new(struct metrics *metrics);
void waker_free(struct waker *waker);
/* Returns the ms until the next look, -1 when an event will tell. */
int64_t dispatch_wake_turn(struct dispatch *dispatch);
/* A woken task leaves memory; with NULL all of them do. */
void dispatch_wake_over(struct dispatch *dispatch, const struct task *task);
/* What an attempt ended with is recorded: was somebody missed who has come since? */
void dispatch_missed(struct dispatch *dispatch, const struct task *task, enum reason reason);
void dispatch_tell(struct dispatch *dispatch, const struct task *task, const char *status,
                   const struct outcome *outcome, int attempt);
#endif

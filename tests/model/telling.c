/* SPDX-License-Identifier: MIT */
/*
 * Telling: one delivery ends, and its service hears of it, whichever bridges die.
 *
 * What the steps stand for in the code: services/membership.c (heartbeat, reap, sweep, leave),
 * services/untold.c (duties and doubts), store/untold.c and the table `untold`,
 * services/outbox.c (what is to be told is in memory until the broker has it).
 *
 * A bridge settles a delivery and has to tell its end.  Each heartbeat says up to when the broker
 * has all of it; whoever ends an epoch takes over the rest, as a row that lasts until the broker
 * has that as well, and who dies meanwhile is followed by the next.  A settlement without an
 * answer is a doubt, and told_until stays before it.  What is settled under an epoch that is over
 * must have been under way when it ended, and is impossible once the orphans were swept: so a
 * duty is looked at twice, the second time after that.
 *
 * Leases are those of lease.c; here a bridge that does not run may lose its epoch at any time.
 */
#include "models.h"

#include <stdio.h>
#include <string.h>

#include "base/panic.h"

enum { BRIDGES = 2, ROWS = 5, DUTIES = 5, STRAYS = 4, NOBODY = 2 };
enum life { DOWN, UP, PAUSED };
enum work { NO_WORK, HAS_IT, SETTLING, COMMITTED }; /* COMMITTED: and has not heard so */
enum outbox { EMPTY, OWED, PUBLISHED }; /* PUBLISHED: the broker has it, unknown to us */
enum step_of_duty { NO_DUTY, LOOK, SAID, LOOK_AGAIN, SAID_AGAIN };

struct row { /* of `bridge`; is_told: told_until is past the end */
    uint8_t epoch, owner, is_told;
};

struct untold { /* of `untold` */
    uint8_t epoch, is_told, teller;
};

struct bridge {
    uint8_t life, epoch, work, outbox, in_doubt;
    uint8_t duty, duty_step, has_seen; /* duty: the epoch for which it tells */
};

struct stray {
    uint8_t epoch, sender; /* a settlement that may still commit; epoch 0: none */
};

struct state {
    uint8_t delivery, owner; /* owner: the epoch that has it, or ended it */
    uint8_t is_told, next_epoch, faults;
    struct row rows[ROWS];
    struct untold untold[DUTIES];
    struct stray strays[STRAYS];
    struct bridge bridges[BRIDGES];
};
_Static_assert(sizeof(struct state) <= STATE_BYTES_MAX, "bytes only");

enum {
    DUTY_IN_MEMORY = 1,
    ROW_ENDS_EARLY,
    TOLD_BY_SENDING,
    LOOK_ONCE,
    NO_TAKEOVER,
    NO_DOUBT,
    LEAVE_SILENTLY
};
#define NEVER_ENDS "a fair run never ends"
static const struct mutation mutations[] = {
    {"duty_in_memory", "who ends an epoch keeps what is to be told for it in memory", NEVER_ENDS},
    {"row_ends_early", "the row is taken away when all is in the outbox", NEVER_ENDS},
    {"told_by_sending", "told_until counts what was handed to the outbox",
     "told_until is past what was not told"},
    {"look_once", "what the dead settled is looked for once, before the orphans are swept",
     NEVER_ENDS},
    {"no_takeover", "nobody takes the rows of a teller that is gone", NEVER_ENDS},
    {"no_doubt", "a settlement without an answer is forgotten",
     "told_until is past what was not told"},
    {"leave_silently", "who leaves with a full outbox leaves no row", NEVER_ENDS},
    {NULL, NULL, NULL},
};

enum {
    RETURNS,
    REGISTER,
    HEARTBEAT,
    REAP,
    SWEEP,
    CLAIM,
    SETTLES,
    COMMITS,
    HEARS,
    PUBLISHES,
    HEARS_PUBLISHED,
    TAKES_DUTY,
    LOOKS,
    LOOKS_AGAIN,
    ENDS_DUTY,
    LOOKS_IN_DOUBT,
    OF_EACH,
    STRAY_COMMITS = BRIDGES * OF_EACH
};
_Static_assert((int)STRAY_COMMITS < (int)FAIR_LABELS, "one bit each");
enum { KILLED, STOPPED, DATABASE_AWAY, BROKER_AWAY, LEAVES, OF_EACH_FAULT };

struct step {
    struct sink *sink;
    const struct options *options;
    const struct state *state;
};

static bool is_mutant(const struct step *step, unsigned mutation)
{
    return step->options->mutation == mutation;
}

static void add(const struct step *step, unsigned who, unsigned label, const struct state *state)
{
    sink_add(step->sink, who * OF_EACH + label, state);
}

static void move(const struct step *step, struct state *state, enum delivery_state to,
                 uint8_t owner)
{
    moves_make(step->sink, step->options, state->delivery, to);
    state->delivery = (uint8_t)to;
    state->owner = owner;
}

/* ---- the database ---- */

static struct row *row_of(struct state *state, uint8_t epoch)
{
    for (unsigned i = 0; i < ROWS; i++)
        if (epoch && state->rows[i].epoch == epoch)
            return &state->rows[i];
    return NULL;
}

static void settle(const struct step *step, struct state *state, uint8_t epoch)
{
    if (state->delivery == DELIVERY_LEASED && state->owner == epoch)
        move(step, state, DELIVERY_DELIVERED, epoch);
}

static void add_untold(struct state *state, struct untold untold)
{
    for (unsigned i = 0; i < DUTIES; i++) {
        if (state->untold[i].epoch)
            continue;
        state->untold[i] = untold;
        return;
    }
    panic("the model needs more rows");
}

/* Whether a bridge runs under this epoch: the others' leases may be over. */
static bool is_running(const struct state *state, const struct row *row)
{
    const struct bridge *bridge = &state->bridges[row->owner];

    return bridge->life == UP && bridge->epoch == row->epoch;
}

static void reap(const struct step *step, unsigned who)
{
    struct state after = *step->state;
    uint8_t epoch = after.bridges[who].epoch;
    bool is_changed = false;

    for (unsigned i = 0; i < ROWS; i++) {
        struct row row = after.rows[i];

        if (!row.epoch || is_running(&after, &row))
            continue;
        after.rows[i] = (struct row){0};
        if (!is_mutant(step, DUTY_IN_MEMORY))
            add_untold(&after, (struct untold){row.epoch, row.is_told, epoch});
        else if (!after.bridges[who].duty && !row.is_told) {
            after.bridges[who].duty = row.epoch;
            after.bridges[who].duty_step = LOOK;
        }
        is_changed = true;
    }
    for (unsigned i = 0; i < DUTIES; i++) {
        struct untold *untold = &after.untold[i];

        if (!untold->epoch || row_of(&after, untold->teller) || is_mutant(step, NO_TAKEOVER))
            continue;
        untold->teller = epoch;
        is_changed = true;
    }
    if (is_changed)
        add(step, who, REAP, &after);
}

static bool is_orphan(struct state *state)
{
    return state->delivery == DELIVERY_LEASED && !row_of(state, state->owner);
}

/* ---- membership ---- */

static void register_anew(const struct step *step, unsigned who)
{
    struct state after = *step->state;

    for (unsigned i = 0; i < ROWS; i++) {
        if (after.rows[i].epoch)
            continue;
        ASSERT(after.next_epoch < 16);
        after.bridges[who].epoch = after.next_epoch++;
        after.rows[i] = (struct row){after.bridges[who].epoch, (uint8_t)who, 0};
        add(step, who, REGISTER, &after);
        return;
    }
    panic("the model needs more rows");
}

static void heartbeat(const struct step *step, unsigned who)
{
    struct state after = *step->state;
    struct bridge *bridge = &after.bridges[who];
    struct row *row = row_of(&after, bridge->epoch);
    bool is_known =
        bridge->outbox == EMPTY || (bridge->outbox == OWED && is_mutant(step, TOLD_BY_SENDING));

    if (!row) { /* fenced: whoever ended our epoch tells; what is in the outbox is told twice */
        *bridge = (struct bridge){.life = UP, .outbox = bridge->outbox};
        add(step, who, HEARTBEAT, &after);
        return;
    }
    if (row->is_told || after.delivery != DELIVERY_DELIVERED || after.owner != bridge->epoch ||
        bridge->work != NO_WORK || bridge->in_doubt || !is_known)
        return;
    row->is_told = 1;
    if (!after.is_told)
        sink_break(step->sink, "told_until is past what was not told");
    add(step, who, HEARTBEAT, &after);
}

static void control(const struct step *step, unsigned who)
{
    struct state after = *step->state;

    if (!after.bridges[who].epoch) {
        register_anew(step, who);
        return;
    }
    heartbeat(step, who);
    if (!row_of(&after, after.bridges[who].epoch))
        return;
    reap(step, who);
    if (is_orphan(&after)) {
        move(step, &after, DELIVERY_READY, 0);
        add(step, who, SWEEP, &after);
    }
}

/* ---- work ---- */

static void work(const struct step *step, unsigned who)
{
    const struct bridge *bridge = &step->state->bridges[who];
    struct state after = *step->state;
    struct bridge *changed = &after.bridges[who];

    if (bridge->work == NO_WORK && bridge->epoch && after.delivery == DELIVERY_READY &&
        row_of(&after, bridge->epoch)) {
        move(step, &after, DELIVERY_LEASED, bridge->epoch);
        changed->work = HAS_IT;
        add(step, who, CLAIM, &after);
    } else if (bridge->work == HAS_IT) {
        changed->work = SETTLING;
        add(step, who, SETTLES, &after);
    } else if (bridge->work == COMMITTED) {
        changed->work = NO_WORK;
        changed->outbox = OWED;
        add(step, who, HEARS, &after);
    }
}

/* A bridge that is up hears of it at once. */
static void commit(const struct step *step, unsigned who)
{
    struct state after = *step->state;
    struct bridge *bridge = &after.bridges[who];
    bool is_done;

    if (bridge->work != SETTLING)
        return;
    settle(step, &after, bridge->epoch);
    is_done = after.delivery == DELIVERY_DELIVERED && after.owner == bridge->epoch;
    if (bridge->life == UP && is_done)
        bridge->outbox = OWED;
    bridge->work = bridge->life == UP || !is_done ? NO_WORK : COMMITTED;
    add(step, who, COMMITS, &after);
}

static void publish(const struct step *step, unsigned who)
{
    struct state after = *step->state;
    struct bridge *bridge = &after.bridges[who];

    if (bridge->outbox == OWED) {
        bridge->outbox = PUBLISHED;
        after.is_told = 1;
        add(step, who, PUBLISHES, &after);
    } else if (bridge->outbox == PUBLISHED) {
        bridge->outbox = EMPTY;
        add(step, who, HEARS_PUBLISHED, &after);
    }
}

/* ---- duties and doubts ---- */

static struct untold *untold_of(struct state *state, uint8_t epoch)
{
    for (unsigned i = 0; i < DUTIES; i++)
        if (epoch && state->untold[i].epoch == epoch)
            return &state->untold[i];
    return NULL;
}

/* Asks what an epoch has settled, and hands to the outbox what it may not have told. */
static void look(struct state *state, struct bridge *bridge, uint8_t epoch)
{
    const struct untold *untold = untold_of(state, epoch);

    if (state->delivery != DELIVERY_DELIVERED || state->owner != epoch || bridge->has_seen ||
        (untold && untold->is_told))
        return;
    bridge->outbox = OWED;
    bridge->has_seen = 1;
}

static void take_duty(const struct step *step, unsigned who)
{
    struct state after = *step->state;
    struct bridge *bridge = &after.bridges[who];

    for (unsigned i = 0; i < DUTIES; i++) {
        if (!after.untold[i].epoch || after.untold[i].teller != bridge->epoch)
            continue;
        bridge->duty = after.untold[i].epoch;
        bridge->duty_step = LOOK;
        bridge->has_seen = 0;
        add(step, who, TAKES_DUTY, &after);
        return;
    }
}

static void do_duty(const struct step *step, unsigned who)
{
    struct state after = *step->state;
    struct bridge *bridge = &after.bridges[who];
    bool is_swept = after.delivery != DELIVERY_LEASED || after.owner != bridge->duty;

    if (bridge->duty_step == LOOK) {
        look(&after, bridge, bridge->duty);
        bridge->duty_step = is_mutant(step, LOOK_ONCE) ? SAID_AGAIN : SAID;
        add(step, who, LOOKS, &after);
    } else if (bridge->duty_step == SAID && is_swept) {
        look(&after, bridge, bridge->duty);
        bridge->duty_step = SAID_AGAIN;
        add(step, who, LOOKS_AGAIN, &after);
    } else if (bridge->duty_step == SAID_AGAIN &&
               (bridge->outbox == EMPTY || is_mutant(step, ROW_ENDS_EARLY))) {
        struct untold *untold = untold_of(&after, bridge->duty);

        if (untold && untold->teller == bridge->epoch)
            *untold = (struct untold){0};
        bridge->duty = bridge->duty_step = bridge->has_seen = 0;
        add(step, who, ENDS_DUTY, &after);
    }
}

/* After the reconnection, which has ended what was astray. */
static void resolve(const struct step *step, unsigned who)
{
    struct state after = *step->state;
    struct bridge *bridge = &after.bridges[who];

    for (unsigned i = 0; i < STRAYS; i++)
        if (after.strays[i].epoch && after.strays[i].sender == who)
            after.strays[i] = (struct stray){0};
    bridge->in_doubt = 0;
    if (after.delivery == DELIVERY_DELIVERED && after.owner == bridge->epoch)
        bridge->outbox = OWED;
    else if (after.delivery == DELIVERY_LEASED && after.owner == bridge->epoch)
        bridge->work = HAS_IT;
    add(step, who, LOOKS_IN_DOUBT, &after);
}

static void tell(const struct step *step, unsigned who)
{
    const struct bridge *bridge = &step->state->bridges[who];

    publish(step, who);
    if (bridge->in_doubt)
        resolve(step, who);
    else if (bridge->duty)
        do_duty(step, who);
    else if (bridge->epoch)
        take_duty(step, who);
}

/* ---- what happens to them ---- */

static void strike(const struct step *step, const struct state *state, unsigned who)
{
    unsigned label = FAIR_LABELS + who * OF_EACH_FAULT;
    const struct bridge *bridge = &state->bridges[who];
    struct state after = *state;

    after.bridges[who] = (struct bridge){.life = DOWN};
    for (unsigned i = 0; i < STRAYS; i++)
        if (after.strays[i].epoch && after.strays[i].sender == who)
            after.strays[i].sender = NOBODY;
    sink_add(step->sink, label + KILLED, &after);
    after = *state;
    if (bridge->work != SETTLING)
        return;
    after.bridges[who].work = NO_WORK;
    after.bridges[who].in_doubt = !is_mutant(step, NO_DOUBT);
    sink_add(step->sink, label + DATABASE_AWAY, &after);
}

/* An orderly end: what it has is given back, and what was not told is left as a row. */
static void leave(const struct step *step, const struct state *state, unsigned who)
{
    struct state after = *state;
    struct bridge *bridge = &after.bridges[who];
    struct row *row = row_of(&after, bridge->epoch);

    if (bridge->life != UP || !row || bridge->work > HAS_IT || bridge->in_doubt)
        return;
    if (after.delivery == DELIVERY_LEASED && after.owner == bridge->epoch)
        move(step, &after, DELIVERY_READY, 0);
    *row = (struct row){0};
    if (bridge->outbox != EMPTY && !is_mutant(step, LEAVE_SILENTLY))
        add_untold(&after, (struct untold){bridge->epoch, 0, bridge->epoch});
    *bridge = (struct bridge){.life = DOWN};
    sink_add(step->sink, FAIR_LABELS + who * OF_EACH_FAULT + LEAVES, &after);
}

static void faults(const struct step *step, unsigned who)
{
    unsigned label = FAIR_LABELS + who * OF_EACH_FAULT;
    const struct bridge *bridge = &step->state->bridges[who];
    struct state state = *step->state, after;

    if (!state.faults || bridge->life == DOWN)
        return;
    state.faults--;
    strike(step, &state, who);
    if (bridge->work == SETTLING) { /* it may be astray, or committed and not told */
        after = state;
        for (unsigned i = 0; i < STRAYS; i++) {
            if (after.strays[i].epoch)
                continue;
            after.strays[i] = (struct stray){bridge->epoch, (uint8_t)who};
            strike(step, &after, who);
            break;
        }
        after = state;
        settle(step, &after, bridge->epoch);
        strike(step, &after, who);
    }
    leave(step, &state, who);
    after = state;
    after.bridges[who].life = PAUSED;
    if (bridge->life == UP)
        sink_add(step->sink, label + STOPPED, &after);
    after = state;
    after.bridges[who].outbox = OWED;
    if (bridge->outbox == PUBLISHED)
        sink_add(step->sink, label + BROKER_AWAY, &after);
}

/* ---- the model ---- */

static void start(const struct model *model, struct sink *sink)
{
    const struct options *options = model->options;
    struct state state = {
        .delivery = DELIVERY_READY, .next_epoch = 1, .faults = (uint8_t)options->faults};

    for (unsigned who = 0; who < BRIDGES; who++)
        state.bridges[who].life = UP;
    sink_add(sink, 0, &state);
}

static void steps(const struct model *model, const void *at, struct sink *sink)
{
    struct step step = {sink, model->options, at};

    for (unsigned who = 0; who < BRIDGES; who++) {
        struct state after = *step.state;

        if (after.bridges[who].life == UP) {
            control(&step, who);
            work(&step, who);
            tell(&step, who);
        } else {
            after.bridges[who].life = UP;
            /* A pause that was longer than the lease: nothing is heard under the old epoch. */
            if (!row_of(&after, after.bridges[who].epoch))
                after.bridges[who].work = NO_WORK;
            add(&step, who, RETURNS, &after);
        }
        commit(&step, who);
        faults(&step, who);
    }
    for (unsigned i = 0; i < STRAYS; i++) {
        struct state after = *step.state;

        if (!after.strays[i].epoch)
            continue;
        after.strays[i] = (struct stray){0};
        settle(&step, &after, step.state->strays[i].epoch);
        sink_add(sink, STRAY_COMMITS, &after);
    }
}

static bool is_over(const struct model *model, const void *at)
{
    const struct state *state = at;

    (void)model;
    return state->delivery == DELIVERY_DELIVERED && state->is_told;
}

static void label_text(unsigned label, char text[LABEL_BYTES])
{
    static const char *const each[OF_EACH] = {
        [RETURNS] = "starts or resumes",
        [REGISTER] = "registers",
        [HEARTBEAT] = "heartbeat",
        [REAP] = "ends epochs and takes over duties",
        [SWEEP] = "sweeps",
        [CLAIM] = "claims",
        [SETTLES] = "settles",
        [COMMITS] = "'s settlement commits",
        [HEARS] = "hears that it did",
        [PUBLISHES] = "publishes the end",
        [HEARS_PUBLISHED] = "hears that the broker has it",
        [TAKES_DUTY] = "takes a duty",
        [LOOKS] = "looks what the dead settled",
        [LOOKS_AGAIN] = "looks again",
        [ENDS_DUTY] = "ends its duty",
        [LOOKS_IN_DOUBT] = "looks what it has settled itself",
    };
    static const char *const troubles[OF_EACH_FAULT] = {
        "is killed", "is paused", "loses the database", "loses the broker", "leaves"};

    if (label >= FAIR_LABELS)
        snprintf(text, LABEL_BYTES, "FAULT: %c %s",
                 'A' + (char)((label - FAIR_LABELS) / OF_EACH_FAULT),
                 troubles[(label - FAIR_LABELS) % OF_EACH_FAULT]);
    else if (label >= STRAY_COMMITS)
        snprintf(text, LABEL_BYTES, "a stray settlement commits");
    else
        snprintf(text, LABEL_BYTES, "%c %s", 'A' + (char)(label / OF_EACH), each[label % OF_EACH]);
}

const struct entry model_telling = {
    .model = {.name = "telling",
              .state_bytes = sizeof(struct state),
              .start = start,
              .steps = steps,
              .is_over = is_over,
              .label = label_text},
    .mutations = mutations,
    .about = "an end and its service: duties of the dead, doubts, who tells for whom",
};

/* SPDX-License-Identifier: MIT */
/*
 * The lease protocol: two bridges, one delivery, one database, one clock.
 *
 * What the steps stand for in the code:
 *   register, heartbeat, reap, sweep   services/membership.c, store/fleet.c
 *   claim, settle, reconcile           services/dispatch*.c, store/queue.c
 *   starts to send                     fence_may_send() in core/fence.h
 * A statement is sent, commits at some later time, and is answered at some later time; a
 * connection that breaks meanwhile leaves it astray: it may still commit, unanswered.  Before a
 * bridge sends anything on its next connection it ends what is astray of the one before (io/pg.c);
 * what a killed bridge leaves astray nobody ends.  A killed bridge forgets everything and starts
 * anew; a paused one (SIGSTOP, a stalled machine) goes on where it was.
 *
 * A control statement that nothing happens to is one step: what others do meanwhile they could
 * have done before it was sent.  Only faults find one under way.  A bridge that is up hears of a
 * commit at once: whatever comes between is a fault's doing.
 *
 * Time passes in ticks of half a lease.  From a heartbeat the database counts LEASE ticks, and
 * GRACE more until others may reap; the bridge itself counts FENCE, from the moment it sent it.
 * Without a fault every bridge keeps up: no tick passes while something of it is under way.
 *
 * It begins with an empty fleet, or just after A's process was killed with the delivery leased.
 */
#include "models.h"

#include <stdio.h>
#include <string.h>

#include "base/panic.h"

enum { BRIDGES = 2, LEASE = 2, GRACE = 2, FENCE = 1, SEND_TICKS = 1, ATTEMPTS = 2 };
enum { ROWS = 6, STRAYS = 5, FOR_EVER = 15, NOBODY = 2 };
enum life { DOWN, UP, PAUSED };
enum holds { NOTHING, WAITING, SENDING, SUCCEEDED, FAILED }; /* what it knows of the delivery */
enum kind { NO_KIND, REGISTER, HEARTBEAT, REAP, SWEEP, CLAIM, SETTLE, RECONCILE, KINDS };
enum done { NOT_YET, NOTHING_DONE, DONE };

struct statement {
    uint8_t kind, owner, epoch, what;
    uint8_t done; /* since it has committed: its answer */
    uint8_t age;  /* ticks since it was sent */
};

struct stray {
    uint8_t kind, owner, epoch, what;
    uint8_t sender; /* NOBODY once that process is dead */
};

struct row { /* of the table `bridge`; left: ticks until it may be reaped */
    uint8_t epoch, owner, left;
};

struct bridge {
    uint8_t life, epoch, fence, holds;
    uint8_t left; /* ticks that what is being sent may still take */
    struct statement control, work;
};

struct state {
    uint8_t delivery, lease, tries, faults; /* lease: the epoch that has it, or 0 */
    struct row rows[ROWS];
    struct bridge bridges[BRIDGES];
    struct stray strays[STRAYS];
};
_Static_assert(sizeof(struct state) <= STATE_BYTES_MAX, "bytes only");

enum {
    NO_FENCE = 1,
    FENCE_FROM_ANSWER,
    SETTLE_ANY_EPOCH,
    REAP_THE_LIVING,
    REAP_ANY_NAMESAKE,
    KEEP_WHEN_FENCED,
    NO_SWEEP,
    NO_RECONCILE,
    STRAYS_GO_ON,
    FINAL_MOVES
};

#define NOT_ITS_OWN "a bridge starts to send what is not its own"
static const struct mutation mutations[] = {
    {"no_fence", "a send starts whatever the fence says", NOT_ITS_OWN},
    {"fence_from_answer", "the fence is counted from a heartbeat's answer, not from its sending",
     NOT_ITS_OWN},
    {"settle_any_epoch", "an outcome is recorded whoever has the delivery now", NOT_ITS_OWN},
    {"reap_the_living", "others are reaped while their lease still runs", NOT_ITS_OWN},
    {"reap_any_namesake", "a late reap of a dead process ends its successor as well", NOT_ITS_OWN},
    {"keep_when_fenced", "deliveries are kept over the end of their epoch", NOT_ITS_OWN},
    {"no_sweep", "nobody looks for what belongs to an epoch that is over", "a fair run never ends"},
    {"no_reconcile", "what was claimed in doubt is never asked about", "a fair run never ends"},
    {"strays_go_on", "a new connection does not end what is astray of the one before", NOT_ITS_OWN},
    {"final_moves", "an outcome is recorded over one that was final", "no arrow joins the states"},
    {NULL, NULL, NULL},
};

/* Labels: of each bridge, then the strays' by kind, then time; from FAIR_LABELS on the faults'. */
enum {
    DOES = 0,            /* and the kind: sent, committed and heard of at once */
    HEARS = DOES + 7,    /* and the kind */
    COMMITS = HEARS + 7, /* and the kind */
    STARTS_SEND = COMMITS + KINDS,
    SEND_SUCCEEDS,
    SEND_FAILS,
    RETURNS, /* resumes, or starts again */
    OF_EACH,
    STRAY_COMMITS = (unsigned)BRIDGES * (unsigned)OF_EACH,
    TICK = STRAY_COMMITS + KINDS,
    LABELS
};
_Static_assert((int)LABELS <= (int)FAIR_LABELS, "one bit each");
enum { KILLED, BROKEN, STOPPED, FAULTS };

struct step {
    struct sink *sink;
    const struct options *options;
};

static bool is_mutant(const struct step *step, unsigned mutation)
{
    return step->options->mutation == mutation;
}

/* The first of a bridge's labels. */
static unsigned own(unsigned who)
{
    return who * OF_EACH;
}

/* ---- epochs, named anew in their order so that there are finitely many ---- */

static void each_epoch(struct state *state, void (*see)(uint8_t *epoch, uint8_t *names),
                       uint8_t *names)
{
    see(&state->lease, names);
    for (unsigned i = 0; i < BRIDGES; i++) {
        see(&state->bridges[i].epoch, names);
        see(&state->bridges[i].control.epoch, names);
        see(&state->bridges[i].work.epoch, names);
    }
    for (unsigned i = 0; i < ROWS; i++)
        see(&state->rows[i].epoch, names);
    for (unsigned i = 0; i < STRAYS; i++)
        see(&state->strays[i].epoch, names);
}

static void mark(uint8_t *epoch, uint8_t *names)
{
    names[*epoch] = 1;
}

static void rename_epoch(uint8_t *epoch, uint8_t *names)
{
    *epoch = names[*epoch];
}

/* What is empty comes last. */
static void sort(void *all, size_t count, size_t bytes)
{
    uint8_t *at = all, held[8];

    for (size_t i = 1; i < count; i++)
        for (size_t j = i; j > 0 && memcmp(at + (j - 1) * bytes, at + j * bytes, bytes) < 0; j--) {
            memcpy(held, at + j * bytes, bytes);
            memcpy(at + j * bytes, at + (j - 1) * bytes, bytes);
            memcpy(at + (j - 1) * bytes, held, bytes);
        }
}

static void add(const struct step *step, unsigned label, const struct state *after)
{
    struct state state = *after;
    uint8_t names[16] = {0}, next = 0;

    each_epoch(&state, mark, names);
    names[0] = 0;
    for (unsigned i = 1; i < 16; i++)
        if (names[i])
            names[i] = ++next;
    each_epoch(&state, rename_epoch, names);
    sort(state.rows, ROWS, sizeof(struct row));
    sort(state.strays, STRAYS, sizeof(struct stray));
    sink_add(step->sink, label, &state);
}

static uint8_t fresh_epoch(const struct state *state)
{
    struct state copy = *state;
    uint8_t names[16] = {0}, most = 0;

    each_epoch(&copy, mark, names);
    for (uint8_t i = 1; i < 16; i++)
        if (names[i])
            most = i;
    ASSERT(most < 15);
    return (uint8_t)(most + 1);
}

/* ---- what the database does ---- */

static const struct row *row_of(const struct state *state, uint8_t epoch)
{
    for (unsigned i = 0; i < ROWS; i++)
        if (epoch && state->rows[i].epoch == epoch)
            return &state->rows[i];
    return NULL;
}

static bool is_orphan(const struct state *state)
{
    return state->delivery == DELIVERY_LEASED && !row_of(state, state->lease);
}

/* A predecessor of the same name is dead, since we could not listen where it did. */
static bool may_reap(const struct step *step, const struct row *row, uint8_t who, uint8_t epoch)
{
    bool is_namesake =
        row->owner == who && (row->epoch < epoch || is_mutant(step, REAP_ANY_NAMESAKE));

    return row->epoch && row->epoch != epoch &&
           (row->left == 0 || is_namesake || is_mutant(step, REAP_THE_LIVING));
}

static void move(const struct step *step, struct state *state, enum delivery_state to,
                 uint8_t lease)
{
    moves_make(step->sink, step->options, state->delivery, to);
    state->delivery = (uint8_t)to;
    state->lease = lease;
}

static bool do_register(struct state *state, const struct statement *statement)
{
    for (unsigned i = 0; i < ROWS; i++) {
        if (state->rows[i].epoch)
            continue;
        state->rows[i] = (struct row){statement->epoch, statement->owner, LEASE + GRACE};
        return true;
    }
    panic("the model needs more rows");
}

static bool do_heartbeat(struct state *state, const struct statement *statement)
{
    for (unsigned i = 0; i < ROWS; i++) {
        if (state->rows[i].epoch != statement->epoch)
            continue;
        state->rows[i].left = LEASE + GRACE;
        return true;
    }
    return false;
}

static bool do_claim(const struct step *step, struct state *state,
                     const struct statement *statement)
{
    const struct row *row = row_of(state, statement->epoch);

    if (state->delivery != DELIVERY_READY || !row || row->left <= GRACE)
        return false;
    move(step, state, DELIVERY_LEASED, statement->epoch);
    return true;
}

static bool do_settle(const struct step *step, struct state *state,
                      const struct statement *statement)
{
    bool is_ours = state->delivery == DELIVERY_LEASED && state->lease == statement->epoch;

    if (is_mutant(step, SETTLE_ANY_EPOCH))
        is_ours = state->delivery == DELIVERY_LEASED;
    else if (is_mutant(step, FINAL_MOVES))
        is_ours = is_ours || delivery_is_final((enum delivery_state)state->delivery);
    if (!is_ours)
        return false;
    state->tries++;
    if (statement->what == SUCCEEDED)
        move(step, state, DELIVERY_DELIVERED, 0);
    else
        move(step, state, state->tries >= ATTEMPTS ? DELIVERY_DEAD : DELIVERY_READY, 0);
    return true;
}

/* A statement commits; what it answers. */
static uint8_t apply(const struct step *step, struct state *state,
                     const struct statement *statement)
{
    bool is_done = true;

    switch (statement->kind) {
    case REGISTER:
        is_done = do_register(state, statement);
        break;
    case HEARTBEAT:
        is_done = do_heartbeat(state, statement);
        break;
    case REAP:
        for (unsigned i = 0; i < ROWS; i++)
            if (may_reap(step, &state->rows[i], statement->owner, statement->epoch))
                state->rows[i] = (struct row){0};
        break;
    case SWEEP:
        if (is_orphan(state))
            move(step, state, DELIVERY_READY, 0);
        break;
    case CLAIM:
        is_done = do_claim(step, state, statement);
        break;
    case SETTLE:
        is_done = do_settle(step, state, statement);
        break;
    case RECONCILE:
        if (state->delivery == DELIVERY_LEASED && state->lease == statement->epoch)
            move(step, state, DELIVERY_READY, 0);
        break;
    default:
        panic("no such statement");
    }
    return is_done ? DONE : NOTHING_DONE;
}

/* ---- what a bridge does ---- */

static bool is_control(unsigned kind)
{
    return kind <= SWEEP;
}

/* What it could send on the control connection now. */
static unsigned wishes(const struct step *step, const struct state *state, uint8_t who,
                       struct statement *out)
{
    const struct bridge *bridge = &state->bridges[who];
    struct statement ask = {.owner = who, .epoch = bridge->epoch};
    unsigned count = 0;
    bool has_dead = false;

    if (bridge->control.kind)
        return 0;
    if (!bridge->epoch) {
        out[0] = (struct statement){.kind = REGISTER, .owner = who, .epoch = fresh_epoch(state)};
        return 1;
    }
    for (unsigned i = 0; i < ROWS; i++)
        has_dead = has_dead || may_reap(step, &state->rows[i], who, bridge->epoch);
    if (bridge->fence < FENCE) {
        ask.kind = HEARTBEAT;
        out[count++] = ask;
    }
    if (has_dead) {
        ask.kind = REAP;
        out[count++] = ask;
    }
    if (is_orphan(state) && !is_mutant(step, NO_SWEEP)) {
        ask.kind = SWEEP;
        out[count++] = ask;
    }
    return count;
}

/* A new connection of ours for such statements is there. */
static void reconnect(const struct step *step, struct state *state, uint8_t who,
                      bool is_for_control)
{
    if (is_mutant(step, STRAYS_GO_ON))
        return;
    for (unsigned i = 0; i < STRAYS; i++) {
        struct stray *stray = &state->strays[i];

        if (stray->kind && stray->sender == who && is_control(stray->kind) == is_for_control)
            *stray = (struct stray){0};
    }
}

static void hear_control(const struct step *step, struct bridge *bridge,
                         const struct statement *statement)
{
    uint8_t age = is_mutant(step, FENCE_FROM_ANSWER) ? 0 : statement->age;
    uint8_t fence = (uint8_t)(age < FENCE ? FENCE - age : 0);

    bridge->control = (struct statement){0};
    if (statement->kind == REGISTER) {
        bridge->epoch = statement->epoch;
        bridge->fence = fence;
    } else if (statement->kind == HEARTBEAT && statement->done == DONE) {
        bridge->fence = fence;
    } else if (statement->kind == HEARTBEAT) {
        bridge->epoch = bridge->fence = 0;
        if (!is_mutant(step, KEEP_WHEN_FENCED))
            bridge->holds = bridge->left = 0;
    }
}

static void hear_work(struct bridge *bridge)
{
    struct statement statement = bridge->work;

    bridge->work = (struct statement){0};
    if (statement.epoch != bridge->epoch)
        return; /* of an epoch that is over: forgotten */
    if (statement.kind == CLAIM && statement.done == DONE)
        bridge->holds = WAITING;
    else if (statement.kind == SETTLE)
        bridge->holds = NOTHING;
}

static void control(const struct step *step, const struct state *state, uint8_t who)
{
    const struct bridge *bridge = &state->bridges[who];
    struct statement asked[3];
    unsigned count = wishes(step, state, who, asked);

    if (bridge->control.kind && bridge->control.done) {
        struct state after = *state;

        hear_control(step, &after.bridges[who], &bridge->control);
        add(step, own(who) + HEARS + bridge->control.kind - 1U, &after);
    }
    for (unsigned i = 0; i < count; i++) {
        struct state after = *state;

        reconnect(step, &after, who, true);
        asked[i].done = apply(step, &after, &asked[i]);
        hear_control(step, &after.bridges[who], &asked[i]);
        add(step, own(who) + DOES + asked[i].kind - 1U, &after);
    }
}

static void ask(const struct step *step, const struct state *state, uint8_t who, uint8_t kind)
{
    struct state after = *state;
    struct bridge *bridge = &after.bridges[who];

    reconnect(step, &after, who, false);
    bridge->work = (struct statement){.kind = kind,
                                      .owner = who,
                                      .epoch = bridge->epoch,
                                      .what = kind == SETTLE ? bridge->holds : 0};
    add(step, own(who) + DOES + kind - 1U, &after);
}

static void work(const struct step *step, const struct state *state, uint8_t who)
{
    const struct bridge *bridge = &state->bridges[who];

    if (bridge->work.kind && bridge->work.done) {
        struct state after = *state;

        hear_work(&after.bridges[who]);
        add(step, own(who) + HEARS + bridge->work.kind - 1U, &after);
    }
    if (bridge->work.kind || !bridge->epoch)
        return;
    if (bridge->holds == NOTHING && state->delivery == DELIVERY_READY)
        ask(step, state, who, CLAIM);
    if (bridge->holds == SUCCEEDED || bridge->holds == FAILED)
        ask(step, state, who, SETTLE);
    if (bridge->holds == NOTHING && state->lease == bridge->epoch && !is_mutant(step, NO_RECONCILE))
        ask(step, state, who, RECONCILE);
}

static void check_owner(const struct step *step, const struct state *state, uint8_t who)
{
    const struct bridge *other = &state->bridges[1 - who];

    if (state->delivery != DELIVERY_LEASED || state->lease != state->bridges[who].epoch)
        sink_break(step->sink, NOT_ITS_OWN);
    else if (other->holds == SENDING && other->life == UP && other->left != FOR_EVER)
        sink_break(step->sink, "both bridges are sending");
}

static void send(const struct step *step, const struct state *state, uint8_t who)
{
    const struct bridge *bridge = &state->bridges[who];
    struct state after = *state;

    if (bridge->holds == WAITING && (bridge->fence > 0 || is_mutant(step, NO_FENCE))) {
        check_owner(step, state, who);
        after.bridges[who].holds = SENDING;
        after.bridges[who].left = SEND_TICKS;
        add(step, own(who) + STARTS_SEND, &after);
    }
    if (bridge->holds != SENDING)
        return;
    after.bridges[who].left = 0;
    after.bridges[who].holds = SUCCEEDED;
    add(step, own(who) + SEND_SUCCEEDS, &after);
    after.bridges[who].holds = FAILED;
    add(step, own(who) + SEND_FAILS, &after);
}

static void commit(const struct step *step, const struct state *state, uint8_t who)
{
    for (unsigned slot = 0; slot < 2; slot++) {
        struct state after = *state;
        struct bridge *bridge = &after.bridges[who];
        struct statement *statement = slot ? &bridge->work : &bridge->control;

        if (!statement->kind || statement->done)
            continue;
        statement->done = apply(step, &after, statement);
        if (bridge->life == UP && slot)
            hear_work(bridge);
        else if (bridge->life == UP)
            hear_control(step, bridge,
                         &(struct statement){statement->kind, statement->owner, statement->epoch,
                                             statement->what, statement->done, statement->age});
        add(step,
            own(who) + COMMITS +
                (slot ? state->bridges[who].work.kind : state->bridges[who].control.kind),
            &after);
    }
}

/* ---- what happens to them ---- */

static void lose(struct state *state, const struct statement *statement, uint8_t sender)
{
    for (unsigned i = 0; i < STRAYS; i++) {
        if (state->strays[i].kind)
            continue;
        state->strays[i] = (struct stray){statement->kind, statement->owner, statement->epoch,
                                          statement->what, sender};
        return;
    }
    panic("the model needs more strays");
}

static void end_connections(struct state *state, uint8_t who, bool is_killed)
{
    struct bridge *bridge = &state->bridges[who];

    bridge->control = bridge->work = (struct statement){0};
    if (!is_killed)
        return;
    *bridge = (struct bridge){.life = DOWN};
    for (unsigned i = 0; i < STRAYS; i++)
        if (state->strays[i].kind && state->strays[i].sender == who)
            state->strays[i].sender = NOBODY;
}

/* Each statement under way is lost, astray, or done and not told: three by three ways. */
static void strike(const struct step *step, const struct state *state, uint8_t who, unsigned label)
{
    const struct bridge *bridge = &state->bridges[who];
    bool is_busy[2] = {bridge->control.kind && !bridge->control.done,
                       bridge->work.kind && !bridge->work.done};

    for (unsigned ways = 0; ways < 9; ways++) {
        struct state after = *state;
        unsigned way[2] = {ways % 3, ways / 3};

        if ((way[0] && !is_busy[0]) || (way[1] && !is_busy[1]))
            continue;
        for (unsigned slot = 0; slot < 2; slot++) {
            const struct statement *statement = slot ? &bridge->work : &bridge->control;

            if (way[slot] == 1)
                lose(&after, statement, who);
            else if (way[slot] == 2)
                (void)apply(step, &after, statement);
        }
        if (bridge->control.kind || bridge->work.kind) {
            struct state broken = after;

            end_connections(&broken, who, false);
            add(step, label + BROKEN, &broken);
        }
        end_connections(&after, who, true);
        add(step, label + KILLED, &after);
    }
}

static void stop(const struct step *step, const struct state *state, uint8_t who, unsigned label)
{
    struct state after = *state;
    struct bridge *bridge = &after.bridges[who];

    bridge->life = PAUSED;
    /* What is being sent then may take for ever: no lease can help it. */
    bridge->left = bridge->holds == SENDING ? FOR_EVER : 0;
    add(step, label + STOPPED, &after);
}

/* They strike at rest, or with a statement under way. */
static void faults(const struct step *step, const struct state *before, uint8_t who)
{
    struct state state = *before;
    struct statement asked[3];
    unsigned label = FAIR_LABELS + (unsigned)who * FAULTS;
    bool is_up = before->bridges[who].life == UP;
    unsigned count = is_up ? wishes(step, before, who, asked) : 0;

    if (!before->faults || before->bridges[who].life == DOWN)
        return;
    state.faults--;
    strike(step, &state, who, label);
    if (is_up)
        stop(step, &state, who, label);
    for (unsigned i = 0; i < count; i++) {
        state.bridges[who].control = asked[i];
        strike(step, &state, who, label);
        stop(step, &state, who, label);
    }
}

/* ---- time ---- */

/* Who is up keeps up: it has its lease, and has done what it could. */
static bool keeps_up(const struct step *step, const struct state *state, uint8_t who)
{
    const struct bridge *bridge = &state->bridges[who];
    struct statement asked[3];

    return bridge->epoch && bridge->fence && !bridge->control.kind && !bridge->work.kind &&
           bridge->holds != WAITING && (bridge->holds != SENDING || bridge->left > 0) &&
           wishes(step, state, who, asked) == 0;
}

static void grow_older(struct statement *statement)
{
    if (statement->kind && statement->age < FENCE)
        statement->age++;
}

static void tick(const struct step *step, const struct state *before)
{
    struct state state = *before;

    for (uint8_t who = 0; who < BRIDGES; who++)
        if (before->bridges[who].life == UP && !keeps_up(step, before, who))
            return;
    for (unsigned i = 0; i < ROWS; i++)
        if (state.rows[i].left)
            state.rows[i].left--;
    for (unsigned i = 0; i < BRIDGES; i++) {
        struct bridge *bridge = &state.bridges[i];

        if (bridge->fence)
            bridge->fence--;
        if (bridge->left && bridge->left != FOR_EVER)
            bridge->left--;
        grow_older(&bridge->control);
        grow_older(&bridge->work);
    }
    add(step, TICK, &state);
}

/* ---- the model ---- */

static void start(const struct model *model, struct sink *sink)
{
    const struct options *options = model->options;
    struct step step = {sink, options};
    struct state state = {.delivery = DELIVERY_READY, .faults = (uint8_t)options->faults};

    for (unsigned i = 0; i < BRIDGES; i++)
        state.bridges[i].life = UP;
    add(&step, 0, &state);
    state.delivery = DELIVERY_LEASED;
    state.lease = 1;
    state.rows[0] = (struct row){1, 0, LEASE + GRACE};
    add(&step, 0, &state);
}

static void steps(const struct model *model, const void *at, struct sink *sink)
{
    const struct state *state = at;
    struct step step = {sink, model->options};

    for (uint8_t who = 0; who < BRIDGES; who++) {
        if (state->bridges[who].life == UP) {
            control(&step, state, who);
            work(&step, state, who);
            send(&step, state, who);
        } else {
            struct state after = *state;

            after.bridges[who].life = UP;
            add(&step, own(who) + RETURNS, &after);
        }
        commit(&step, state, who);
        faults(&step, state, who);
    }
    for (unsigned i = 0; i < STRAYS && state->strays[i].kind; i++) {
        const struct stray *stray = &state->strays[i];
        struct state after = *state;

        after.strays[i] = (struct stray){0};
        (void)apply(
            &step, &after,
            &(struct statement){stray->kind, stray->owner, stray->epoch, stray->what, 0, 0});
        add(&step, STRAY_COMMITS + stray->kind, &after);
    }
    tick(&step, state);
}

static bool is_over(const struct model *model, const void *at)
{
    const struct state *state = at;

    (void)model;
    return delivery_is_final((enum delivery_state)state->delivery);
}

static void label_text(unsigned label, char text[LABEL_BYTES])
{
    static const char *const kinds[KINDS] = {"?",     "register", "heartbeat", "reap",
                                             "sweep", "claim",    "settle",    "reconcile"};
    static const char *const others[] = {"starts to send", "'s send succeeds", "'s send fails",
                                         "resumes or starts"};
    static const char *const troubles[FAULTS] = {"is killed", "loses its connections", "is paused"};
    unsigned of = label % OF_EACH;
    char who = (char)('A' + label / OF_EACH);

    if (label >= FAIR_LABELS)
        snprintf(text, LABEL_BYTES, "FAULT: %c %s", 'A' + (char)((label - FAIR_LABELS) / FAULTS),
                 troubles[(label - FAIR_LABELS) % FAULTS]);
    else if (label >= TICK)
        snprintf(text, LABEL_BYTES, "time passes");
    else if (label >= STRAY_COMMITS)
        snprintf(text, LABEL_BYTES, "a stray %s commits", kinds[label - STRAY_COMMITS]);
    else if (of >= STARTS_SEND)
        snprintf(text, LABEL_BYTES, "%c %s", who, others[of - STARTS_SEND]);
    else if (of >= COMMITS)
        snprintf(text, LABEL_BYTES, "%c's %s commits", who, kinds[of - COMMITS]);
    else if (of >= HEARS)
        snprintf(text, LABEL_BYTES, "%c hears of its %s", who, kinds[of - HEARS + 1]);
    else
        snprintf(text, LABEL_BYTES, "%c: %s", who, kinds[of - DOES + 1]);
}

const struct entry model_lease = {
    .model = {.name = "lease",
              .state_bytes = sizeof(struct state),
              .start = start,
              .steps = steps,
              .is_over = is_over,
              .label = label_text},
    .mutations = mutations,
    .about = "two bridges and a delivery: leases, fences, takeover",
};

/* SPDX-License-Identifier: MIT */
/*
 * Ingest: a service with one request, a broker that keeps what it took, two bridges.
 *
 * What the steps stand for in the code: services/ingest*.c (read, store, acknowledge),
 * store/requests.c (the key under which a request counts once), services/outbox.c (what is to be
 * told is kept in memory until the broker has it), io/mqtt_lane.c (an acknowledgement kept back
 * is discarded with its connection, and the broker sends the request again).
 *
 * The request is acknowledged when `accepted` is with the broker, and not before: so a service
 * that has handed its request over need not send it again, whichever bridge dies when.  Only a
 * broker that loses what it took makes it send again; for that fault it may.
 */
#include "models.h"

#include <stdio.h>

#include "base/panic.h"

enum { BRIDGES = 2, NOBODY = 2, STRAYS_MAX = 15 };
enum life { DOWN, UP, PAUSED };
enum place { ABSENT, WITH_BROKER, OUT }; /* OUT: given to the holder, unacknowledged */
enum batch { NOTHING, READ, STORED };
enum owed { NO_RECEIPT, OWED, PUBLISHED, KNOWN }; /* `accepted`: KNOWN to be with the broker */

struct bridge {
    uint8_t life, batch, is_asking, owed;
};

struct state {
    uint8_t request, accepted, holder; /* enum place; holder: of the lane's session */
    uint8_t is_stored, made, is_told;
    uint8_t sends;  /* how often the service may still send it */
    uint8_t strays; /* statements that may still commit, unanswered */
    uint8_t faults;
    struct bridge bridges[BRIDGES];
};

enum { ACK_FIRST = 1, ACK_UNTOLD, TELL_FIRST, NO_KEY, FORGET_BATCH, FORGET_OWED };
static const struct mutation mutations[] = {
    {"ack_first", "the request is acknowledged before the commit",
     "what was acknowledged is not stored"},
    {"ack_untold", "the request is acknowledged when it is stored, and `accepted` not yet sent",
     "a fair run never ends"},
    {"tell_first", "`accepted` is sent before the commit", "what was accepted is not stored"},
    {"no_key", "a request that comes again is stored again", "one request has two deliveries"},
    {"forget_batch", "a batch in doubt is dropped while the session goes on",
     "a fair run never ends"},
    {"forget_owed", "what a broken connection had under way is not published again",
     "a fair run never ends"},
    {NULL, NULL, NULL},
};

enum {
    RETURNS,
    TAKES_SESSION,
    READS,
    DROPS,
    ASKS,
    COMMITS,
    PUBLISHES,
    HEARS_PUBLISHED,
    ACKNOWLEDGES,
    OF_EACH,
    SENDS = BRIDGES * OF_EACH,
    IS_TOLD,
    STRAY_COMMITS
};
enum { KILLED, STOPPED, DATABASE_AWAY, LANE_BROKEN, OUTBOX_BROKEN, OF_EACH_FAULT };
enum { BROKER_LOSES = FAIR_LABELS + BRIDGES * OF_EACH_FAULT };

struct step {
    struct sink *sink;
    const struct options *options;
};

static bool is_mutant(const struct step *step, unsigned mutation)
{
    return step->options->mutation == mutation;
}

static void add(const struct step *step, unsigned who, unsigned label, const struct state *state)
{
    sink_add(step->sink, who * OF_EACH + label, state);
}

static void store(const struct step *step, struct state *state)
{
    if (state->is_stored && !is_mutant(step, NO_KEY))
        return;
    if (state->made)
        sink_break(step->sink, "one request has two deliveries");
    state->is_stored = 1;
    state->made = 1;
}

/* The broker takes back what the session's holder has not acknowledged. */
static void end_session(struct state *state)
{
    state->holder = NOBODY;
    if (state->request == OUT)
        state->request = WITH_BROKER;
}

/* ---- what a bridge does ---- */

static void lane(const struct step *step, const struct state *state, unsigned who)
{
    const struct bridge *bridge = &state->bridges[who];
    struct state after = *state;
    struct bridge *changed = &after.bridges[who];
    bool is_told = bridge->owed == KNOWN || is_mutant(step, ACK_UNTOLD);

    /* The session is one: whoever connects takes it, and what was unacknowledged comes again. */
    if (state->holder == NOBODY ||
        (state->holder != who && state->bridges[state->holder].life != UP)) {
        end_session(&after);
        after.holder = (uint8_t)who;
        changed->batch = NOTHING;
        add(step, who, TAKES_SESSION, &after);
    }
    after = *state;
    if (state->holder != who) {
        changed->batch = NOTHING;
        if (bridge->batch && !bridge->is_asking)
            add(step, who, DROPS, &after);
        return;
    }
    if (state->request == WITH_BROKER && bridge->batch == NOTHING) {
        after.request = OUT;
        changed->batch = READ;
        add(step, who, READS, &after);
    }
    after = *state;
    if (state->request != OUT || bridge->is_asking)
        return;
    if ((bridge->batch == STORED && is_told) ||
        (bridge->batch == READ && is_mutant(step, ACK_FIRST))) {
        if (!state->is_stored)
            sink_break(step->sink, "what was acknowledged is not stored");
        after.request = ABSENT;
        changed->batch = NOTHING;
        changed->owed = bridge->owed == KNOWN ? NO_RECEIPT : bridge->owed;
        add(step, who, ACKNOWLEDGES, &after);
    }
}

static void ask(const struct step *step, const struct state *state, unsigned who)
{
    const struct bridge *bridge = &state->bridges[who];
    struct state after = *state;
    struct bridge *changed = &after.bridges[who];

    if (bridge->batch == READ && !bridge->is_asking) {
        changed->is_asking = 1;
        add(step, who, ASKS, &after);
    }
    after = *state;
    if (bridge->is_asking) {
        store(step, &after);
        changed->is_asking = 0;
        if (bridge->batch == READ)
            changed->batch = STORED;
        changed->owed = OWED;
        add(step, who, COMMITS, &after);
    }
}

static void publish(const struct step *step, const struct state *state, unsigned who)
{
    const struct bridge *bridge = &state->bridges[who];
    struct state after = *state;

    if (bridge->owed == OWED || (bridge->batch == READ && is_mutant(step, TELL_FIRST))) {
        if (!state->is_stored)
            sink_break(step->sink, "what was accepted is not stored");
        after.bridges[who].owed = PUBLISHED;
        after.accepted = WITH_BROKER;
        add(step, who, PUBLISHES, &after);
    }
    if (bridge->owed == PUBLISHED) {
        after.bridges[who].owed = KNOWN;
        add(step, who, HEARS_PUBLISHED, &after);
    }
}

/* ---- what happens to them ---- */

static void strike(const struct step *step, const struct state *state, unsigned who)
{
    const struct bridge *bridge = &state->bridges[who];
    unsigned label = FAIR_LABELS + who * OF_EACH_FAULT;
    struct state after = *state;

    if (state->holder == who)
        end_session(&after);
    after.bridges[who] = (struct bridge){.life = DOWN};
    sink_add(step->sink, label + KILLED, &after);
    after = *state;
    if (!bridge->is_asking)
        return;
    after.bridges[who].is_asking = 0;
    if (is_mutant(step, FORGET_BATCH))
        after.bridges[who].batch = NOTHING;
    sink_add(step->sink, label + DATABASE_AWAY, &after);
}

static void faults(const struct step *step, const struct state *before, unsigned who)
{
    unsigned label = FAIR_LABELS + who * OF_EACH_FAULT;
    const struct bridge *bridge = &before->bridges[who];
    struct state state = *before, after;

    if (!before->faults || bridge->life == DOWN)
        return;
    state.faults--;
    strike(step, &state, who);
    if (bridge->is_asking) { /* what was asked may be astray, or committed and not told */
        after = state;
        ASSERT(after.strays < STRAYS_MAX);
        after.strays++;
        strike(step, &after, who);
        after = state;
        store(step, &after);
        strike(step, &after, who);
    }
    after = state;
    after.bridges[who].life = PAUSED;
    if (bridge->life == UP)
        sink_add(step->sink, label + STOPPED, &after);
    after = state;
    end_session(&after);
    if (before->holder == who)
        sink_add(step->sink, label + LANE_BROKEN, &after);
    after = state;
    after.bridges[who].owed = is_mutant(step, FORGET_OWED) ? NO_RECEIPT : OWED;
    if (bridge->owed == PUBLISHED)
        sink_add(step->sink, label + OUTBOX_BROKEN, &after);
    if (bridge->owed == OWED) { /* it was lost on its way */
        after.bridges[who].owed = is_mutant(step, FORGET_OWED) ? NO_RECEIPT : OWED;
        sink_add(step->sink, label + OUTBOX_BROKEN, &after);
    }
}

/* Once: a broker without a disk.  All connections end with it. */
static void lose(const struct step *step, const struct state *before)
{
    struct state state = *before;

    if (!before->faults)
        return;
    state.faults--;
    end_session(&state);
    state.request = state.accepted = ABSENT;
    state.sends++;
    for (unsigned who = 0; who < BRIDGES; who++)
        if (state.bridges[who].owed == PUBLISHED)
            state.bridges[who].owed = OWED;
    sink_add(step->sink, BROKER_LOSES, &state);
}

/* ---- the model ---- */

static void start(const struct model *model, struct sink *sink)
{
    const struct options *options = model->options;
    struct state state = {.holder = NOBODY, .sends = 1, .faults = (uint8_t)options->faults};

    for (unsigned who = 0; who < BRIDGES; who++)
        state.bridges[who].life = UP;
    sink_add(sink, 0, &state);
}

static void service(const struct step *step, const struct state *state)
{
    struct state after = *state;

    if (state->sends && state->request == ABSENT && !state->is_told) {
        after.request = WITH_BROKER;
        after.sends--;
        sink_add(step->sink, SENDS, &after);
    }
    after = *state;
    if (state->accepted == WITH_BROKER) {
        after.accepted = ABSENT;
        after.is_told = 1;
        sink_add(step->sink, IS_TOLD, &after);
    }
    after = *state;
    if (state->strays) {
        store(step, &after);
        after.strays--;
        sink_add(step->sink, STRAY_COMMITS, &after);
    }
}

static void steps(const struct model *model, const void *at, struct sink *sink)
{
    const struct state *state = at;
    struct step step = {sink, model->options};

    service(&step, state);
    lose(&step, state);
    for (unsigned who = 0; who < BRIDGES; who++) {
        struct state after = *state;

        if (state->bridges[who].life == UP) {
            lane(&step, state, who);
            ask(&step, state, who);
            publish(&step, state, who);
        } else {
            after.bridges[who].life = UP;
            add(&step, who, RETURNS, &after);
        }
        faults(&step, state, who);
        if (state->bridges[who].is_asking && state->bridges[who].life == PAUSED) {
            after = *state;
            store(&step, &after);
            after.bridges[who].is_asking = 0; /* unheard: asked again, or the lane is lost */
            add(&step, who, COMMITS, &after);
        }
    }
}

static bool is_over(const struct model *model, const void *at)
{
    const struct state *state = at;

    (void)model;
    return state->is_told && state->request == ABSENT;
}

static void label_text(unsigned label, char text[LABEL_BYTES])
{
    static const char *const each[OF_EACH] = {
        [RETURNS] = "starts or resumes",
        [TAKES_SESSION] = "takes the lane's session",
        [READS] = "reads the request",
        [DROPS] = "drops what its lost session gave it",
        [ASKS] = "asks that it be stored",
        [COMMITS] = "'s ingest commits",
        [PUBLISHES] = "publishes accepted",
        [HEARS_PUBLISHED] = "hears that the broker has it",
        [ACKNOWLEDGES] = "acknowledges the request",
    };
    static const char *const others[] = {"the service sends the request", "the service is told",
                                         "a stray commits"};
    static const char *const troubles[OF_EACH_FAULT] = {"is killed", "is paused",
                                                        "loses the database", "loses the lane",
                                                        "loses its other connection"};

    if (label == BROKER_LOSES)
        snprintf(text, LABEL_BYTES, "FAULT: the broker loses all it had");
    else if (label >= FAIR_LABELS)
        snprintf(text, LABEL_BYTES, "FAULT: %c %s",
                 'A' + (char)((label - FAIR_LABELS) / OF_EACH_FAULT),
                 troubles[(label - FAIR_LABELS) % OF_EACH_FAULT]);
    else if (label >= SENDS)
        snprintf(text, LABEL_BYTES, "%s",
                 others[(label - SENDS) % (sizeof others / sizeof others[0])]);
    else
        snprintf(text, LABEL_BYTES, "%c %s", 'A' + (char)(label / OF_EACH), each[label % OF_EACH]);
}

const struct entry model_ingest = {
    .model = {.name = "ingest",
              .state_bytes = sizeof(struct state),
              .start = start,
              .steps = steps,
              .is_over = is_over,
              .label = label_text},
    .mutations = mutations,
    .about = "a request from its service to the database, and `accepted` back",
};

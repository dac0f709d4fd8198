/* SPDX-License-Identifier: MIT */
/*
 * The life of a notification's deliveries: steps, users who are away and come, acknowledgements,
 * what a provider has and reports later, calls by services and admins.
 *
 * What the steps stand for in the code: services/dispatch*.c and in_app.c (attempts; what comes
 * of one is asked of delivery_judge() and delivery_wait() themselves), dispatch_wake.c,
 * events.c, callbacks*.c, and the statements in store/ by their names: see statements.c.
 *
 * Leases are those of lease.c, which has shown that nobody acts on what is another's: here a
 * delivery is under a living lease or under one that is over, and a bridge that is lost takes its
 * attempt with it.  Statements are one step, except those that look at the other deliveries of
 * the notification: they look first and commit later.
 *
 * Nobody owes that time passes, that a user comes, that a provider reports, a call or the loss of
 * a bridge: a run has only so many of these (the option `faults`), and it is over when nothing is
 * left to do until one happens.
 *
 * It begins with one of several notifications: in-app alone (dead-lettered, or held for its
 * user), in-app and then an SMS, two devices and then an SMS.
 */
#include "models.h"

#include <stdio.h>
#include <string.h>

#include "base/panic.h"

enum { DELIVERIES = 3, MESSAGES = 2, ATTEMPTS = 2, NOWHERE = 15 };
enum medium { IN_APP, DEVICE, SMS };
enum lease { NOBODYS, LIVE, OVER };
enum due { NOT_SCHEDULED, NEVER, DUE }; /* steps to come lie in `scheduled` as held */
enum work { IDLE, WAITING, SENDING, ENDED };
enum seen { NOT_LOOKED, SAW_OTHERS, SAW_NONE }; /* by the statement that records the end */
enum user { AWAY, HERE };
/* What the provider has of one message; LOST: no bridge lives that knows its id. */
enum message { NO_MESSAGE, UNRECORDED, LOST, RECORDED, FAILED, ARRIVED };

struct delivery {
    uint8_t state; /* enum delivery_state; NOWHERE: there is no such delivery */
    uint8_t medium, step, due, lease, work;
    uint8_t outcome, reason;   /* of the attempt that has ended, or of the last one recorded */
    uint8_t seen, tries, came; /* came: its user, since the attempt began */
};

struct state {
    struct delivery deliveries[DELIVERIES];
    uint8_t user, has_come; /* has_come: a bridge is to look for what waits */
    uint8_t shown, ack;     /* to the user's client; ack: on its way to us */
    uint8_t is_acked;
    uint8_t message[MESSAGES], report[MESSAGES]; /* report: on its way; 0, FAILED or ARRIVED */
    uint8_t is_late, holds, has_retried;
    uint8_t is_lost; /* a bridge, which will be back */
    uint8_t faults;  /* what may still happen that nobody owes */
};
_Static_assert(sizeof(struct state) <= STATE_BYTES_MAX, "bytes only");

enum {
    NO_STEPS_SWEEP = 1,
    EARLY_STEP,
    ACK_ALONE,
    NO_MISSED,
    NO_RETURN,
    NO_RELEASE,
    TRIES_NOT_COUNTED,
    REPORT_BY_ARRIVAL,
    REPORT_OF_ONE,
    NO_REPORT_RETRY,
    WAKE_WITHOUT_LEASE
};
#define NEVER_ENDS "a fair run never ends"
static const struct mutation mutations[] = {
    {"no_steps_sweep", "nobody looks for a step that two bridges left to each other", NEVER_ENDS},
    {"early_step", "a step is taken whatever is under way of the one before",
     "the next step is taken while the first is under way"},
    {"ack_alone", "an acknowledgement ends only its own delivery",
     "a step is taken that was called off"},
    {"no_missed", "who came during an attempt is not looked for after it", NEVER_ENDS},
    {"no_return", "a bridge that starts does not look for what waits for those who are here",
     NEVER_ENDS},
    {"no_release", "what is held is not released when its time is up", NEVER_ENDS},
    {"tries_not_counted", "an attempt that failed leaves no trace", NEVER_ENDS},
    {"report_by_arrival", "the last report to arrive counts, whatever its rank",
     "no arrow joins the states"},
    {"report_of_one", "what a repeat is reported to have failed counts, though the first arrived",
     "no arrow joins the states"},
    {"no_report_retry", "a report that comes before its message is recorded is dropped",
     "a report is lost"},
    {"wake_without_lease", "what is brought back is taken from who is at it",
     "no arrow joins the states"},
    {NULL, NULL, NULL},
};

enum { /* of each delivery */
       CLAIM,
       STARTS,
       SUCCEEDS,
       FAILS,
       FAILS_FOR_GOOD,
       IS_AWAY,
       LOOKS,
       SETTLE,
       STAGE,
       RELEASE,
       SWEEP,
       OF_EACH,
       WAKE = DELIVERIES * OF_EACH,
       STEPS_SWEEP,
       ACKNOWLEDGES,
       ACK,
       RETURNS,
       FOLD,
       LABELS = FOLD + MESSAGES
};
_Static_assert((int)LABELS <= (int)FAIR_LABELS, "one bit each");
enum { /* what nobody owes */
       COMES = FAIR_LABELS,
       GOES,
       TIME,
       CANCEL,
       RETRACT,
       COLLAPSE,
       DLQ_FEED,
       SUPPRESSED,
       REPORTS_FAILED,
       REPORTS_ARRIVED,
       IS_LOST,
       IS_LOST_AFTER
};

struct step {
    struct sink *sink;
    const struct options *options;
    const struct state *state;
};

static bool is_mutant(const struct step *step, unsigned mutation)
{
    return step->options->mutation == mutation;
}

static unsigned own(unsigned at)
{
    return at * OF_EACH;
}

static void move(const struct step *step, struct delivery *delivery, enum delivery_state to)
{
    moves_make(step->sink, step->options, delivery->state, to);
    delivery->state = (uint8_t)to;
    delivery->lease = to == DELIVERY_LEASED ? LIVE : NOBODYS;
    delivery->work = to == DELIVERY_LEASED ? WAITING : IDLE;
    delivery->due = NOT_SCHEDULED;
    delivery->seen = NOT_LOOKED;
    delivery->came = 0;
    if (to == DELIVERY_LEASED)
        delivery->outcome = 0;
    if (delivery_is_final(to) && to != DELIVERY_DEAD)
        delivery->reason = delivery->tries = 0;
}

/* ---- the steps that follow: store/steps.c ---- */

static bool is_under_way(const struct delivery *delivery)
{
    return delivery->state == DELIVERY_READY || delivery->state == DELIVERY_LEASED;
}

static bool has_others_under_way(const struct state *state, unsigned at)
{
    for (unsigned i = 0; i < DELIVERIES; i++)
        if (i != at && is_under_way(&state->deliveries[i]))
            return true;
    return false;
}

static void call_off(const struct step *step, struct state *state, bool with_queue)
{
    for (unsigned i = 0; i < DELIVERIES; i++) {
        struct delivery *delivery = &state->deliveries[i];

        if (delivery->due ||
            (with_queue && (delivery->state == DELIVERY_READY || delivery->state == DELIVERY_HELD)))
            move(step, delivery, DELIVERY_CANCELLED);
    }
}

static void take_next(const struct step *step, struct state *state, unsigned ended)
{
    for (unsigned i = 0; i < DELIVERIES; i++) {
        struct delivery *delivery = &state->deliveries[i];

        if (delivery->due != NEVER)
            continue;
        /* A user who comes, or an admin, may set the first under way again at any moment. */
        if (state->deliveries[ended].medium == DEVICE && !state->has_retried &&
            has_others_under_way(state, ended))
            sink_break(step->sink, "the next step is taken while the first is under way");
        delivery->due = DUE;
    }
}

/* What the end of one does to those that follow, by what its statement saw. */
static void follow(const struct step *step, struct state *state, unsigned at)
{
    const struct delivery *delivery = &state->deliveries[at];
    bool saw_none = delivery->seen == SAW_NONE || is_mutant(step, EARLY_STEP);

    switch (delivery->state) {
    case DELIVERY_READY:
        break;
    case DELIVERY_DELIVERED:
    case DELIVERY_SENT:
        call_off(step, state, false);
        break;
    default:
        if (saw_none)
            take_next(step, state, at);
    }
}

/* ---- an attempt ---- */

static const struct retry_policy policy = {
    .attempts = ATTEMPTS, .base_ms = 1, .max_ms = 1, .factor = 1};

static void end_attempt(const struct step *step, unsigned at, unsigned label,
                        enum outcome_kind kind, enum reason reason, const struct state *before)
{
    struct state after = *before;
    struct delivery *delivery = &after.deliveries[at];

    delivery->work = ENDED;
    delivery->outcome = (uint8_t)kind;
    delivery->reason = (uint8_t)reason;
    sink_add(step->sink, own(at) + label, &after);
}

static void start_attempt(const struct step *step, unsigned at)
{
    struct state after = *step->state;
    struct delivery *delivery = &after.deliveries[at];

    if (step->state->is_late) {
        end_attempt(step, at, STARTS, OUTCOME_EXPIRED, REASON_NONE, step->state);
        return;
    }
    delivery->work = SENDING;
    if (after.user == HERE)
        after.shown = 1;
    sink_add(step->sink, own(at) + STARTS, &after);
}

/* The provider takes a message; which bridge knows its id is another matter. */
static void send_message(struct state *state)
{
    for (unsigned i = 0; i < MESSAGES; i++) {
        if (state->message[i])
            continue;
        state->message[i] = UNRECORDED;
        return;
    }
}

/* An acknowledgement ends it another way; and a broker may keep it for a session. */
static void attempt_in_app(const struct step *step, unsigned at)
{
    const struct delivery *delivery = &step->state->deliveries[at];

    if (delivery->work == WAITING)
        start_attempt(step, at);
    if (delivery->work != SENDING)
        return;
    end_attempt(step, at, FAILS, OUTCOME_RETRY, REASON_ACK_TIMEOUT, step->state);
    if (step->state->user == AWAY)
        end_attempt(step, at, IS_AWAY, OUTCOME_RETRY, REASON_USER_OFFLINE, step->state);
}

/* By a provider: one step, as nothing else sees that it is under way. */
static void attempt_call(const struct step *step, unsigned at)
{
    const struct delivery *delivery = &step->state->deliveries[at];
    struct state sent = *step->state;

    if (delivery->work != WAITING)
        return;
    if (step->state->is_late) {
        end_attempt(step, at, STARTS, OUTCOME_EXPIRED, REASON_NONE, step->state);
        return;
    }
    end_attempt(step, at, FAILS, OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE, step->state);
    end_attempt(step, at, FAILS_FOR_GOOD, OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED, step->state);
    if (delivery->medium == SMS) {
        send_message(&sent);
        end_attempt(step, at, IS_AWAY, OUTCOME_UNKNOWN, REASON_OUTCOME_UNKNOWN, &sent);
    }
    end_attempt(step, at, SUCCEEDS, OUTCOME_ACCEPTED, REASON_NONE, &sent);
}

/* ---- settling ---- */

static void record_message(struct state *state, const struct delivery *delivery)
{
    for (unsigned i = 0; i < MESSAGES; i++)
        if (delivery->medium == SMS && state->message[i] == UNRECORDED)
            state->message[i] = delivery->outcome == OUTCOME_ACCEPTED ? RECORDED : LOST;
}

/* settle, retry and bury, with what they do to the steps that follow. */
static void settle(const struct step *step, struct state *state, unsigned at)
{
    struct delivery *delivery = &state->deliveries[at];
    struct outcome outcome;
    struct verdict verdict;
    uint8_t seen = delivery->seen, came = delivery->came, kind = delivery->outcome;

    outcome_set(&outcome, (enum outcome_kind)kind, (enum reason)delivery->reason, NULL);
    verdict = delivery_judge(&outcome, &policy, (struct tries){delivery->tries + 1, 1, 0},
                             state->is_late ? 10 : 0, 0, 0);
    if (delivery->medium == IN_APP && state->holds)
        verdict = delivery_wait(&verdict, outcome.reason, state->is_late ? 10 : 0, 10);
    if (verdict.costs_attempt && !is_mutant(step, TRIES_NOT_COUNTED))
        delivery->tries++;
    record_message(state, delivery);
    move(step, delivery, verdict.state);
    delivery->outcome = 0;
    delivery->seen = seen;
    follow(step, state, at);
    delivery->seen = NOT_LOOKED;
    if (came && reason_is_absence((enum reason)delivery->reason) && !is_mutant(step, NO_MISSED))
        state->has_come = 1; /* dispatch_missed() */
}

/* Who else is under way matters to a step that is to come, and only while somebody is. */
static bool must_look(const struct state *state, unsigned at)
{
    bool has_next = false;

    for (unsigned i = 0; i < DELIVERIES; i++)
        has_next = has_next || state->deliveries[i].due == NEVER;
    return has_next && has_others_under_way(state, at);
}

static void record(const struct step *step, unsigned at)
{
    const struct delivery *delivery = &step->state->deliveries[at];
    struct state after = *step->state;

    if (delivery->work != ENDED)
        return;
    if (!delivery->seen && must_look(step->state, at)) {
        after.deliveries[at].seen = SAW_OTHERS;
        sink_add(step->sink, own(at) + LOOKS, &after);
        return;
    }
    if (!delivery->seen)
        after.deliveries[at].seen = SAW_NONE;
    settle(step, &after, at);
    sink_add(step->sink, own(at) + SETTLE, &after);
}

/* ---- the queue ---- */

static void queue(const struct step *step, unsigned at)
{
    const struct delivery *delivery = &step->state->deliveries[at];
    struct state after = *step->state;
    struct delivery *changed = &after.deliveries[at];

    if (delivery->due == DUE) {
        if (step->state->is_acked)
            sink_break(step->sink, "a step is taken that was called off");
        move(step, changed, DELIVERY_READY);
        sink_add(step->sink, own(at) + STAGE, &after);
    } else if (delivery->state == DELIVERY_HELD && !delivery->due && step->state->is_late &&
               !is_mutant(step, NO_RELEASE)) {
        move(step, changed, DELIVERY_READY);
        sink_add(step->sink, own(at) + RELEASE, &after);
    } else if (delivery->state == DELIVERY_READY) {
        move(step, changed, DELIVERY_LEASED);
        sink_add(step->sink, own(at) + CLAIM, &after);
    } else if (delivery->state == DELIVERY_LEASED && delivery->lease == OVER) {
        move(step, changed, DELIVERY_READY);
        sink_add(step->sink, own(at) + SWEEP, &after);
    }
}

static void steps_sweep(const struct step *step)
{
    struct state after = *step->state;
    bool has_next = false;

    for (unsigned i = 0; i < DELIVERIES; i++) {
        if (is_under_way(&after.deliveries[i]) || after.deliveries[i].due == DUE)
            return;
        has_next = has_next || after.deliveries[i].due == NEVER;
    }
    if (!has_next || is_mutant(step, NO_STEPS_SWEEP))
        return;
    take_next(step, &after, 0);
    sink_add(step->sink, STEPS_SWEEP, &after);
}

/* ---- users ---- */

static bool waits(const struct step *step, const struct delivery *delivery)
{
    if (delivery->medium != IN_APP || delivery->due ||
        !reason_is_absence((enum reason)delivery->reason))
        return false;
    return delivery->state == DELIVERY_READY || delivery->state == DELIVERY_HELD ||
           delivery->state == DELIVERY_DEAD ||
           (delivery->state == DELIVERY_LEASED && is_mutant(step, WAKE_WITHOUT_LEASE));
}

static void wake(const struct step *step)
{
    struct state after = *step->state;

    if (!after.has_come)
        return;
    after.has_come = 0;
    for (unsigned i = 0; i < DELIVERIES; i++) {
        struct delivery *delivery = &after.deliveries[i];

        if (!waits(step, delivery))
            continue;
        move(step, delivery, DELIVERY_LEASED);
        delivery->tries = 0;
    }
    sink_add(step->sink, WAKE, &after);
}

/* It hears from the broker who is here, and looks for what waits for them. */
static void come_back(const struct step *step)
{
    struct state after = *step->state;

    if (!after.is_lost)
        return;
    after.is_lost = 0;
    if (after.user == HERE && !is_mutant(step, NO_RETURN))
        after.has_come = 1;
    sink_add(step->sink, RETURNS, &after);
}

static void acknowledge(const struct step *step)
{
    struct state after = *step->state;

    if (after.shown && after.user == HERE) {
        after.shown = 0;
        after.ack = 1;
        sink_add(step->sink, ACKNOWLEDGES, &after);
    }
    after = *step->state;
    if (!after.ack)
        return;
    after.ack = 0;
    for (unsigned i = 0; i < DELIVERIES; i++) {
        struct delivery *delivery = &after.deliveries[i];

        if (delivery->medium == IN_APP && !delivery->due &&
            (is_under_way(delivery) || delivery->state == DELIVERY_HELD))
            move(step, delivery, DELIVERY_DELIVERED);
    }
    after.is_acked = 1;
    if (!is_mutant(step, ACK_ALONE))
        call_off(step, &after, true);
    sink_add(step->sink, ACK, &after);
}

static void come_and_go(const struct step *step)
{
    struct state after = *step->state;

    if (!after.faults)
        return;
    after.faults--;
    if (after.user == HERE) {
        after.user = AWAY;
        after.shown = 0;
        sink_add(step->sink, GOES, &after);
        return;
    }
    after.user = HERE;
    after.has_come = 1;
    for (unsigned i = 0; i < DELIVERIES; i++)
        if (after.deliveries[i].work == SENDING || after.deliveries[i].work == ENDED)
            after.deliveries[i].came = after.deliveries[i].medium == IN_APP;
    sink_add(step->sink, COMES, &after);
    for (unsigned i = 0; i < DELIVERIES; i++) /* the broker had kept it for their session */
        if (after.deliveries[i].medium == IN_APP && after.deliveries[i].work)
            after.shown = 1;
    sink_add(step->sink, COMES, &after);
}

/* ---- reports ---- */

static struct delivery *sms_of(struct state *state)
{
    for (unsigned i = 0; i < DELIVERIES; i++)
        if (state->deliveries[i].medium == SMS && state->deliveries[i].state != NOWHERE)
            return &state->deliveries[i];
    return NULL;
}

/* What one message has brought, the failure of another does not take back. */
static void fold_recorded(const struct step *step, struct state *state, unsigned at)
{
    struct delivery *delivery = sms_of(state);
    uint8_t before = state->message[at], heard = state->report[at];
    bool has_arrived = state->message[1 - at] == ARRIVED && !is_mutant(step, REPORT_OF_ONE);

    if (heard <= before && !is_mutant(step, REPORT_BY_ARRIVAL))
        return;
    state->message[at] = heard;
    if (heard == FAILED && !has_arrived)
        move(step, delivery, DELIVERY_DEAD);
    else if (heard == ARRIVED &&
             (delivery->state == DELIVERY_SENT || delivery->state == DELIVERY_DEAD))
        move(step, delivery, DELIVERY_DELIVERED);
    delivery->reason = REASON_NONE;
}

/* A report waits for its message to be recorded; of one that never will be it is dropped. */
static void fold(const struct step *step, unsigned at)
{
    struct state after = *step->state;
    uint8_t message = after.message[at];

    if (!after.report[at] || (message == UNRECORDED && !is_mutant(step, NO_REPORT_RETRY)))
        return;
    if (message == UNRECORDED)
        sink_break(step->sink, "a report is lost");
    if (message >= RECORDED)
        fold_recorded(step, &after, at);
    after.report[at] = 0;
    sink_add(step->sink, FOLD + at, &after);
}

static void report(const struct step *step)
{
    for (unsigned i = 0; i < MESSAGES; i++) {
        struct state after = *step->state;

        if (!after.message[i] || after.report[i] || !after.faults)
            continue;
        after.faults--;
        after.report[i] = FAILED;
        if (step->state->message[i] <= RECORDED ||
            (is_mutant(step, REPORT_BY_ARRIVAL) && step->state->message[i] == ARRIVED))
            sink_add(step->sink, REPORTS_FAILED, &after);
        after.report[i] = ARRIVED;
        if (step->state->message[i] != ARRIVED)
            sink_add(step->sink, REPORTS_ARRIVED, &after);
    }
}

/* ---- calls, time, faults ---- */

/* A service's or an admin's; what a bridge has in memory is not theirs to end, but in-app. */
static void end_all(const struct step *step, const struct state *before, unsigned label)
{
    struct state after = *before;
    enum delivery_state to = label == COLLAPSE ? DELIVERY_SUPPRESSED : DELIVERY_CANCELLED;

    for (unsigned i = 0; i < DELIVERIES; i++) {
        struct delivery *delivery = &after.deliveries[i];

        if (delivery->state == DELIVERY_READY || delivery->state == DELIVERY_HELD ||
            (label != CANCEL && delivery->state == DELIVERY_LEASED && delivery->medium == IN_APP))
            move(step, delivery, to);
    }
    sink_add(step->sink, label, &after);
}

static void call(const struct step *step)
{
    struct state state = *step->state, after;

    if (!state.faults)
        return;
    state.faults--;
    end_all(step, &state, CANCEL);
    end_all(step, &state, RETRACT);
    end_all(step, &state, COLLAPSE);
    for (unsigned i = 0; i < DELIVERIES; i++) {
        after = state;
        if (after.deliveries[i].state != DELIVERY_DEAD)
            continue;
        after.has_retried = 1;
        move(step, &after.deliveries[i], DELIVERY_READY);
        after.deliveries[i].tries = 0;
        sink_add(step->sink, DLQ_FEED, &after);
    }
    after = state;
    after.is_late = 1;
    if (!state.is_late)
        sink_add(step->sink, TIME, &after);
}

/* Its attempt is over with the bridge; what it asked the database may have been done. */
static void lose(const struct step *step, unsigned at)
{
    struct state after = *step->state;
    struct delivery *delivery = &after.deliveries[at];

    if (!after.faults || delivery->lease != LIVE)
        return;
    after.faults--;
    after.is_lost = 1;
    if (delivery->work == ENDED) {
        struct state done = after;
        uint8_t has_come = after.has_come;

        if (!delivery->seen)
            done.deliveries[at].seen = must_look(&done, at) ? SAW_OTHERS : SAW_NONE;
        settle(step, &done, at);
        done.has_come = has_come; /* nobody hears what it did */
        sink_add(step->sink, IS_LOST_AFTER, &done);
    }
    for (unsigned i = 0; i < MESSAGES && delivery->medium == SMS; i++)
        if (after.message[i] == UNRECORDED)
            after.message[i] = LOST;
    delivery->lease = OVER;
    delivery->work = delivery->seen = IDLE;
    delivery->outcome = 0;
    sink_add(step->sink, IS_LOST, &after);
}

/* The last look before it is sent: it is not wanted any more. */
static void look(const struct step *step, unsigned at)
{
    struct state after = *step->state;
    struct delivery *delivery = &after.deliveries[at];

    if (delivery->work != WAITING || !after.faults)
        return;
    after.faults--;
    delivery->work = ENDED;
    delivery->outcome = OUTCOME_SUPPRESSED;
    delivery->reason = REASON_NONE;
    sink_add(step->sink, SUPPRESSED, &after);
}

/* ---- the model ---- */

static void begin(struct sink *sink, const struct options *options, unsigned holds,
                  const uint8_t media[DELIVERIES], unsigned first)
{
    struct state state = {.holds = (uint8_t)holds, .faults = (uint8_t)options->faults};

    for (unsigned i = 0; i < DELIVERIES; i++) {
        struct delivery *delivery = &state.deliveries[i];

        delivery->medium = media[i] == NOWHERE ? 0 : media[i];
        delivery->state = i < first ? DELIVERY_READY : DELIVERY_HELD;
        delivery->due = i < first ? NOT_SCHEDULED : NEVER;
        delivery->step = i >= first;
        if (media[i] == NOWHERE)
            *delivery = (struct delivery){.state = NOWHERE};
    }
    for (uint8_t user = AWAY; user <= HERE; user++) {
        state.user = user;
        if (media[0] == IN_APP || user == HERE)
            sink_add(sink, 0, &state);
    }
}

static void start(const struct model *model, struct sink *sink)
{
    static const uint8_t alone[] = {IN_APP, NOWHERE, NOWHERE}, then[] = {IN_APP, SMS, NOWHERE},
                         devices[] = {DEVICE, DEVICE, SMS};

    begin(sink, model->options, 0, alone, 1);
    begin(sink, model->options, 1, alone, 1);
    begin(sink, model->options, 1, then, 1);
    begin(sink, model->options, 0, devices, 2);
}

static void steps(const struct model *model, const void *at, struct sink *sink)
{
    struct step step = {sink, model->options, at};

    for (unsigned i = 0; i < DELIVERIES; i++) {
        if (step.state->deliveries[i].state == NOWHERE)
            continue;
        if (step.state->deliveries[i].medium == IN_APP)
            attempt_in_app(&step, i);
        else
            attempt_call(&step, i);
        record(&step, i);
        queue(&step, i);
        look(&step, i);
        lose(&step, i);
    }
    steps_sweep(&step);
    wake(&step);
    come_back(&step);
    acknowledge(&step);
    come_and_go(&step);
    report(&step);
    for (unsigned i = 0; i < MESSAGES; i++)
        fold(&step, i);
    call(&step);
}

static bool is_over(const struct model *model, const void *at)
{
    const struct state *state = at;

    (void)model;
    if (state->ack || state->has_come || state->is_lost || (state->shown && state->user == HERE))
        return false;
    for (unsigned i = 0; i < MESSAGES; i++)
        if (state->report[i])
            return false;
    for (unsigned i = 0; i < DELIVERIES; i++) {
        const struct delivery *delivery = &state->deliveries[i];
        bool is_waited_for = delivery->state == DELIVERY_HELD && !delivery->due &&
                             state->user == AWAY && !state->is_late;

        if (delivery->state != NOWHERE && delivery->state != DELIVERY_SENT && !is_waited_for &&
            !delivery_is_final((enum delivery_state)delivery->state))
            return false;
    }
    return true;
}

static void label_text(unsigned label, char text[LABEL_BYTES])
{
    static const char *const each[OF_EACH] = {[CLAIM] = "claimed",
                                              [STARTS] = "started",
                                              [SUCCEEDS] = "accepted",
                                              [FAILS] = "failed, to be tried again",
                                              [FAILS_FOR_GOOD] = "failed",
                                              [IS_AWAY] = "not shown, or of unknown fate",
                                              [LOOKS] = "looked at",
                                              [SETTLE] = "settled",
                                              [STAGE] = "staged",
                                              [RELEASE] = "released",
                                              [SWEEP] = "swept"};
    static const char *const others[] = {"what waits for the user is looked for",
                                         "steps nobody has taken are taken",
                                         "the client acknowledges",
                                         "the acknowledgement is stored",
                                         "a bridge is back",
                                         "a report of the first message is folded",
                                         "a report of the second message is folded"};
    static const char *const free_ones[] = {"the user comes",
                                            "the user goes",
                                            "its time is up",
                                            "cancelled",
                                            "retracted",
                                            "replaced by a newer one",
                                            "an admin retries",
                                            "it is not wanted any more",
                                            "the provider reports a failure",
                                            "the provider reports the arrival",
                                            "FAULT: the bridge is lost",
                                            "FAULT: the bridge is lost, its statement was not"};

    if (label >= FAIR_LABELS)
        snprintf(text, LABEL_BYTES, "%s", free_ones[label - FAIR_LABELS]);
    else if (label >= WAKE)
        snprintf(text, LABEL_BYTES, "%s",
                 others[(label - WAKE) % (sizeof others / sizeof others[0])]);
    else
        snprintf(text, LABEL_BYTES, "delivery %u is %s", label / OF_EACH, each[label % OF_EACH]);
}

const struct entry model_life = {
    .model = {.name = "life",
              .state_bytes = sizeof(struct state),
              .start = start,
              .steps = steps,
              .is_over = is_over,
              .label = label_text},
    .mutations = mutations,
    .about = "steps, users who are away, acknowledgements, reports, calls",
};

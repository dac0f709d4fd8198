/* SPDX-License-Identifier: MIT */
#include "core/throttle.h"

#include <stddef.h>

#include "base/panic.h"

#define WINDOW_START 5

const char *breaker_name(enum breaker breaker)
{
    switch (breaker) {
    case BREAKER_CLOSED:
        return "closed";
    case BREAKER_OPEN:
        return "open";
    case BREAKER_HALF_OPEN:
        return "half_open";
    }
    panic("a breaker in no known state");
}

static unsigned start_window(const struct throttle_config *config)
{
    unsigned window = config->max_window / 5;

    if (window < WINDOW_START)
        window = WINDOW_START;
    if (window > config->max_window)
        window = config->max_window;
    return window ? window : 1;
}

void throttle_init(struct throttle *throttle, const struct throttle_config *config)
{
    *throttle = (struct throttle){
        .config = config,
        .window = start_window(config),
        .shut_ms = config->shut_min_ms,
        .good_ms = -1,
    };
}

/* ---- witnesses ---- */

static bool is_anybody(const struct witness *witness)
{
    return !witness || (!witness->address && !witness->content);
}

static bool has_other_address(const struct witness *a, const struct witness *b)
{
    return is_anybody(a) || is_anybody(b) || a->address != b->address;
}

static bool is_other(const struct witness *a, const struct witness *b)
{
    return has_other_address(a, b) && (is_anybody(a) || is_anybody(b) || a->content != b->content);
}

/* Remembers the first message that met this; true when there was one before. */
static bool charge(struct throttle *throttle, enum charge charge, const struct witness *witness)
{
    if (throttle->is_charged[charge])
        return true;
    throttle->is_charged[charge] = true;
    throttle->first[charge] = witness ? *witness : (struct witness){0};
    return false;
}

/* A second message, by its address, meets the same. */
static bool is_second(struct throttle *throttle, enum charge kind, const struct witness *witness)
{
    return charge(throttle, kind, witness) && has_other_address(&throttle->first[kind], witness);
}

static void acquit(struct throttle *throttle)
{
    throttle->strikes = 0;
    throttle->has_other_address = false;
    throttle->is_setup_confirmed = false;
    for (int i = 0; i < CHARGE_COUNT; i++)
        throttle->is_charged[i] = false;
}

bool throttle_is_own_fault(const struct throttle *throttle, int64_t since_ms,
                           const struct witness *witness)
{
    bool has_company = throttle->is_charged[CHARGE_SETUP] &&
                       has_other_address(&throttle->first[CHARGE_SETUP], witness);

    return throttle->breaker == BREAKER_CLOSED && throttle->good_ms > since_ms && !has_company;
}

bool throttle_is_impartial(const struct throttle *throttle, const struct witness *witness)
{
    for (int i = 0; i < CHARGE_COUNT; i++)
        if (throttle->is_charged[i] && !is_other(&throttle->first[i], witness))
            return false;
    return true;
}

/* ---- window and breaker ---- */

static void move_to(struct throttle *throttle, enum breaker breaker)
{
    throttle->breaker = breaker;
    throttle->moves[breaker]++;
}

/*
 * The window in force.  A reload may lower the maximum below a window that was already wider;
 * every question about room or waiting asks this function, so that the answers agree.
 */
static unsigned current_window(const struct throttle *throttle)
{
    unsigned max_window = throttle->config->max_window;

    return max_window > 0 && throttle->window > max_window ? max_window : throttle->window;
}

unsigned throttle_room(struct throttle *throttle, int64_t now_ms)
{
    unsigned window = current_window(throttle);

    if (throttle->paused_until_ms > now_ms)
        return 0;
    if (throttle->breaker == BREAKER_OPEN && throttle->open_until_ms <= now_ms)
        move_to(throttle, BREAKER_HALF_OPEN);
    if (throttle->breaker == BREAKER_OPEN)
        return 0;
    if (throttle->breaker == BREAKER_HALF_OPEN)
        return throttle->is_probing ? 0 : 1;
    return throttle->inflight < window ? window - throttle->inflight : 0;
}

bool throttle_take(struct throttle *throttle, int64_t now_ms)
{
    if (throttle_room(throttle, now_ms) == 0)
        return false;
    if (throttle->breaker == BREAKER_HALF_OPEN)
        throttle->is_probing = true;
    throttle->inflight++;
    return true;
}

static void open_breaker(struct throttle *throttle, int64_t now_ms)
{
    if (throttle->breaker == BREAKER_OPEN)
        return; /* answers to what was under way when it opened say nothing new */
    if (throttle->breaker == BREAKER_HALF_OPEN) {
        throttle->shut_ms *= 2;
        if (throttle->shut_ms > throttle->config->shut_max_ms)
            throttle->shut_ms = throttle->config->shut_max_ms;
    }
    move_to(throttle, BREAKER_OPEN);
    throttle->open_until_ms = now_ms + throttle->shut_ms;
    throttle->window = start_window(throttle->config);
    throttle->settling = 0;
}

static void on_answer(struct throttle *throttle)
{
    acquit(throttle);
    if (throttle->breaker == BREAKER_OPEN)
        return; /* a straggler; the probe decides */
    if (throttle->breaker == BREAKER_HALF_OPEN) {
        move_to(throttle, BREAKER_CLOSED);
        throttle->shut_ms = throttle->config->shut_min_ms;
    }
    if (throttle->window < throttle->config->max_window)
        throttle->window++;
}

/* So many in a row, and not all of one address. */
static bool is_struck(const struct throttle *throttle)
{
    return throttle->config->max_strikes > 0 && throttle->has_other_address &&
           throttle->strikes >= throttle->config->max_strikes;
}

static void strike(struct throttle *throttle, const struct outcome *outcome,
                   const struct witness *witness)
{
    throttle->strikes++;
    if (outcome->is_connection || outcome->is_before_message ||
        throttle->config->max_strikes == 1 || is_second(throttle, CHARGE_FAILURE, witness))
        throttle->has_other_address = true;
}

static void on_failure(struct throttle *throttle, const struct outcome *outcome,
                       const struct witness *witness, int64_t now_ms)
{
    strike(throttle, outcome, witness);
    if (throttle->config->max_strikes == 0)
        return;
    if (throttle->breaker == BREAKER_HALF_OPEN || is_struck(throttle))
        open_breaker(throttle, now_ms);
}

static void on_setup_error(struct throttle *throttle, const struct outcome *outcome,
                           const struct witness *witness, int64_t now_ms)
{
    strike(throttle, outcome, witness);
    if ((charge(throttle, CHARGE_SETUP, witness) &&
         is_other(&throttle->first[CHARGE_SETUP], witness)) ||
        outcome->is_before_message)
        throttle->is_setup_confirmed = true;
    if (throttle->breaker == BREAKER_HALF_OPEN || throttle->is_setup_confirmed ||
        is_struck(throttle))
        open_breaker(throttle, now_ms);
}

static void pause_for(struct throttle *throttle, int64_t wait_ms, int64_t now_ms)
{
    if (throttle->config->max_strikes == 0)
        return;
    if (wait_ms > throttle->config->shut_max_ms)
        wait_ms = throttle->config->shut_max_ms;
    if (now_ms + wait_ms > throttle->paused_until_ms)
        throttle->paused_until_ms = now_ms + wait_ms;
}

static void settle_one(struct throttle *throttle)
{
    if (throttle->settling > 0)
        throttle->settling--;
}

/* The account's own rate is believed at once; anything else when a second address meets it. */
static void on_named_time(struct throttle *throttle, const struct outcome *outcome,
                          const struct witness *witness, int64_t now_ms)
{
    bool is_sure = outcome->reason == REASON_RATE_LIMITED && !outcome->is_unsure;

    if (is_second(throttle, CHARGE_RATE, witness) || is_sure || is_anybody(witness))
        pause_for(throttle, outcome->retry_after_ms, now_ms);
}

/*
 * A full window that is refused answers as often as it was wide.  Only the first answer halves:
 * those that were under way with it (settling) tell of the same moment.
 */
static void on_throttled(struct throttle *throttle, const struct outcome *outcome,
                         const struct witness *witness, int64_t now_ms)
{
    if (!is_second(throttle, CHARGE_RATE, witness) && outcome->is_unsure) {
        settle_one(throttle);
        return;
    }
    if (throttle->settling == 0) {
        unsigned window = current_window(throttle);

        if (window > 1)
            throttle->window = window / 2;
        else if (outcome->retry_after_ms < 0)
            pause_for(throttle, throttle->config->shut_min_ms, now_ms);
        throttle->settling = throttle->inflight;
    } else {
        throttle->settling--;
    }
    if (outcome->retry_after_ms >= 0)
        pause_for(throttle, outcome->retry_after_ms, now_ms);
}

void throttle_give(struct throttle *throttle, const struct outcome *outcome,
                   const struct witness *witness, int64_t now_ms)
{
    /* What is about the target alone is, for the destination, an answer. */
    enum outcome_kind kind = outcome->is_target_only ? OUTCOME_PERMANENT : outcome->kind;

    ASSERT(throttle->inflight > 0);
    throttle->inflight--;
    switch (kind) {
    case OUTCOME_DELIVERED:
    case OUTCOME_ACCEPTED:
        throttle->good_ms = now_ms;
        on_answer(throttle);
        break;
    case OUTCOME_PERMANENT:
    case OUTCOME_DEAD_TARGET:
        on_answer(throttle);
        break;
    case OUTCOME_RETRY:
    case OUTCOME_UNKNOWN:
        on_failure(throttle, outcome, witness, now_ms);
        break;
    case OUTCOME_RETRY_AFTER:
        if (outcome->retry_after_ms < 0)
            on_failure(throttle, outcome, witness, now_ms);
        else
            on_named_time(throttle, outcome, witness, now_ms);
        break;
    case OUTCOME_THROTTLE:
        on_throttled(throttle, outcome, witness, now_ms);
        break;
    case OUTCOME_AUTH_CONFIG_ERROR:
        on_setup_error(throttle, outcome, witness, now_ms);
        break;
    case OUTCOME_EXPIRED:
    case OUTCOME_CANCELLED:
    case OUTCOME_SUPPRESSED:
    case OUTCOME_REPORTED:
    case OUTCOME_COUNT:
        break; /* nobody was asked */
    }
    if (kind != OUTCOME_THROTTLE)
        settle_one(throttle);
    throttle->is_probing = false;
}

int64_t throttle_next_ms(const struct throttle *throttle, int64_t now_ms)
{
    int64_t next_ms = now_ms;

    if (throttle->breaker == BREAKER_HALF_OPEN && throttle->is_probing)
        return -1;
    if (throttle->breaker == BREAKER_CLOSED && throttle->inflight >= current_window(throttle))
        return -1;
    if (throttle->breaker == BREAKER_OPEN && throttle->open_until_ms > next_ms)
        next_ms = throttle->open_until_ms;
    if (throttle->paused_until_ms > next_ms)
        next_ms = throttle->paused_until_ms;
    return next_ms;
}

void throttle_cancel(struct throttle *throttle)
{
    ASSERT(throttle->inflight > 0);
    throttle->inflight--;
    if (throttle->breaker == BREAKER_HALF_OPEN)
        throttle->is_probing = false;
}

void throttle_pause(struct throttle *throttle, int64_t for_ms, int64_t now_ms)
{
    pause_for(throttle, for_ms, now_ms);
}

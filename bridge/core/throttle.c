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
    };
}

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
    throttle->strikes = 0;
    if (throttle->breaker == BREAKER_OPEN)
        return; /* a straggler; the probe decides */
    if (throttle->breaker == BREAKER_HALF_OPEN) {
        move_to(throttle, BREAKER_CLOSED);
        throttle->shut_ms = throttle->config->shut_min_ms;
    }
    if (throttle->window < throttle->config->max_window)
        throttle->window++;
}

static void on_failure(struct throttle *throttle, int64_t now_ms)
{
    throttle->strikes++;
    if (throttle->config->max_strikes == 0)
        return;
    if (throttle->breaker == BREAKER_HALF_OPEN ||
        throttle->strikes >= throttle->config->max_strikes)
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

/*
 * A full window that is refused answers as often as it was wide.  Only the first answer halves:
 * those that were under way with it (settling) tell of the same moment.
 */
static void on_throttled(struct throttle *throttle, const struct outcome *outcome, int64_t now_ms)
{
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

void throttle_give(struct throttle *throttle, const struct outcome *outcome, int64_t now_ms)
{
    /* What is about the target alone is, for the destination, an answer. */
    enum outcome_kind kind = outcome->is_target_only ? OUTCOME_PERMANENT : outcome->kind;

    ASSERT(throttle->inflight > 0);
    throttle->inflight--;
    switch (kind) {
    case OUTCOME_DELIVERED:
    case OUTCOME_ACCEPTED:
    case OUTCOME_PERMANENT:
    case OUTCOME_DEAD_TARGET:
        on_answer(throttle);
        break;
    case OUTCOME_RETRY:
    case OUTCOME_UNKNOWN:
        on_failure(throttle, now_ms);
        break;
    case OUTCOME_RETRY_AFTER:
        if (outcome->retry_after_ms < 0)
            on_failure(throttle, now_ms);
        else
            pause_for(throttle, outcome->retry_after_ms, now_ms);
        break;
    case OUTCOME_THROTTLE:
        on_throttled(throttle, outcome, now_ms);
        break;
    case OUTCOME_AUTH_CONFIG_ERROR:
        throttle->strikes++;
        open_breaker(throttle, now_ms);
        break;
    case OUTCOME_EXPIRED:
    case OUTCOME_CANCELLED:
    case OUTCOME_SUPPRESSED:
    case OUTCOME_REPORTED:
    case OUTCOME_COUNT:
        break; /* nobody was asked */
    }
    if (kind != OUTCOME_THROTTLE && throttle->settling > 0)
        throttle->settling--;
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

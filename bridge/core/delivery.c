/* SPDX-License-Identifier: MIT */
#include "core/delivery.h"

#include "base/panic.h"

#define RETRY_AFTER_MIN_MS 1000
#define RETRY_AFTER_MAX_MS 3600000
#define NAMED_ROUNDS       3 /* so often a named time is believed */
#define BIT(state)         (1U << (state))

static const char *const state_names[DELIVERY_STATE_COUNT] = {
    [DELIVERY_READY] = "ready",
    [DELIVERY_LEASED] = "leased",
    [DELIVERY_HELD] = "held",
    [DELIVERY_SENT] = "sent",
    [DELIVERY_DELIVERED] = "delivered",
    [DELIVERY_DEAD] = "dead",
    [DELIVERY_SUPPRESSED] = "suppressed",
    [DELIVERY_EXPIRED] = "expired",
    [DELIVERY_CANCELLED] = "cancelled",
};

/* docs/lifecycle.md has the same table with the reasons; a test compares them. */
static const unsigned moves[DELIVERY_STATE_COUNT] = {
    [DELIVERY_READY] = BIT(DELIVERY_LEASED) | BIT(DELIVERY_DELIVERED) | BIT(DELIVERY_SUPPRESSED) |
                       BIT(DELIVERY_CANCELLED),
    [DELIVERY_LEASED] = BIT(DELIVERY_READY) | BIT(DELIVERY_HELD) | BIT(DELIVERY_SENT) |
                        BIT(DELIVERY_DELIVERED) | BIT(DELIVERY_DEAD) | BIT(DELIVERY_SUPPRESSED) |
                        BIT(DELIVERY_EXPIRED) | BIT(DELIVERY_CANCELLED),
    [DELIVERY_HELD] = BIT(DELIVERY_READY) | BIT(DELIVERY_LEASED) | BIT(DELIVERY_DELIVERED) |
                      BIT(DELIVERY_SUPPRESSED) | BIT(DELIVERY_CANCELLED),
    [DELIVERY_SENT] = BIT(DELIVERY_DELIVERED) | BIT(DELIVERY_DEAD) | BIT(DELIVERY_SUPPRESSED),
    [DELIVERY_DEAD] = BIT(DELIVERY_READY) | BIT(DELIVERY_LEASED) | BIT(DELIVERY_DELIVERED),
};

const char *delivery_state_name(enum delivery_state state)
{
    return (unsigned)state < DELIVERY_STATE_COUNT ? state_names[state] : "unknown";
}

bool delivery_is_final(enum delivery_state state)
{
    return state >= DELIVERY_DELIVERED && state < DELIVERY_STATE_COUNT;
}

bool delivery_can_move(enum delivery_state from, enum delivery_state to)
{
    ASSERT((unsigned)from < DELIVERY_STATE_COUNT && (unsigned)to < DELIVERY_STATE_COUNT);
    return (moves[from] & BIT(to)) != 0;
}

void delivery_set_state(enum delivery_state *state, enum delivery_state to)
{
    if (!delivery_can_move(*state, to))
        panic("a delivery was moved between states that no arrow joins");
    *state = to;
}

/* base * factor^(attempts - 1), capped; with jitter uniform in (0, that]. */
static int64_t backoff_ms(const struct retry_policy *policy, int attempts, uint64_t random)
{
    double delay = (double)policy->base_ms, cap = (double)policy->max_ms;
    int64_t delay_ms;

    for (int i = 1; i < attempts && delay < cap; i++)
        delay *= policy->factor;
    delay_ms = delay < cap ? (int64_t)delay : policy->max_ms;
    if (delay_ms < 1)
        delay_ms = 1;
    if (policy->is_jittered)
        delay_ms = 1 + (int64_t)(random % (uint64_t)delay_ms);
    return delay_ms;
}

static int64_t clamp_retry_after(int64_t ms)
{
    if (ms < RETRY_AFTER_MIN_MS)
        return RETRY_AFTER_MIN_MS;
    return ms > RETRY_AFTER_MAX_MS ? RETRY_AFTER_MAX_MS : ms;
}

static struct verdict settle(enum delivery_state state, bool costs_attempt)
{
    return (struct verdict){.state = state, .costs_attempt = costs_attempt};
}

/*
 * What a provider's rules ask to be waited before any repeat comes on top of the backoff: so the
 * many that failed in one moment do not come back in one.
 */
static int64_t floor_ms(const struct outcome *outcome)
{
    if (outcome->kind != OUTCOME_RETRY || outcome->retry_after_ms <= 0)
        return 0;
    return outcome->retry_after_ms < RETRY_AFTER_MAX_MS ? outcome->retry_after_ms
                                                        : RETRY_AFTER_MAX_MS;
}

static bool is_free(const struct outcome *outcome)
{
    bool is_provider_away = outcome->is_connection && !outcome->is_target_only;

    /* What is about the target alone is nobody's outage. */
    if (outcome->is_counted ||
        (outcome->is_target_only && outcome->kind == OUTCOME_AUTH_CONFIG_ERROR))
        return false;
    return outcome->kind == OUTCOME_THROTTLE || outcome->kind == OUTCOME_AUTH_CONFIG_ERROR ||
           outcome->reason == REASON_RATE_LIMITED || is_provider_away;
}

/* A time that is named is kept; named again and again without effect, it is too short. */
static int64_t named_ms(const struct outcome *outcome, const struct retry_policy *policy, int round,
                        uint64_t random)
{
    int64_t named = clamp_retry_after(outcome->retry_after_ms);
    int64_t grown = round > NAMED_ROUNDS ? backoff_ms(policy, round - NAMED_ROUNDS, random) : 0;

    return grown > named ? grown : named;
}

static int64_t delay_ms(const struct outcome *outcome, const struct retry_policy *policy, int round,
                        uint64_t random)
{
    if (outcome->kind == OUTCOME_AUTH_CONFIG_ERROR)
        return policy->max_ms > 0 ? policy->max_ms : 1;
    if (outcome->retry_after_ms >= 0 &&
        (outcome->kind == OUTCOME_RETRY_AFTER || outcome->kind == OUTCOME_THROTTLE))
        return named_ms(outcome, policy, round, random);
    return backoff_ms(policy, round, random) + floor_ms(outcome);
}

/* The outcomes that ask for another try. */
static struct verdict judge_again(const struct outcome *outcome, const struct retry_policy *policy,
                                  struct tries tries, int64_t now_wall_ms, int64_t expires_at_ms,
                                  uint64_t random)
{
    struct verdict verdict = settle(DELIVERY_READY, !is_free(outcome));
    int round = verdict.costs_attempt ? tries.attempts : tries.deferrals;
    bool is_last = verdict.costs_attempt
                       ? round >= policy->attempts
                       : round >= DELIVERY_DEFERRALS_MAX && tries.age_ms >= DELIVERY_DEFERRALS_MS;

    if (is_last)
        return settle(DELIVERY_DEAD, true);
    verdict.delay_ms = delay_ms(outcome, policy, round, random);
    if (expires_at_ms > 0 && verdict.delay_ms >= expires_at_ms - now_wall_ms)
        return settle(DELIVERY_EXPIRED, verdict.costs_attempt);
    return verdict;
}

struct verdict delivery_judge(const struct outcome *outcome, const struct retry_policy *policy,
                              struct tries tries, int64_t now_wall_ms, int64_t expires_at_ms,
                              uint64_t random)
{
    switch (outcome->kind) {
    case OUTCOME_DELIVERED:
        return settle(DELIVERY_DELIVERED, true);
    case OUTCOME_ACCEPTED:
        return settle(DELIVERY_SENT, true);
    case OUTCOME_PERMANENT:
    case OUTCOME_DEAD_TARGET:
        return settle(reason_is_suppression(outcome->reason) ? DELIVERY_SUPPRESSED : DELIVERY_DEAD,
                      true);
    case OUTCOME_EXPIRED:
        return settle(DELIVERY_EXPIRED, false);
    case OUTCOME_CANCELLED:
        return settle(DELIVERY_CANCELLED, false);
    case OUTCOME_SUPPRESSED:
        return settle(DELIVERY_SUPPRESSED, false);
    case OUTCOME_RETRY:
    case OUTCOME_RETRY_AFTER:
    case OUTCOME_THROTTLE:
    case OUTCOME_AUTH_CONFIG_ERROR:
    case OUTCOME_UNKNOWN:
        return judge_again(outcome, policy, tries, now_wall_ms, expires_at_ms, random);
    case OUTCOME_REPORTED:
    case OUTCOME_COUNT:
        break;
    }
    panic("an outcome of no known kind");
}

bool reason_is_absence(enum reason reason)
{
    return reason == REASON_USER_OFFLINE || reason == REASON_ACK_TIMEOUT;
}

struct verdict delivery_wait(const struct verdict *verdict, enum reason reason, int64_t now_wall_ms,
                             int64_t until_ms)
{
    struct verdict waits = *verdict;

    if (verdict->state != DELIVERY_DEAD || !reason_is_absence(reason))
        return waits;
    if (until_ms <= now_wall_ms)
        return settle(DELIVERY_EXPIRED, verdict->costs_attempt);
    waits.state = DELIVERY_HELD;
    waits.delay_ms = until_ms - now_wall_ms;
    return waits;
}

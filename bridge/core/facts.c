/* SPDX-License-Identifier: MIT */
#include "core/facts.h"

#include "base/panic.h"

enum reason proof_reason(enum dead_proof proof)
{
    static const enum reason reasons[PROOF_COUNT] = {
        [PROOF_NONE] = REASON_NONE,
        [PROOF_NO_MAILBOX] = REASON_BOUNCED,
        [PROOF_LISTED] = REASON_BOUNCED,
        [PROOF_OPTED_OUT] = REASON_OPTED_OUT,
        [PROOF_UNREGISTERED] = REASON_TARGET_DEAD,
        [PROOF_NOT_AN_ADDRESS] = REASON_TARGET_INVALID,
    };

    ASSERT((unsigned)proof < PROOF_COUNT);
    return reasons[proof];
}

static enum outcome_kind kind_of_trouble(const struct facts *facts)
{
    switch (facts->trouble) {
    case TROUBLE_SETUP:
        return OUTCOME_AUTH_CONFIG_ERROR;
    case TROUBLE_SENDER:
        return facts->is_own_sender ? OUTCOME_PERMANENT : OUTCOME_AUTH_CONFIG_ERROR;
    case TROUBLE_RATE:
        return OUTCOME_THROTTLE;
    case TROUBLE_QUOTA:
        return facts->wait_ms >= 0 ? OUTCOME_RETRY_AFTER : OUTCOME_RETRY;
    case TROUBLE_UNWELL:
        return OUTCOME_RETRY;
    case TROUBLE_NONE:
        break;
    }
    panic("trouble of no known kind");
}

static enum outcome_kind kind_of(const struct facts *facts)
{
    if (facts->dead && facts->is_shared_target)
        return OUTCOME_AUTH_CONFIG_ERROR;
    if (facts->dead)
        return OUTCOME_DEAD_TARGET;
    if (facts->is_refused == FACT_YES)
        return OUTCOME_PERMANENT;
    if (facts->trouble)
        return kind_of_trouble(facts);
    if (facts->processed == FACT_YES)
        return OUTCOME_ACCEPTED;
    return facts->processed == FACT_UNKNOWN ? OUTCOME_UNKNOWN : OUTCOME_RETRY;
}

static enum reason reason_of(const struct facts *facts)
{
    if (facts->dead)
        return facts->is_shared_target ? REASON_PROVIDER_AUTH : proof_reason(facts->dead);
    return reason_is_suppression(facts->reason) ? REASON_PROVIDER_REJECTED : facts->reason;
}

void outcome_of_facts(struct outcome *outcome, const struct facts *facts, const char *detail)
{
    outcome_set(outcome, kind_of(facts), reason_of(facts), detail);
    outcome->retry_after_ms = facts->wait_ms;
    outcome->is_target_only = facts->is_target_only;
    outcome->is_unsure = facts->is_unsure;
}

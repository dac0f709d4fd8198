/* SPDX-License-Identifier: MIT */
/*
 * facts - what a provider's answer makes certain, and the one rule that turns it into an outcome
 *
 * An adapter does not decide what happens to a delivery.  It reports four facts: whether this
 * address is dead, whether this message is refused for good, whether the destination is in
 * trouble, and whether the request was processed.  outcome_of_facts() is the only function that
 * turns facts into an outcome, so that all adapters act alike.
 *
 * An address is taken out of use by a proof and by nothing else.  enum dead_proof is the list of
 * proofs, and each proof has its own reason: an answer that proves nothing can end the delivery
 * as a dead letter, but it can neither deactivate a target nor suppress an address.  A refusal
 * that may be due to our reputation, our settings or our content is no proof.
 *
 * Purity: data only.
 */
#ifndef TOCSIN_CORE_FACTS_H
#define TOCSIN_CORE_FACTS_H
#include "core/outcome.h"
#include <stdbool.h>
#include <stdint.h>

enum fact { FACT_UNKNOWN, FACT_NO, FACT_YES };

/* Why an address is certainly dead. */
enum dead_proof {
    PROOF_NONE,           /* it is not certain */
    PROOF_NO_MAILBOX,     /* the mail server says so of this mailbox, at RCPT: bounced */
    PROOF_LISTED,         /* on the provider's own list of bounced addresses: bounced */
    PROOF_OPTED_OUT,      /* the recipient stopped messages: opted_out */
    PROOF_UNREGISTERED,   /* the device, subscription, room or endpoint does not exist any more:
                             target_dead */
    PROOF_NOT_AN_ADDRESS, /* it can never be one of this channel: target_invalid */
    PROOF_COUNT
};

/* What is wrong with the destination: account, key, host. */
enum trouble {
    TROUBLE_NONE,
    TROUBLE_SETUP,  /* credentials, account or settings are refused */
    TROUBLE_SENDER, /* the sender is refused; the request's own fault where it chose the sender */
    TROUBLE_RATE,   /* too much at once */
    TROUBLE_QUOTA,  /* nothing more before some time */
    TROUBLE_UNWELL  /* it fails for the moment */
};

struct facts {
    enum dead_proof dead;  /* this address */
    enum fact is_refused;  /* this message, for good */
    enum trouble trouble;  /* the destination's, or with is_target_only that target's */
    enum fact processed;   /* FACT_UNKNOWN: the message may have gone out */
    bool is_target_only;   /* trouble of the target alone */
    bool is_unsure;        /* trouble of the target alone, perhaps */
    enum reason reason;    /* of all but a proof */
    int64_t wait_ms;       /* the least wait that the answer asks for; -1: none */
    bool is_own_sender;    /* the request chose the sender */
    bool is_shared_target; /* the address is the destination's own, not the recipient's */
};

/* The reason that a proof gives; REASON_NONE for PROOF_NONE. */
enum reason proof_reason(enum dead_proof proof);

/*
 * The outcome of an attempt.  In this order: a proof is DEAD_TARGET (a shared target is the
 * destination's trouble instead); a refusal is PERMANENT; trouble is AUTH_CONFIG_ERROR, THROTTLE,
 * RETRY_AFTER or RETRY; what was processed is ACCEPTED; what may have been processed is UNKNOWN;
 * the rest is RETRY.  A reason that would suppress (opted_out, bounced, complained) is replaced by
 * provider_rejected unless a proof stands behind it.
 */
void outcome_of_facts(struct outcome *outcome, const struct facts *facts, const char *detail);

#endif

/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/facts.h"

static struct outcome outcome_from(struct facts facts)
{
    struct outcome outcome;

    outcome_of_facts(&outcome, &facts, "");
    return outcome;
}

/* All facts that there can be, with every reason. */
static void only_a_proof_takes_an_address_out_of_use(void **state)
{
    (void)state;
    for (int refused = FACT_UNKNOWN; refused <= FACT_YES; refused++)
        for (int trouble = TROUBLE_NONE; trouble <= TROUBLE_UNWELL; trouble++)
            for (int processed = FACT_UNKNOWN; processed <= FACT_YES; processed++)
                for (int reason = REASON_NONE; reason < REASON_COUNT; reason++) {
                    struct outcome outcome =
                        outcome_from((struct facts){.is_refused = (enum fact)refused,
                                                    .trouble = (enum trouble)trouble,
                                                    .processed = (enum fact)processed,
                                                    .reason = (enum reason)reason,
                                                    .wait_ms = reason % 2 ? -1 : 1000});

                    assert_int_not_equal(outcome.kind, OUTCOME_DEAD_TARGET);
                    assert_false(reason_is_suppression(outcome.reason));
                }
}

static void a_proof_has_its_own_reason(void **state)
{
    (void)state;
    for (int proof = PROOF_NONE + 1; proof < PROOF_COUNT; proof++) {
        struct outcome outcome = outcome_from((struct facts){
            .dead = (enum dead_proof)proof, .reason = REASON_INTERNAL, .wait_ms = -1});

        assert_int_equal(outcome.kind, OUTCOME_DEAD_TARGET);
        assert_int_equal(outcome.reason, proof_reason((enum dead_proof)proof));
    }
}

static void a_dead_address_of_the_destinations_own_is_its_trouble(void **state)
{
    (void)state;
    assert_int_equal(
        outcome_from(
            (struct facts){.dead = PROOF_UNREGISTERED, .is_shared_target = true, .wait_ms = -1})
            .kind,
        OUTCOME_AUTH_CONFIG_ERROR);
}

static void what_may_have_been_processed_is_unknown(void **state)
{
    (void)state;
    assert_int_equal(outcome_from((struct facts){.wait_ms = -1}).kind, OUTCOME_UNKNOWN);
    assert_int_equal(outcome_from((struct facts){.processed = FACT_NO, .wait_ms = -1}).kind,
                     OUTCOME_RETRY);
    assert_int_equal(outcome_from((struct facts){.processed = FACT_YES, .wait_ms = -1}).kind,
                     OUTCOME_ACCEPTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_proof_takes_an_address_out_of_use),
        cmocka_unit_test(a_proof_has_its_own_reason),
        cmocka_unit_test(a_dead_address_of_the_destinations_own_is_its_trouble),
        cmocka_unit_test(what_may_have_been_processed_is_unknown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

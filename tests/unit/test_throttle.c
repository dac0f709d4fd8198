/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/throttle.h"

static const struct throttle_config config = {
    .max_window = 100, .max_strikes = 5, .shut_min_ms = 1000, .shut_max_ms = 60000};

static void give(struct throttle *throttle, enum outcome_kind kind, int64_t after_ms, int64_t now)
{
    struct outcome outcome;

    outcome_set(&outcome, kind, REASON_NONE, "");
    outcome.retry_after_ms = after_ms;
    throttle_give(throttle, &outcome, NULL, now);
}

static void one(struct throttle *throttle, enum outcome_kind kind, int64_t after_ms, int64_t now)
{
    assert_true(throttle_take(throttle, now));
    give(throttle, kind, after_ms, now);
}

static void fill(struct throttle *throttle, int64_t now)
{
    while (throttle_take(throttle, now))
        ;
}

static void the_window_starts_small_and_opens_with_every_answer(void **state)
{
    struct throttle throttle;

    (void)state;
    throttle_init(&throttle, &config);
    assert_int_equal(throttle_room(&throttle, 0), 20);
    one(&throttle, OUTCOME_DELIVERED, -1, 0);
    one(&throttle, OUTCOME_ACCEPTED, -1, 0);
    one(&throttle, OUTCOME_PERMANENT, -1, 0);
    one(&throttle, OUTCOME_DEAD_TARGET, -1, 0);
    assert_int_equal(throttle_room(&throttle, 0), 24);
    for (int i = 0; i < 200; i++)
        one(&throttle, OUTCOME_ACCEPTED, -1, 0);
    assert_int_equal(throttle_room(&throttle, 0), 100);
}

static void the_first_window_is_five_or_the_maximum_if_that_is_less(void **state)
{
    static const struct {
        unsigned max, start;
    } cases[] = {{0, 1}, {1, 1}, {3, 3}, {10, 5}, {25, 5}, {50, 10}, {1000, 200}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct throttle_config own = config;
        struct throttle throttle;

        own.max_window = cases[i].max;
        throttle_init(&throttle, &own);
        assert_int_equal(throttle.window, cases[i].start);
        assert_int_equal(throttle_room(&throttle, 0), cases[i].start);
    }
}

static void a_full_window_waits_for_an_answer_not_for_time(void **state)
{
    struct throttle throttle;

    (void)state;
    throttle_init(&throttle, &config);
    assert_int_equal(throttle_next_ms(&throttle, 7), 7);
    fill(&throttle, 0);
    assert_int_equal(throttle.inflight, 20);
    assert_int_equal(throttle_next_ms(&throttle, 7), -1);
    give(&throttle, OUTCOME_CANCELLED, -1, 7);
    assert_int_equal(throttle_room(&throttle, 7), 1);
}

static void a_throttled_window_is_halved_once_for_all_that_was_under_way(void **state)
{
    struct throttle throttle;

    (void)state;
    throttle_init(&throttle, &config);
    fill(&throttle, 0);
    for (int i = 0; i < 20; i++)
        give(&throttle, OUTCOME_THROTTLE, -1, 0);
    assert_int_equal(throttle.window, 10);
    one(&throttle, OUTCOME_THROTTLE, -1, 0);
    assert_int_equal(throttle.window, 5);
    for (int i = 0; i < 3; i++)
        one(&throttle, OUTCOME_THROTTLE, -1, 0);
    assert_int_equal(throttle.window, 1);
    assert_int_equal(throttle.breaker, BREAKER_CLOSED);
}

static void a_throttle_that_cannot_be_narrowed_pauses(void **state)
{
    struct throttle_config single = config;
    struct throttle throttle;

    (void)state;
    single.max_window = 1;
    throttle_init(&throttle, &single);
    one(&throttle, OUTCOME_THROTTLE, -1, 100);
    assert_int_equal(throttle_room(&throttle, 1099), 0);
    assert_int_equal(throttle_next_ms(&throttle, 100), 1100);
    assert_int_equal(throttle_room(&throttle, 1100), 1);
}

static void retry_after_pauses_without_opening_the_breaker(void **state)
{
    static const enum outcome_kind kinds[] = {OUTCOME_THROTTLE, OUTCOME_RETRY_AFTER};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct throttle throttle;

        throttle_init(&throttle, &config);
        for (int n = 0; n < 10; n++)
            one(&throttle, kinds[i], 3000, n * 3000);
        assert_int_equal(throttle.breaker, BREAKER_CLOSED);
        assert_int_equal(throttle_room(&throttle, 29999), 0);
        assert_int_equal(throttle_next_ms(&throttle, 27001), 30000);
        assert_true(throttle_room(&throttle, 30000) > 0);
    }
}

static void a_pause_is_never_longer_than_the_longest_wait(void **state)
{
    struct throttle throttle;

    (void)state;
    throttle_init(&throttle, &config);
    one(&throttle, OUTCOME_THROTTLE, 86400000, 0);
    assert_int_equal(throttle_next_ms(&throttle, 0), 60000);
}

static void strikes_in_a_row_open_the_breaker_and_an_answer_forgives_them(void **state)
{
    struct throttle throttle;

    (void)state;
    throttle_init(&throttle, &config);
    for (int i = 0; i < 4; i++)
        one(&throttle, OUTCOME_RETRY, -1, 0);
    one(&throttle, OUTCOME_ACCEPTED, -1, 0);
    for (int i = 0; i < 4; i++)
        one(&throttle, OUTCOME_UNKNOWN, -1, 0);
    assert_int_equal(throttle.breaker, BREAKER_CLOSED);
    one(&throttle, OUTCOME_RETRY, -1, 50);
    assert_int_equal(throttle.breaker, BREAKER_OPEN);
    assert_int_equal(throttle_room(&throttle, 1049), 0);
    assert_int_equal(throttle_next_ms(&throttle, 50), 1050);
}

static void an_open_breaker_lets_one_probe_through_and_doubles_the_wait(void **state)
{
    struct throttle throttle;
    int64_t now = 0, wait = 1000;

    (void)state;
    throttle_init(&throttle, &config);
    for (int i = 0; i < 5; i++)
        one(&throttle, OUTCOME_RETRY, -1, now);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(throttle_next_ms(&throttle, now), now + wait);
        assert_false(throttle_take(&throttle, now + wait - 1));
        now += wait;
        assert_true(throttle_take(&throttle, now));
        assert_false(throttle_take(&throttle, now));
        assert_int_equal(throttle_next_ms(&throttle, now), -1);
        give(&throttle, OUTCOME_RETRY, -1, now);
        assert_int_equal(throttle.breaker, BREAKER_OPEN);
        wait = wait * 2 > 60000 ? 60000 : wait * 2;
    }
    now += wait;
    one(&throttle, OUTCOME_PERMANENT, -1, now);
    assert_int_equal(throttle.breaker, BREAKER_CLOSED);
    assert_int_equal(throttle.moves[BREAKER_OPEN], 11);
    assert_int_equal(throttle.moves[BREAKER_HALF_OPEN], 11);
    assert_int_equal(throttle.moves[BREAKER_CLOSED], 1);
    assert_int_equal(throttle_room(&throttle, now), 21);
    for (int i = 0; i < 5; i++)
        one(&throttle, OUTCOME_RETRY, -1, now);
    assert_int_equal(throttle_next_ms(&throttle, now), now + 1000);
}

static void stragglers_neither_close_nor_lengthen_an_open_breaker(void **state)
{
    struct throttle throttle;

    (void)state;
    throttle_init(&throttle, &config);
    fill(&throttle, 0);
    for (int i = 0; i < 5; i++)
        give(&throttle, OUTCOME_RETRY, -1, 0);
    for (int i = 0; i < 5; i++)
        give(&throttle, OUTCOME_RETRY, -1, 500);
    give(&throttle, OUTCOME_DELIVERED, -1, 500);
    assert_int_equal(throttle.breaker, BREAKER_OPEN);
    assert_int_equal(throttle_next_ms(&throttle, 500), 1000);
}

static void a_misconfigured_destination_is_shut_at_the_second_witness(void **state)
{
    struct throttle throttle;

    (void)state;
    throttle_init(&throttle, &config);
    one(&throttle, OUTCOME_AUTH_CONFIG_ERROR, -1, 0);
    assert_int_equal(throttle.breaker, BREAKER_CLOSED);
    one(&throttle, OUTCOME_AUTH_CONFIG_ERROR, -1, 0);
    assert_int_equal(throttle.breaker, BREAKER_OPEN);
    assert_false(throttle_take(&throttle, 999));
    assert_true(throttle_take(&throttle, 1000));
    give(&throttle, OUTCOME_AUTH_CONFIG_ERROR, -1, 1000);
    assert_int_equal(throttle_next_ms(&throttle, 1000), 3000);
}

static void meets(struct throttle *throttle, enum outcome_kind kind, enum reason reason,
                  int64_t after_ms, struct witness witness, int64_t now)
{
    struct outcome outcome;

    outcome_set(&outcome, kind, reason, "");
    outcome.retry_after_ms = after_ms;
    outcome.is_unsure = reason == REASON_RATE_LIMITED;
    assert_true(throttle_take(throttle, now));
    throttle_give(throttle, &outcome, &witness, now);
}

static void one_message_never_stops_the_others_however_often_it_comes(void **state)
{
    static const enum outcome_kind kinds[] = {
        OUTCOME_RETRY,      OUTCOME_UNKNOWN,           OUTCOME_RETRY_AFTER,
        OUTCOME_THROTTLE,   OUTCOME_AUTH_CONFIG_ERROR, OUTCOME_PERMANENT,
        OUTCOME_DEAD_TARGET};

    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        for (int64_t after_ms = -1; after_ms < 60001; after_ms += 60001) {
            struct throttle throttle;

            throttle_init(&throttle, &config);
            for (int i = 0; i < 100; i++)
                meets(&throttle, kinds[k], REASON_RATE_LIMITED, after_ms, (struct witness){7, 8},
                      i);
            assert_int_equal(throttle.breaker, BREAKER_CLOSED);
            assert_true(throttle_room(&throttle, 100) >= 20);
        }
    }
}

static void one_address_or_one_content_is_one_witness(void **state)
{
    struct throttle throttle;

    (void)state;
    throttle_init(&throttle, &config);
    for (uint64_t i = 1; i < 4; i++)
        meets(&throttle, OUTCOME_AUTH_CONFIG_ERROR, 0, -1, (struct witness){7, i}, 0);
    for (uint64_t i = 1; i < 2; i++)
        meets(&throttle, OUTCOME_AUTH_CONFIG_ERROR, 0, -1, (struct witness){i, 1}, 0);
    assert_int_equal(throttle.breaker, BREAKER_CLOSED);
    meets(&throttle, OUTCOME_AUTH_CONFIG_ERROR, 0, -1, (struct witness){9, 9}, 0);
    assert_int_equal(throttle.breaker, BREAKER_OPEN);
}

static void what_fails_before_any_message_needs_no_witness(void **state)
{
    struct outcome outcome;
    struct throttle throttle;

    (void)state;
    throttle_init(&throttle, &config);
    outcome_set(&outcome, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH, "");
    outcome.is_before_message = true;
    assert_true(throttle_take(&throttle, 0));
    throttle_give(&throttle, &outcome, &(struct witness){1, 1}, 0);
    assert_int_equal(throttle.breaker, BREAKER_OPEN);
    assert_false(throttle_is_own_fault(&throttle, -5, &(struct witness){1, 1}));
}

static void an_outage_needs_two_addresses_but_no_two_contents(void **state)
{
    struct throttle throttle;

    (void)state;
    throttle_init(&throttle, &config);
    for (uint64_t i = 0; i < 4; i++)
        meets(&throttle, OUTCOME_RETRY, 0, -1, (struct witness){1, 1}, 0);
    assert_int_equal(throttle.breaker, BREAKER_CLOSED);
    meets(&throttle, OUTCOME_RETRY, 0, -1, (struct witness){2, 1}, 0);
    assert_int_equal(throttle.breaker, BREAKER_OPEN);
}

static void a_limit_that_may_be_of_one_target_needs_a_second_address(void **state)
{
    struct throttle throttle;

    (void)state;
    throttle_init(&throttle, &config);
    meets(&throttle, OUTCOME_THROTTLE, REASON_RATE_LIMITED, 5000, (struct witness){1, 1}, 0);
    assert_int_equal(throttle_room(&throttle, 0), 20);
    meets(&throttle, OUTCOME_THROTTLE, REASON_RATE_LIMITED, 5000, (struct witness){2, 1}, 0);
    assert_int_equal(throttle_room(&throttle, 0), 0);
    assert_int_equal(throttle_next_ms(&throttle, 0), 5000);
}

static void a_refusal_alone_among_others_that_are_taken_is_its_own_fault(void **state)
{
    struct witness bad = {1, 1}, good = {2, 2}, other = {3, 3};
    struct throttle throttle;

    (void)state;
    throttle_init(&throttle, &config);
    meets(&throttle, OUTCOME_AUTH_CONFIG_ERROR, 0, -1, bad, 100);
    assert_false(throttle_is_own_fault(&throttle, 100, &bad)); /* nobody was taken since */
    meets(&throttle, OUTCOME_PERMANENT, 0, -1, good, 200);
    assert_false(throttle_is_own_fault(&throttle, 100, &bad));
    meets(&throttle, OUTCOME_ACCEPTED, 0, -1, good, 200);
    assert_true(throttle_is_own_fault(&throttle, 100, &bad));
    assert_false(throttle_is_own_fault(&throttle, 300, &bad));
    meets(&throttle, OUTCOME_AUTH_CONFIG_ERROR, 0, -1, other, 400);
    assert_false(throttle_is_own_fault(&throttle, 100, &bad)); /* it is not alone any more */
    assert_true(throttle_is_own_fault(&throttle, 100, &other));
    meets(&throttle, OUTCOME_ACCEPTED, 0, -1, good, 500);
    assert_true(throttle_is_own_fault(&throttle, 100, &bad));
}

static void a_probe_is_none_of_those_that_accuse(void **state)
{
    struct throttle throttle;

    (void)state;
    throttle_init(&throttle, &config);
    assert_true(throttle_is_impartial(&throttle, &(struct witness){1, 1}));
    meets(&throttle, OUTCOME_RETRY, 0, -1, (struct witness){1, 1}, 0);
    assert_false(throttle_is_impartial(&throttle, &(struct witness){1, 2}));
    assert_false(throttle_is_impartial(&throttle, &(struct witness){2, 1}));
    assert_true(throttle_is_impartial(&throttle, &(struct witness){2, 2}));
}

static void with_no_strikes_allowed_one_target_never_stops_the_others(void **state)
{
    struct throttle_config shared = config;
    struct throttle throttle;

    (void)state;
    shared.max_strikes = 0;
    throttle_init(&throttle, &shared);
    for (int i = 0; i < 1000; i++)
        one(&throttle, OUTCOME_RETRY, -1, 0);
    one(&throttle, OUTCOME_RETRY_AFTER, 5000, 0);
    assert_int_equal(throttle.breaker, BREAKER_CLOSED);
    assert_int_equal(throttle_room(&throttle, 0), 20);
}

static void a_slot_that_was_not_used_says_nothing_of_the_destination(void **state)
{
    struct throttle throttle;

    (void)state;
    throttle_init(&throttle, &config);
    for (int i = 0; i < 50; i++) {
        assert_true(throttle_take(&throttle, 0));
        throttle_cancel(&throttle);
    }
    assert_int_equal(throttle.inflight, 0);
    assert_int_equal(throttle_room(&throttle, 0), 20);
    one(&throttle, OUTCOME_AUTH_CONFIG_ERROR, -1, 0);
    one(&throttle, OUTCOME_AUTH_CONFIG_ERROR, -1, 0);
    assert_true(throttle_take(&throttle, 1000));
    throttle_cancel(&throttle);
    assert_int_equal(throttle.breaker, BREAKER_HALF_OPEN);
    assert_true(throttle_take(&throttle, 1000));
}

static void a_maximum_lowered_at_reload_holds_at_once(void **state)
{
    struct throttle_config own = config;
    struct throttle throttle;

    (void)state;
    throttle_init(&throttle, &own);
    own.max_window = 4;
    assert_int_equal(throttle_room(&throttle, 0), 4);
}

static void a_full_window_lowered_at_reload_waits_for_an_answer(void **state)
{
    struct throttle_config own = config;
    struct throttle throttle;

    (void)state;
    throttle_init(&throttle, &own);
    fill(&throttle, 0);
    own.max_window = 4;
    assert_int_equal(throttle_room(&throttle, 0), 0);
    assert_int_equal(throttle_next_ms(&throttle, 0), -1);
    while (throttle.inflight > 4)
        give(&throttle, OUTCOME_DELIVERED, -1, 0);
    assert_int_equal(throttle_room(&throttle, 0), 0);
    assert_int_equal(throttle_next_ms(&throttle, 0), -1);
    give(&throttle, OUTCOME_DELIVERED, -1, 0);
    assert_int_equal(throttle_room(&throttle, 0), 1);
}

static void a_throttled_window_lowered_at_reload_is_halved_from_what_is_in_force(void **state)
{
    struct throttle_config own = config;
    struct throttle throttle;

    (void)state;
    throttle_init(&throttle, &own);
    own.max_window = 4;
    one(&throttle, OUTCOME_THROTTLE, -1, 0);
    assert_int_equal(throttle_room(&throttle, 0), 2);
}

static enum outcome_kind drawn_kind(unsigned *seed)
{
    return (enum outcome_kind)((unsigned)rand_r(seed) % OUTCOME_COUNT);
}

/* Neither now nor at the moment that next_ms names: two such answers in a row would be a spin. */
static void assert_waits(struct throttle *throttle, int64_t now_ms)
{
    int64_t next_ms;

    if (throttle_room(throttle, now_ms) > 0)
        return;
    next_ms = throttle_next_ms(throttle, now_ms);
    if (next_ms < 0)
        assert_true(throttle->inflight >
                    0); /* only an answer can help: there must be one to come */
    else
        assert_true(next_ms > now_ms);
}

static void without_room_the_next_look_is_later_or_on_an_answer(void **state)
{
    static const unsigned maxima[] = {1, 2, 4, 10, 100};

    (void)state;
    for (unsigned run = 1; run <= 300; run++) {
        struct throttle_config own = config;
        struct throttle throttle;
        unsigned seed = run;
        int64_t now = 0;

        throttle_init(&throttle, &own);
        for (int step = 0; step < 400; step++) {
            switch (rand_r(&seed) % 8) {
            case 0:
                own.max_window = maxima[rand_r(&seed) % 5];
                break;
            case 1:
                own.max_strikes = (unsigned)rand_r(&seed) % 3;
                break;
            case 2:
                now += rand_r(&seed) % 1500;
                break;
            case 3:
                if (throttle.inflight > 0)
                    throttle_cancel(&throttle);
                break;
            case 4:
            case 5:
                if (throttle.inflight > 0)
                    give(&throttle, drawn_kind(&seed), rand_r(&seed) % 3000 - 1000, now);
                break;
            default:
                fill(&throttle, now);
            }
            assert_waits(&throttle, now);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_window_starts_small_and_opens_with_every_answer),
        cmocka_unit_test(the_first_window_is_five_or_the_maximum_if_that_is_less),
        cmocka_unit_test(a_full_window_waits_for_an_answer_not_for_time),
        cmocka_unit_test(a_throttled_window_is_halved_once_for_all_that_was_under_way),
        cmocka_unit_test(a_throttle_that_cannot_be_narrowed_pauses),
        cmocka_unit_test(retry_after_pauses_without_opening_the_breaker),
        cmocka_unit_test(a_pause_is_never_longer_than_the_longest_wait),
        cmocka_unit_test(strikes_in_a_row_open_the_breaker_and_an_answer_forgives_them),
        cmocka_unit_test(an_open_breaker_lets_one_probe_through_and_doubles_the_wait),
        cmocka_unit_test(stragglers_neither_close_nor_lengthen_an_open_breaker),
        cmocka_unit_test(a_misconfigured_destination_is_shut_at_the_second_witness),
        cmocka_unit_test(one_message_never_stops_the_others_however_often_it_comes),
        cmocka_unit_test(one_address_or_one_content_is_one_witness),
        cmocka_unit_test(what_fails_before_any_message_needs_no_witness),
        cmocka_unit_test(an_outage_needs_two_addresses_but_no_two_contents),
        cmocka_unit_test(a_limit_that_may_be_of_one_target_needs_a_second_address),
        cmocka_unit_test(a_refusal_alone_among_others_that_are_taken_is_its_own_fault),
        cmocka_unit_test(a_probe_is_none_of_those_that_accuse),
        cmocka_unit_test(with_no_strikes_allowed_one_target_never_stops_the_others),
        cmocka_unit_test(a_slot_that_was_not_used_says_nothing_of_the_destination),
        cmocka_unit_test(a_maximum_lowered_at_reload_holds_at_once),
        cmocka_unit_test(a_full_window_lowered_at_reload_waits_for_an_answer),
        cmocka_unit_test(a_throttled_window_lowered_at_reload_is_halved_from_what_is_in_force),
        cmocka_unit_test(without_room_the_next_look_is_later_or_on_an_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

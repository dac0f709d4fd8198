/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "core/report.h"

#include <string.h>

static const enum report all[] = {REPORT_SENT,    REPORT_FAILED,    REPORT_DELIVERED, REPORT_READ,
                                  REPORT_BOUNCED, REPORT_OPTED_OUT, REPORT_COMPLAINED};
#define COUNT (sizeof(all) / sizeof(all[0]))

static void only_a_higher_rank_moves(void **unused)
{
    (void)unused;
    for (size_t from = 0; from < COUNT; from++)
        for (size_t to = 0; to < COUNT; to++)
            assert_int_equal(report_moves(all[from], all[to]), to > from);
}

static enum report fold(const unsigned *order, size_t count)
{
    enum report state = REPORT_SENT;

    for (size_t i = 0; i < count; i++)
        if (report_moves(state, all[order[i]]))
            state = all[order[i]];
    return state;
}

/* Every order of any four reports, repeats included, ends in the same state. */
static void the_order_of_arrival_means_nothing(void **unused)
{
    (void)unused;
    for (unsigned n = 0; n < COUNT * COUNT * COUNT * COUNT; n++) {
        unsigned a[] = {n % COUNT, n / COUNT % COUNT, n / COUNT / COUNT % COUNT,
                        n / COUNT / COUNT / COUNT % COUNT};
        unsigned b[] = {a[2], a[0], a[3], a[1], a[0]}, c[] = {a[3], a[2], a[1], a[0]};

        assert_int_equal(fold(a, 4), fold(b, 5));
        assert_int_equal(fold(a, 4), fold(c, 4));
    }
}

static void what_is_told_is_a_state_that_sent_may_move_to(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < COUNT; i++) {
        enum delivery_state state = report_delivery_state(all[i]);

        assert_true(report_is_known((int)all[i]));
        assert_true(state == DELIVERY_SENT || delivery_can_move(DELIVERY_SENT, state));
        if (all[i] == REPORT_READ)
            assert_string_equal(report_receipt_status(all[i]), "read");
        else
            assert_string_equal(report_receipt_status(all[i]), delivery_state_name(state));
        assert_true(report_name(all[i])[0]);
    }
    assert_false(report_is_known(0));
    assert_false(report_is_known(25));
}

/* Stored: a change of a number would change what is in the database. */
static void the_numbers_stay(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(all[i], 10 * (i + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_higher_rank_moves),
        cmocka_unit_test(the_order_of_arrival_means_nothing),
        cmocka_unit_test(what_is_told_is_a_state_that_sent_may_move_to),
        cmocka_unit_test(the_numbers_stay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
#include "io/pg_sqlstate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

/* Every class of appendix A, and the codes that differ from their class. */
static const struct {
    const char *sqlstate, *constraint;
    int want;
    bool want_reset;
} cases[] = {
    /* the row is at fault */
    {"22000", NULL, ERR_DATA, false},
    {"22001", NULL, ERR_DATA, false},
    {"22003", NULL, ERR_DATA, false},
    {"22021", NULL, ERR_DATA, false},
    {"22P02", NULL, ERR_DATA, false},
    {"23514", "notification_priority_check", ERR_DATA, false},
    {"54000", NULL, ERR_DATA, false},
    /* our ids */
    {"23505", "delivery_pkey", ERR_COLLISION, false},
    {"23505", "notification_20261201_pkey", ERR_COLLISION, false},
    /* we are at fault */
    {"23514", NULL, ERR_REFUSED, false}, /* no partition for the row */
    {"23514", "", ERR_REFUSED, false},
    {"23000", NULL, ERR_REFUSED, false},
    {"23001", NULL, ERR_REFUSED, false},
    {"23502", NULL, ERR_REFUSED, false},
    {"23503", "x_fkey", ERR_REFUSED, false},
    {"23P01", "x_excl", ERR_REFUSED, false},
    {"42501", NULL, ERR_REFUSED, false},
    {"42601", NULL, ERR_REFUSED, false},
    {"42703", NULL, ERR_REFUSED, false},
    {"42P01", NULL, ERR_REFUSED, false},
    {"54001", NULL, ERR_REFUSED, false},
    {"54011", NULL, ERR_REFUSED, false},
    {"54023", NULL, ERR_REFUSED, false},
    {"XX000", NULL, ERR_REFUSED, false},
    {"XX001", NULL, ERR_REFUSED, false},
    {"XX002", NULL, ERR_REFUSED, false},
    {"P0001", NULL, ERR_REFUSED, false},
    {"03000", NULL, ERR_REFUSED, false},
    {"09000", NULL, ERR_REFUSED, false},
    {"0B000", NULL, ERR_REFUSED, false},
    {"0F000", NULL, ERR_REFUSED, false},
    {"0L000", NULL, ERR_REFUSED, false},
    {"0P000", NULL, ERR_REFUSED, false},
    {"0Z000", NULL, ERR_REFUSED, false},
    {"20000", NULL, ERR_REFUSED, false},
    {"21000", NULL, ERR_REFUSED, false},
    {"24000", NULL, ERR_REFUSED, false},
    {"27000", NULL, ERR_REFUSED, false},
    {"28000", NULL, ERR_REFUSED, false},
    {"2B000", NULL, ERR_REFUSED, false},
    {"2D000", NULL, ERR_REFUSED, false},
    {"2F000", NULL, ERR_REFUSED, false},
    {"34000", NULL, ERR_REFUSED, false},
    {"38000", NULL, ERR_REFUSED, false},
    {"39000", NULL, ERR_REFUSED, false},
    {"3B000", NULL, ERR_REFUSED, false},
    {"3D000", NULL, ERR_REFUSED, false},
    {"3F000", NULL, ERR_REFUSED, false},
    {"44000", NULL, ERR_REFUSED, false},
    {"F0000", NULL, ERR_REFUSED, false},
    {"HV000", NULL, ERR_REFUSED, false},
    {"72000", NULL, ERR_REFUSED, false},
    {"ZZ999", NULL, ERR_REFUSED, false}, /* a class of tomorrow */
    /* the moment: nothing happened */
    {"40000", NULL, ERR_AGAIN, false},
    {"40001", NULL, ERR_AGAIN, false},
    {"40002", NULL, ERR_AGAIN, false},
    {"40P01", NULL, ERR_AGAIN, false},
    {"55000", NULL, ERR_AGAIN, false},
    {"55006", NULL, ERR_AGAIN, false},
    {"55P03", NULL, ERR_AGAIN, false},
    {"57014", NULL, ERR_AGAIN, false},
    {"0A000", NULL, ERR_CLOSED, true},
    {"25006", NULL, ERR_CLOSED, true},
    {"25P02", NULL, ERR_CLOSED, true},
    {"26000", NULL, ERR_CLOSED, true},
    {"53000", NULL, ERR_CLOSED, true},
    {"53100", NULL, ERR_CLOSED, true},
    {"53200", NULL, ERR_CLOSED, true},
    {"53300", NULL, ERR_CLOSED, true},
    {"57000", NULL, ERR_CLOSED, true},
    {"58000", NULL, ERR_CLOSED, true},
    {"58030", NULL, ERR_CLOSED, true},
    /* the moment: it may be committed */
    {"08000", NULL, ERR_DOUBT, true},
    {"08006", NULL, ERR_DOUBT, true},
    {"08P01", NULL, ERR_DOUBT, true},
    {"40003", NULL, ERR_DOUBT, true},
    {"57P01", NULL, ERR_DOUBT, true},
    {"57P02", NULL, ERR_DOUBT, true},
    {"57P03", NULL, ERR_DOUBT, true},
    {NULL, NULL, ERR_DOUBT, true},
};

static void every_class_accuses_the_right_one(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pg_trouble trouble = {cases[i].sqlstate, "ERROR", cases[i].constraint};
        bool must_reset;
        int err = pg_sqlstate_err(&trouble, &must_reset);

        if (err != cases[i].want || must_reset != cases[i].want_reset)
            fail_msg("%s: %s, reset %d", cases[i].sqlstate ? cases[i].sqlstate : "none",
                     err_name(err), must_reset);
    }
}

/* Whatever the code: the backend ended, so nobody knows whether the commit came first. */
static void a_dead_backend_leaves_the_outcome_unknown(void **state)
{
    static const char *const severities[] = {"FATAL", "PANIC"};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (unsigned k = 0; k < 2; k++) {
            struct pg_trouble trouble = {cases[i].sqlstate, severities[k], cases[i].constraint};
            bool must_reset;

            assert_int_equal(pg_sqlstate_err(&trouble, &must_reset), ERR_DOUBT);
            assert_true(must_reset);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_class_accuses_the_right_one),
        cmocka_unit_test(a_dead_backend_leaves_the_outcome_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* The filters of each session: what was added is there, and nothing else. */
#include "filters.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MANY = 300 };

static void name(char out[32], int n)
{
    snprintf(out, 32, "t/%d", n);
}

static void what_was_added_is_there_until_it_is_removed(void **state)
{
    struct filters f;
    char filter[32];
    (void)state;

    assert_int_equal(filters_init(&f), 0);
    for (int n = 0; n < MANY; n++) {
        name(filter, n);
        assert_false(filters_has(&f, "a", filter));
        assert_int_equal(filters_add(&f, "a", filter), 0);
        assert_int_equal(filters_count(&f, "a"), n + 1);
    }
    for (int n = 0; n < MANY; n += 2) {
        name(filter, n);
        filters_remove(&f, "a", filter);
        filters_remove(&f, "a", filter); /* removes one only */
    }
    assert_int_equal(filters_count(&f, "a"), MANY / 2);
    for (int n = 0; n < MANY; n++) {
        name(filter, n);
        assert_int_equal(filters_has(&f, "a", filter), n % 2);
    }
    filters_fini(&f);
}

static void sessions_have_sets_of_their_own(void **state)
{
    struct filters f;
    (void)state;

    assert_int_equal(filters_init(&f), 0);
    assert_int_equal(filters_add(&f, "a", "t"), 0);
    assert_int_equal(filters_add(&f, "b", "t"), 0);
    assert_int_equal(filters_add(&f, "b", "u"), 0);
    filters_forget(&f, "a");
    filters_forget(&f, "a");
    assert_false(filters_has(&f, "a", "t"));
    assert_true(filters_has(&f, "b", "t"));
    filters_remove(&f, "b", "t");
    filters_remove(&f, "b", "u");
    assert_int_equal(f.sets.count, 0); /* an empty set is none */
    filters_remove(&f, "b", "u");
    assert_int_equal(filters_add(&f, "c", "t"), 0);
    filters_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_added_is_there_until_it_is_removed),
        cmocka_unit_test(sessions_have_sets_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

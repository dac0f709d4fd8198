/* SPDX-License-Identifier: MIT */
/* Sessions left behind: who is asked about when, and that the count is always the truth. */
#include "sessions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void each_is_asked_about_less_and_less_often(void **state)
{
    struct sessions s;
    int64_t now_ms = 1000, asked_ms = 1000;
    unsigned asked = 0;
    (void)state;

    assert_int_equal(sessions_init(&s), 0);
    assert_null(sessions_due(&s, INT64_MAX));
    sessions_add(&s, "user/a", "user/a/1", now_ms);
    for (; now_ms < INT64_C(14) * 86400000; now_ms += 1000) {
        const char *id = sessions_due(&s, now_ms);
        if (!id)
            continue;
        assert_string_equal(id, "user/a/1");
        if (asked)
            assert_true(now_ms - asked_ms >= 5000);
        asked_ms = now_ms;
        asked++;
        sessions_stays(&s, id, now_ms);
        assert_null(sessions_due(&s, now_ms));
    }
    assert_in_range(asked, 12, 30); /* in two weeks: each costs the broker a few bytes */
    sessions_remove(&s, "user/a/1");
    assert_null(sessions_due(&s, INT64_MAX));
    assert_int_equal(sessions_count(&s, "user/a"), 0);
    sessions_fini(&s);
}

static void the_newest_are_asked_about_first(void **state)
{
    struct sessions s;
    (void)state;

    assert_int_equal(sessions_init(&s), 0);
    sessions_add(&s, "user/a", "old", 0);
    sessions_stays(&s, "old", 0);
    sessions_add(&s, "user/a", "new", 40000);
    assert_string_equal(sessions_due(&s, 40000), "new"); /* both are due */
    sessions_remove(&s, "new");
    assert_string_equal(sessions_due(&s, 40000), "old");
    sessions_stays(&s, "never there", 0);
    sessions_remove(&s, "never there");
    sessions_fini(&s);
}

static void restored_ones_are_never_asked_about(void **state)
{
    struct sessions s;
    (void)state;

    assert_int_equal(sessions_init(&s), 0);
    sessions_add_restored(&s, "user/a", "1", 5000);
    sessions_add_restored(&s, "user/a", "2", INT64_MAX);
    sessions_add_restored(&s, "user/b", "3", 5000);
    assert_null(sessions_due(&s, INT64_MAX));
    assert_int_equal(sessions_count(&s, "user/a"), 2);
    sessions_expire(&s, 4999);
    assert_int_equal(sessions_count(&s, "user/a"), 2);
    sessions_add(&s, "user/a", "1", 4999); /* was connected: now it may be asked about */
    assert_int_equal(sessions_count(&s, "user/a"), 2);
    assert_string_equal(sessions_due(&s, 4999), "1");
    sessions_remove(&s, "2");
    sessions_expire(&s, 5000);
    assert_int_equal(sessions_count(&s, "user/a"), 1);
    assert_int_equal(sessions_count(&s, "user/b"), 0);
    sessions_fini(&s);
}

static void the_count_is_kept_in_any_order(void **state)
{
    enum { OWNERS = 7, IDS = 50 };
    bool there[OWNERS][IDS] = {{false}};
    uint64_t seed = 1;
    struct sessions s;
    (void)state;

    assert_int_equal(sessions_init(&s), 0);
    for (int step = 0; step < 100000; step++) {
        char owner[16], id[32];
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        unsigned o = (unsigned)(seed >> 33) % OWNERS, i = (unsigned)(seed >> 40) % IDS;
        unsigned count = 0;
        snprintf(owner, sizeof(owner), "user/%u", o);
        snprintf(id, sizeof(id), "user/%u/%u", o, i);
        switch ((seed >> 55) % 4) {
        case 0:
            sessions_add(&s, owner, id, step);
            there[o][i] = true;
            break;
        case 1:
            sessions_remove(&s, id);
            there[o][i] = false;
            break;
        case 2:
            sessions_stays(&s, id, step);
            break;
        default:
            sessions_add_restored(&s, owner, id, INT64_MAX);
            there[o][i] = true;
        }
        for (int k = 0; k < IDS; k++)
            count += there[o][k];
        assert_int_equal(sessions_count(&s, owner), count);
        assert_int_equal(sessions_has(&s, id), there[o][i]);
    }
    sessions_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_asked_about_less_and_less_often),
        cmocka_unit_test(the_newest_are_asked_about_first),
        cmocka_unit_test(restored_ones_are_never_asked_about),
        cmocka_unit_test(the_count_is_kept_in_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

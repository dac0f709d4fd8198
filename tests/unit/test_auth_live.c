/* SPDX-License-Identifier: MIT */
/* The table of live connections: expiry order, takeovers, counts, what is forgotten when. */
#include "live.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct limits_config limits = {.publish_burst = {1, 1, 1, 1},
                                            .byte_burst = {1, 1, 1, 1},
                                            .subscribe_burst = 1,
                                            .control_burst = 1,
                                            .connect_burst = 1,
                                            .failure_burst = 1};

static int handles[4096]; /* their addresses stand for the broker's clients */

static void add(struct live *live, int handle, const char *name, const char *id, int64_t ends_s)
{
    struct principal p;
    struct token tok = {.ends_s = ends_s};

    assert_true(principal_parse(name, &p));
    snprintf(tok.jti, sizeof(tok.jti), "jti-%d", handle);
    assert_int_equal(live_add(live, &handles[handle], id, &p, &tok, NULL, 0), REFUSAL_NONE);
}

static void drop(struct live *live, int handle)
{
    struct connection *conn = live_find(live, &handles[handle]);
    assert_non_null(conn);
    live_remove(live, conn, 0);
}

static void nobody(void *ctx, struct subject *subj)
{
    (void)subj;
    ++*(int *)ctx;
}

static void connections_expire_in_the_order_of_their_ends(void **state)
{
    struct live live;
    char id[32];
    int64_t last = 0;
    unsigned count = 0;
    (void)state;

    assert_int_equal(live_init(&live, &limits), 0);
    for (int i = 0; i < 4000; i++) {
        snprintf(id, sizeof(id), "user/a/%d", i);
        add(&live, i, "\x01u:a:", id, 1 + i * 7919 % 1000);
    }
    for (int i = 0; i < 4000; i += 3)
        drop(&live, i);
    struct connection *conn;
    assert_null(live_expired(&live, 0));
    while ((conn = live_expired(&live, 2000))) {
        assert_true(conn->ends_s >= last);
        last = conn->ends_s;
        live_doom(&live, conn);
        assert_false(live_is_kickable(conn));
        count++;
    }
    assert_int_equal(count, 4000 - 1334);
    assert_int_equal(live.connections.count, count); /* doomed, not gone */
    live_fini(&live);
}

static void a_refresh_moves_the_end_both_ways(void **state)
{
    struct live live;
    struct token tok = {.ends_s = 50};
    (void)state;

    assert_int_equal(live_init(&live, &limits), 0);
    add(&live, 0, "\x01u:a:", "user/a/0", 10);
    add(&live, 1, "\x01u:a:", "user/a/1", 20);
    struct connection *first = live_find(&live, &handles[0]);
    assert_int_equal(live_refresh(&live, first, &tok), REFUSAL_NONE);
    assert_null(live_expired(&live, 15));
    assert_ptr_equal(live_expired(&live, 20), live_find(&live, &handles[1]));
    tok.ends_s = 5;
    assert_int_equal(live_refresh(&live, first, &tok), REFUSAL_NONE);
    assert_ptr_equal(live_expired(&live, 5), first);
    live_fini(&live);
}

static void during_a_takeover_only_the_new_one_can_be_kicked(void **state)
{
    struct live live;
    (void)state;

    assert_int_equal(live_init(&live, &limits), 0);
    add(&live, 0, "\x01u:a:", "user/a", 10);
    add(&live, 1, "\x01u:a:", "user/a", 20);
    assert_int_equal(live_find(&live, &handles[0])->subject->connections, 2);
    assert_null(live_expired(&live, 15)); /* the old one: a kick would hit the new one */
    drop(&live, 0);
    assert_ptr_equal(live_find_id(&live, "user/a"), live_find(&live, &handles[1]));
    assert_ptr_equal(live_expired(&live, 20), live_find(&live, &handles[1]));
    live_fini(&live);
}

static void when_the_new_one_fails_the_old_one_comes_forward(void **state)
{
    struct live live;
    (void)state;

    assert_int_equal(live_init(&live, &limits), 0);
    add(&live, 0, "\x01u:a:", "user/a", 10);
    add(&live, 1, "\x01u:a:", "user/a", 20);
    add(&live, 2, "\x01u:a:", "user/a", 30);
    assert_null(live_expired(&live, 15));
    drop(&live, 1); /* from the middle */
    drop(&live, 2);
    assert_ptr_equal(live_find_id(&live, "user/a"), live_find(&live, &handles[0]));
    assert_ptr_equal(live_expired(&live, 15), live_find(&live, &handles[0]));
    drop(&live, 0);
    assert_null(live_find_id(&live, "user/a"));
    assert_int_equal(live.connections.count, 0);
    live_fini(&live);
}

static void one_handle_stands_for_one_connection(void **state)
{
    struct live live;
    (void)state;

    assert_int_equal(live_init(&live, &limits), 0);
    add(&live, 0, "\x01u:a:", "user/a", 10);
    add(&live, 0, "\x01u:b:", "user/b", 10);
    assert_int_equal(live.connections.count, 1);
    assert_null(live_find_id(&live, "user/a"));
    assert_string_equal(live_find(&live, &handles[0])->subject->key, "user/b");
    live_fini(&live);
}

static void only_users_have_presence_and_each_change_is_told_once(void **state)
{
    struct live live;
    (void)state;

    assert_int_equal(live_init(&live, &limits), 0);
    add(&live, 0, "\x01u:a:", "user/a", 10);
    add(&live, 1, "\x01u:a:", "user/a/2", 10);
    add(&live, 2, "\x01s:a:", "service/a", 10);
    struct subject *subj = live_next_dirty(&live);
    assert_string_equal(subj->key, "user/a");
    assert_int_equal(subj->connections, 2);
    assert_null(live_next_dirty(&live));
    drop(&live, 0);
    drop(&live, 2);
    assert_ptr_equal(live_next_dirty(&live), subj);
    assert_null(live_next_dirty(&live));
    live_fini(&live);
}

static void idle_principals_are_forgotten_in_time(void **state)
{
    struct live live;
    struct principal p;
    int gone = 0;
    (void)state;

    assert_int_equal(live_init(&live, &limits), 0);
    add(&live, 0, "\x01u:a:", "user/a", 10);
    assert_true(principal_parse("\x01u:a:", &p));
    drop(&live, 0);
    live_forget(&live, 100, 10, nobody, &gone);
    assert_int_equal(gone, 0); /* its presence has yet to be published */
    assert_non_null(live_next_dirty(&live));
    live_forget(&live, 100, -1, nobody, &gone);
    assert_int_equal(gone, 0);
    live_forget(&live, 100, 0, nobody, &gone);
    assert_int_equal(gone, 1);
    assert_null(live_subject(&live, &p));
    assert_non_null(live_remember(&live, &p, 5));
    assert_ptr_equal(live_next_dirty(&live), live_subject(&live, &p));
    add(&live, 0, "\x01u:a:", "user/a", 10); /* back again: no longer idle */
    assert_non_null(live_next_dirty(&live));
    live_forget(&live, 100, 100, nobody, &gone);
    assert_int_equal(gone, 1);
    live_fini(&live);
}

/* To leave and to come back, later than presence lingers, does not renew what was used up. */
static void budgets_are_kept_until_they_are_full(void **state)
{
    struct live live;
    struct principal p;
    int gone = 0;
    (void)state;

    assert_int_equal(live_init(&live, &limits), 0);
    add(&live, 0, "\x01u:a:", "user/a", 10);
    assert_true(principal_parse("\x01u:a:", &p));
    assert_true(bucket_take(&live_subject(&live, &p)->unread, LIVE_UNREAD_RATE, LIVE_UNREAD_BURST,
                            LIVE_ANSWERS_BURST, 0));
    drop(&live, 0); /* what it was sent may wait now: nothing is left for answers */
    assert_non_null(live_next_dirty(&live));
    live_forget(&live, 1000, 500, nobody, &gone);
    assert_int_equal(gone, 1);
    struct subject *subj = live_subject(&live, &p);
    assert_non_null(subj);
    assert_true(subj->is_forgotten);
    assert_ptr_equal(live_budget(&live, &p, 1000), subj);
    assert_false(bucket_take(&subj->answers, LIVE_ANSWERS_RATE, LIVE_ANSWERS_BURST, 1000, 1000));
    assert_ptr_equal(live_remember(&live, &p, 1000), subj); /* its presence is asked for again */
    assert_ptr_equal(live_next_dirty(&live), subj);
    live_forget(&live, 2000, 1500, nobody, &gone);
    assert_int_equal(gone, 2);
    assert_int_equal(live.spent_count, 1);
    live_forget(&live, 20000 * 1000, 1500, nobody, &gone); /* full again */
    assert_int_equal(gone, 2);
    assert_null(live_subject(&live, &p));
    assert_int_equal(live.spent_count, 0);
    assert_non_null(live_budget(&live, &p, 0)); /* without presence */
    assert_null(live_next_dirty(&live));
    live_fini(&live);
}

static void addresses_are_counted_by_64_bits_of_ipv6(void **state)
{
    struct live live;
    (void)state;

    assert_int_equal(live_init(&live, &limits), 0);
    struct address *a = live_address(&live, "2001:db8::1", 0);
    assert_ptr_equal(live_address(&live, "2001:db8:0:0:ffff:1:2:3", 0), a);
    assert_ptr_not_equal(live_address(&live, "2001:db8:0:1::1", 0), a);
    assert_ptr_not_equal(live_address(&live, "10.0.0.1", 0), live_address(&live, "10.0.0.2", 0));
    assert_ptr_not_equal(live_address(&live, "::ffff:10.0.0.1", 0),
                         live_address(&live, "::ffff:10.0.0.2", 0));
    for (int i = 0; i < 70000; i++) { /* bounded: the longest idle ones make room */
        char text[32];
        snprintf(text, sizeof(text), "10.%d.%d.%d", 1 + (i >> 16), i >> 8 & 255, i & 255);
        assert_non_null(live_address(&live, text, i));
    }
    assert_in_range(live.addresses.count, 60000, 65536);
    live_fini(&live);
}

static void admins_mark_by_principal_or_by_client(void **state)
{
    struct live live;
    (void)state;

    assert_int_equal(live_init(&live, &limits), 0);
    add(&live, 0, "\x01u:a:", "user/a/0", 10);
    add(&live, 1, "\x01u:a:", "user/a/1", 10);
    add(&live, 2, "\x01u:b:", "user/b", 10);
    assert_int_equal(live_mark(&live, NULL, "user/a/1"), 1);
    assert_int_equal(live_mark(&live, "user/b", NULL), 1);
    assert_int_equal(live_mark(&live, "user/c", NULL), 0);
    assert_false(live_find(&live, &handles[0])->is_marked);
    assert_true(live_find(&live, &handles[1])->is_marked);
    live_fini(&live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_expire_in_the_order_of_their_ends),
        cmocka_unit_test(a_refresh_moves_the_end_both_ways),
        cmocka_unit_test(during_a_takeover_only_the_new_one_can_be_kicked),
        cmocka_unit_test(when_the_new_one_fails_the_old_one_comes_forward),
        cmocka_unit_test(one_handle_stands_for_one_connection),
        cmocka_unit_test(only_users_have_presence_and_each_change_is_told_once),
        cmocka_unit_test(idle_principals_are_forgotten_in_time),
        cmocka_unit_test(budgets_are_kept_until_they_are_full),
        cmocka_unit_test(addresses_are_counted_by_64_bits_of_ipv6),
        cmocka_unit_test(admins_mark_by_principal_or_by_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

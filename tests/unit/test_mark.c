/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/mark.h"

#define U INBOX_UNREAD
#define R INBOX_READ
#define A INBOX_ARCHIVED
#define D INBOX_DELETED

static void one_event_moves_each_state(void **state)
{
    static const struct {
        enum ack_kind kind;
        bool is_all;
        enum inbox_state to[INBOX_DELETED];
        bool is_seen, is_read, is_clicked;
    } cases[] = {
        {ACK_READ, false, {R, R, A}, true, true, false},
        {ACK_READ, true, {R, R, A}, true, true, false},
        {ACK_UNREAD, false, {U, U, U}, false, false, false},
        {ACK_UNREAD, true, {U, U, A}, false, false, false},
        {ACK_ARCHIVE, false, {A, A, A}, true, false, false},
        {ACK_DELETE, true, {D, D, D}, true, false, false},
        {ACK_CLICK, false, {R, R, A}, true, true, true},
        {ACK_SEEN, true, {U, R, A}, true, false, false},
        {ACK_ACK, false, {U, R, A}, false, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mark mark;

        mark_init(&mark);
        mark_add(&mark, cases[i].kind, cases[i].is_all);
        for (int former = 0; former < INBOX_DELETED; former++)
            assert_int_equal(mark.to[former], cases[i].to[former]);
        assert_int_equal(mark.is_seen, cases[i].is_seen);
        assert_int_equal(mark.is_read, cases[i].is_read);
        assert_int_equal(mark.is_clicked, cases[i].is_clicked);
    }
}

static struct mark of(const enum ack_kind *kinds, size_t count)
{
    struct mark mark;

    mark_init(&mark);
    for (size_t i = 0; i < count; i++)
        mark_add(&mark, kinds[i], false);
    return mark;
}

static void several_events_fold_in_their_order(void **state)
{
    struct mark mark = of((enum ack_kind[]){ACK_READ, ACK_UNREAD}, 2);

    (void)state;
    assert_int_equal(mark.to[U], U);
    assert_int_equal(mark.to[A], U);
    assert_true(mark.is_seen && mark.is_read);
    mark = of((enum ack_kind[]){ACK_UNREAD, ACK_READ}, 2);
    assert_int_equal(mark.to[U], R);
    assert_int_equal(mark.to[A], R);
    mark = of((enum ack_kind[]){ACK_DELETE, ACK_UNREAD, ACK_ARCHIVE}, 3);
    for (int former = 0; former < INBOX_DELETED; former++)
        assert_int_equal(mark.to[former], D);
}

static void devices_are_told_the_state_and_what_it_does_not_say(void **state)
{
    struct mark seen = of((enum ack_kind[]){ACK_SEEN}, 1);
    struct mark both = of((enum ack_kind[]){ACK_UNREAD, ACK_SEEN}, 2);
    struct mark read = of((enum ack_kind[]){ACK_READ}, 1);

    (void)state;
    assert_string_equal(mark_told(&seen, U), "seen");
    assert_false(mark_tells_seen(&seen, U));
    assert_string_equal(mark_told(&both, U), "unread");
    assert_true(mark_tells_seen(&both, U));
    assert_false(mark_tells_seen(&both, D));
    assert_string_equal(mark_told(&read, R), "read");
    assert_string_equal(mark_told(&read, A), "archived");
    assert_false(mark_tells_seen(&read, R));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_event_moves_each_state),
        cmocka_unit_test(several_events_fold_in_their_order),
        cmocka_unit_test(devices_are_told_the_state_and_what_it_does_not_say),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

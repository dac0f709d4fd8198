/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/channel.h"

static void every_channel_is_read_as_it_is_written(void **state)
{
    (void)state;
    for (int i = 0; i < CHANNEL_COUNT; i++) {
        enum channel channel = CHANNEL_COUNT;

        assert_int_equal(channel_parse(channel_name((enum channel)i), &channel), 0);
        assert_int_equal(channel, i);
    }
}

static void stored_numbers_never_change(void **state)
{
    (void)state;
    assert_string_equal(channel_name((enum channel)0), "in_app");
    assert_string_equal(channel_name((enum channel)1), "push");
    assert_string_equal(channel_name((enum channel)2), "sms");
    assert_string_equal(channel_name((enum channel)3), "email");
    assert_string_equal(channel_name((enum channel)4), "chat");
    assert_string_equal(channel_name((enum channel)5), "webhook");
    assert_string_equal(priority_name((enum priority)0), "urgent");
    assert_string_equal(priority_name((enum priority)1), "high");
    assert_string_equal(priority_name((enum priority)2), "normal");
    assert_string_equal(priority_name((enum priority)3), "low");
}

static void unknown_names_are_not_found(void **state)
{
    static const char *const names[] = {"", "inapp", "IN_APP", "sms ", "fax"};
    enum channel channel;
    enum priority priority;

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(channel_parse(names[i], &channel), ERR_NOT_FOUND);
        assert_int_equal(priority_parse(names[i], &priority), ERR_NOT_FOUND);
    }
}

static void every_priority_is_read_as_it_is_written(void **state)
{
    (void)state;
    for (int i = 0; i < PRIORITY_COUNT; i++) {
        enum priority priority = PRIORITY_COUNT;

        assert_int_equal(priority_parse(priority_name((enum priority)i), &priority), 0);
        assert_int_equal(priority, i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_channel_is_read_as_it_is_written),
        cmocka_unit_test(stored_numbers_never_change),
        cmocka_unit_test(unknown_names_are_not_found),
        cmocka_unit_test(every_priority_is_read_as_it_is_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

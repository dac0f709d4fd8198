/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/route.h"

#define BIT(channel) (1U << (channel))
#define ALL          (BIT(CHANNEL_COUNT) - 1)

static int setup(void **state)
{
    *state = arena_new(0);
    return 0;
}

static int teardown(void **state)
{
    arena_free(*state);
    return 0;
}

/* A request for one recipient, as the decoder leaves it. */
static struct request request_to(enum recipient_kind kind, const char **recipient)
{
    return (struct request){
        .id = "r", .type = "a", .to = kind, .recipients = recipient, .recipient_count = 1};
}

static void channels_are_the_requests_else_the_types_else_what_reaches(void **state)
{
    static const struct {
        enum recipient_kind to;
        unsigned asked, type, available, want;
    } cases[] = {
        {RECIPIENT_USER, 0, 0, ALL, BIT(CHANNEL_IN_APP)},
        {RECIPIENT_USER, 0, BIT(CHANNEL_PUSH) | BIT(CHANNEL_SMS), ALL,
         BIT(CHANNEL_PUSH) | BIT(CHANNEL_SMS)},
        {RECIPIENT_USER, BIT(CHANNEL_EMAIL), BIT(CHANNEL_PUSH), ALL, BIT(CHANNEL_EMAIL)},
        {RECIPIENT_ROLE, 0, BIT(CHANNEL_PUSH) | BIT(CHANNEL_IN_APP), ALL, BIT(CHANNEL_IN_APP)},
        {RECIPIENT_ROLE, 0, BIT(CHANNEL_PUSH), ALL, BIT(CHANNEL_IN_APP)},
        {RECIPIENT_BROADCAST, 0, 0, ALL, BIT(CHANNEL_IN_APP)},
        {RECIPIENT_EMAIL, 0, 0, ALL, BIT(CHANNEL_EMAIL)},
        {RECIPIENT_PHONE, 0, 0, ALL, BIT(CHANNEL_SMS)},
        {RECIPIENT_PHONE, BIT(CHANNEL_CHAT), 0, ALL, BIT(CHANNEL_CHAT)},
        {RECIPIENT_PUSH_TOKEN, 0, 0, ALL, BIT(CHANNEL_PUSH)},
        {RECIPIENT_URL, 0, 0, ALL, BIT(CHANNEL_WEBHOOK)},
        {RECIPIENT_USER, BIT(CHANNEL_SMS), 0, BIT(CHANNEL_SMS), BIT(CHANNEL_SMS)},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *recipient = "x";
        struct request request = request_to(cases[i].to, &recipient);
        struct rejection rejection;
        struct route route;

        request.channels = cases[i].asked;
        if (!route_request(&request, cases[i].type, cases[i].available, *state, &route, &rejection))
            fail_msg("case %zu: %s", i, rejection.detail);
        assert_int_equal(route.channels, cases[i].want);
        assert_int_equal(route.kind, cases[i].to);
    }
}

static void what_cannot_be_reached_is_refused_with_its_field(void **state)
{
    static const struct {
        enum recipient_kind to;
        unsigned asked, available;
        enum reject reason;
    } cases[] = {
        {RECIPIENT_ROLE, BIT(CHANNEL_SMS), ALL, REJECT_BAD_VALUE},
        {RECIPIENT_BROADCAST, BIT(CHANNEL_IN_APP) | BIT(CHANNEL_PUSH), ALL, REJECT_BAD_VALUE},
        {RECIPIENT_EMAIL, BIT(CHANNEL_SMS), ALL, REJECT_BAD_VALUE},
        {RECIPIENT_PHONE, BIT(CHANNEL_EMAIL), ALL, REJECT_BAD_VALUE},
        {RECIPIENT_PUSH_TOKEN, BIT(CHANNEL_IN_APP), ALL, REJECT_BAD_VALUE},
        {RECIPIENT_URL, BIT(CHANNEL_IN_APP), ALL, REJECT_BAD_VALUE},
        {RECIPIENT_USER, BIT(CHANNEL_SMS), BIT(CHANNEL_IN_APP), REJECT_NOT_ALLOWED},
        {RECIPIENT_USER, BIT(CHANNEL_SMS) | BIT(CHANNEL_IN_APP), BIT(CHANNEL_IN_APP),
         REJECT_NOT_ALLOWED},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *recipient = "x";
        struct request request = request_to(cases[i].to, &recipient);
        struct rejection rejection = {REJECT_NONE, NULL, NULL};
        struct route route;

        request.channels = cases[i].asked;
        assert_false(route_request(&request, 0, cases[i].available, *state, &route, &rejection));
        assert_int_equal(rejection.reason, cases[i].reason);
        assert_string_equal(rejection.pointer, "/channels");
        assert_true(strlen(rejection.detail) > 10);
    }
}

static void users_and_roles_are_encoded_and_counted(void **state)
{
    const char *recipients[] = {"alice", "a/b", "gr\xC3\xBCn"};
    struct request request = request_to(RECIPIENT_USER, recipients);
    struct rejection rejection;
    struct route route;

    request.recipient_count = 3;
    request.channels = BIT(CHANNEL_IN_APP) | BIT(CHANNEL_PUSH);
    assert_true(route_request(&request, 0, ALL, *state, &route, &rejection));
    assert_int_equal(route.recipient_count, 3);
    assert_int_equal(route.deliveries, 6);
    assert_string_equal(route.recipients[0], "alice");
    assert_string_equal(route.recipients[1], "a%2Fb");
    assert_string_equal(route.recipients[2], "gr%C3%BCn");
}

static void a_broadcast_is_one_delivery_to_nobody_in_particular(void **state)
{
    const char *recipient = "";
    struct request request = request_to(RECIPIENT_BROADCAST, &recipient);
    struct rejection rejection;
    struct route route;

    assert_true(route_request(&request, 0, ALL, *state, &route, &rejection));
    assert_int_equal(route.deliveries, 1);
    assert_string_equal(route.recipients[0], "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(channels_are_the_requests_else_the_types_else_what_reaches,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_reached_is_refused_with_its_field, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(users_and_roles_are_encoded_and_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_broadcast_is_one_delivery_to_nobody_in_particular, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

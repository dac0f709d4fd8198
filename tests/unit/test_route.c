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
        struct route_type type = {.channels = cases[i].type};
        struct rejection rejection;
        struct route route;

        request.channels = cases[i].asked;
        if (!route_request(&request, &type, cases[i].available, *state, &route, &rejection))
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
        assert_false(route_request(&request, NULL, cases[i].available, *state, &route, &rejection));
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
    assert_true(route_request(&request, NULL, ALL, *state, &route, &rejection));
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

    assert_true(route_request(&request, NULL, ALL, *state, &route, &rejection));
    assert_int_equal(route.deliveries, 1);
    assert_string_equal(route.recipients[0], "");
}

static void channels_one_after_the_other_go_in_the_order_listed(void **state)
{
    static const struct route_type types = {.channels = BIT(CHANNEL_EMAIL) | BIT(CHANNEL_IN_APP),
                                            .order = {CHANNEL_EMAIL, CHANNEL_IN_APP},
                                            .order_count = 2,
                                            .is_first = true,
                                            .escalate_after_ms = 7000};
    static const enum channel listed[] = {CHANNEL_SMS, CHANNEL_IN_APP, CHANNEL_PUSH};
    static const struct {
        const struct route_type *type;
        bool is_listed, has_route, is_route_first;
        bool want_first;
        int64_t want_after_ms;
        size_t want_count;
        enum channel want[3];
    } cases[] = {
        {NULL, true, true, true, true, 3000, 3, {CHANNEL_SMS, CHANNEL_IN_APP, CHANNEL_PUSH}},
        {NULL, true, false, false, false, 0, 3, {CHANNEL_IN_APP, CHANNEL_PUSH, CHANNEL_SMS}},
        {NULL, false, true, true, false, 0, 1, {CHANNEL_IN_APP}}, /* one alone */
        {&types, false, false, false, true, 7000, 2, {CHANNEL_EMAIL, CHANNEL_IN_APP}},
        {&types, false, true, true, true, 3000, 2, {CHANNEL_EMAIL, CHANNEL_IN_APP}},
        {&types, false, true, false, false, 0, 2, {CHANNEL_IN_APP, CHANNEL_EMAIL}}, /* "all" */
        {&types, true, false, false, true, 7000, 3, {CHANNEL_SMS, CHANNEL_IN_APP, CHANNEL_PUSH}},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *recipient = "x";
        struct request request = request_to(RECIPIENT_USER, &recipient);
        struct rejection rejection;
        struct route route;

        for (size_t k = 0; cases[i].is_listed && k < 3; k++) {
            request.channels |= BIT(listed[k]);
            request.channel_order[request.channel_count++] = listed[k];
        }
        request.has_route = cases[i].has_route;
        request.is_route_first = cases[i].is_route_first;
        request.escalate_after_ms = 3000;
        assert_true(route_request(&request, cases[i].type, ALL, *state, &route, &rejection));
        assert_int_equal(route.is_first, cases[i].want_first);
        if (route.is_first)
            assert_int_equal(route.escalate_after_ms, cases[i].want_after_ms);
        assert_int_equal(route.order_count, cases[i].want_count);
        for (size_t k = 0; k < route.order_count; k++)
            assert_int_equal(route.order[k], cases[i].want[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(channels_are_the_requests_else_the_types_else_what_reaches,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_reached_is_refused_with_its_field, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(users_and_roles_are_encoded_and_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(channels_one_after_the_other_go_in_the_order_listed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_broadcast_is_one_delivery_to_nobody_in_particular, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

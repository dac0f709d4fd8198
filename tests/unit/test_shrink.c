/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "core/shrink.h"

#define RECEIPTS "notify/v1/services/shop/down/receipt"
#define REPLY    "notify/v1/admins/root/down/reply"
#define DLQ      "notify/v1/dlq/webhook/provider_rejected"

struct said {
    struct buf all; /* each message on a line of its own */
    size_t largest;
};

static void say(void *ctx, const char *payload, size_t bytes)
{
    struct said *said = ctx;

    buf_add(&said->all, payload, bytes);
    buf_add_char(&said->all, '\n');
    if (bytes > said->largest)
        said->largest = bytes;
}

static void assert_shrinks(const char *topic, const char *payload, size_t limit, const char *wanted)
{
    struct said said = {{0}, 0};

    (void)shrink_message(topic, payload, strlen(payload), limit, say, &said);
    assert_string_equal(buf_text(&said.all), wanted);
    assert_true(said.largest <= limit);
    buf_fini(&said.all);
}

static void receipts_are_divided_in_their_order(void **state)
{
    (void)state;
    assert_shrinks(RECEIPTS, "[{\"id\":1},{\"id\":2},{\"id\":3}]", 22,
                   "[{\"id\":1},{\"id\":2}]\n[{\"id\":3}]\n");
    assert_shrinks(RECEIPTS, "[{\"id\":1},{\"id\":2},{\"id\":3}]", 12,
                   "[{\"id\":1}]\n[{\"id\":2}]\n[{\"id\":3}]\n");
}

static void a_receipt_that_is_too_large_loses_its_detail_and_no_neighbour(void **state)
{
    (void)state;
    assert_shrinks(RECEIPTS, "[{\"id\":1},{\"id\":2,\"detail\":\"why it died\"},{\"id\":3}]", 22,
                   "[{\"id\":1},{\"id\":2}]\n[{\"id\":3}]\n");
    assert_shrinks(RECEIPTS, "{\"id\":1,\"detail\":\"why it died\",\"at\":2}", 20,
                   "{\"id\":1,\"at\":2}\n");
}

static void what_is_too_large_even_then_is_left_out(void **state)
{
    (void)state;
    assert_shrinks(RECEIPTS, "[{\"id\":1},{\"id\":\"a very long id indeed\"},{\"id\":3}]", 12,
                   "[{\"id\":1}]\n[{\"id\":3}]\n");
    assert_shrinks(DLQ, "{\"delivery\":\"0123456789abcdef\",\"content\":{}}", 20, "");
}

static void a_reply_becomes_an_error_of_the_same_rpc(void **state)
{
    (void)state;
    assert_shrinks(
        REPLY,
        "{\"rpc\":\"r-1\",\"result\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,"
        "\"one page of many dead letters with all that they contain, and some more text "
        "to make it longer than the error that goes instead\"]}",
        200,
        "{\"rpc\":\"r-1\",\"error\":{\"code\":\"too_large\",\"message\":\"the answer has "
        "205 bytes, more than the broker takes in one message: ask for less at "
        "once\"}}\n");
}

static void a_dead_letter_goes_without_its_content(void **state)
{
    (void)state;
    assert_shrinks(DLQ, "{\"delivery\":\"1\",\"content\":{\"body\":\"long\"},\"attempts\":1}", 40,
                   "{\"delivery\":\"1\",\"attempts\":1}\n");
}

static void what_cannot_be_smaller_or_read_says_nothing(void **state)
{
    static const char *const topics[] = {RECEIPTS, REPLY, DLQ, "notify/v1/stats/queue", ""};
    static const char *const payloads[] = {"", "{", "[", "7", "\"text\"", "{\"a\":1", "[[[[[["};

    (void)state;
    for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++)
        for (size_t j = 0; j < sizeof(payloads) / sizeof(payloads[0]); j++)
            assert_shrinks(topics[i], payloads[j], 100, "");
    assert_shrinks("notify/v1/stats/queue", "{\"lines\":[1,2,3]}", 10, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(receipts_are_divided_in_their_order),
        cmocka_unit_test(a_receipt_that_is_too_large_loses_its_detail_and_no_neighbour),
        cmocka_unit_test(what_is_too_large_even_then_is_left_out),
        cmocka_unit_test(a_reply_becomes_an_error_of_the_same_rpc),
        cmocka_unit_test(a_dead_letter_goes_without_its_content),
        cmocka_unit_test(what_cannot_be_smaller_or_read_says_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/receipt.h"

static json_t *written(const struct receipt *receipt)
{
    struct buf out = {0};
    json_t *json;

    receipt_write(receipt, &out);
    json = json_loadb(out.data, out.length, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    buf_fini(&out);
    return json;
}

static const char *text(json_t *json, const char *name)
{
    return json_string_value(json_object_get(json, name));
}

static void what_is_absent_is_left_out(void **state)
{
    const struct receipt receipt = {.status = "accepted", .at_ms = 0};
    struct buf out = {0};

    (void)state;
    receipt_write(&receipt, &out);
    assert_string_equal(buf_text(&out),
                        "{\"status\":\"accepted\",\"at\":\"1970-01-01T00:00:00.000Z\"}");
    buf_fini(&out);
}

static void everything_that_is_there_is_told(void **state)
{
    const struct receipt receipt = {
        .id = "order \"7\"\n",
        .notification = UINT64_C(0x0123456789abcdef),
        .status = "sent",
        .channel = "sms",
        .user = "alice",
        .target = "+4917*****21",
        .provider = "twilio",
        .provider_id = "SM1",
        .reason = "x",
        .detail = "d\x01",
        .field = "/to/user",
        .attempt = 2,
        .segments = 3,
        .at_ms = INT64_C(1795132800123),
    };
    json_t *json = written(&receipt);

    (void)state;
    assert_int_equal(json_object_size(json), 14);
    assert_string_equal(text(json, "id"), receipt.id);
    assert_string_equal(text(json, "notification"), "0123456789abcdef");
    assert_string_equal(text(json, "status"), "sent");
    assert_string_equal(text(json, "channel"), "sms");
    assert_string_equal(text(json, "user"), "alice");
    assert_string_equal(text(json, "target"), "+4917*****21");
    assert_string_equal(text(json, "provider"), "twilio");
    assert_string_equal(text(json, "provider_id"), "SM1");
    assert_string_equal(text(json, "reason"), "x");
    assert_string_equal(text(json, "detail"), "d\x01");
    assert_string_equal(text(json, "field"), "/to/user");
    assert_int_equal(json_integer_value(json_object_get(json, "attempt")), 2);
    assert_int_equal(json_integer_value(json_object_get(json, "segments")), 3);
    assert_string_equal(text(json, "at"), "2026-11-20T00:00:00.123Z");
    json_decref(json);
}

static void a_vendors_bytes_never_break_the_receipt(void **state)
{
    const struct receipt receipt = {.status = "sent", .provider_id = "\xFF\xFE", .detail = "\xC3"};
    json_t *json = written(&receipt);

    (void)state;
    assert_int_equal(json_object_size(json), 2);
    json_decref(json);
}

static void receipts_can_follow_one_another(void **state)
{
    const struct receipt receipt = {.id = "a", .status = "accepted"};
    struct buf out = {0};
    json_t *json;

    (void)state;
    buf_add_char(&out, '[');
    receipt_write(&receipt, &out);
    buf_add_char(&out, ',');
    receipt_write(&receipt, &out);
    buf_add_char(&out, ']');
    json = json_loadb(out.data, out.length, 0, NULL);
    assert_int_equal(json_array_size(json), 2);
    json_decref(json);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_absent_is_left_out),
        cmocka_unit_test(everything_that_is_there_is_told),
        cmocka_unit_test(a_vendors_bytes_never_break_the_receipt),
        cmocka_unit_test(receipts_can_follow_one_another),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* The parts of the load generator that a wrong figure could come from. */
#include "histogram.h"
#include "json_scan.h"
#include "ledger.h"
#include "request.h"
#include "websocket.h"
#include "wire.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* After the headers that it needs and does not include. */
#include <cmocka.h>

#define BENCH_MS ((int64_t)1000000)

static void a_publish_comes_back_as_it_was_written(void **state)
{
    static const int levels[] = {4, 5};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct wire_buf buf = {0};
        struct wire_packet p;
        struct wire_publish m;

        memset(wire_put_publish(&buf, levels[i], 7, "a/b", 3, 300), 'x', 300);
        assert_int_equal(wire_next(buf.data, buf.len, &p), (int64_t)buf.len);
        assert_int_equal(p.type, WIRE_PUBLISH);
        assert_int_equal(wire_parse_publish(&p, levels[i], &m), 0);
        assert_int_equal(m.packet_id, 7);
        assert_int_equal(m.qos, 1);
        assert_memory_equal(m.topic, "a/b", 3);
        assert_int_equal(m.payload_len, 300);
        assert_int_equal(m.payload[299], 'x');
        wire_buf_fini(&buf);
    }
}

static void every_cut_of_a_packet_asks_for_more(void **state)
{
    struct wire_buf buf = {0};
    struct wire_packet p;

    (void)state;
    memset(wire_put_publish(&buf, 5, 1, "topic", 5, 200), 0, 200);
    for (size_t n = 0; n < buf.len; n++)
        assert_int_equal(wire_next(buf.data, n, &p), 0);
    wire_buf_fini(&buf);
    assert_int_equal(wire_next((const uint8_t *)"\x30\xff\xff\xff\xff", 5, &p), WIRE_BAD);
}

static void a_publish_that_lies_about_its_lengths_is_bad(void **state)
{
    static const uint8_t bodies[][6] = {
        {0xff, 0xff, 'a', 0, 1, 0}, {0, 3, 'a', 'b', 'c', 0}, {0, 0, 0, 1, 0x7f, 0}};
    struct wire_publish m;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct wire_packet p = {.type = WIRE_PUBLISH, .flags = 2, .body = bodies[i], .len = 6};
        assert_int_equal(wire_parse_publish(&p, 5, &m), WIRE_BAD);
    }
}

static void connack_tells_the_receive_maximum(void **state)
{
    static const uint8_t body[] = {0, 0, 6, 0x22, 0, 10, 0x21, 3, 0xe8};
    struct wire_packet p = {.type = WIRE_CONNACK, .body = body, .len = sizeof(body)};
    struct wire_connack ack;

    (void)state;
    assert_int_equal(wire_parse_connack(&p, 5, &ack), 0);
    assert_int_equal(ack.receive_maximum, 1000);
    p.len = 2;
    assert_int_equal(wire_parse_connack(&p, 4, &ack), 0);
    assert_int_equal(ack.receive_maximum, 65535);
}

static void scan_finds_members_behind_nests_and_escapes(void **state)
{
    static const char text[] = "[ {\"x\":\"a\\\"}]\",\"y\":[1,{\"id\":\"no\"}], \"id\" : \"yes\","
                               "\"n\":12.5},{\"id\":\"two\"}]";
    struct json_scan s = json_scan_over(text, sizeof(text) - 1);
    struct json_slice element, key, value, id = {0};
    int elements = 0;

    (void)state;
    assert_true(json_scan_enter(&s, '['));
    while (json_scan_element(&s, &element)) {
        struct json_scan in = json_scan_over(element.at, element.len);

        assert_true(json_scan_enter(&in, '{'));
        while (json_scan_member(&in, &key, &value))
            if (json_slice_is(key, "id"))
                assert_true(json_slice_text(value, &id));
        assert_true(json_slice_is(id, elements ? "two" : "yes"));
        elements++;
    }
    assert_int_equal(elements, 2);
}

static void scan_ends_at_text_cut_anywhere(void **state)
{
    static const char text[] = "{\"id\":\"a\\\\\",\"data\":{\"n\":[1,2,\"]\"]},\"z\":true}";

    (void)state;
    for (size_t n = 0; n < sizeof(text); n++) {
        char *copy = malloc(n ? n : 1); /* exact, so that a sanitizer sees one byte too far */
        memcpy(copy, text, n);
        struct json_scan s = json_scan_over(copy, n);
        struct json_slice key, value;
        if (json_scan_enter(&s, '{'))
            while (json_scan_member(&s, &key, &value))
                assert_true(value.at + value.len <= copy + n);
        free(copy);
    }
}

static void quantiles_are_never_flattered_and_within_two_percent(void **state)
{
    struct histogram *h = calloc(1, sizeof(*h));

    (void)state;
    for (int64_t i = 1; i <= 10000; i++)
        histogram_add(h, i * 10000); /* 10 us .. 100 ms */
    static const double quantiles[] = {0.5, 0.95, 0.99};
    for (size_t i = 0; i < 3; i++) {
        double want = quantiles[i] * 100, got = histogram_quantile_ms(h, quantiles[i]);
        assert_true(got >= want - 0.001 && got <= want * 1.02);
    }
    assert_true(fabs(histogram_max_ms(h) - 100) < 0.001);
    free(h);
}

static struct load_options some_options(void)
{
    return (struct load_options){.channel = "in_app",
                                 .prefix = "bench",
                                 .receipts = "final",
                                 .users = 1000,
                                 .body_bytes = 300};
}

/* Frames of several lengths with a ping between them, cut at every place. */
static void frames_are_one_stream_of_bytes(void **state)
{
    static const size_t sizes[] = {0, 1, 125, 126, 700, 70000};
    size_t total = 0, payload = 0;
    uint8_t *all = malloc(80000), *copy = malloc(80000);

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t head = websocket_put_header(all + total, sizes[i]) - 4; /* servers do not mask */

        all[total + 1] &= 0x7f;
        memset(all + total + head, (int)('a' + i), sizes[i]);
        total += head + sizes[i];
        payload += sizes[i];
        memcpy(all + total, "\x89\x02hi", 4);
        total += 4;
    }
    for (size_t cut = 0; cut < total; cut += cut < 1200 ? 1 : 997) {
        struct websocket w = {0};
        int64_t first, second;

        memcpy(copy, all, total);
        first = websocket_unwrap(&w, copy, cut);
        second = websocket_unwrap(&w, copy + cut, total - cut);
        assert_int_equal(first + second, (int64_t)payload);
        if (second)
            assert_int_equal(copy[cut + (size_t)second - 1], 'f');
    }
    struct websocket w = {0};
    assert_int_equal(websocket_unwrap(&w, (uint8_t[]){0x88, 0}, 2), -1);
    free(all);
    free(copy);
}

static void a_request_names_its_user_and_is_recognised(void **state)
{
    struct load_options o = some_options();
    struct request_template t;
    uint32_t n = 0;

    (void)state;
    assert_int_equal(request_init(&t, &o, 0xdeadbeef), 0);
    char *text = calloc(1, t.len + 1);
    request_write(&t, text, 1234567, 42, 0x0199aabbccddULL);
    assert_non_null(strstr(text, "\"to\":{\"user\":\"bench-u00042\"}"));
    assert_non_null(strstr(text, "\"id\":\"0199aabb-ccdd-7000-8000-beef0012d687\""));
    struct json_slice id = {.at = strstr(text, "0199aabb"), .len = REQUEST_ID_LEN};
    assert_true(request_of_id(&t, id, &n));
    assert_int_equal(n, 1234567);
    assert_non_null(strstr(text, "\"body\":\"deadbeef0012d687"));
    struct json_slice data = {.at = strstr(text, "\"n\":\"deadbeef") + 5, .len = 16};
    assert_true(request_of_data(&t, data, &n));
    assert_int_equal(n, 1234567);
    t.run++;
    assert_false(request_of_data(&t, data, &n));
    assert_false(request_of_id(&t, id, &n));
    free(text);
    request_fini(&t);
}

static void a_direct_target_carries_the_users_number(void **state)
{
    struct load_options o = some_options();
    struct request_template t;

    (void)state;
    o.channel = "sms";
    o.target = "+155501#";
    assert_int_equal(request_init(&t, &o, 1), 0);
    char *text = calloc(1, t.len + 1);
    request_write(&t, text, 1, 7, 0);
    assert_non_null(strstr(text, "\"to\":{\"phone\":\"+15550100007\"}"));
    assert_non_null(strstr(text, "\"channels\":[\"sms\"]"));
    free(text);
    request_fini(&t);
}

static void the_ledger_tells_lost_from_doubled(void **state)
{
    struct ledger *l = calloc(1, sizeof(*l));

    (void)state;
    ledger_init(l, true);
    l->from_ns = 0;
    l->to_ns = 100 * BENCH_MS;
    for (int i = 0; i < 4; i++)
        assert_int_equal(ledger_send(l, i * BENCH_MS), i);
    ledger_accepted(l, 0, 2 * BENCH_MS);
    ledger_arrived(l, 0, 3 * BENCH_MS);
    ledger_arrived(l, 0, 4 * BENCH_MS);
    assert_true(ledger_final(l, 0, LEDGER_SETTLED, 5 * BENCH_MS));
    assert_false(ledger_final(l, 0, LEDGER_SETTLED, 6 * BENCH_MS));
    assert_true(ledger_final(l, 1, LEDGER_SETTLED, 200 * BENCH_MS)); /* never arrived, and late */
    assert_true(ledger_final(l, 2, LEDGER_DEAD, 7 * BENCH_MS));
    ledger_arrived(l, 99, 0);
    assert_int_equal(ledger_close(l), 1); /* entry 3 */
    assert_int_equal(l->duplicates, 1);
    assert_int_equal(l->again, 1);
    assert_int_equal(l->strangers, 1);
    assert_int_equal(l->unarrived, 2);
    assert_int_equal(l->settled_inside, 1);
    assert_int_equal(l->finals[LEDGER_DEAD], 1);
    assert_int_equal(l->to_settled.count, 2);
    ledger_fini(l);
    free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_publish_comes_back_as_it_was_written),
        cmocka_unit_test(every_cut_of_a_packet_asks_for_more),
        cmocka_unit_test(a_publish_that_lies_about_its_lengths_is_bad),
        cmocka_unit_test(connack_tells_the_receive_maximum),
        cmocka_unit_test(scan_finds_members_behind_nests_and_escapes),
        cmocka_unit_test(scan_ends_at_text_cut_anywhere),
        cmocka_unit_test(quantiles_are_never_flattered_and_within_two_percent),
        cmocka_unit_test(frames_are_one_stream_of_bytes),
        cmocka_unit_test(a_request_names_its_user_and_is_recognised),
        cmocka_unit_test(a_direct_target_carries_the_users_number),
        cmocka_unit_test(the_ledger_tells_lost_from_doubled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

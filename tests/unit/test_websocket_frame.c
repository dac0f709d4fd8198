/* SPDX-License-Identifier: MIT */
#include "websocket/frame.h"

#include "base/alloc.h"
#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* What came of some bytes: the payload, and the first thing that was no payload. */
struct outcome {
    enum frame_event event;
    unsigned code, pings;
    size_t payload;
    uint8_t bytes[512], control[FRAME_CONTROL_MAX];
};

/* Shows them to one reader, piece bytes at a time. */
static struct outcome read_pieces(const void *bytes, size_t length, size_t piece)
{
    struct frame_reader reader = {0};
    struct outcome out = {.event = FRAME_MORE};

    for (size_t at = 0; at < length && out.event == FRAME_MORE; at += piece) {
        size_t count = piece < length - at ? piece : length - at;
        uint8_t *copy = xmalloc(count); /* so that the sanitizer sees its bounds */
        struct frame_input input = {.bytes = copy, .length = count};

        memcpy(copy, (const uint8_t *)bytes + at, count);
        while ((out.event = frame_read(&reader, &input)) == FRAME_PING) {
            out.pings++;
            memcpy(out.control, reader.control, sizeof(out.control));
        }
        assert_true(out.payload + input.payload <= sizeof(out.bytes));
        memcpy(out.bytes + out.payload, copy, input.payload);
        out.payload += input.payload;
        out.code = reader.code;
        free(copy);
    }
    return out;
}

#define MASK "\x37\xfa\x21\x3d" /* RFC 6455 5.7 */

static void the_examples_of_the_rfc_are_read(void **state)
{
    static const char hello[] = "\x82\x85" MASK "\x7f\x9f\x4d\x51\x58";
    static const char fragments[] = "\x02\x83" MASK "\x7f\x9f\x4d"         /* Hel */
                                    "\x89\x85" MASK "\x7f\x9f\x4d\x51\x58" /* a ping between */
                                    "\x80\x82" MASK "\x5b\x95";            /* lo */

    (void)state;
    for (size_t piece = 1; piece < sizeof(fragments); piece++) {
        struct outcome one = read_pieces(hello, sizeof(hello) - 1, piece);
        struct outcome two = read_pieces(fragments, sizeof(fragments) - 1, piece);

        assert_int_equal(one.event, FRAME_MORE);
        assert_int_equal(one.payload, 5);
        assert_memory_equal(one.bytes, "Hello", 5);
        assert_int_equal(two.event, FRAME_MORE);
        assert_int_equal(two.payload, 5);
        assert_memory_equal(two.bytes, "Hello", 5);
        assert_int_equal(two.pings, 1);
        assert_memory_equal(two.control, "Hello", 5);
    }
}

static void what_breaks_the_rules_gets_its_code(void **state)
{
    static const struct {
        const char *name, *bytes;
        size_t length;
        enum frame_event event;
        unsigned code;
    } cases[] = {
#define CASE(name, bytes, event, code) {name, bytes, sizeof(bytes) - 1, event, code}
        CASE("not masked", "\x82\x05Hello", FRAME_BROKEN, 1002),
        CASE("text", "\x81\x85" MASK, FRAME_BROKEN, 1003),
        CASE("fragmented text", "\x01\x85" MASK, FRAME_BROKEN, 1003),
        CASE("rsv1", "\xc2\x85" MASK, FRAME_BROKEN, 1002),
        CASE("rsv2", "\xa2\x85" MASK, FRAME_BROKEN, 1002),
        CASE("rsv3", "\x92\x85" MASK, FRAME_BROKEN, 1002),
        CASE("opcode 3", "\x83\x80" MASK, FRAME_BROKEN, 1002),
        CASE("opcode 7", "\x87\x80" MASK, FRAME_BROKEN, 1002),
        CASE("opcode 11", "\x8b\x80" MASK, FRAME_BROKEN, 1002),
        CASE("opcode 15", "\x8f\x80" MASK, FRAME_BROKEN, 1002),
        CASE("fragmented ping", "\x09\x80" MASK, FRAME_BROKEN, 1002),
        CASE("fragmented close", "\x08\x80" MASK, FRAME_BROKEN, 1002),
        CASE("ping of 126", "\x89\xfe", FRAME_BROKEN, 1002),
        CASE("continuation of nothing", "\x80\x80" MASK, FRAME_BROKEN, 1002),
        CASE("message in a message", "\x02\x80" MASK "\x82\x80", FRAME_BROKEN, 1002),
        CASE("continuation after the end", "\x02\x80" MASK "\x80\x80" MASK "\x80\x80", FRAME_BROKEN,
             1002),
        CASE("16 bits for 125", "\x82\xfe\x00\x7d" MASK, FRAME_BROKEN, 1002),
        CASE("64 bits for 65535", "\x82\xff\0\0\0\0\0\0\xff\xff" MASK, FRAME_BROKEN, 1002),
        CASE("64th bit", "\x82\xff\x80\0\0\0\0\1\0\0" MASK, FRAME_BROKEN, 1002),
        CASE("close", "\x88\x80" MASK, FRAME_CLOSE, 0),
        CASE("close 1000", "\x88\x82\0\0\0\0\x03\xe8", FRAME_CLOSE, 1000),
        CASE("close 4999 with why", "\x88\x84\0\0\0\0\x13\x87ok", FRAME_CLOSE, 4999),
        CASE("close of one byte", "\x88\x81\0\0\0\0\x03", FRAME_BROKEN, 1002),
        CASE("close 999", "\x88\x82\0\0\0\0\x03\xe7", FRAME_BROKEN, 1002),
        CASE("close 1005", "\x88\x82\0\0\0\0\x03\xed", FRAME_BROKEN, 1002),
        CASE("close 1015", "\x88\x82\0\0\0\0\x03\xf7", FRAME_BROKEN, 1002),
        CASE("close 5000", "\x88\x82\0\0\0\0\x13\x88", FRAME_BROKEN, 1002),
        CASE("close in a message", "\x02\x80" MASK "\x88\x80" MASK, FRAME_CLOSE, 0),
        CASE("pong", "\x8a\x80" MASK, FRAME_MORE, 0),
        CASE("empty", "\x82\x80" MASK, FRAME_MORE, 0),
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (size_t piece = 1; piece <= 3; piece++) {
            struct outcome found = read_pieces(cases[i].bytes, cases[i].length, piece);

            if (found.event != cases[i].event || found.code != cases[i].code)
                fail_msg("%s: %d, %u", cases[i].name, (int)found.event, found.code);
            assert_int_equal(found.payload, 0);
        }
}

/* Masks one frame by bytes, as the RFC describes it. */
static size_t put_frame(uint8_t *out, const uint8_t *payload, size_t length, const uint8_t mask[4])
{
    size_t at = frame_header(out, FRAME_OP_BINARY, length);

    out[1] |= 0x80;
    memcpy(out + at, mask, 4);
    at += 4;
    for (size_t i = 0; i < length; i++)
        out[at + i] = payload[i] ^ mask[i % 4];
    return at + length;
}

static void any_length_in_any_pieces_is_unmasked(void **state)
{
    static const size_t lengths[] = {0, 1, 7, 8, 9, 125, 126, 127, 4096, 65535, 65536, 70001};
    static const uint8_t mask[4] = {1, 0x80, 0xff, 0x5a};
    struct rng rng;

    (void)state;
    rng_init(&rng, 5);
    for (size_t k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++) {
        size_t length = lengths[k], total, at = 0, got = 0;
        uint8_t *want = xmalloc(length + 1), *have = xmalloc(length + 1);
        uint8_t *frame = xmalloc(length + FRAME_HEADER_MAX + 4);
        struct frame_reader reader = {0};

        for (size_t i = 0; i < length; i++)
            want[i] = (uint8_t)rng_next(&rng);
        total = put_frame(frame, want, length, mask);
        while (at < total) {
            size_t piece = 1 + (size_t)rng_below(&rng, 977);
            struct frame_input input = {.bytes = frame + at};

            input.length = piece < total - at ? piece : total - at;
            assert_int_equal(frame_read(&reader, &input), FRAME_MORE);
            assert_int_equal(input.at, input.length);
            memcpy(have + got, input.bytes, input.payload);
            got += input.payload;
            at += input.length;
        }
        assert_int_equal(got, length);
        assert_memory_equal(have, want, length);
        free(want);
        free(have);
        free(frame);
    }
}

static void what_we_send_has_the_shortest_header(void **state)
{
    static const struct {
        size_t length, bytes;
        const char *header;
    } cases[] = {
        {0, 2, "\x82\x00"},
        {125, 2, "\x82\x7d"},
        {126, 4, "\x82\x7e\x00\x7e"},
        {65535, 4, "\x82\x7e\xff\xff"},
        {65536, 10, "\x82\x7f\0\0\0\0\0\1\0\0"},
    };
    uint8_t header[FRAME_HEADER_MAX], whole[4];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(frame_header(header, FRAME_OP_BINARY, cases[i].length), cases[i].bytes);
        assert_memory_equal(header, cases[i].header, cases[i].bytes);
    }
    assert_int_equal(frame_close(whole, 1001), 4);
    assert_memory_equal(whole, "\x88\x02\x03\xe9", 4);
    assert_int_equal(frame_close(whole, FRAME_CODE_NONE), 2);
    assert_memory_equal(whole, "\x88\x00", 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_of_the_rfc_are_read),
        cmocka_unit_test(what_breaks_the_rules_gets_its_code),
        cmocka_unit_test(any_length_in_any_pieces_is_unmasked),
        cmocka_unit_test(what_we_send_has_the_shortest_header),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

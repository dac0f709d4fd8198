/* SPDX-License-Identifier: MIT */
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static void empty_buffer_reads_as_empty_text(void **state)
{
    struct buf buf = {0};

    (void)state;
    assert_string_equal(buf_text(&buf), "");
    buf_clear(&buf);
    buf_add(&buf, NULL, 0);
    assert_string_equal(buf_text(&buf), "");
    buf_fini(&buf);
}

static void buffer_grows_and_keeps_its_nul(void **state)
{
    struct buf buf = {0};

    (void)state;
    for (size_t i = 0; i < 10000; i++) {
        buf_add_char(&buf, (char)('a' + i % 26));
        assert_int_equal(buf.length, i + 1);
        assert_int_equal(buf.data[buf.length], 0);
        assert_true(buf.capacity > buf.length);
    }
    for (size_t i = 0; i < buf.length; i++)
        assert_int_equal(buf.data[i], 'a' + i % 26);
    buf_clear(&buf);
    assert_string_equal(buf_text(&buf), "");
    buf_fini(&buf);
    assert_null(buf.data);
}

static void numbers_are_written_in_full(void **state)
{
    struct buf buf = {0};

    (void)state;
    buf_add_u64(&buf, 0);
    buf_add_char(&buf, ' ');
    buf_add_u64(&buf, UINT64_MAX);
    buf_add_char(&buf, ' ');
    buf_add_i64(&buf, INT64_MIN);
    buf_add_char(&buf, ' ');
    buf_add_i64(&buf, -7);
    buf_printf(&buf, " %s-%05d", "x", 42);
    assert_string_equal(buf_text(&buf), "0 18446744073709551615 -9223372036854775808 -7 x-00042");
    buf_fini(&buf);
}

static void json_strings_are_escaped(void **state)
{
    static const struct {
        const char *input;
        size_t length;
        const char *want;
    } cases[] = {
        {"", 0, "\"\""},
        {"plain", 5, "\"plain\""},
        {"a\"b\\c", 5, "\"a\\\"b\\\\c\""},
        {"\b\f\n\r\t", 5, "\"\\b\\f\\n\\r\\t\""},
        {"\x01\x1f\x7f", 3, "\"\\u0001\\u001f\\u007f\""},
        {"a\0b", 3, "\"a\\u0000b\""},
        {"gr\xc3\xbc\xc3\x9f \xf0\x9f\x94\x94", 11, "\"gr\xc3\xbc\xc3\x9f \xf0\x9f\x94\x94\""},
        {"/", 1, "\"/\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf buf = {0};

        buf_add_json_n(&buf, cases[i].input, cases[i].length);
        assert_string_equal(buf_text(&buf), cases[i].want);
        buf_fini(&buf);
    }
}

static void arena_hands_out_aligned_memory(void **state)
{
    struct arena *arena = arena_new(0);

    (void)state;
    for (size_t size = 0; size < 5000; size += 37) {
        unsigned char *ptr = arena_alloc(arena, size);

        assert_int_equal((uintptr_t)ptr % _Alignof(max_align_t), 0);
        memset(ptr, 0xa5, size); /* the sanitizer watches the edges */
    }
    arena_free(arena);
    arena_free(NULL);
}

static void arena_keeps_what_it_gave(void **state)
{
    struct arena *arena = arena_new(64);
    char *texts[500];
    char *large;

    (void)state;
    for (int i = 0; i < 500; i++) {
        texts[i] = arena_printf(arena, "text %d", i);
        if (i == 250) {
            large = arena_zalloc(arena, 1 << 20);
            assert_int_equal(large[0] | large[(1 << 20) - 1], 0);
            memset(large, 1, 1 << 20);
        }
    }
    for (int i = 0; i < 500; i++) {
        char want[32];

        snprintf(want, sizeof want, "text %d", i);
        assert_string_equal(texts[i], want);
    }
    assert_string_equal(arena_copy(arena, "abcdef", 3), "abc");
    assert_memory_equal(arena_copy(arena, "a\0b", 3), "a\0b", 4);
    assert_string_equal(arena_copy(arena, NULL, 0), "");
    assert_true(arena_bytes(arena) > 1 << 20);
    arena_free(arena);
}

static void arena_reset_returns_to_one_block(void **state)
{
    struct arena *arena = arena_new(256);
    size_t held = arena_bytes(arena);

    (void)state;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 1000; i++)
            arena_alloc(arena, 100);
        assert_true(arena_bytes(arena) > 100000);
        arena_reset(arena);
        assert_int_equal(arena_bytes(arena), held);
    }
    arena_free(arena);
}

static void errors_have_names(void **state)
{
    (void)state;
    assert_string_equal(err_name(0), "ok");
    assert_string_equal(err_name(ERR_TOO_LARGE), "too_large");
    assert_string_equal(err_name(ERR_NOT_FOUND), "not_found");
    assert_string_equal(err_name(-4711), "unknown");
    for (int err = ERR_NOT_FOUND; err <= 0; err++)
        assert_string_not_equal(err_name(err), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_buffer_reads_as_empty_text),
        cmocka_unit_test(buffer_grows_and_keeps_its_nul),
        cmocka_unit_test(numbers_are_written_in_full),
        cmocka_unit_test(json_strings_are_escaped),
        cmocka_unit_test(arena_hands_out_aligned_memory),
        cmocka_unit_test(arena_keeps_what_it_gave),
        cmocka_unit_test(arena_reset_returns_to_one_block),
        cmocka_unit_test(errors_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

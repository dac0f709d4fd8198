/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/task.h"

static void a_note_lives_as_long_as_its_last_task_and_owns_its_texts(void **state)
{
    char service[] = "shop", request[] = "r-1", type[] = "order.ready", content[] = "{\"type\":1}";
    const struct note source = {.id = 7,
                                .service = service,
                                .request = request,
                                .type = type,
                                .content = content,
                                .content_bytes = strlen(content)};
    struct note *note = note_new(&source);
    struct task *one = task_new(note, 8, "alice", NULL),
                *other = task_new(note, 9, "+15550001", "alice");

    (void)state;
    memset(service, 'x', strlen(service));
    memset(content, 'x', strlen(content));
    assert_string_equal(note->service, "shop");
    assert_string_equal(note->request, "r-1");
    assert_string_equal(note->content, "{\"type\":1}");
    assert_null(note->collapse_key);
    assert_string_equal(one->recipient, "alice");
    assert_int_equal(one->state, DELIVERY_LEASED);
    assert_int_equal(note->tasks, 2);
    assert_null(one->user);
    task_free(one);
    assert_string_equal(other->note->type, "order.ready");
    assert_string_equal(other->recipient, "+15550001");
    assert_string_equal(other->user, "alice");
    task_free(other);
    note_drop_unused(note_new(&source));
}

static void an_override_is_read_as_it_was_written(void **state)
{
    static const struct retry_override cases[] = {
        {-1, -1, -1, -1, -1},   {5, 1000, 60000, 1.5, 0},
        {-1, 100, -1, -1, 1},   {50, 3600000, INT64_C(604800000), 10, 1},
        {-1, -1, -1, 1.25, -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct retry_override back;
        char text[128];

        retry_override_read(&back, retry_override_write(&cases[i], text, sizeof text));
        assert_int_equal(back.attempts, cases[i].attempts);
        assert_int_equal(back.base_ms, cases[i].base_ms);
        assert_int_equal(back.max_ms, cases[i].max_ms);
        assert_true(back.factor == cases[i].factor);
        assert_int_equal(back.jitter, cases[i].jitter);
        assert_int_equal(retry_override_is_set(&back), i > 0);
    }
}

static void a_broken_override_says_nothing(void **state)
{
    static const char *const texts[] = {NULL, "", "5", "5 1000 x", "a b c d e"};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct retry_override retry;

        retry_override_read(&retry, texts[i]);
        assert_false(retry_override_is_set(&retry));
    }
}

static void the_request_wins_where_it_says_something(void **state)
{
    const struct retry_policy policy = {3, 2000, 8000, 2.0, true};
    const struct retry_override none = {-1, -1, -1, -1, -1}, some = {5, -1, 9000, -1, 0};
    struct retry_policy result = retry_policy_with(&policy, &none);

    (void)state;
    assert_int_equal(result.attempts, 3);
    assert_true(result.is_jittered && result.factor == 2.0);
    result = retry_policy_with(&policy, &some);
    assert_int_equal(result.attempts, 5);
    assert_int_equal(result.base_ms, 2000);
    assert_int_equal(result.max_ms, 9000);
    assert_false(result.is_jittered);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_note_lives_as_long_as_its_last_task_and_owns_its_texts),
        cmocka_unit_test(an_override_is_read_as_it_was_written),
        cmocka_unit_test(a_broken_override_says_nothing),
        cmocka_unit_test(the_request_wins_where_it_says_something),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

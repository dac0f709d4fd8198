/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/edit.h"

static int read_text(const char *text, struct arena *arena, struct edit *edit)
{
    struct json_doc doc;

    assert_int_equal(json_read(text, strlen(text), REQUEST_DEPTH_MAX, arena, &doc), 0);
    return edit_read(doc.root, arena, edit);
}

static void content_is_kept_compact_and_in_order(void **state)
{
    struct arena *arena = arena_new(0);
    struct edit edit;

    (void)state;
    assert_int_equal(read_text("{ \"data\" : { \"n\" : [1, 2] }, \"body\": \"b\", \"title\":\"t\","
                               " \"type\":\"order.ready\" }",
                               arena, &edit),
                     0);
    assert_string_equal(edit.content, "{\"type\":\"order.ready\",\"priority\":\"normal\","
                                      "\"title\":\"t\",\"body\":\"b\",\"data\":{\"n\":[1,2]}}");
    assert_int_equal(edit.content_bytes, strlen(edit.content));
    assert_string_equal(edit.type, "order.ready");
    assert_true(edit.fits_in_app);
    arena_free(arena);
}

static void what_was_stored_can_be_given_back(void **state)
{
    static const char stored[] =
        "{\"type\":\"a.b\",\"priority\":\"high\",\"title\":\"t\",\"body\":\"\\u00fc\","
        "\"locale\":\"de\",\"data\":{},\"content\":{\"sms\":{\"text\":\"x\"}},\"campaign\":\"c\"}";
    struct arena *arena = arena_new(0);
    struct edit edit;

    (void)state;
    assert_int_equal(read_text(stored, arena, &edit), 0);
    assert_string_equal(edit.content, stored);
    arena_free(arena);
}

static void what_is_wrong_is_said_where_it_is(void **state)
{
    static const struct {
        const char *text, *pointer;
        enum reject reason;
    } cases[] = {
        {"[]", "", REJECT_BAD_VALUE},
        {"{\"title\":\"t\"}", "/type", REJECT_MISSING_FIELD},
        {"{\"type\":\"t\",\"title\":7}", "/title", REJECT_BAD_VALUE},
        {"{\"type\":\"T\",\"title\":\"t\"}", "/type", REJECT_BAD_VALUE},
        {"{\"type\":\"t\",\"to\":{\"user\":\"a\"}}", "/to", REJECT_UNKNOWN_FIELD},
        {"{\"type\":\"t\",\"id\":\"a\"}", "/id", REJECT_UNKNOWN_FIELD},
        {"{\"type\":\"t\",\"title\":\"t\",\"content\":{\"fax\":{}}}", "/content/fax",
         REJECT_UNKNOWN_FIELD},
        {"{\"type\":\"t\",\"title\":\"t\",\"title\":\"u\"}", NULL, REJECT_NONE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena *arena = arena_new(0);
        struct edit edit;

        assert_int_equal(read_text(cases[i].text, arena, &edit), ERR_INVALID);
        if (cases[i].pointer) {
            assert_string_equal(edit.rejection.pointer, cases[i].pointer);
            assert_int_equal(edit.rejection.reason, cases[i].reason);
        }
        assert_true(strlen(edit.rejection.detail) > 0);
        arena_free(arena);
    }
}

static void what_a_client_cannot_take_is_known(void **state)
{
    struct arena *arena = arena_new(0);
    static char text[REQUEST_INBOX_MAX + 128];
    struct edit edit;

    (void)state;
    snprintf(text, sizeof(text), "{\"type\":\"t\",\"title\":\"t\",\"body\":\"%*s\"}",
             REQUEST_INBOX_MAX, "x");
    assert_int_equal(read_text(text, arena, &edit), 0);
    assert_false(edit.fits_in_app);
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(content_is_kept_compact_and_in_order),
        cmocka_unit_test(what_was_stored_can_be_given_back),
        cmocka_unit_test(what_is_wrong_is_said_where_it_is),
        cmocka_unit_test(what_a_client_cannot_take_is_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

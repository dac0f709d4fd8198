/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/json.h"

#define DEPTH_MAX 32

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

static struct json *read_good(struct arena *arena, const char *text)
{
    struct json_doc doc;

    if (json_read(text, strlen(text), DEPTH_MAX, arena, &doc) != 0 || doc.troubles)
        fail_msg("%s: %s", text, doc.error ? doc.error : "a fault");
    return doc.root;
}

static void values_are_read_as_what_they_are(void **state)
{
    struct json *root = read_good(
        *state, " { \"a\" : [ 1 , -2.5e3, \"x\\u00fc\\n\\ud83d\\ude80\\/\", true,false ,null ] ,"
                "\"b\\u0062\":{}}\t\r\n");
    const struct json *at = json_member(root, "a");

    assert_int_equal(root->kind, JSON_KIND_OBJECT);
    assert_int_equal(root->count, 2);
    assert_int_equal(at->count, 6);
    at = at->first;
    assert_int_equal(at->kind, JSON_KIND_INTEGER);
    assert_int_equal(at->value.integer, 1);
    at = at->next;
    assert_int_equal(at->kind, JSON_KIND_REAL);
    assert_true(at->value.real == -2500.0);
    assert_int_equal(at->raw_length, 6);
    at = at->next;
    assert_string_equal(at->text, "x\xC3\xBC\n\xF0\x9F\x9A\x80/");
    assert_int_equal(at->length, 9);
    at = at->next;
    assert_true(at->kind == JSON_KIND_BOOL && at->value.boolean);
    at = at->next;
    assert_true(at->kind == JSON_KIND_BOOL && !at->value.boolean);
    assert_int_equal(at->next->kind, JSON_KIND_NULL);
    assert_non_null(json_member(root, "bb"));
    assert_null(json_member(root, "b"));
}

/* A payload as the broker gives it: not followed by a NUL, in a block of exactly its size. */
static int read_exact(struct arena *arena, const char *text, size_t bytes, struct json_doc *doc)
{
    char *block = malloc(bytes ? bytes : 1);
    int err;

    memcpy(block, text, bytes);
    err = json_read(block, bytes, DEPTH_MAX, arena, doc);
    free(block);
    return err;
}

static void the_verdict_is_janssons(void **state)
{
    static const char *const texts[] = {
        "",
        " ",
        "null",
        "nul",
        "nulll",
        "true",
        "tru",
        "false",
        "0",
        "-0",
        "-",
        "00",
        "01",
        "1.",
        ".5",
        "1.5",
        "-1.5e+10",
        "1e",
        "1e+",
        "1E5",
        "1e400",
        "-1e400",
        "1e-400",
        "+1",
        "0x1",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "99999999999999999999999",
        "1.7976931348623157e308",
        "\"\"",
        "\"",
        "\"a",
        "\"\\",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u123g\"",
        "\"\\u0041\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\ud800\"",
        "\"\\ud83d\\ude80\"",
        "\"\\ud83d\\u0041\"",
        "\"\\uFFFF\"",
        "\"\xC3\xBC\"",
        "\"\xC3\"",
        "\"\xFF\"",
        "\"\xED\xA0\x80\"",
        "\"\xF4\x90\x80\x80\"",
        "\"\x01\"",
        "\"\x7F\"",
        "\"\t\"",
        "[",
        "]",
        "[]",
        "[ ]",
        "[1]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1,2]",
        "[1,2",
        "{",
        "}",
        "{}",
        "{ }",
        "{1:2}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1}",
        "{\"a\":1,}",
        "{,\"a\":1}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1,\"b\":2}",
        "{\"a\":1,\"a\":1}",
        "{\"a\":{\"b\":1,\"b\":2}}",
        "{\"\":1}",
        "{\"\\u0061\":1,\"a\":2}",
        "{\"a\":1}x",
        "{}{}",
        "[]]",
        "// x",
        "[1/**/]",
        "'a'",
        "{a:1}",
        "NaN",
        "Infinity",
        "\xEF\xBB\xBF{}",
        "[\"a\",\"b\",\"c\"",
        "[[[[]]]]",
        "[[[[]]]",
        "{\"a\":[{\"b\":[{}]}]}",
        "\"\\u00e9\\b\\f\\n\\r\\t\\/\\\\\\\"\"",
        "{\"k\\u0000\":1}",
        "{\"\xFF\":1}",
        "\v1",
        "1\f",
        "\xC2\xA0[]",
        "[\"12345678\",\"1234567\",\"123456789\",\"12345678\\n\",\"1234567\xC3\xBC\"]",
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        json_t *judge = json_loads(texts[i], JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
        struct json_doc doc;
        int err = read_exact(*state, texts[i], strlen(texts[i]), &doc);

        if ((judge != NULL) != (err == 0 && !doc.troubles))
            fail_msg("%s: jansson says %s", texts[i], judge ? "good" : "bad");
        if (err)
            assert_non_null(doc.error);
        json_decref(judge);
    }
}

static void any_byte_anywhere_in_a_string_is_judged_as_jansson_does(void **state)
{
    char text[27] = "\"aaaaaaaaaaaaaaaaaaaaaaaa\"";

    for (size_t at = 1; at < 25; at++)
        for (int byte = 0; byte < 256; byte++) {
            struct json_doc doc;
            json_t *judge;

            text[at] = (char)byte;
            judge = json_loadb(text, 26, JSON_DECODE_ANY, NULL);
            if ((judge != NULL) != (read_exact(*state, text, 26, &doc) == 0 && !doc.troubles))
                fail_msg("byte %02x at %zu: jansson says %s", (unsigned)byte, at,
                         judge ? "good" : "bad");
            json_decref(judge);
            text[at] = 'a';
        }
}

static void faults_are_found_where_they_are(void **state)
{
    static const struct {
        const char *text;
        enum json_fault fault;
        const char *pointer;
    } cases[] = {
        {"{\"a\":1,\"b\":2,\"a\":3}", JSON_FAULT_DUPLICATE, "/a"},
        {"{\"x\":{\"y/~\":[0,{\"k\":1,\"k\":1}]}}", JSON_FAULT_DUPLICATE, "/x/y~1~0/1/k"},
        {"{\"x\":\"\\u0000\"}", JSON_FAULT_NUL, "/x"},
        {"{\"x\":[\"\\ud800\"]}", JSON_FAULT_TEXT, "/x/0"},
        {"{\"x\":\"\xC3\"}", JSON_FAULT_TEXT, "/x"},
        {"{\"x\":{\"\xC3\":1}}", JSON_FAULT_TEXT, "/x"},
        {"{\"x\":1e999}", JSON_FAULT_NUMBER, "/x"},
        {"{\"x\":{\"y\":9223372036854775808}}", JSON_FAULT_NUMBER, "/x/y"},
        {"{\"x\":1e999,\"y\":\"\\u0000\"}", JSON_FAULT_NUMBER, "/x"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct json_doc doc;

        assert_int_equal(json_read(cases[i].text, strlen(cases[i].text), DEPTH_MAX, *state, &doc),
                         0);
        assert_non_null(doc.troubles);
        assert_int_equal(doc.troubles[0].fault, cases[i].fault);
        assert_string_equal(json_pointer(doc.root, doc.troubles[0].at, *state), cases[i].pointer);
    }
}

static void a_fault_in_one_item_leaves_its_neighbours_alone(void **state)
{
    const char *text = "[{\"a\":1},{\"a\":1,\"a\":2},{\"a\":1},[\"\\u0000\"],7]";
    struct json_doc doc;

    assert_int_equal(json_read(text, strlen(text), DEPTH_MAX, *state, &doc), 0);
    assert_int_equal(doc.root->count, 5);
    assert_int_equal(doc.troubles[0].fault, JSON_FAULT_NONE);
    assert_int_equal(doc.troubles[1].fault, JSON_FAULT_DUPLICATE);
    assert_int_equal(doc.troubles[2].fault, JSON_FAULT_NONE);
    assert_int_equal(doc.troubles[3].fault, JSON_FAULT_NUL);
    assert_int_equal(doc.troubles[4].fault, JSON_FAULT_NONE);
}

/* levels containers, the innermost empty; in a batch the item is one of them, the batch is not. */
static enum json_fault fault_of_depth(struct arena *arena, unsigned levels, bool is_batch)
{
    char text[512];
    struct json_doc doc;
    size_t used = 0;

    if (is_batch)
        text[used++] = '[';
    for (unsigned i = 0; i < levels; i++)
        used += (size_t)snprintf(text + used, 8, i % 2 ? "[" : "{\"a\":");
    if (levels % 2)
        used -= 4; /* the innermost is an object: without the name */
    for (unsigned i = levels; i > 0; i--)
        text[used++] = i % 2 ? '}' : ']';
    if (is_batch)
        text[used++] = ']';
    assert_int_equal(json_read(text, used, DEPTH_MAX, arena, &doc), 0);
    return doc.troubles ? doc.troubles[0].fault : JSON_FAULT_NONE;
}

static void depth_is_counted_in_the_item(void **state)
{
    for (int is_batch = 0; is_batch < 2; is_batch++) {
        assert_int_equal(fault_of_depth(*state, DEPTH_MAX - 1, is_batch), JSON_FAULT_NONE);
        assert_int_equal(fault_of_depth(*state, DEPTH_MAX, is_batch), JSON_FAULT_NONE);
        assert_int_equal(fault_of_depth(*state, DEPTH_MAX + 1, is_batch), JSON_FAULT_DEPTH);
        assert_int_equal(fault_of_depth(*state, DEPTH_MAX + 40, is_batch), JSON_FAULT_DEPTH);
    }
}

static void depth_without_end_ends_all_the_same(void **state)
{
    static char text[65536];
    struct json_doc doc;

    memset(text, '[', sizeof text);
    assert_int_equal(json_read(text, sizeof text, DEPTH_MAX, *state, &doc), ERR_INVALID);
    memset(text, '{', sizeof text);
    assert_int_equal(json_read(text, sizeof text, DEPTH_MAX, *state, &doc), ERR_INVALID);
}

static void a_duplicate_among_thousands_is_found(void **state)
{
    size_t used = 1, room = 200000;
    char *text = malloc(room);
    struct json_doc doc;

    text[0] = '{';
    for (int i = 0; i < 5000; i++)
        used += (size_t)snprintf(text + used, room - used, "\"k%d\":%d,", i % 4990, i);
    text[used - 1] = '}';
    assert_int_equal(json_read(text, used, DEPTH_MAX, *state, &doc), 0);
    assert_int_equal(doc.troubles[0].fault, JSON_FAULT_DUPLICATE);
    assert_string_equal(doc.troubles[0].at->key, "k0");
    assert_int_equal(doc.troubles[0].at->value.integer, 4990);
    free(text);
}

static void the_digest_is_of_the_value_not_of_its_spelling(void **state)
{
    static const struct {
        const char *one, *other;
        bool is_same;
    } cases[] = {
        {"{\"a\":1,\"b\":[1,2]}", " { \"b\" : [ 1 , 2 ] , \"a\" : 1 } ", true},
        {"{\"a\":\"\\u00fc\\/\"}", "{\"\\u0061\":\"\xC3\xBC/\"}", true},
        {"[1,-0,1e3,0.5]", "[1.0,0,1000,5e-1]", true},
        {"9007199254740992", "9007199254740992.0", true},
        {"[1,2]", "[2,1]", false},
        {"[[1],[2]]", "[[2],[1]]", false},
        {"{\"a\":1,\"b\":2}", "{\"a\":2,\"b\":1}", false},
        {"{\"a\":{\"b\":1}}", "{\"b\":{\"a\":1}}", false},
        {"[]", "{}", false},
        {"[]", "[[]]", false},
        {"[[],[]]", "[[[]]]", false},
        {"\"1\"", "1", false},
        {"true", "1", false},
        {"false", "null", false},
        {"\"\"", "null", false},
        {"\"a\"", "\"a\\u0001\"", false},
        {"\"12345678\"", "\"123456780\"", false},
        {"1.5", "1.25", false},
        {"0", "-1", false},
        {"9223372036854775807", "9.223372036854775807e18", false}, /* the double is 2^63 */
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t one = read_good(*state, cases[i].one)->digest;
        uint64_t other = read_good(*state, cases[i].other)->digest;

        if ((one == other) != cases[i].is_same)
            fail_msg("%s and %s", cases[i].one, cases[i].other);
    }
}

/* They are in databases: a change here would turn every repeat into a reuse. */
static void digests_never_change(void **state)
{
    struct json *json =
        read_good(*state, "{\"id\":\"a\",\"data\":{\"n\":[1,2.5,true,null,\"\xC3\xBC ber\"]}}");

    assert_int_equal(json->digest, UINT64_C(0xaecda0e3a2cc20f5));
}

static void writing_drops_white_space_and_nothing_else(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"{\"a\":[1,2.50,\"x\\u00fc y\"]}", "{\"a\":[1,2.50,\"x\\u00fc y\"]}"},
        {" { \"a\" : [ 1 , { } , [ ] ] , \"b\\n\" : \" x \" } ",
         "{\"a\":[1,{},[]],\"b\\n\":\" x \"}"},
        {"[ 1e5,\t{\"k\":\"v\"} ]", "[1e5,{\"k\":\"v\"}]"},
        {" 7 ", "7"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = {0};

        json_write(read_good(*state, cases[i].in), &out);
        assert_string_equal(buf_text(&out), cases[i].out);
        buf_fini(&out);
    }
}

static void a_long_pointer_is_cut_after_a_whole_step(void **state)
{
    char text[2048], name[301];
    struct json_doc doc;
    const char *pointer;

    memset(name, 'n', sizeof name);
    name[300] = '\0';
    snprintf(text, sizeof text, "{\"%s\":{\"%s\":\"\\u0000\"}}", name, name);
    assert_int_equal(json_read(text, strlen(text), DEPTH_MAX, *state, &doc), 0);
    pointer = json_pointer(doc.root, doc.troubles[0].at, *state);
    assert_int_equal(strlen(pointer), 301);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(values_are_read_as_what_they_are, setup, teardown),
        cmocka_unit_test_setup_teardown(the_verdict_is_janssons, setup, teardown),
        cmocka_unit_test_setup_teardown(any_byte_anywhere_in_a_string_is_judged_as_jansson_does,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(faults_are_found_where_they_are, setup, teardown),
        cmocka_unit_test_setup_teardown(a_fault_in_one_item_leaves_its_neighbours_alone, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(depth_is_counted_in_the_item, setup, teardown),
        cmocka_unit_test_setup_teardown(depth_without_end_ends_all_the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(a_duplicate_among_thousands_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(the_digest_is_of_the_value_not_of_its_spelling, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(digests_never_change, setup, teardown),
        cmocka_unit_test_setup_teardown(writing_drops_white_space_and_nothing_else, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_long_pointer_is_cut_after_a_whole_step, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

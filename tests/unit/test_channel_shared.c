/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "channel_fake.h"
#include "base/arena.h"
#include "base/secret.h"
#include "channels/answer.h"
#include "channels/content.h"
#include "channels/encode.h"
#include "channels/http_outcome.h"
#include "channels/jose.h"
#include "channels/mailbox.h"
#include "channels/push.h"
#include "channels/sign.h"
#include "core/id.h"

static void base64_round_trips(void **unused)
{
    static const struct {
        const char *bytes, *text, *url;
    } cases[] = {
        {"", "", ""},
        {"f", "Zg==", "Zg"},
        {"fo", "Zm8=", "Zm8"},
        {"foo", "Zm9v", "Zm9v"},
        {"\xff\xef\xbe", "/+++", "_---"},
        {"foob", "Zm9vYg==", "Zm9vYg"},
    };
    struct buf out = {0};

    (void)unused;
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        buf_clear(&out);
        encode_base64(&out, cases[i].bytes, strlen(cases[i].bytes));
        assert_string_equal(buf_text(&out), cases[i].text);
        buf_clear(&out);
        encode_base64url(&out, cases[i].bytes, strlen(cases[i].bytes));
        assert_string_equal(buf_text(&out), cases[i].url);
        buf_clear(&out);
        assert_int_equal(decode_base64(&out, cases[i].text, strlen(cases[i].text)), 0);
        assert_string_equal(buf_text(&out), cases[i].bytes);
        buf_clear(&out);
        assert_int_equal(decode_base64(&out, cases[i].url, strlen(cases[i].url)), 0);
        assert_string_equal(buf_text(&out), cases[i].bytes);
    }
    buf_clear(&out);
    assert_int_equal(decode_base64(&out, "Z", 1), ERR_INVALID);
    assert_int_equal(decode_base64(&out, "Zh==", 4), ERR_INVALID); /* bits left over */
    assert_int_equal(decode_base64(&out, "Zg=a", 4), ERR_INVALID);
    assert_int_equal(decode_base64(&out, "Z%==", 4), ERR_INVALID);
    buf_fini(&out);
}

static void forms_are_percent_encoded(void **unused)
{
    struct buf out = {0};

    (void)unused;
    encode_form(&out, "a b", "1&2=3+\xc3\xa9~-._");
    encode_form(&out, "c", "");
    assert_string_equal(buf_text(&out), "a%20b=1%262%3D3%2B%C3%A9~-._&c=");
    buf_fini(&out);
}

static void clean_text_is_utf8_without_controls(void **unused)
{
    static const char *const good[] = {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x94\x94"};
    static const char *const bad[] = {"", "\n", "a\x7f", "\xc3", "\x80", "\xff", "a\tb"};

    (void)unused;
    for (unsigned i = 0; i < 4; i++)
        assert_true(text_is_clean(good[i]));
    for (unsigned i = 0; i < 7; i++)
        assert_false(text_is_clean(bad[i]));
}

static void answers_are_read_by_paths(void **unused)
{
    static const char body[] = "{\"code\":21610,\"a\":[{\"b\":\"x\"},{\"b\":true}],\"n\":null}";
    struct answer *answer = answer_new(body, sizeof body - 1);

    (void)unused;
    assert_string_equal(answer_text(answer, "code"), "21610");
    assert_int_equal(answer_number(answer, "code", 0), 21610);
    assert_string_equal(answer_text(answer, "a/0/b"), "x");
    assert_string_equal(answer_text(answer, "a/1/b"), "true");
    assert_int_equal(answer_count(answer, "a"), 2);
    assert_null(answer_text(answer, "a/2/b"));
    assert_null(answer_text(answer, "a/b"));
    assert_null(answer_text(answer, "n"));
    assert_null(answer_text(answer, "code/x"));
    assert_false(answer_has(answer, "z"));
    answer_free(answer);
    answer = answer_new("<html>", 6);
    assert_null(answer_text(answer, "code"));
    assert_int_equal(answer_number(answer, "code", -7), -7);
    answer_free(answer);
}

static void mailboxes_are_taken_apart(void **unused)
{
    static const struct {
        const char *text, *name, *address;
    } good[] = {
        {"a@b.example", "", "a@b.example"},
        {"<a@b.example>", "", "a@b.example"},
        {"Tocsin <a@b.example>", "Tocsin", "a@b.example"},
        {"\"To, \\\"c\\\"\" <a@b.example>", "To, \"c\"", "a@b.example"},
        {"T\xc3\xb6 <a+b@b.example>", "T\xc3\xb6", "a+b@b.example"},
        {"a@b\xc3\xbc"
         "cher.example",
         "", "a@xn--bcher-kva.example"},
        {"j\xc3\xbcrgen@B\xc3\x9c"
         "cher.example",
         "", "j\xc3\xbcrgen@xn--bcher-kva.example"},
        {"a@\xe4\xbe\x8b\xe5\xad\x90.\xe5\xb9\xbf\xe5\x91\x8a", "", "a@xn--fsqu00a.xn--4rr70v"},
    };
    static const char *const bad[] = {"",
                                      "a",
                                      "a <b>",
                                      "a@b.example, c@d.example",
                                      "x <a@b.example",
                                      "x\r\ny <a@b.example>",
                                      "a@b@c",
                                      "a b@c.example",
                                      "a@\xc3.example",
                                      ("a@\xe2\x80\xae"
                                       "b.example"),
                                      "a@\xef\xbc\xa0.example"};
    struct mailbox mailbox;

    (void)unused;
    for (unsigned i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(mailbox_parse(good[i].text, &mailbox), 0);
        assert_string_equal(mailbox.name, good[i].name);
        assert_string_equal(mailbox.address, good[i].address);
    }
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_not_equal(mailbox_parse(bad[i], &mailbox), 0);
}

static void each_channel_overrides_what_it_names(void **unused)
{
    static const char json[] =
        "{\"title\":\"T\",\"body\":\"B\",\"data\":{\"a\":{\"b\":1}},\"content\":{\"sms\":{\"text\":"
        "\"S\"},\"email\":{\"subject\":\"E\"},\"push\":{\"body\":\"P\",\"ttl\":\"5m\"},\"chat\":{"
        "\"blocks\":[1]}}}";
    struct arena *arena = arena_new(0);
    struct content content;
    char why[100] = "";

    (void)unused;
    assert_int_equal(content_parse(json, sizeof json - 1, CHANNEL_SMS, arena, &content, why, 100),
                     0);
    assert_string_equal(content.body, "S");
    assert_string_equal(content.data_json, "{\"a\":{\"b\":1}}");
    assert_string_equal(content.data[0].value, "{\"b\":1}");
    assert_int_equal(content_parse(json, sizeof json - 1, CHANNEL_EMAIL, arena, &content, why, 100),
                     0);
    assert_string_equal(content.title, "E");
    assert_string_equal(content.body, "B");
    assert_int_equal(content_parse(json, sizeof json - 1, CHANNEL_PUSH, arena, &content, why, 100),
                     0);
    assert_string_equal(content.title, "T");
    assert_string_equal(content.body, "P");
    assert_int_equal(content.ttl_ms, 300000);
    assert_int_equal(content.badge, -1);
    assert_int_equal(content_parse(json, sizeof json - 1, CHANNEL_CHAT, arena, &content, why, 100),
                     0);
    assert_string_equal(content.blocks_json, "[1]");
    arena_free(arena);
}

static void what_was_given_as_json_goes_out_as_it_came(void **unused)
{
    static const char json[] =
        "{\"title\":\"T\",\"data\":{ \"price\": 29.95, \"tax\":0.1, \"n\": 1.10, \"e\" : 1e2,"
        "\"z\":-0.0,\"big\":9007199254740993,\"o\":{ \"x\" : [ 19.99, 5e-324 ] },"
        "\"s\":\"\\u00e9\\/\"},\"content\":{\"webhook\":{\"body\":{\"a\": 2.50}},"
        "\"push\":{\"data\":{\"tax\":0.10}},\"chat\":{\"template\":{\"components\":[1.0]}}}}";
    struct arena *arena = arena_new(0);
    struct content content;
    char why[100] = "";

    (void)unused;
    assert_int_equal(
        content_parse(json, sizeof json - 1, CHANNEL_WEBHOOK, arena, &content, why, 100), 0);
    assert_string_equal(content.data_json,
                        "{\"price\":29.95,\"tax\":0.1,\"n\":1.10,\"e\":1e2,\"z\":-0.0,"
                        "\"big\":9007199254740993,\"o\":{\"x\":[19.99,5e-324]},"
                        "\"s\":\"\\u00e9\\/\"}");
    assert_string_equal(content.body_json, "{\"a\":2.50}");
    assert_int_equal(content_parse(json, sizeof json - 1, CHANNEL_PUSH, arena, &content, why, 100),
                     0);
    assert_int_equal(content.data_count, 8);
    assert_string_equal(content.data[0].value, "29.95");
    assert_string_equal(content.data[1].value, "1.10");
    assert_string_equal(content.data[7].value, "0.10"); /* tax: the push's own wins */
    assert_int_equal(content_parse(json, sizeof json - 1, CHANNEL_CHAT, arena, &content, why, 100),
                     0);
    assert_string_equal(content.template_json, "{\"components\":[1.0]}");
    arena_free(arena);
}

static void no_key_of_a_push_comes_twice(void **unused)
{
    static const struct content_pair data[] = {
        {"tocsin_id", "mine"}, {"url", "mine"}, {"image", "mine"}, {"aps", "mine"}, {"a", "1"}};
    struct content content = {.data = data, .data_count = 5};
    struct buf out = {0};

    (void)unused;
    push_add_data(&out, &content, false);
    assert_string_equal(out.data,
                        ",\"url\":\"mine\",\"image\":\"mine\",\"aps\":\"mine\",\"a\":\"1\"");
    content.url = content.image = "https://example.org";
    buf_clear(&out);
    push_add_data(&out, &content, false); /* FCM: the image is not among the data */
    assert_string_equal(out.data, ",\"image\":\"mine\",\"aps\":\"mine\",\"a\":\"1\"");
    buf_clear(&out);
    push_add_data(&out, &content, true);
    assert_string_equal(out.data, ",\"a\":\"1\"");
    buf_fini(&out);
}

static void content_of_another_shape_is_described(void **unused)
{
    static const struct {
        const char *json, *why;
    } cases[] = {
        {"[]", "not a JSON object"},
        {"{", "not a JSON object"},
        {"{\"title\":1}", "title must be a string"},
        {"{\"content\":{\"push\":[]}}", "content.push must be an object"},
        {"{\"content\":{\"push\":{\"badge\":-1}}}", "badge must be"},
        {"{\"content\":{\"push\":{\"ttl\":\"soon\"}}}", "ttl must be a duration"},
        {"{\"content\":{\"push\":{\"data\":[1]}}}", "data must be an object"},
    };

    (void)unused;
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena *arena = arena_new(0);
        struct content content;
        char why[100] = "";

        assert_int_equal(content_parse(cases[i].json, strlen(cases[i].json), CHANNEL_PUSH, arena,
                                       &content, why, sizeof why),
                         ERR_INVALID);
        if (!strstr(why, cases[i].why))
            fail_msg("%s: %s", cases[i].json, why);
        arena_free(arena);
    }
}

static void error_rows_are_found_in_order(void **unused)
{
    static const struct error_row rows[] = {
        {.status = 400, .codes = "7", .says = "Token", .note = "a"},
        {.codes = "1,7-9,5.6.*", .note = "b"},
        {.status = 400, .note = "c"},
    };
    static ERROR_TABLE(table, "t", rows);

    (void)unused;
    assert_string_equal(error_find(&table, HTTP_STAGE_NONE, 400, "7", "bad token")->note, "a");
    assert_string_equal(error_find(&table, HTTP_STAGE_NONE, 400, "7", NULL)->note, "b");
    assert_string_equal(error_find(&table, HTTP_STAGE_NONE, 500, "8", NULL)->note, "b");
    assert_string_equal(error_find(&table, HTTP_STAGE_NONE, 500, "1", NULL)->note, "b");
    assert_string_equal(error_find(&table, HTTP_STAGE_NONE, 500, "5.6.12", NULL)->note, "b");
    assert_string_equal(error_find(&table, HTTP_STAGE_NONE, 400, "10", NULL)->note, "c");
    assert_string_equal(error_find(&table, HTTP_STAGE_NONE, 400, NULL, NULL)->note, "c");
    assert_null(error_find(&table, HTTP_STAGE_NONE, 500, "10", NULL));
    assert_null(error_find(&table, HTTP_STAGE_NONE, 500, "8x", NULL));
    assert_string_equal(error_find(&table, HTTP_STAGE_NONE, 500, "x 8", NULL)->note, "b");
    assert_null(error_find(&table, HTTP_STAGE_NONE, 500, "5.6", NULL));
}

static void a_providers_code_is_cut_to_harmless_characters(void **unused)
{
    struct outcome outcome;

    (void)unused;
    outcome_set(&outcome, OUTCOME_RETRY, REASON_INTERNAL, "");
    outcome_set_code(&outcome, "+4917-a@b\n012345678901234567890123456789");
    assert_string_equal(outcome.code, "?4917-a?b?012345678901234567890");
    outcome_set_code(&outcome, NULL);
    assert_string_equal(outcome.code, "");
}

static void the_table_of_adapters_holds_together(void **unused)
{
    (void)unused;
    for (unsigned i = 0; adapter_all()[i]; i++) {
        const struct adapter *adapter = adapter_all()[i];

        assert_ptr_equal(adapter_find(adapter->name), adapter);
        assert_non_null(adapter->open);
        assert_non_null(adapter->close);
        assert_non_null(adapter->send);
        for (const struct adapter_key *key = adapter->keys; key->name; key++) {
            assert_non_null(key->help);
            assert_false(key->is_required && key->fallback);
            for (const struct adapter_key *other = key + 1; other->name; other++)
                assert_string_not_equal(key->name, other->name);
        }
    }
    assert_null(adapter_find("nobody"));
    assert_null(adapter_errors("nobody"));
}

static void the_log_sends_nothing_and_accepts(void **unused)
{
    static const char *const none[] = {NULL};
    struct job job = fake_job("+15005550006", "{\"body\":\"B\"}");
    void *state;

    (void)unused;
    assert_int_equal(fake_open(&adapter_log_sms, none, &state), 0);
    fake_check_refused(&adapter_log_sms, state, &job, OUTCOME_ACCEPTED, REASON_NONE);
    assert_string_equal(fake_outcome.provider_id, "log-0123456789abcdef");
    adapter_log_sms.close(state);
    fake_forget();
}

static void only_fitting_keys_are_taken(void **unused)
{
    static const char garbage[] = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    unsigned char scalar[32] = {0};
    struct jose_key *key;

    (void)unused;
    assert_int_equal(jose_key_from_pem(JOSE_RS256, garbage, sizeof garbage - 1, &key), ERR_INVALID);
    assert_int_equal(jose_key_from_pem(JOSE_ES256, "", 0, &key), ERR_INVALID);
    assert_int_equal(jose_key_from_scalar(scalar, 32, &key), ERR_INVALID); /* zero */
    assert_int_equal(jose_key_from_scalar(scalar, 31, &key), ERR_INVALID);
}

/* Receipts must not list the names of an inner network. */
static void a_name_that_is_private_is_described_as_one_that_does_not_resolve(void **unused)
{
    struct http_response private = {.fail = HTTP_FAIL_FORBIDDEN, .body = ""};
    struct http_response unknown = {.fail = HTTP_FAIL_RESOLVE, .body = ""};
    struct outcome first = {0}, second = {0};

    (void)unused;
    assert_true(http_outcome_of_failure(&private, &first));
    assert_true(http_outcome_of_failure(&unknown, &second));
    assert_string_equal(first.detail, second.detail);
}

/* On a child, since it cannot be taken back. */
static void keys_do_not_reach_a_core_file(void **unused)
{
    int status = -1;
    pid_t child;

    (void)unused;
    child = fork();
    if (child == 0) {
        struct rlimit limit = {1, 1};

        unsetenv("TOCSIN_ALLOW_CORE");
        secret_guard_process();
        (void)getrlimit(RLIMIT_CORE, &limit);
        _exit(prctl(PR_GET_DUMPABLE) != 0 || limit.rlim_cur != 0 || limit.rlim_max != 0);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_round_trips),
        cmocka_unit_test(forms_are_percent_encoded),
        cmocka_unit_test(clean_text_is_utf8_without_controls),
        cmocka_unit_test(answers_are_read_by_paths),
        cmocka_unit_test(mailboxes_are_taken_apart),
        cmocka_unit_test(each_channel_overrides_what_it_names),
        cmocka_unit_test(what_was_given_as_json_goes_out_as_it_came),
        cmocka_unit_test(no_key_of_a_push_comes_twice),
        cmocka_unit_test(content_of_another_shape_is_described),
        cmocka_unit_test(error_rows_are_found_in_order),
        cmocka_unit_test(a_providers_code_is_cut_to_harmless_characters),
        cmocka_unit_test(the_table_of_adapters_holds_together),
        cmocka_unit_test(the_log_sends_nothing_and_accepts),
        cmocka_unit_test(only_fitting_keys_are_taken),
        cmocka_unit_test(a_name_that_is_private_is_described_as_one_that_does_not_resolve),
        cmocka_unit_test(keys_do_not_reach_a_core_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

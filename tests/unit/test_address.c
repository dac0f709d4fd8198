/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/address.h"
#include "core/syntax.h"

static void one_mailbox_has_one_key(void **unused)
{
    static const char *const spellings[][8] = {
        {"bob@xn--bcher-kva.example",
         "bob@b\xc3\xbc"
         "cher.example",
         "BOB@B\xc3\x9c"
         "CHER.EXAMPLE",
         "bob@bu\xcc\x88"
         "cher.example",
         "Bob@BU\xcc\x88"
         "CHER.Example",
         "bob@XN--BCHER-KVA.example",
         "bob@\xef\xbd\x82\xc3\xbc"
         "cher.example",
         NULL},
        {"ann@example.org", "ANN@example.org", "Ann@EXAMPLE.Org", NULL},
        {"b\xc3\xb6"
         "b@example.org",
         "B\xc3\x96"
         "B@example.org",
         "bo\xcc\x88"
         "b@Example.org",
         "BO\xcc\x88"
         "B@example.org",
         NULL},
        {"a@xn--strae-oqa.example",
         "a@stra\xc3\x9f"
         "e.example",
         NULL},
        {"a@xn--hxajbheg2az3al.example",
         "a@\xcf\x80\xce\xb1\xcf\x81\xce\xac\xce\xb4\xce\xb5\xce\xb9"
         "\xce\xb3\xce\xbc\xce\xb1.example",
         "a@\xce\xa0\xce\x91\xce\xa1\xce\x86\xce\x94\xce\x95\xce\x99\xce\x93\xce\x9c\xce\x91."
         "example",
         NULL},
        {"a+tag@example.org", "A+Tag@example.org", NULL},
    };
    struct arena *arena = arena_new(0);

    (void)unused;
    for (size_t i = 0; i < sizeof spellings / sizeof spellings[0]; i++)
        for (size_t k = 0; spellings[i][k]; k++) {
            const char *key = address_key(CHANNEL_EMAIL, spellings[i][k], arena);

            if (strcmp(key, spellings[i][0]) != 0)
                fail_msg("%s became %s", spellings[i][k], key);
            assert_string_equal(address_key_strict(CHANNEL_EMAIL, key, arena), key);
            assert_ptr_equal(address_key(CHANNEL_EMAIL, "ann@example.org", arena),
                             address_key(CHANNEL_EMAIL, "ann@example.org", arena));
        }
    arena_free(arena);
}

static void different_mailboxes_stay_different(void **unused)
{
    static const char *const others[] = {
        "strasse@example.org",
        "stra\xc3\x9f"
        "e@example.org",
        "a.b@example.org",
        "ab@example.org",
        "a+b@example.org",
        "a@strasse.example",
        "a@stra\xc3\x9f"
        "e.example",
        "a@b.example.org",
    };
    struct arena *arena = arena_new(0);

    (void)unused;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(address_key(CHANNEL_EMAIL, others[i], arena),
                                    address_key(CHANNEL_EMAIL, others[k], arena));
    arena_free(arena);
}

static void what_is_no_domain_has_a_key_and_is_refused(void **unused)
{
    static const char bad[] = "Bob@\xe2\x98\x83-.\xc3\x9c-"; /* syntax lets it pass as a word */
    struct arena *arena = arena_new(0);

    (void)unused;
    assert_null(address_key_strict(CHANNEL_EMAIL, bad, arena));
    assert_string_equal(address_key(CHANNEL_EMAIL, bad, arena), "bob@\xe2\x98\x83-.\xc3\xbc-");
    arena_free(arena);
}

#define TOKEN "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void only_apples_tokens_are_hex(void **unused)
{
    struct arena *arena = arena_new(0);

    (void)unused;
    assert_string_equal(
        address_key(CHANNEL_PUSH,
                    "0123456789ABCDEF0123456789ABCDEF0123456789abcdef0123456789abcdef", arena),
        TOKEN);
    assert_string_equal(address_key(CHANNEL_PUSH, "ABCDEF", arena), "ABCDEF");
    assert_string_equal(address_key(CHANNEL_PUSH, TOKEN ":APA91b", arena), TOKEN ":APA91b");
    assert_string_equal(address_key(CHANNEL_WEBHOOK, "https://X.example/A", arena),
                        "https://X.example/A");
    assert_string_equal(address_key(CHANNEL_SMS, "+15550100", arena), "+15550100");
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_mailbox_has_one_key),
        cmocka_unit_test(different_mailboxes_stay_different),
        cmocka_unit_test(what_is_no_domain_has_a_key_and_is_refused),
        cmocka_unit_test(only_apples_tokens_are_hex),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

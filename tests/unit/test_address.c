/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "channels/mailbox.h"
#include "core/address.h"
#include "core/domain.h"
#include "core/syntax.h"

#include <stdlib.h>
#include <unicase.h>
#include <uninorm.h>

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

/* ---- what is sent ---- */

static void a_local_part_keeps_its_case(void **unused)
{
    static const char *const pairs[][2] = {
        {"Bob.Smith@B\xc3\x9c"
         "CHER.Example",
         "Bob.Smith@xn--bcher-kva.example"},
        {"Bob.Smith@EXAMPLE.org", "Bob.Smith@example.org"},
        {"bOb@example.org", "bOb@example.org"},
        {"J\xc3\x96rG@example.org", "J\xc3\xb6rG@example.org"},
        {"JO\xcc\x88rG@example.org", "J\xc3\xb6rG@example.org"},
        /* a letter with a mark that has one code point in lower case only */
        {"T\xcc\x88om@example.org", "\xe1\xba\x97om@example.org"},
        {"\xe2\x84\xaa@example.org", "K@example.org"}, /* the kelvin sign is K */
        {"A\xce\xa3@example.org", "A\xcf\x82@example.org"},
        {"A\xce\xa3x@example.org", "A\xcf\x83x@example.org"},
    };
    struct arena *arena = arena_new(0);

    (void)unused;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        assert_string_equal(address_wire(CHANNEL_EMAIL, pairs[i][0], arena), pairs[i][1]);
        assert_string_equal(address_wire_strict(CHANNEL_EMAIL, pairs[i][0], arena), pairs[i][1]);
    }
    arena_free(arena);
}

/* Letters and marks whose case or composition is peculiar, and plain ones. */
static const char *const pieces[] = {
    "a",
    "B",
    "T",
    "i",
    "I",
    "K",
    "s",
    "Z",
    "7",
    ".",
    "+",
    "\xc3\x96",
    "\xc3\xb6",
    "\xcc\x88",
    "\xcc\x87",
    "\xcc\xa3",
    "\xcd\x85",
    "\xc4\xb0",
    "\xc4\xb1",
    "\xc3\x9f",
    "\xe1\xba\x9e",
    "\xce\xa3",
    "\xcf\x82",
    "\xcf\x83",
    "\xe2\x84\xaa",
    "\xe2\x84\xab",
    "\xc8\xba",
    "\xd0\x94",
    "\xc7\x85",
    "\xef\xbc\xa2",
    "\xe1\xbe\xbc",
    "\xe1\x82\xa0",
    "\xe1\x8e\xa0",
    "\xe7\x94\xa8",
    "\xf0\x90\x90\x80",
    "'",
    "\xc2\xb7",
};

static char *lower_oracle(const char *text)
{
    size_t length = 0, bytes = 0;
    uint8_t *composed =
        u8_normalize(UNINORM_NFC, (const uint8_t *)text, strlen(text), NULL, &length);
    uint8_t *lower = u8_tolower(composed, length, NULL, UNINORM_NFC, NULL, &bytes);
    char *copy = calloc(1, bytes + 1);

    memcpy(copy, lower, bytes);
    free(composed);
    free(lower);
    return copy;
}

static void check_forms(const char *address, struct arena *arena)
{
    const char *wire = address_wire(CHANNEL_EMAIL, address, arena);
    const char *key = address_key(CHANNEL_EMAIL, address, arena);
    char *lower = lower_oracle(address), *fold = arena_strdup(arena, wire);

    address_fold(CHANNEL_EMAIL, fold);
    if (strcmp(fold, key) != 0 || strcmp(key, lower) != 0)
        fail_msg("%s is sent as %s, its key is %s and not %s", address, wire, key, lower);
    assert_string_equal(address_wire(CHANNEL_EMAIL, wire, arena), wire);
    assert_string_equal(address_key(CHANNEL_EMAIL, wire, arena), key);
    assert_string_equal(address_wire(CHANNEL_EMAIL, key, arena), key);
    free(lower);
}

static void the_key_is_what_is_sent_in_lower_ascii(void **unused)
{
    const size_t count = sizeof pieces / sizeof pieces[0];
    unsigned seed = 5321;

    (void)unused;
    for (int i = 0; i < 20000; i++) {
        struct arena *arena = arena_new(0);
        char address[256] = "";

        for (int k = 0; k < 1 + i % 12; k++) {
            seed = seed * 1103515245u + 12345u;
            strcat(address, pieces[(seed >> 16) % count]);
        }
        strcat(address, "@Example.ORG");
        check_forms(address, arena);
        arena_free(arena);
    }
}

static void what_is_no_domain_has_a_key_and_is_refused(void **unused)
{
    static const char bad[] = "Bob@\xe2\x98\x83-.\xc3\x9c-"; /* syntax lets it pass as a word */
    struct arena *arena = arena_new(0);

    (void)unused;
    assert_null(address_key_strict(CHANNEL_EMAIL, bad, arena));
    assert_null(address_wire_strict(CHANNEL_EMAIL, bad, arena));
    assert_string_equal(address_wire(CHANNEL_EMAIL, bad, arena), "Bob@\xe2\x98\x83-.\xc3\xbc-");
    assert_string_equal(address_key(CHANNEL_EMAIL, bad, arena), "bob@\xe2\x98\x83-.\xc3\xbc-");
    arena_free(arena);
}

/* Characters that decompose to ASCII which no label has, or to nothing: none is ever left out. */
static void no_character_of_a_domain_is_left_out(void **unused)
{
    static const char *const domains[] = {
        "ex\xe2\x89\xa0"
        "ample.com", /* U+2260: = and a stroke */
        "a\xe2\x91\xb4"
        "b.example",             /* U+2474: (1) */
        "\xe2\x89\xae.example",  /* U+226E: < and a stroke */
        "a\xe2\x89\xaf.example", /* U+226F */
        "a\xe2\x92\x9c"
        "b.example", /* U+249C: (a) */
        "a\xe2\x81\xbc"
        "b.example", /* U+207C: superscript = */
        "a\xe2\x81\xba"
        "b.example", /* U+207A: superscript + */
        "a\xef\xbc\x9d"
        "b.example", /* U+FF1D: fullwidth = */
        "a\xe2\x84\x80"
        "b.example",                      /* U+2100: a/c */
        "\xc3\xbc.a\xe2\x91\xb4.example", /* beside a label that is good */
        "\xc2\xb4.example",               /* U+00B4: a blank and an accent */
        "a\xcd\xbe"
        "b.example",                    /* U+037E: ; */
        "\xc3\xbc..example",            /* an empty label */
        "-\xc3\xbc.example",            /* begins with a hyphen */
        "\xc3\xbc_a.example",           /* STD3 */
        "\xe3\x80\x82.example",         /* only a full stop */
        "\xc2\xad.example",             /* U+00AD maps to nothing */
        "\xe2\x80\x8b\xc2\xad.example", /* and so does U+200B */
    };
    struct arena *arena = arena_new(0);

    (void)unused;
    for (size_t i = 0; i < sizeof domains / sizeof domains[0]; i++) {
        const char *address = arena_printf(arena, "ann@%s", domains[i]), *wire;
        char out[DOMAIN_MAX + 1], mail[MAILBOX_ADDRESS_MAX + 1];

        if (domain_to_ascii(domains[i], out))
            fail_msg("%s became %s", domains[i], out);
        assert_null(address_wire_strict(CHANNEL_EMAIL, address, arena));
        assert_null(address_key_strict(CHANNEL_EMAIL, address, arena));
        wire = address_wire(CHANNEL_EMAIL, address, arena);
        assert_int_equal(strcspn(wire, "@"), 3);
        assert_true(strlen(wire) > 3 + strlen(".example"));
        assert_int_not_equal(mailbox_to_wire(address, mail), 0);
    }
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
        cmocka_unit_test(a_local_part_keeps_its_case),
        cmocka_unit_test(the_key_is_what_is_sent_in_lower_ascii),
        cmocka_unit_test(what_is_no_domain_has_a_key_and_is_refused),
        cmocka_unit_test(no_character_of_a_domain_is_left_out),
        cmocka_unit_test(only_apples_tokens_are_hex),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

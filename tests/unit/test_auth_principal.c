/* SPDX-License-Identifier: MIT */
#include "principal.h"

#include "acl.h"
#include "seal.h"

#include <openssl/evp.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void ids_are_encoded_into_one_level(void **state)
{
    static const struct {
        const char *raw, *want;
    } cases[] = {
        {"alice", "alice"},
        {"auth0|5f-7_c.~@", "auth0|5f-7_c.~@"},
        {"a/b+c#d$e%f:g,h", "a%2Fb%2Bc%23d%24e%25f%3Ag%2Ch"},
        {"\x01 \n\x7f", "%01%20%0A%7F"},
        {"\xc3\xb1", "%C3%B1"},
        {"%2F", "%252F"},
        {"", ""},
    };
    char out[PRINCIPAL_ID_MAX + 1];
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        out[0] = '\0';
        assert_int_equal(principal_encode(cases[i].raw, out, sizeof(out)), strlen(cases[i].want));
        assert_string_equal(out, cases[i].want);
    }
}

static void what_does_not_fit_is_refused_not_cut(void **state)
{
    char name[PRINCIPAL_NAME_SIZE], id[200], out[4];
    (void)state;

    memset(id, 'a', sizeof(id));
    id[PRINCIPAL_ID_MAX] = '\0';
    assert_int_equal(principal_begin(name, PRINCIPAL_USER, "", id), REFUSAL_NONE);
    assert_int_equal(principal_begin(name, PRINCIPAL_USER, "p", id), REFUSAL_SUBJECT);
    id[PRINCIPAL_ID_MAX] = 'a';
    id[PRINCIPAL_ID_MAX + 1] = '\0';
    assert_int_equal(principal_begin(name, PRINCIPAL_USER, "", id), REFUSAL_SUBJECT);
    memset(id, '/', 43);
    id[43] = '\0';
    assert_int_equal(principal_begin(name, PRINCIPAL_USER, "", id), REFUSAL_SUBJECT);
    id[42] = '\0';
    assert_int_equal(principal_begin(name, PRINCIPAL_USER, "", id), REFUSAL_NONE);
    assert_int_equal(principal_begin(name, PRINCIPAL_USER, "", ""), REFUSAL_SUBJECT);
    assert_int_equal(principal_begin(name, PRINCIPAL_USER, "prefix|", ""), REFUSAL_SUBJECT);
    assert_int_equal(principal_encode("abcd", out, sizeof(out)), 0);
    assert_int_equal(principal_encode("a/", out, sizeof(out)), 0);
    assert_int_equal(principal_encode("abc", out, sizeof(out)), 3);
}

static void written_and_read_it_is_the_same(void **state)
{
    char name[PRINCIPAL_NAME_SIZE];
    struct principal p;
    (void)state;

    assert_int_equal(principal_begin(name, PRINCIPAL_ADMIN, "idp|", "a:b"), REFUSAL_NONE);
    assert_int_equal(principal_add_role(name, "ops"), REFUSAL_NONE);
    assert_int_equal(principal_add_role(name, "on,call"), REFUSAL_NONE);
    assert_int_equal(principal_add_role(name, "ops"), REFUSAL_NONE);
    assert_string_equal(name, "\x01"
                              "a:idp|a%3Ab:ops,on%2Ccall");
    assert_true(principal_parse(name, &p));
    assert_int_equal(p.kind, PRINCIPAL_ADMIN);
    assert_int_equal(p.id_len, strlen("idp|a%3Ab"));
    assert_string_equal(p.roles, "ops,on%2Ccall");
    assert_int_equal(p.roles_len, strlen("ops,on%2Ccall"));
}

static void a_sealed_name_is_the_same_principal(void **state)
{
    static const char name[] = "\x01"
                               "a:alice:ops,oncall";
    static const char marks[] = {PRINCIPAL_MARK, PRINCIPAL_SEALED};
    unsigned char key[SEAL_KEY_SIZE], other[SEAL_KEY_SIZE];
    char sealed[SEAL_NAME_SIZE];
    struct principal p = {.id = ""}, q = {.id = ""};
    (void)state;

    assert_int_equal(seal_init(key), 0);
    assert_int_equal(seal_init(other), 0);
    assert_true(principal_parse(name, &p));
    for (int m = 0; m < 2; m++) {
        assert_int_equal(seal_name(key, name, marks[m], sealed), 0);
        assert_int_equal(sealed[0], marks[m]);
        assert_true(seal_holds(key, sealed));
        assert_false(seal_holds(other, sealed));
        assert_true(seal_open(key, sealed, &q));
        assert_true(principal_same(&p, &q));
        assert_int_equal(p.roles_len, q.roles_len);
        assert_memory_equal(p.roles, q.roles, p.roles_len);
        assert_true(acl_may_subscribe(&q, "notify/v1/roles/oncall/#"));
        assert_false(acl_may_subscribe(&q, "notify/v1/roles/oncal/#"));
        for (size_t i = 0; sealed[i]; i++) {
            sealed[i] ^= 1;
            assert_false(seal_open(key, sealed, &q));
            sealed[i] ^= 1;
        }
        sealed[0] = marks[1 - m]; /* the mark is part of what is sealed */
        assert_false(seal_holds(key, sealed));
        sealed[0] = marks[m];
        sealed[strlen(sealed) - SEAL_HEX - 1] = '\0';
        assert_false(seal_open(key, sealed, &q));
    }
}

/* What a certificate, a pre-shared key's identity or another plugin could bring. */
static void a_name_without_its_seal_is_nobodys(void **state)
{
    static const char *const forged[] = {
        "=a:root:",
        "=b:tocsin:",
        "=a:root:ops",
        "\x01"
        "a:root:",
        "\x01"
        "b:tocsin:",
        "=a:root::00000000000000000000000000000000",
        "\x01"
        "a:root::00000000000000000000000000000000",
        "=a:root:ops:ffffffffffffffffffffffffffffffff",
        ":00000000000000000000000000000000",
        "=:00000000000000000000000000000000",
        "root",
        "admin/root",
        "CN=root",
        "",
    };
    unsigned char key[SEAL_KEY_SIZE], zero[SEAL_KEY_SIZE] = {0};
    char sealed[SEAL_NAME_SIZE];
    struct principal p;
    (void)state;

    assert_int_equal(seal_init(key), 0);
    for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++)
        assert_false(seal_open(key, forged[i], &p));
    assert_false(seal_open(key, NULL, &p));
    assert_int_equal(seal_name(zero,
                               "\x01"
                               "a:root:",
                               PRINCIPAL_SEALED, sealed),
                     0);
    assert_false(seal_open(key, sealed, &p));
}

/* OpenSSL's SipHash is the witness for ours, for every length up to the longest name. */
static void the_seal_is_siphash(void **state)
{
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "SIPHASH", NULL);
    unsigned char key[SEAL_KEY_SIZE];
    (void)state;

    assert_non_null(mac);
    assert_int_equal(seal_init(key), 0);
    for (size_t len = 1; len < PRINCIPAL_NAME_SIZE; len += len < 70 ? 1 : 97) {
        EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);
        char name[PRINCIPAL_NAME_SIZE], sealed[SEAL_NAME_SIZE], want[SEAL_HEX + 1];
        unsigned char out[SEAL_HEX / 2];
        size_t out_len;

        memset(name, 'r', len);
        name[0] = PRINCIPAL_MARK;
        name[len] = '\0';
        assert_int_equal(seal_name(key, name, PRINCIPAL_MARK, sealed), 0);
        assert_int_equal(EVP_MAC_init(ctx, key, sizeof(key), NULL), 1);
        assert_int_equal(EVP_MAC_update(ctx, (unsigned char *)name, len), 1);
        assert_int_equal(EVP_MAC_final(ctx, out, &out_len, sizeof(out)), 1);
        assert_int_equal(out_len, sizeof(out));
        for (size_t i = 0; i < sizeof(out); i++)
            snprintf(want + 2 * i, 3, "%02x", out[i]);
        assert_string_equal(sealed + len + 1, want);
        EVP_MAC_CTX_free(ctx);
    }
    EVP_MAC_free(mac);
}

static void the_key_of_a_seal_is_its_secrets(void **state)
{
    unsigned char a[SEAL_KEY_SIZE], b[SEAL_KEY_SIZE];
    (void)state;

    assert_int_equal(seal_derive(a, "0123456789abcdef0123456789abcdef", 32), 0);
    assert_int_equal(seal_derive(b, "0123456789abcdef0123456789abcdef", 32), 0);
    assert_memory_equal(a, b, sizeof(a));
    assert_int_equal(seal_derive(b, "0123456789abcdef0123456789abcdeg", 32), 0);
    assert_memory_not_equal(a, b, sizeof(a));
}

static void the_longest_principal_fits(void **state)
{
    char name[PRINCIPAL_NAME_SIZE], id[PRINCIPAL_ID_MAX + 1], role[PRINCIPAL_ROLE_MAX + 2];
    struct principal p;
    unsigned roles = 0;
    (void)state;

    memset(id, 'i', PRINCIPAL_ID_MAX);
    id[PRINCIPAL_ID_MAX] = '\0';
    memset(role, 'r', sizeof(role));
    role[PRINCIPAL_ROLE_MAX] = '\0';
    assert_int_equal(principal_begin(name, PRINCIPAL_USER, "", id), REFUSAL_NONE);
    while (roles < 100) {
        role[0] = (char)('A' + roles % 26);
        role[1] = (char)('A' + roles / 26);
        if (principal_add_role(name, role) != REFUSAL_NONE)
            break;
        roles++;
    }
    assert_in_range(roles, 17, PRINCIPAL_ROLES_MAX); /* by bytes before it is by number */
    assert_true(strlen(name) < PRINCIPAL_NAME_SIZE);
    assert_true(principal_parse(name, &p));
    role[PRINCIPAL_ROLE_MAX] = 'r';
    role[PRINCIPAL_ROLE_MAX + 1] = '\0';
    assert_int_equal(principal_begin(name, PRINCIPAL_USER, "", "a"), REFUSAL_NONE);
    assert_int_equal(principal_add_role(name, role), REFUSAL_ROLES);
    assert_int_equal(principal_add_role(name, ""), REFUSAL_ROLES);
}

static void other_user_names_are_no_principals(void **state)
{
    static const char *const wrong[] = {
        "",         "alice", "\x01",    "\x01u",    "\x01u:",   "\x01u::",  "\x01u:a",
        "\x01x:a:", "u:a:",  "\x01ua:", "\x01\x01", "\x02u:a:", "\x01U:a:", "\x01:a:ops"};
    char longer[300] = "\x01u:";
    struct principal p;
    (void)state;

    assert_false(principal_parse(NULL, &p));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(principal_parse(wrong[i], &p));
    memset(longer + 3, 'a', PRINCIPAL_ID_MAX + 1);
    memcpy(longer + 3 + PRINCIPAL_ID_MAX + 1, ":", 2);
    assert_false(principal_parse(longer, &p));
}

static void client_ids_belong_to_one_principal(void **state)
{
    static const struct {
        const char *id;
        bool is_own;
    } cases[] = {
        {"user/alice", true},
        {"user/alice/", true},
        {"user/alice/a/b", true},
        {"user/alice2", false},
        {"user/alic", false},
        {"user/alice ", false},
        {"User/alice", false},
        {"service/alice", false},
        {"user", false},
        {"user/", false},
        {"", false},
        {"alice", false},
        {"user/alice/a+", false},
        {"user/alice/#", false},
        {"user/alice/$", false},
        {"user/alice/\x7f", false},
        {"user/alice/a b", false},
        {"user/alice/\xc3\xb1", false},
    };
    struct principal p;
    (void)state;

    assert_true(principal_parse("\x01u:alice:ops", &p));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(principal_owns_client_id(&p, cases[i].id), cases[i].is_own);
    assert_false(principal_owns_client_id(&p, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_encoded_into_one_level),
        cmocka_unit_test(what_does_not_fit_is_refused_not_cut),
        cmocka_unit_test(written_and_read_it_is_the_same),
        cmocka_unit_test(a_sealed_name_is_the_same_principal),
        cmocka_unit_test(a_name_without_its_seal_is_nobodys),
        cmocka_unit_test(the_seal_is_siphash),
        cmocka_unit_test(the_key_of_a_seal_is_its_secrets),
        cmocka_unit_test(the_longest_principal_fits),
        cmocka_unit_test(other_user_names_are_no_principals),
        cmocka_unit_test(client_ids_belong_to_one_principal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

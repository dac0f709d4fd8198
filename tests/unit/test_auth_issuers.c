/* SPDX-License-Identifier: MIT */
/*
 * What one section of the configuration makes of a token, and several of
 * them: shared keys, quoted words, and the shapes that providers send.
 */
#include "token.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { TEXT_MAX = 65536 };

static const char secret[] = "0123456789abcdef0123456789abcdef";
static const int64_t now_s = 1800000000;
static char secret_path[64];

static int setup(void **state)
{
    (void)state;
    snprintf(secret_path, sizeof(secret_path), "/tmp/test_auth_issuers.XXXXXX");
    int fd = mkstemp(secret_path);
    bool is_good = fd >= 0 && write(fd, secret, strlen(secret)) == (ssize_t)strlen(secret);
    close(fd);
    return is_good ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return unlink(secret_path);
}

static size_t encode(const void *raw, size_t len, char *out)
{
    int size = EVP_EncodeBlock((unsigned char *)out, raw, (int)len);

    while (size > 0 && out[size - 1] == '=')
        size--;
    for (int i = 0; i < size; i++)
        out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
    out[size] = '\0';
    return (size_t)size;
}

static void sign(const char *header, const char *payload, char *out)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_len;

    size_t len = encode(header, strlen(header), out);
    out[len++] = '.';
    len += encode(payload, strlen(payload), out + len);
    HMAC(EVP_sha256(), secret, (int)strlen(secret), (unsigned char *)out, len, mac, &mac_len);
    out[len++] = '.';
    encode(mac, mac_len, out + len);
}

/* Options as "key value" lines; secret_file is added to every section that they name. */
static struct options *configure(const char *const *lines, char err[FILE_ERROR_SIZE])
{
    struct options *opt = options_new();
    int rc = 0;

    *err = '\0';
    for (; *lines && rc == 0; lines++) {
        const char *value = strchr(*lines, ' ');
        char key[128];
        snprintf(key, sizeof(key), "%.*s", (int)(value - *lines), *lines);
        rc = options_set(opt, key, value + 1, err);
    }
    for (size_t i = 0; i < opt->issuer_count && rc == 0; i++) {
        char key[128];
        if (opt->issuers[i].secret_file)
            continue;
        snprintf(key, sizeof(key), "%s%ssecret_file", opt->issuers[i].label,
                 *opt->issuers[i].label ? "." : "");
        rc = options_set(opt, key, secret_path, err);
    }
    if (rc == 0)
        rc = options_finish(opt, err);
    if (rc == 0)
        return opt;
    options_free(opt);
    return NULL;
}

static enum refusal verify_with(const char *const *lines, const char *header, const char *payload,
                                struct token *tok)
{
    char *text = malloc(TEXT_MAX), err[FILE_ERROR_SIZE];
    struct options *opt = configure(lines, err);

    if (!opt)
        fail_msg("%s", err);
    struct keys *keys = keys_load(opt, err);
    assert_non_null(keys);
    sign(header, payload, text);
    enum refusal why = token_verify(keys, text, strlen(text), 65535, now_s, tok);
    keys_free(keys);
    options_free(opt);
    free(text);
    return why;
}

#define HEADER "{\"alg\":\"HS256\"}"
#define TIMES  "\"exp\":1800000600,\"iat\":1799999990"

static void expect(const char *const *lines, const char *payload, const char *want)
{
    struct token tok = {.name = ""};
    enum refusal why = verify_with(lines, HEADER, payload, &tok);

    if (strcmp(why ? refusal_name(why) : tok.name + 1, want) != 0)
        fail_msg("%.200s: \"%s\", not \"%s\"", payload, why ? refusal_name(why) : tok.name + 1,
                 want);
}

static void every_section_that_holds_the_key_is_asked(void **state)
{
    static const char *const hosts[] = {"a.issuer https://id.example.org/realms/main",
                                        "a.audience tocsin",
                                        "a.default_kind user",
                                        "b.issuer http://keycloak:8080/realms/main",
                                        "b.audience tocsin",
                                        "b.default_kind user",
                                        "b.id_prefix in|",
                                        NULL};
    static const char *const audiences[] = {"web.issuer i",
                                            "web.audience webapp",
                                            "web.default_kind user",
                                            "m2m.issuer i",
                                            "m2m.audience orders-api",
                                            "m2m.default_kind service",
                                            "m2m.service_id_claim azp",
                                            NULL};
    static const char *const kinds[] = {"u.issuer i", "u.audience x", "u.admin_when g=root",
                                        "s.issuer i", "s.audience x", "s.default_kind user",
                                        NULL};
    (void)state;

#define SAID(iss, aud) \
    "{\"iss\":\"" iss "\",\"aud\":\"" aud "\",\"sub\":\"a\",\"azp\":\"orders\"," TIMES "}"
    expect(hosts, SAID("https://id.example.org/realms/main", "tocsin"), "u:a:");
    expect(hosts, SAID("http://keycloak:8080/realms/main", "tocsin"), "u:in|a:");
    expect(hosts, SAID("http://elsewhere/realms/main", "tocsin"), "issuer");
    expect(hosts, SAID("http://keycloak:8080/realms/main", "other"), "audience");
    expect(hosts, SAID("https://id.example.org/realms/main", "other"), "audience");
    expect(audiences, SAID("i", "webapp"), "u:a:");
    expect(audiences, SAID("i", "orders-api"), "s:orders:");
    expect(audiences, SAID("i", "x"), "audience");
    expect(kinds, SAID("i", "x"), "u:a:");
    /* The refusal is that of the section that came furthest, in whatever order they stand. */
    expect(
        hosts,
        "{\"iss\":\"http://keycloak:8080/realms/main\",\"aud\":\"tocsin\",\"sub\":\"a\",\"exp\":1}",
        "expired");
    expect(hosts,
           "{\"iss\":\"https://id.example.org/realms/"
           "main\",\"aud\":\"tocsin\",\"sub\":\"a\",\"exp\":1}",
           "expired");
}

#define ONE          "issuer i", "audience x"
#define CLAIMS(more) "{\"iss\":\"i\",\"aud\":\"x\",\"sub\":\"a\"," TIMES more "}"

static void kinds_come_from_what_providers_say(void **state)
{
    static const struct {
        const char *rule, *claims, *want;
    } cases[] = {
        {"admin_when groups=\"Tocsin Admins\"", ",\"groups\":[\"Tocsin Admins\"]", "a:a:"},
        {"admin_when \"groups=Tocsin Admins\"", ",\"groups\":\"Tocsin Admins\"", "a:a:"},
        {"admin_when groups=Tocsin\\ Admins", ",\"groups\":[\"x\",\"Tocsin Admins\"]", "a:a:"},
        {"admin_when groups=\"say \\\"hi\\\"\" x=y", ",\"groups\":[\"say \\\"hi\\\"\"]", "a:a:"},
        {"admin_when groups=CORP\\ops", ",\"groups\":[\"CORP\\\\ops\"]", "a:a:"},
        {"admin_when groups=\"Tocsin Admins\"", ",\"groups\":[\"Tocsin\",\"Admins\"]", "u:a:"},
        {"admin_when \"My Groups=x\"", ",\"My Groups\":[\"x\"]", "a:a:"},
        {"admin_when admin=true", ",\"admin\":true", "a:a:"},
        {"admin_when admin=true", ",\"admin\":false", "u:a:"},
        {"admin_when admin=true", ",\"admin\":\"true\"", "a:a:"},
        {"admin_when level=3", ",\"level\":3", "a:a:"},
        {"admin_when level=3", ",\"level\":[1,3]", "a:a:"},
        {"admin_when level=3", ",\"level\":31", "u:a:"},
        {"admin_when roles=ops", ",\"roles\":{\"ops\":{\"1\":\"x\"}}", "a:a:ops"},
        {"admin_when roles=ops", ",\"roles\":{\"dev\":{\"ops\":\"x\"}}", "u:a:dev"},
        {"admin_when roles=ops", ",\"roles\":{\"ops\":false}", "u:a:"},
        {"admin_when roles=ops", ",\"roles\":{\"ops\":null,\"dev\":true}", "u:a:dev"},
        {"admin_when roles=ops", ",\"roles\":{\"ops\":0,\"dev\":1}", "u:a:dev"},
        {"admin_when roles=ops", ",\"roles\":{\"ops\":0.0,\"dev\":\"no\"}", "u:a:dev"},
        {"admin_when roles=ops", ",\"roles\":{\"ops\":\"\",\"dev\":[]}", "u:a:"},
        {"admin_when roles=ops", ",\"roles\":{\"ops\":[],\"dev\":[1]}", "u:a:dev"},
        {"admin_when roles=ops", ",\"roles\":{\"ops\":{}}", "a:a:ops"},
        {"admin_when level=12345678901234567", ",\"level\":12345678901234567", "a:a:"},
        {"admin_when level=12345678901234567", ",\"level\":12345678901234568", "u:a:"},
        {"admin_when scp=Tocsin.Admin", ",\"scp\":\"openid Tocsin.Admin\"", "a:a:"},
        {"admin_when scp=Tocsin.Admin", ",\"scp\":[\"openid\",\"Tocsin.Admin\"]", "a:a:"},
        {"admin_when scope=tocsin", ",\"scope\":\"xtocsin tocsinx\"", "u:a:"},
        {"admin_when /a~1b/0c=x", ",\"a/b\":{\"0c\":\"x\"}", "a:a:"},
        {"admin_when g=x", ",\"g\":null", "u:a:"},
        {"admin_when g=x", ",\"g\":\"x\\u0000\"", "u:a:"},
        {"service_when gty=cc", ",\"gty\":\"cc\"", "s:a:"},
        {"admin_when user_when=x", ",\"user_when\":\"x\"", "a:a:"},
        /* A claim that only has the name of kind_claim. */
        {"admin_when g=x", ",\"kind\":\"ServiceAccount\"", "u:a:"},
        {"admin_when g=x", ",\"kind\":null", "u:a:"},
        {"admin_when g=x", ",\"kind\":{\"a\":1}", "u:a:"},
        {"admin_when g=x", ",\"kind\":\"service\"", "s:a:"},
        {"kinds user", ",\"kind\":\"admin\"", "kind"},
    };
    char payload[2048];
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *lines[] = {ONE, "default_kind user", cases[i].rule, NULL};
        snprintf(payload, sizeof(payload), CLAIMS("%s"), cases[i].claims);
        expect(lines, payload, cases[i].want);
    }
}

/* A provider's `kind` is its own, unless kind_claim says that it is meant. */
static void a_named_issuer_has_no_kind_of_its_own(void **state)
{
    static const char *const plain[] = {"idp.issuer i", "idp.audience x", "idp.default_kind user",
                                        NULL};
    static const char *const named[] = {"idp.issuer i", "idp.audience x", "idp.kind_claim kind",
                                        NULL};
    (void)state;

    expect(plain, CLAIMS(",\"kind\":\"admin\""), "u:a:");
    expect(plain, CLAIMS(",\"kind\":\"service\""), "u:a:");
    expect(plain, CLAIMS(",\"kind\":\"bridge\""), "u:a:");
    expect(named, CLAIMS(",\"kind\":\"admin\""), "a:a:");
    expect(named, CLAIMS(",\"kind\":\"bridge\""), "kind");
}

/* What no option names keeps nobody out, and what is read is never taken from what was damaged. */
static void odd_values_keep_nobody_out(void **state)
{
    static const char *const own[] = {ONE, "default_kind user", NULL};
    static const char *const odd[] = {"1e400",
                                      "-1e400",
                                      "9e999",
                                      "1E+309",
                                      "12345678901234567890",
                                      "-123456789012345678901",
                                      "[1e400,{\"b\":1e999}]",
                                      "\"\\ud83d\"",
                                      "\"\\ude00\"",
                                      "\"cut \\ud83d\\ud83d\\ude00\"",
                                      "\"\\ud83d\\\\ude00\"",
                                      "\"1e400 \\\" 2\"",
                                      "0.1e-400",
                                      "\"\\u0000\""};
    char payload[2048], digits[1001];
    (void)state;

    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        snprintf(payload, sizeof(payload), CLAIMS(",\"odd\":%s,\"roles\":\"r\""), odd[i]);
        expect(own, payload, "u:a:r");
    }
    memset(digits, '7', sizeof(digits) - 1);
    digits[sizeof(digits) - 1] = '\0';
    snprintf(payload, sizeof(payload), CLAIMS(",\"odd\":%s"), digits);
    expect(own, payload, "u:a:");
    expect(own, "{\"iss\":\"i\",\"aud\":\"x\",\"sub\":\"a\\ud800\"," TIMES "}", "subject");
    expect(own, "{\"iss\":\"i\",\"aud\":\"x\",\"sub\":\"a\",\"exp\":1e400}", "claims");
    expect(own, "{\"iss\":\"i\",\"aud\":\"x\",\"sub\":\"\\ud83d\\ude00\"," TIMES "}",
           "u:%F0%9F%98%80:");
    expect(own, CLAIMS(",\"odd\":1e400x"), "claims"); /* that is no JSON at all */
    expect(own, CLAIMS(",\"odd\":-"), "claims");
}

static void numbers_name_tokens_by_all_their_digits(void **state)
{
    static const struct {
        const char *jti, *want;
    } cases[] = {{"12345678901234567", "12345678901234567"},
                 {"9223372036854775807", "9223372036854775807"},
                 {"-5", "-5"},
                 {"1.5", "1.5"},
                 {"98765432109876543210", ""},
                 {"1e300", ""}};
    static const char *const own[] = {ONE, "default_kind user", NULL};
    char payload[512];
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct token tok;
        snprintf(payload, sizeof(payload), CLAIMS(",\"jti\":%s"), cases[i].jti);
        assert_int_equal(verify_with(own, HEADER, payload, &tok), REFUSAL_NONE);
        assert_string_equal(tok.jti, cases[i].want);
    }
}

/* Without default_kind, those of whom no rule speaks are refused. */
static void user_when_leaves_others_out(void **state)
{
    const char *lines[] = {ONE, "user_when hd=example.org", "service_when email=s@x", NULL};
    (void)state;

    expect(lines, CLAIMS(",\"hd\":\"example.org\""), "u:a:");
    expect(lines, CLAIMS(",\"hd\":\"example.com\""), "kind");
    expect(lines, CLAIMS(""), "kind");
    expect(lines, CLAIMS(",\"email\":\"s@x\",\"hd\":\"example.org\""), "s:a:");
}

static void roles_come_in_several_shapes(void **state)
{
    static const struct {
        const char *line, *claims, *want;
    } cases[] = {
        {"roles_claim r", ",\"r\":[\"a\",7,null,\"b\",{\"c\":1},[\"d\"],true]", "u:a:a,b"},
        {"roles_claim r", ",\"r\":{\"ops\":{\"3120\":\"acme.example\"},\"dev\":{}}", "u:a:ops,dev"},
        {"roles_claim r", ",\"r\":\"one two\"", "u:a:one%20two"},
        {"roles_claim scope", ",\"scope\":\" one  two one\"", "u:a:one,two"},
        {"roles_claim scp", ",\"scp\":\"one two\"", "u:a:one,two"},
        {"roles_claim r", ",\"r\":7", "u:a:"},
        {"roles_claim r", ",\"r\":null", "u:a:"},
        {"roles_claim r", "", "u:a:"},
        {"roles_claim /realm_access/roles", ",\"realm_access\":{\"roles\":[\"ops\"]}", "u:a:ops"},
        {"roles_claim /realm_access/roles", ",\"realm_access\":[\"roles\"]", "u:a:"},
        {"roles_claim /realm_access/roles", ",\"realm_access\":null", "u:a:"},
        {"roles_claim urn:zitadel:iam:org:project:roles",
         ",\"urn:zitadel:iam:org:project:roles\":{\"ops\":{\"1\":\"x\"}}", "u:a:ops"},
        {"roles_claim \"My Roles\"", ",\"My Roles\":[\"ops\"]", "u:a:ops"},
        {"roles_claim My Roles", ",\"My Roles\":[\"ops\"]", "u:a:ops"},
        {"roles_prefix \"Tocsin \"", ",\"roles\":[\"Tocsin ops\",\"Tocsin \",\"x\"]", "u:a:ops"},
        {"roles_claim r", ",\"r\":[\"\",\"ops\",\"o\\u0000ps\"]", "u:a:ops"},
    };
    char payload[2048];
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *lines[] = {ONE, "default_kind user", cases[i].line, NULL};
        snprintf(payload, sizeof(payload), CLAIMS("%s"), cases[i].claims);
        expect(lines, payload, cases[i].want);
    }
}

/* Roles beyond the bound, and those too long for it, are left out; the login is not. */
static void roles_that_do_not_fit_are_left_out(void **state)
{
    static const struct {
        unsigned count, bytes, kept;
    } cases[] = {{32, 8, 32}, {33, 8, 32}, {200, 36, 30}, {31, 64, 17}, {1, 64, 1}, {1, 65, 0}};
    const char *lines[] = {ONE, "default_kind user", "roles_claim groups", NULL};
    char *payload = malloc(TEXT_MAX);
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct principal p;
        struct token tok;
        int at = snprintf(payload, TEXT_MAX,
                          "{\"iss\":\"i\",\"aud\":\"x\",\"sub\":\"a\"," TIMES ",\"groups\":[");
        for (unsigned k = 0; k < cases[i].count; k++)
            at += snprintf(payload + at, (size_t)(TEXT_MAX - at), "%s\"%0*u\"", k ? "," : "",
                           (int)cases[i].bytes, k);
        snprintf(payload + at, (size_t)(TEXT_MAX - at), "]}");
        assert_int_equal(verify_with(lines, HEADER, payload, &tok), REFUSAL_NONE);
        assert_true(principal_parse(tok.name, &p));
        assert_in_range(principal_role_count(&p), cases[i].kept, cases[i].kept + 5);
        assert_int_equal(principal_role_count(&p) + tok.roles_left_out, cases[i].count);
    }
    /* A long one in front does not keep the short ones behind it out. */
    snprintf(payload, TEXT_MAX, CLAIMS(",\"groups\":[\"%070d\",\"ops\",\"%065d\",\"dev\"]"), 1, 2);
    expect(lines, payload, "u:a:ops,dev");
    free(payload);
}

static void headers_are_those_of_providers(void **state)
{
    static const struct {
        const char *typ, *header;
        enum refusal want;
    } cases[] = {
        {"typ JWT at+jwt", "\"typ\":\"at+jwt\"", REFUSAL_NONE},
        {"typ JWT at+jwt", "\"typ\":\"JWT\"", REFUSAL_NONE},
        {"typ JWT at+jwt", "\"typ\":\"application/at+jwt\"", REFUSAL_NONE},
        {"typ JWT at+jwt", "\"typ\":\"logout+jwt\"", REFUSAL_HEADER},
        {"typ JWT", "\"typ\":\"at+jwt\"", REFUSAL_HEADER},
        {"typ application/at+jwt", "\"typ\":\"at+jwt\"", REFUSAL_NONE},
        {"typ application/at+jwt", "\"typ\":\"application/at+jwt\"", REFUSAL_NONE},
        {"key_id key 1", "\"kid\":\"key 1\"", REFUSAL_NONE},
        {"key_id cl\xc3\xa9", "\"kid\":\"cl\xc3\xa9\"", REFUSAL_NONE},
        {"key_id cl\xc3\xa9", "\"kid\":\"cl\\u00e9\"", REFUSAL_NONE},
        {"key_id key 1", "\"kid\":\"key 2\"", REFUSAL_KEY},
        {"key_id k", "\"kid\":\"k\",\"x5t\":\"g5ZleTFZSqkxwQSbQ8eQFqfoxOE\"", REFUSAL_NONE},
        {"key_id k", "\"kid\":\"k\",\"x5t#S256\":\"g5ZleTFZSqkxwQSbQ8eQFqfoxOE\"", REFUSAL_NONE},
        {"key_id k", "\"kid\":\"k\",\"x5c\":[]", REFUSAL_HEADER},
    };
    char header[512];
    struct token tok;
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *lines[] = {ONE, "default_kind user", cases[i].typ, NULL};
        snprintf(header, sizeof(header), "{\"alg\":\"HS256\",%s}", cases[i].header);
        enum refusal why = verify_with(lines, header, CLAIMS(""), &tok);
        if (why != cases[i].want)
            fail_msg("%s: %s", header, refusal_name(why));
    }
}

/* Well formed, and it could match nothing, or not what was meant: refused with the option's name.
 */
static void settings_that_match_nothing_are_refused(void **state)
{
    static const char *const wrong[][2] = {
        {"admin_when groups", "admin_when"},
        {"admin_when groups=Tocsin Admins", "admin_when"},
        {"admin_when groups=", "admin_when"},
        {"admin_when =x", "admin_when"},
        {"admin_when groups=\"Tocsin Admins", "quote"},
        {"a.kinds user", NULL},
        {"a.default_kind admin", "default_kind"},
        {"a.id_claim /a~2b", "id_claim"},
        {"roles_claim /x~", "roles_claim"},
        {"roles_claim \"a\" b", "closing quote"},
        {"id_prefix 0123456789012345678901234567890123456789012345678901234567890123456789"
         "0123456789012345678901234567890123456789012345678901234567890",
         "id_prefix"},
        {"algorithms RS257", "algorithms"},
        {"audience \"\" b", "audience"},
        {"roles_claim \"\"", "roles_claim"},
        {"kinds users", "kinds"},
        {"issuer https://a https://b", "issuer"},
    };
    char err[FILE_ERROR_SIZE];
    (void)state;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        bool is_issuer = strncmp(wrong[i][0], "issuer", 6) == 0;
        const char *lines[] = {"audience x", wrong[i][0],    is_issuer ? NULL : "issuer i",
                               "a.issuer i", "a.audience x", NULL};
        struct options *opt = configure(lines, err);
        if ((opt == NULL) != (wrong[i][1] != NULL) || (!opt && !strstr(err, wrong[i][1])))
            fail_msg("%s: %s", wrong[i][0], err);
        options_free(opt);
    }
    static const char *const never[][4] = {
        {"kinds user", "admin_when g=x", NULL, "admin_when"},
        {"kinds admin", "service_when g=x", NULL, "service_when"},
        {"kinds admin", "default_kind user", NULL, "default_kind"},
    };
    for (size_t i = 0; i < 3; i++) {
        const char *lines[] = {ONE, never[i][0], never[i][1], NULL};
        assert_null(configure(lines, err));
        assert_non_null(strstr(err, never[i][3]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_section_that_holds_the_key_is_asked),
        cmocka_unit_test(kinds_come_from_what_providers_say),
        cmocka_unit_test(user_when_leaves_others_out),
        cmocka_unit_test(a_named_issuer_has_no_kind_of_its_own),
        cmocka_unit_test(odd_values_keep_nobody_out),
        cmocka_unit_test(numbers_name_tokens_by_all_their_digits),
        cmocka_unit_test(roles_come_in_several_shapes),
        cmocka_unit_test(roles_that_do_not_fit_are_left_out),
        cmocka_unit_test(headers_are_those_of_providers),
        cmocka_unit_test(settings_that_match_nothing_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

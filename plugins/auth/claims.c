/* SPDX-License-Identifier: MIT */
#include "claims.h"

#include <stdio.h>
#include <string.h>

/* Seconds far enough away for everybody, and small enough to add to. */
static const double TIME_MAX = 1099511627776; /* 2^40 */

/* One reference token of a JSON Pointer, ~1 and ~0 undone; false when it does not fit. */
static bool pointer_step(const char **at, char *out, size_t size)
{
    size_t len = 0;

    for (; **at && **at != '/'; (*at)++) {
        char c = **at;
        if (c == '~' && ((*at)[1] == '0' || (*at)[1] == '1'))
            c = *++*at == '0' ? '~' : '/';
        if (len + 1 >= size)
            return false;
        out[len++] = c;
    }
    out[len] = '\0';
    return true;
}

const char *claims_text(const json_t *value)
{
    const char *text = json_string_value(value);
    return text && strlen(text) == json_string_length(value) ? text : NULL;
}

json_t *claims_get(json_t *payload, const char *claim)
{
    char name[OPTIONS_CLAIM_MAX + 1];

    if (*claim != '/')
        payload = json_object_get(payload, claim);
    while (*claim == '/' && payload) {
        claim++;
        if (!pointer_step(&claim, name, sizeof(name)))
            return NULL;
        payload = json_object_get(payload, name); /* NULL when it is no object */
    }
    return json_is_null(payload) ? NULL : payload;
}

/*
 * Whole seconds of a NumericDate, which may have a fraction (RFC 7519, 2): what is left of it is
 * cut off, so that nobody stays longer.  1 when there, 0 when not, -1 when it is no usable time.
 */
static int get_time(json_t *payload, const char *name, int64_t *out)
{
    json_t *value = claims_get(payload, name);
    double seconds = json_number_value(value);

    *out = 0;
    if (!value)
        return 0;
    if (!json_is_number(value) || !(seconds >= -TIME_MAX && seconds <= TIME_MAX))
        return -1;
    *out = (int64_t)seconds;
    if ((double)*out > seconds)
        --*out;
    return 1;
}

static enum refusal read_times(const struct issuer *iss, json_t *payload, int64_t now_s,
                               struct token *out)
{
    int64_t not_before;

    if (get_time(payload, "exp", &out->expires_s) != 1 ||
        get_time(payload, "nbf", &not_before) < 0 || get_time(payload, "iat", &out->issued_s) < 0)
        return REFUSAL_CLAIMS;
    int64_t from = not_before > out->issued_s ? not_before : out->issued_s;
    out->valid_from_s = from - iss->clock_skew_s;
    out->ends_s = out->expires_s + iss->leeway_s;
    /* A token just issued by a clock that is ahead of ours is no longer for that. */
    out->max_ahead_s = iss->max_lifetime_s ? iss->max_lifetime_s + iss->clock_skew_s : 0;
    enum refusal why = token_check_time(out, now_s);
    if (!why && iss->max_lifetime_s && out->issued_s > 0 &&
        out->expires_s - out->issued_s > iss->max_lifetime_s)
        why = REFUSAL_LIFETIME;
    return why;
}

static bool is_audience(const struct issuer *iss, const char *text)
{
    for (size_t i = 0; i < iss->audiences.count; i++)
        if (strcmp(iss->audiences.items[i], text) == 0)
            return true;
    return false;
}

/* A string, or an array of nothing but strings. */
static bool names_audience(const struct issuer *iss, json_t *aud)
{
    bool is_ours = false;
    size_t i;
    json_t *item;

    if (claims_text(aud))
        return is_audience(iss, claims_text(aud));
    json_array_foreach(aud, i, item)
    {
        if (!claims_text(item))
            return false;
        is_ours = is_ours || is_audience(iss, claims_text(item));
    }
    return is_ours;
}

static bool has_word(const char *text, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = text; *at; at += strspn(at, " ")) {
        size_t have = strcspn(at, " ");
        if (have == len && memcmp(at, word, len) == 0)
            return true;
        at += have;
    }
    return false;
}

/* Claims that are lists of words in one string (RFC 8693; `scp` at Microsoft and Okta). */
static bool has_words(const char *claim)
{
    return strcmp(claim, "scope") == 0 || strcmp(claim, "scp") == 0;
}

/* Integers with all their digits; one that a double has rounded is no number to be named by. */
static void print_number(const json_t *value, char *out, size_t size)
{
    static const double EXACT = 9007199254740992; /* 2^53 */
    double real = json_number_value(value);

    *out = '\0';
    if (json_is_integer(value))
        snprintf(out, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (real > -EXACT && real < EXACT)
        snprintf(out, size, "%.15g", real);
}

/* Is it that string, that number as JSON has it, true or false? */
static bool is_value(const json_t *value, const char *want)
{
    char number[32];

    if (json_is_boolean(value))
        return strcmp(want, json_is_true(value) ? "true" : "false") == 0;
    if (json_is_number(value)) {
        print_number(value, number, sizeof(number));
        return strcmp(want, number) == 0;
    }
    return claims_text(value) && strcmp(claims_text(value), want) == 0;
}

/* A member counts by its name, unless it says that it does not: false, null, 0, "" or []. */
static bool says_yes(const json_t *value)
{
    if (json_is_string(value))
        return json_string_length(value) > 0;
    if (json_is_number(value))
        return json_number_value(value) != 0;
    return json_is_true(value) || json_is_object(value) || json_array_size(value) > 0;
}

/* "claim=value": the claim is that value, an array that holds it, or an object with a member of
 * that name. */
static bool rule_holds(json_t *payload, const char *rule)
{
    char claim[OPTIONS_CLAIM_MAX + 1];
    const char *equals = strchr(rule, '=');
    size_t len = (size_t)(equals - rule), i;
    json_t *item;

    memcpy(claim, rule, len); /* options.c saw to it that it fits */
    claim[len] = '\0';
    json_t *value = claims_get(payload, claim);
    if (json_is_object(value))
        return says_yes(json_object_get(value, equals + 1));
    if (claims_text(value) && has_words(claim))
        return has_word(claims_text(value), equals + 1);
    if (!json_is_array(value))
        return is_value(value, equals + 1);
    json_array_foreach(value, i, item)
    {
        if (is_value(item, equals + 1))
            return true;
    }
    return false;
}

static bool any_rule_holds(json_t *payload, const struct option_list *rules)
{
    for (size_t i = 0; i < rules->count; i++)
        if (rule_holds(payload, rules->items[i]))
            return true;
    return false;
}

/* A kind_claim that says none of the four words says nothing: a provider may use the name. */
static enum refusal read_kind(const struct issuer *iss, json_t *payload, enum principal_kind *out)
{
    const char *word = iss->kind_claim ? claims_text(claims_get(payload, iss->kind_claim)) : NULL;
    bool is_known = true;

    if (word && principal_kind_parse(word, out))
        is_known = true;
    else if (any_rule_holds(payload, &iss->admin_when))
        *out = PRINCIPAL_ADMIN;
    else if (any_rule_holds(payload, &iss->service_when))
        *out = PRINCIPAL_SERVICE;
    else if (any_rule_holds(payload, &iss->user_when))
        *out = PRINCIPAL_USER;
    else
        is_known = iss->default_kind && principal_kind_parse(iss->default_kind, out);
    return is_known && (iss->kinds & (1u << *out)) ? REFUSAL_NONE : REFUSAL_KIND;
}

/* One that does not fit is left out: it is worth less than its holder's connection. */
static void add_role(const struct issuer *iss, const char *role, struct token *out)
{
    size_t prefix = strlen(iss->roles_prefix);

    if (!role || strncmp(role, iss->roles_prefix, prefix) != 0 || role[prefix] == '\0')
        return; /* not one of ours */
    if (principal_add_role(out->name, role + prefix) != REFUSAL_NONE)
        out->roles_left_out++;
}

/* Each word of a string becomes a role. */
static void add_words(const struct issuer *iss, const char *text, struct token *out)
{
    char word[PRINCIPAL_NAME_SIZE];

    for (const char *at = text + strspn(text, " "); *at; at += strspn(at, " ")) {
        size_t len = strcspn(at, " ");
        if (len < sizeof(word)) {
            memcpy(word, at, len);
            word[len] = '\0';
            add_role(iss, word, out);
        } else {
            out->roles_left_out++;
        }
        at += len;
    }
}

/* An array of strings, one string, or an object, whose member names they are; what else there is
 * names no role. */
static void read_roles(const struct issuer *iss, json_t *payload, struct token *out)
{
    json_t *roles = claims_get(payload, iss->roles_claim), *item;
    const char *name;
    size_t i;

    if (claims_text(roles) && has_words(iss->roles_claim))
        add_words(iss, claims_text(roles), out);
    else if (claims_text(roles))
        add_role(iss, claims_text(roles), out);
    json_array_foreach(roles, i, item)
    {
        add_role(iss, claims_text(item), out);
    }
    json_object_foreach(roles, name, item)
    {
        if (says_yes(item))
            add_role(iss, name, out);
    }
}

/* One that cannot be named in a revocation counts as none: subject and age still can. */
static void read_jti(json_t *payload, char jti[TOKEN_JTI_MAX + 1])
{
    json_t *claim = claims_get(payload, "jti");
    const char *text = claims_text(claim);

    jti[0] = '\0';
    if (text && strlen(text) <= TOKEN_JTI_MAX)
        memcpy(jti, text, strlen(text) + 1);
    else if (json_is_number(claim))
        print_number(claim, jti, TOKEN_JTI_MAX + 1);
}

enum refusal claims_read(const struct issuer *iss, json_t *payload, int64_t now_s,
                         struct token *out)
{
    const char *issuer = claims_text(json_object_get(payload, "iss"));
    enum principal_kind kind = PRINCIPAL_USER;

    if (!issuer || strcmp(issuer, iss->issuer) != 0)
        return REFUSAL_ISSUER;
    if (!names_audience(iss, claims_get(payload, iss->audience_claim)))
        return REFUSAL_AUDIENCE;
    enum refusal why = read_times(iss, payload, now_s, out);
    if (!why)
        why = read_kind(iss, payload, &kind);
    if (why)
        return why;
    const char *id_claim = kind == PRINCIPAL_SERVICE ? iss->service_id_claim : iss->id_claim;
    const char *id = claims_text(claims_get(payload, id_claim));
    if (!id)
        return REFUSAL_SUBJECT;
    why = principal_begin(out->name, kind, iss->id_prefix, id);
    if (why)
        return why;
    read_roles(iss, payload, out);
    read_jti(payload, out->jti);
    return REFUSAL_NONE;
}

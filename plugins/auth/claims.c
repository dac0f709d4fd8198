/* SPDX-License-Identifier: MIT */
#include "claims.h"

#include <string.h>

/* Seconds far enough away for everybody, and small enough to add to. */
static const int64_t TIME_MAX = (int64_t)1 << 40;

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

json_t *claims_get(json_t *payload, const char *claim)
{
    char name[256];

    if (*claim != '/')
        return json_object_get(payload, claim);
    while (*claim == '/' && payload) {
        claim++;
        if (!pointer_step(&claim, name, sizeof(name)))
            return NULL;
        payload = json_object_get(payload, name); /* NULL when it is no object */
    }
    return payload;
}

/* 1 when there, 0 when not, -1 when it is no usable integer. */
static int get_time(json_t *payload, const char *name, int64_t *out)
{
    json_t *value = json_object_get(payload, name);

    *out = 0;
    if (!value)
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) <= 0 ||
        json_integer_value(value) > TIME_MAX)
        return -1;
    *out = json_integer_value(value);
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
    out->max_lifetime_s = iss->max_lifetime_s;
    return token_check_time(out, now_s);
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

    if (json_is_string(aud))
        return is_audience(iss, json_string_value(aud));
    if (!json_is_array(aud))
        return false;
    json_array_foreach(aud, i, item)
    {
        if (!json_is_string(item))
            return false;
        is_ours = is_ours || is_audience(iss, json_string_value(item));
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

/* "claim=value": the claim is that string, or an array that holds it; scope is a list of words. */
static bool rule_holds(json_t *payload, const char *rule)
{
    char claim[256];
    const char *equals = strchr(rule, '=');
    size_t len = (size_t)(equals - rule), i;
    json_t *item;

    if (len >= sizeof(claim))
        return false;
    memcpy(claim, rule, len);
    claim[len] = '\0';
    json_t *value = claims_get(payload, claim);
    if (json_is_string(value))
        return strcmp(claim, "scope") == 0 ? has_word(json_string_value(value), equals + 1)
                                           : strcmp(json_string_value(value), equals + 1) == 0;
    json_array_foreach(value, i, item)
    {
        if (json_is_string(item) && strcmp(json_string_value(item), equals + 1) == 0)
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

static enum refusal read_kind(const struct issuer *iss, json_t *payload, enum principal_kind *out)
{
    json_t *claim = claims_get(payload, iss->kind_claim);
    bool is_known = true;

    if (claim)
        is_known = json_is_string(claim) && principal_kind_parse(json_string_value(claim), out);
    else if (any_rule_holds(payload, &iss->admin_when))
        *out = PRINCIPAL_ADMIN;
    else if (any_rule_holds(payload, &iss->service_when))
        *out = PRINCIPAL_SERVICE;
    else
        is_known = iss->default_kind && principal_kind_parse(iss->default_kind, out);
    return is_known && (iss->kinds & (1u << *out)) ? REFUSAL_NONE : REFUSAL_KIND;
}

static enum refusal add_role(const struct issuer *iss, const char *role, char *name)
{
    size_t prefix = strlen(iss->roles_prefix);

    if (strncmp(role, iss->roles_prefix, prefix) != 0 || role[prefix] == '\0')
        return REFUSAL_NONE; /* not one of ours */
    return principal_add_role(name, role + prefix);
}

/* An array of strings, one string, or nothing. */
static enum refusal read_roles(const struct issuer *iss, json_t *payload, char *name)
{
    json_t *roles = claims_get(payload, iss->roles_claim), *item;
    enum refusal why = REFUSAL_NONE;
    size_t i;

    if (!roles || json_is_null(roles))
        return REFUSAL_NONE;
    if (json_is_string(roles))
        return add_role(iss, json_string_value(roles), name);
    if (!json_is_array(roles))
        return REFUSAL_CLAIMS;
    json_array_foreach(roles, i, item)
    {
        if (!json_is_string(item))
            return REFUSAL_CLAIMS;
        why = add_role(iss, json_string_value(item), name);
        if (why)
            break;
    }
    return why;
}

static enum refusal read_jti(json_t *payload, char jti[TOKEN_JTI_MAX + 1])
{
    json_t *claim = json_object_get(payload, "jti");
    const char *text = json_string_value(claim);

    jti[0] = '\0';
    if (!claim)
        return REFUSAL_NONE;
    if (!text || strlen(text) > TOKEN_JTI_MAX)
        return REFUSAL_CLAIMS;
    memcpy(jti, text, strlen(text) + 1);
    return REFUSAL_NONE;
}

enum refusal claims_read(const struct issuer *iss, json_t *payload, int64_t now_s,
                         struct token *out)
{
    const char *issuer = json_string_value(json_object_get(payload, "iss"));
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
    const char *id = json_string_value(claims_get(payload, id_claim));
    if (!id)
        return REFUSAL_SUBJECT;
    why = principal_begin(out->name, kind, iss->id_prefix, id);
    if (!why)
        why = read_roles(iss, payload, out->name);
    if (!why)
        why = read_jti(payload, out->jti);
    return why;
}

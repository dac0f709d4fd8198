/* SPDX-License-Identifier: MIT */
#include "principal.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    enum principal_kind kind;
} kinds[] = {
    {"user", KIND_USER}, {"service", KIND_SERVICE}, {"admin", KIND_ADMIN}, {"bridge", KIND_BRIDGE}};

static int base64url_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* Decodes up to the next '.' or the end into `out`; -1 on any other character. */
static int decode_segment(const char *text, struct buf *out)
{
    unsigned bits = 0, have = 0;

    for (; *text && *text != '.'; text++) {
        int v = base64url_value(*text);

        if (v < 0)
            return -1;
        bits = bits << 6 | (unsigned)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            unsigned char byte = (unsigned char)(bits >> have);
            buf_add(out, &byte, 1);
        }
        bits &= (1u << have) - 1;
    }
    return 0;
}

static bool is_unreserved(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("._~@|-", c));
}

int principal_encode(const char *id, char out[ENCODED_ID_MAX + 1])
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = 0;
    json_t *utf8 = json_string(id); /* NULL when it is not UTF-8 */

    json_decref(utf8);
    if (!utf8 || !*id)
        return -1;
    for (const unsigned char *p = (const unsigned char *)id; *p; p++) {
        size_t need = is_unreserved(*p) ? 1 : 3;

        if (n + need > ENCODED_ID_MAX)
            return -1;
        if (need == 1) {
            out[n++] = (char)*p;
            continue;
        }
        out[n++] = '%';
        out[n++] = hex[*p >> 4];
        out[n++] = hex[*p & 15];
    }
    out[n] = '\0';
    return 0;
}

static void read_roles(struct principal *p, const json_t *roles)
{
    size_t i;
    json_t *role;
    char encoded[ENCODED_ID_MAX + 1];

    p->roles = xcalloc(json_array_size(roles), sizeof(*p->roles));
    json_array_foreach(roles, i, role)
    {
        if (json_is_string(role) && principal_encode(json_string_value(role), encoded) == 0)
            p->roles[p->role_count++] = xstrdup(encoded);
    }
}

static const char *text_claim(const json_t *claims, const char *name)
{
    const char *text = json_string_value(json_object_get(claims, name));

    return text && *text ? text : NULL;
}

static int set_kind(struct principal *p, const char *name)
{
    for (size_t i = 0; name && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(name, kinds[i].name) == 0) {
            p->kind = kinds[i].kind;
            p->kind_name = kinds[i].name;
        }
    }
    return p->kind && p->kind != KIND_BRIDGE ? 0 : -1;
}

/* The only kind of a set, or NULL. */
static const char *only_kind(unsigned set)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (set == (unsigned)kinds[i].kind)
            return kinds[i].name;
    return NULL;
}

static const char *find_kind(const json_t *claims, const struct principal_hint *hint)
{
    const char *kind = hint->kind ? hint->kind : text_claim(claims, "kind");

    if (!kind)
        kind = text_claim(claims, "tocsin_kind");
    if (!kind)
        kind = text_claim(json_object_get(claims, "app_metadata"), "tocsin_kind");
    return kind ? kind : only_kind(hint->kinds);
}

static const char *find_id(const json_t *claims, const struct principal_hint *hint,
                           enum principal_kind kind)
{
    const char *id = hint->id;

    if (!id && kind == KIND_SERVICE && !text_claim(claims, "kind")) {
        id = text_claim(claims, "azp");
        if (!id)
            id = text_claim(claims, "client_id");
    }
    return id ? id : text_claim(claims, "sub");
}

static int read_claims(struct principal *p, const json_t *claims, const struct principal_hint *hint,
                       const char **error)
{
    const char *kind = find_kind(claims, hint), *id;

    *error = "the token does not say which kind it is of: give --kind user, service or admin";
    if (!kind)
        return -1;
    *error = "the token's 'kind' is not user, service or admin; give --kind where the broker knows "
             "it by another claim";
    if (set_kind(p, kind))
        return -1;
    id = find_id(claims, hint, p->kind);
    *error = "the token has no 'sub': give --id";
    if (!id)
        return -1;
    *error = "the token's 'sub', or the id given, is not UTF-8, or over 128 bytes when encoded";
    if (principal_encode(id, p->id))
        return -1;
    read_roles(p, json_object_get(claims, "roles"));
    p->expires_at = (int64_t)json_number_value(json_object_get(claims, "exp"));
    return 0;
}

int principal_from_token(struct principal *out, const char *token,
                         const struct principal_hint *hint, const char **error)
{
    struct buf payload = {0};
    json_t *claims = NULL;
    const char *dot = strchr(token, '.');
    int rc = -1;

    *out = (struct principal){0};
    *error = "the token is not a JWT (three base64url parts with dots between)";
    if (!dot || !strchr(dot + 1, '.') || decode_segment(dot + 1, &payload) || !payload.len)
        goto out;
    *error = "the token's payload is not a JSON object";
    claims = json_loadb(payload.data, payload.len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(claims))
        goto out;
    rc = read_claims(out, claims, hint, error);
out:
    json_decref(claims);
    buf_fini(&payload);
    return rc;
}

void principal_fini(struct principal *p)
{
    for (size_t i = 0; i < p->role_count; i++)
        free(p->roles[i]);
    free(p->roles);
    *p = (struct principal){0};
}

char *principal_topic(const struct principal *p, const char *rest)
{
    return xasprintf("notify/v1/%ss/%s/%s", p->kind_name, p->id, rest);
}

char *principal_client_id(const struct principal *p, const char *suffix)
{
    return xasprintf("%s/%s/cli-%s", p->kind_name, p->id, suffix);
}

const char *kinds_text(unsigned allowed)
{
    switch (allowed) {
    case KIND_USER:
        return "a user";
    case KIND_SERVICE:
        return "a service";
    case KIND_ADMIN:
        return "an admin";
    default:
        return "a user, service or admin";
    }
}

/* SPDX-License-Identifier: MIT */
#include "principal.h"

#include <stdint.h>
#include <string.h>

static const char kind_letters[] = "usab";
static const char *const kind_names[PRINCIPAL_KINDS] = {"user", "service", "admin", "bridge"};

const char *principal_kind_name(enum principal_kind kind)
{
    return kind_names[kind];
}

bool principal_kind_parse(const char *name, enum principal_kind *out)
{
    for (int i = 0; i < PRINCIPAL_KINDS; i++)
        if (strcmp(name, kind_names[i]) == 0) {
            *out = (enum principal_kind)i;
            return true;
        }
    return false;
}

bool principal_parse(const char *name, struct principal *out)
{
    if (!name || (name[0] != PRINCIPAL_MARK && name[0] != PRINCIPAL_SEALED) || name[1] == '\0' ||
        name[2] != ':')
        return false;
    const char *letter = strchr(kind_letters, name[1]);
    if (!letter)
        return false;
    const char *id = name + 3;
    const char *end = strchr(id, ':');
    size_t len = end ? (size_t)(end - id) : 0;
    if (len == 0 || len > PRINCIPAL_ID_MAX)
        return false;
    out->kind = (enum principal_kind)(letter - kind_letters);
    out->id = id;
    out->id_len = len;
    out->roles = id + len + 1;
    out->roles_len = (size_t)(strchrnul(out->roles, ':') - out->roles); /* a seal may follow */
    return true;
}

static bool is_plain(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("._~@|-", c));
}

/* Appends the encoding of `raw` at out[at]; the new length, or SIZE_MAX when it does not fit. */
static size_t encode_at(const char *raw, char *out, size_t at, size_t size)
{
    static const char hex[] = "0123456789ABCDEF";

    for (; *raw; raw++) {
        unsigned char c = (unsigned char)*raw;
        size_t need = is_plain(c) ? 1 : 3;
        if (size - at <= need)
            return SIZE_MAX;
        if (need == 1) {
            out[at++] = (char)c;
        } else {
            out[at++] = '%';
            out[at++] = hex[c >> 4];
            out[at++] = hex[c & 15];
        }
    }
    out[at] = '\0';
    return at;
}

size_t principal_encode(const char *raw, char *out, size_t size)
{
    size_t len = encode_at(raw, out, 0, size);
    return len == SIZE_MAX ? 0 : len;
}

enum refusal principal_begin(char name[PRINCIPAL_NAME_SIZE], enum principal_kind kind,
                             const char *prefix, const char *id)
{
    enum { START = 3, LIMIT = START + PRINCIPAL_ID_MAX + 1 };

    if (*id == '\0')
        return REFUSAL_SUBJECT;
    name[0] = PRINCIPAL_MARK;
    name[1] = kind_letters[kind];
    name[2] = ':';
    size_t len = encode_at(prefix, name, START, LIMIT);
    if (len != SIZE_MAX)
        len = encode_at(id, name, len, LIMIT);
    if (len == SIZE_MAX)
        return REFUSAL_SUBJECT;
    name[len] = ':';
    name[len + 1] = '\0';
    return REFUSAL_NONE;
}

enum refusal principal_add_role(char name[PRINCIPAL_NAME_SIZE], const char *role)
{
    char level[PRINCIPAL_ROLE_MAX + 1];
    size_t len = principal_encode(role, level, sizeof(level));
    struct principal p;

    if (len == 0 || !principal_parse(name, &p))
        return REFUSAL_ROLES;
    unsigned count = 0;
    const char *at = p.roles;
    while (*at) {
        size_t have = strcspn(at, ",");
        if (have == len && memcmp(at, level, len) == 0)
            return REFUSAL_NONE;
        count++;
        at += have + (at[have] == ',');
    }
    size_t used = (size_t)(at - name);
    if (count == PRINCIPAL_ROLES_MAX || used + len + 2 > PRINCIPAL_NAME_SIZE)
        return REFUSAL_ROLES;
    if (count > 0)
        name[used++] = ',';
    memcpy(name + used, level, len + 1);
    return REFUSAL_NONE;
}

unsigned principal_role_count(const struct principal *p)
{
    unsigned count = p->roles_len > 0;

    for (size_t i = 0; i < p->roles_len; i++)
        count += p->roles[i] == ',';
    return count;
}

bool principal_same(const struct principal *a, const struct principal *b)
{
    return a->kind == b->kind && a->id_len == b->id_len && memcmp(a->id, b->id, a->id_len) == 0;
}

bool principal_owns_client_id(const struct principal *p, const char *client_id)
{
    const char *kind = kind_names[p->kind];
    size_t kind_len = strlen(kind);

    if (!client_id || strncmp(client_id, kind, kind_len) != 0 || client_id[kind_len] != '/')
        return false;
    const char *rest = client_id + kind_len + 1;
    if (strncmp(rest, p->id, p->id_len) != 0)
        return false;
    rest += p->id_len;
    if (*rest == '\0')
        return true;
    if (*rest++ != '/' || strlen(rest) > PRINCIPAL_SUFFIX_MAX)
        return false;
    for (; *rest; rest++)
        if (*rest < 0x21 || *rest > 0x7e || strchr("+#$", *rest))
            return false;
    return true;
}

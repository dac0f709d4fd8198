/* SPDX-License-Identifier: MIT */
#include "acl.h"

#include <string.h>

enum {
    U = 1 << PRINCIPAL_USER,
    S = 1 << PRINCIPAL_SERVICE,
    A = 1 << PRINCIPAL_ADMIN,
    B = 1 << PRINCIPAL_BRIDGE,
    EVERYONE = U | S | A | B
};

/*
 * Levels of a pattern: '@' is the principal's own id, '=' one of its roles,
 * '*' any one level, '#' one or more levels; all else is literal.
 */
static const struct rule {
    const char *pattern;
    unsigned readers, writers;
} rules[] = {
    {"notify/v1/users/@/down/#", U, 0},
    {"notify/v1/users/@/up/#", 0, U},
    {"notify/v1/services/@/down/#", S, 0},
    {"notify/v1/services/@/up/#", 0, S},
    {"notify/v1/admins/@/down/#", A, 0},
    {"notify/v1/admins/@/up/#", 0, A},
    {"notify/v1/bridges/@/down/#", B, 0},
    {"notify/v1/users/*/up/#", B, 0},
    {"notify/v1/users/*/down/#", 0, B},
    {"notify/v1/services/*/up/#", B, 0},
    {"notify/v1/services/*/down/#", 0, B},
    {"notify/v1/admins/*/up/#", B, 0},
    {"notify/v1/admins/*/down/#", 0, B},
    {"notify/v1/broadcast/#", EVERYONE, B},
    {"notify/v1/roles/=/#", EVERYONE, 0},
    {"notify/v1/roles/*/#", 0, B},
    {"notify/v1/dlq/#", A, B},
    {"notify/v1/stats/#", A, B},
    {"notify/v1/alerts/#", A, B},
    {ACL_PRESENCE_PREFIX "#", A | B, 0},
    {ACL_CONTROL_TOPIC, 0, EVERYONE},
    {"$SYS/#", A, 0},
};

static size_t level_len(const char *level)
{
    return strcspn(level, "/");
}

/* Bounded, no empty level, wildcards only where `wild` and only as whole levels, '#' last. */
static bool is_sound(const char *topic, bool wild)
{
    unsigned levels = 0;

    if (strnlen(topic, ACL_TOPIC_MAX + 1) > ACL_TOPIC_MAX)
        return false;
    for (;;) {
        size_t len = level_len(topic);
        size_t plain = strcspn(topic, "+#/");
        if (len == 0 || ++levels > ACL_LEVELS_MAX)
            return false;
        if (plain < len && (!wild || len != 1 || (*topic == '#' && topic[1] != '\0')))
            return false;
        if (topic[len] == '\0')
            return true;
        topic += len + 1;
    }
}

static bool has_role(const struct principal *p, const char *level, size_t len)
{
    const char *end = p->roles + p->roles_len;

    for (const char *role = p->roles; role < end;) {
        size_t have = strcspn(role, ",:");
        if (have == len && memcmp(role, level, len) == 0)
            return true;
        role += have + 1;
    }
    return false;
}

/* Does one level of the topic (or of the filter) lie inside one level of the pattern? */
static bool level_fits(const char *pattern, size_t pattern_len, const char *level, size_t len,
                       const struct principal *p)
{
    if (*level == '#')
        return false; /* only a '#' of the pattern can hold it */
    if (pattern_len == 1 && *pattern == '*')
        return true;
    if (pattern_len == 1 && *pattern == '@')
        return len == p->id_len && memcmp(level, p->id, len) == 0;
    if (pattern_len == 1 && *pattern == '=')
        return has_role(p, level, len);
    return len == pattern_len && memcmp(level, pattern, len) == 0;
}

static bool fits(const char *pattern, const char *topic, const struct principal *p)
{
    for (;;) {
        if (*pattern == '#')
            return true; /* the topic has at least this level */
        size_t pattern_len = level_len(pattern), len = level_len(topic);
        if (!level_fits(pattern, pattern_len, topic, len, p))
            return false;
        pattern += pattern_len;
        topic += len;
        if (*pattern == '\0' || *topic == '\0')
            return *pattern == *topic;
        pattern++;
        topic++;
    }
}

static bool is_readable(const struct principal *p, const char *topic, bool wild)
{
    if (!is_sound(topic, wild))
        return false;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        if ((rules[i].readers & (1u << p->kind)) && fits(rules[i].pattern, topic, p))
            return true;
    return false;
}

bool acl_may_read(const struct principal *p, const char *topic)
{
    return is_readable(p, topic, false);
}

bool acl_may_subscribe(const struct principal *p, const char *filter)
{
    return is_readable(p, filter, true);
}

bool acl_may_write(const struct principal *p, const char *topic, int qos, bool retain)
{
    bool is_bridge = p->kind == PRINCIPAL_BRIDGE;

    if ((qos > 1 || retain) && (!is_bridge || *topic == '$'))
        return false;
    if (!is_sound(topic, false))
        return false;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        if ((rules[i].writers & (1u << p->kind)) && fits(rules[i].pattern, topic, p))
            return true;
    return false;
}

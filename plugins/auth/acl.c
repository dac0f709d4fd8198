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
 *
 * `depth` is how many levels a *filter* may have where the pattern has '#', and
 * one of its own after them: as many as the contract publishes to and no more,
 * since every level of every filter is memory that a session left behind
 * keeps.  0: any.
 */
static const struct rule {
    const char *pattern;
    unsigned readers, writers, depth;
} rules[] = {
    {"notify/v1/users/@/down/#", U, 0, 2},
    {"notify/v1/users/@/up/#", 0, U, 0},
    {"notify/v1/services/@/down/#", S, 0, 2},
    {"notify/v1/services/@/up/#", 0, S, 0},
    {"notify/v1/admins/@/down/#", A, 0, 2},
    {"notify/v1/admins/@/up/#", 0, A, 0},
    {"notify/v1/bridges/@/down/#", B, 0, 0},
    {"notify/v1/users/*/up/#", B, 0, 0},
    {"notify/v1/users/*/down/#", 0, B, 0},
    {"notify/v1/services/*/up/#", B, 0, 0},
    {"notify/v1/services/@/up/request", 0, B, 0}, /* its own notices */
    {"notify/v1/services/*/down/#", 0, B, 0},
    {"notify/v1/admins/*/up/#", B, 0, 0},
    {"notify/v1/admins/*/down/#", 0, B, 0},
    {"notify/v1/broadcast/#", EVERYONE, B, 2},
    {"notify/v1/roles/=/#", EVERYONE, 0, 2},
    {"notify/v1/roles/*/#", 0, B, 0},
    {"notify/v1/dlq/#", A, B, 2},
    {"notify/v1/stats/#", A, B, 3},
    {"notify/v1/alerts/#", A, B, 3},
    {ACL_PRESENCE_PREFIX "#", A | B, 0, 1},
    {ACL_CONTROL_TOPIC, 0, EVERYONE, 0},
    {"$SYS/#", A, 0, 0},
};

/*
 * Bounded, no empty level, wildcards only where `wild` and only as whole
 * levels, '#' last.  Asked for every message and every reader: one pass.
 */
static bool is_sound(const char *topic, bool wild)
{
    const char *level = topic;
    unsigned levels = 1;

    for (const char *at = topic;; at++) {
        if (*at == '/' || *at == '\0') {
            if (at == level || at - topic > ACL_TOPIC_MAX || levels > ACL_LEVELS_MAX)
                return false;
            if (*at == '\0')
                return true;
            level = at + 1;
            levels++;
        } else if (*at == '+' || *at == '#') {
            if (!wild || at != level || (at[1] != '\0' && (at[1] != '/' || *at == '#')))
                return false;
        }
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

/* A '#' at the end is none of its own. */
static unsigned count_levels(const char *text)
{
    unsigned levels = 0;

    for (; *text && *text != '#'; text = *text ? text + 1 : text) {
        levels++;
        text = strchrnul(text, '/');
    }
    return levels;
}

/*
 * Does the topic, or all of the filter, lie inside the pattern?  It is_sound() already.  Where the
 * pattern has '#' it may have `depth` levels; 0: any.
 */
static bool fits(const char *pattern, const char *topic, const struct principal *p, unsigned depth)
{
    for (;;) {
        size_t len;
        switch (*pattern) {
        case '#':
            return depth == 0 || count_levels(topic) <= depth;
        case '*':
            if (*topic == '#')
                return false; /* only a '#' of the pattern can hold it */
            topic = strchrnul(topic, '/');
            pattern++;
            break;
        case '@':
            if (strncmp(topic, p->id, p->id_len) != 0)
                return false;
            topic += p->id_len;
            pattern++;
            break;
        case '=':
            len = (size_t)(strchrnul(topic, '/') - topic);
            if (!has_role(p, topic, len))
                return false;
            topic += len;
            pattern++;
            break;
        default:
            while (*pattern && *pattern != '/')
                if (*pattern++ != *topic++)
                    return false;
        }
        /* Both at the end of the level, or it is another one. */
        if (*pattern != *topic)
            return false;
        if (*pattern == '\0')
            return true;
        pattern++;
        topic++;
    }
}

static bool is_readable(const struct principal *p, const char *topic, bool wild)
{
    if (!is_sound(topic, wild))
        return false;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        if ((rules[i].readers & (1u << p->kind)) &&
            fits(rules[i].pattern, topic, p, wild ? rules[i].depth : 0))
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
        if ((rules[i].writers & (1u << p->kind)) && fits(rules[i].pattern, topic, p, 0))
            return true;
    return false;
}

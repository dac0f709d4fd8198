/* SPDX-License-Identifier: MIT */
/*
 * The access rule against a second one, written naively on arrays of levels,
 * over a million random topics and filters; and a table for the eye.
 */
#include "acl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LEVELS = 8 };

struct levels {
    const char *at[LEVELS];
    int count;
};

static const char *const names[PRINCIPAL_KINDS] = {"\x01u:alice:ops,oncall", "\x01s:alice:",
                                                   "\x01"
                                                   "a:alice:ops",
                                                   "\x01"
                                                   "b:alice:"};
static const char *const owners[PRINCIPAL_KINDS] = {"users", "services", "admins", "bridges"};

static uint64_t seed = 0x9e3779b97f4a7c15;

static unsigned dice(unsigned sides)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed >> 33) % sides;
}

static bool is(const struct levels *t, int i, const char *text)
{
    return i < t->count && strcmp(t->at[i], text) == 0;
}

static bool naive_read(enum principal_kind kind, const struct levels *t)
{
    bool is_bridge = kind == PRINCIPAL_BRIDGE, is_admin = kind == PRINCIPAL_ADMIN;

    for (int i = 0; i < t->count; i++)
        if (t->at[i][0] == '\0' || strpbrk(t->at[i], "+#"))
            return false;
    if (is(t, 0, "$SYS"))
        return is_admin && t->count >= 2;
    if (!is(t, 0, "notify") || !is(t, 1, "v1") || t->count < 4)
        return false;
    if (is(t, 2, "broadcast"))
        return true;
    if (is(t, 2, "roles"))
        return t->count >= 5 && ((is(t, 3, "ops") && (kind == PRINCIPAL_USER || is_admin)) ||
                                 (is(t, 3, "oncall") && kind == PRINCIPAL_USER));
    if (is(t, 2, "dlq") || is(t, 2, "stats") || is(t, 2, "alerts"))
        return is_admin;
    if (is(t, 2, "presence"))
        return is_admin || is_bridge;
    if (t->count < 6)
        return false;
    if (is(t, 2, owners[kind]) && is(t, 3, "alice") && is(t, 4, "down"))
        return true;
    return is_bridge && is(t, 4, "up") &&
           (is(t, 2, "users") || is(t, 2, "services") || is(t, 2, "admins"));
}

static bool naive_write(enum principal_kind kind, const struct levels *t)
{
    bool is_bridge = kind == PRINCIPAL_BRIDGE;

    for (int i = 0; i < t->count; i++)
        if (t->at[i][0] == '\0' || strpbrk(t->at[i], "+#"))
            return false;
    if (t->count == 3 && is(t, 0, "$CONTROL") && is(t, 1, "tocsin") && is(t, 2, "v1"))
        return true;
    if (!is(t, 0, "notify") || !is(t, 1, "v1") || t->count < 4)
        return false;
    if (is(t, 2, "broadcast") || is(t, 2, "dlq") || is(t, 2, "stats") || is(t, 2, "alerts"))
        return is_bridge;
    if (is(t, 2, "roles"))
        return is_bridge && t->count >= 5;
    if (t->count < 6)
        return false;
    if (is_bridge)
        return is(t, 4, "down") &&
               (is(t, 2, "users") || is(t, 2, "services") || is(t, 2, "admins"));
    return is(t, 2, owners[kind]) && is(t, 3, "alice") && is(t, 4, "up");
}

/* How many levels of a filter the contract has a use for; naively, by what it begins with.  A '#'
 * does not count. */
static int naive_depth(enum principal_kind kind, const struct levels *f)
{
    if (is(f, 0, "$SYS"))
        return LEVELS;
    if (kind == PRINCIPAL_BRIDGE)
        return is(f, 2, "broadcast") ? 5 : is(f, 2, "presence") ? 4 : LEVELS;
    if (is(f, 2, "broadcast") || is(f, 2, "dlq"))
        return 5;
    if (is(f, 2, "stats") || is(f, 2, "alerts") || is(f, 2, "roles"))
        return 6;
    return is(f, 2, "presence") ? 4 : 7;
}

/* MQTT 4.7: '#' also matches its parent level; a leading wildcard does not match '$'. */
static bool naive_match(const struct levels *filter, const struct levels *topic)
{
    if (topic->at[0][0] == '$' && strpbrk(filter->at[0], "+#"))
        return false;
    for (int i = 0;; i++) {
        if (i < filter->count && strcmp(filter->at[i], "#") == 0)
            return true;
        if (i == filter->count || i == topic->count)
            return filter->count == topic->count;
        if (strcmp(filter->at[i], "+") != 0 && strcmp(filter->at[i], topic->at[i]) != 0)
            return false;
    }
}

static void join(const struct levels *t, char *out, size_t size)
{
    size_t at = 0;

    out[0] = '\0';
    for (int i = 0; i < t->count; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%s", i ? "/" : "", t->at[i]);
}

/* Mostly along the paths that exist, so that the deep rules are reached. */
static struct levels random_levels(bool wild)
{
    static const char *const paths[][6] = {
        {"notify", "$SYS", "$CONTROL", "$share", "x", ""},
        {"v1", "tocsin", "v2", "broker", "g", "v1"},
        {"users", "services", "admins", "bridges", "roles", "broadcast"},
        {"alice", "alice2", "bob", "ops", "oncall", "alic"},
        {"up", "down", "inbox", "x", "up", "down"}};
    static const char *const rare[] = {"dlq", "stats", "alerts", "presence",
                                       "v1",  "",      "x",      "notify"};
    struct levels t = {.count = 1 + (int)dice(LEVELS)};

    for (int i = 0; i < t.count; i++) {
        unsigned roll = dice(16);
        if (wild && roll < 2)
            t.at[i] = "+";
        else if (wild && roll == 2)
            t.at[i] = "#";
        else if (roll == 3)
            t.at[i] = rare[dice(8)];
        else if (i < 2 && roll > 4)
            t.at[i] = paths[i][0];
        else
            t.at[i] = paths[i < 5 ? i : 4][dice(6)];
        if (wild && strcmp(t.at[i], "#") == 0)
            t.count = i + 1;
    }
    return t;
}

static void topics_agree_with_the_naive_rule(void **state)
{
    char topic[ACL_TOPIC_MAX];
    unsigned granted = 0;
    (void)state;

    for (unsigned i = 0; i < 400000; i++) {
        struct levels t = random_levels(dice(8) == 0);
        enum principal_kind kind = (enum principal_kind)dice(PRINCIPAL_KINDS);
        struct principal p;
        assert_true(principal_parse(names[kind], &p));
        join(&t, topic, sizeof(topic));
        bool read = acl_may_read(&p, topic), write = acl_may_write(&p, topic, 1, false);
        if (read != naive_read(kind, &t) || write != naive_write(kind, &t))
            fail_msg("%s disagrees about %s: read %d write %d", names[kind], topic, read, write);
        granted += read + write;
    }
    assert_in_range(granted, 10000, 400000); /* the test does reach what is allowed */
}

/* Granted: every topic it matches may be read, but for the parent level of '#'. */
static void granted_filters_hold_only_readable_topics(void **state)
{
    char filter[ACL_TOPIC_MAX], topic[ACL_TOPIC_MAX];
    unsigned granted = 0, matched = 0;
    (void)state;

    for (unsigned i = 0; i < 40000; i++) {
        struct levels f = random_levels(true);
        enum principal_kind kind = (enum principal_kind)dice(PRINCIPAL_KINDS);
        struct principal p;
        assert_true(principal_parse(names[kind], &p));
        join(&f, filter, sizeof(filter));
        if (!acl_may_subscribe(&p, filter))
            continue;
        granted++;
        for (unsigned k = 0; k < 400; k++) {
            struct levels t = random_levels(false);
            /* bend the topic towards the filter, or next to nothing would match */
            for (int l = 0; l < t.count && l < f.count; l++)
                if (!strpbrk(f.at[l], "+#"))
                    t.at[l] = f.at[l];
            if (!naive_match(&f, &t) || t.count < f.count)
                continue;
            bool has_empty = false;
            for (int l = 0; l < t.count; l++)
                has_empty = has_empty || t.at[l][0] == '\0';
            join(&t, topic, sizeof(topic));
            if (!has_empty && !naive_read(kind, &t))
                fail_msg("%s was granted %s, which holds %s", names[kind], filter, topic);
            matched++;
        }
    }
    assert_in_range(granted, 100, 40000);
    assert_in_range(matched, 10000, 40000000);
}

/* Denied, and well formed: then it does hold a topic that may not be read. */
static void denied_filters_hold_a_foreign_topic(void **state)
{
    char filter[ACL_TOPIC_MAX];
    (void)state;

    for (unsigned i = 0; i < 200000; i++) {
        struct levels f = random_levels(true);
        enum principal_kind kind = (enum principal_kind)dice(PRINCIPAL_KINDS);
        struct principal p;
        bool is_sound = true, has_foreign = false;

        assert_true(principal_parse(names[kind], &p));
        join(&f, filter, sizeof(filter));
        for (int l = 0; l < f.count; l++)
            is_sound = is_sound && f.at[l][0] != '\0';
        int depth = f.count - (strcmp(f.at[f.count - 1], "#") == 0);
        if (depth > naive_depth(kind, &f))
            assert_false(acl_may_subscribe(&p, filter));
        if (!is_sound || depth > naive_depth(kind, &f) || acl_may_subscribe(&p, filter))
            continue;
        /* Two fillings tell: a word of its own for each '+', and one or two more levels for '#'. */
        for (int extra = 1; extra <= 2; extra++) {
            struct levels t = f;
            for (int l = 0; l < f.count; l++)
                if (strcmp(f.at[l], "+") == 0)
                    t.at[l] = "zzz";
            if (strcmp(f.at[f.count - 1], "#") == 0) {
                t.at[f.count - 1] = "zzz";
                if (extra == 2 && t.count < LEVELS)
                    t.at[t.count++] = "zzz";
            }
            has_foreign = has_foreign || !naive_read(kind, &t);
        }
        if (!has_foreign)
            fail_msg("%s was denied %s for nothing", names[kind], filter);
    }
}

static void filters_are_as_deep_as_the_contract(void **state)
{
    static const struct {
        enum principal_kind kind;
        const char *filter;
        bool may;
    } cases[] = {
        {PRINCIPAL_USER, "notify/v1/users/alice/down/#", true},
        {PRINCIPAL_USER, "notify/v1/users/alice/down/+", true},
        {PRINCIPAL_USER, "notify/v1/users/alice/down/answers/7", true},
        {PRINCIPAL_USER, "notify/v1/users/alice/down/answers/+", true},
        {PRINCIPAL_USER, "notify/v1/users/alice/down/answers/#", true},
        {PRINCIPAL_USER, "notify/v1/users/alice/down/a/b/c", false},
        {PRINCIPAL_USER, "notify/v1/users/alice/down/a/b/#", true},
        {PRINCIPAL_USER, "notify/v1/users/alice/down/a/b/c/#", false},
        {PRINCIPAL_USER, "notify/v1/users/alice/down/+/+/+", false},
        {PRINCIPAL_USER, "notify/v1/users/alice/down/1/2/3/4/5/6/7/8/9/10", false},
        {PRINCIPAL_USER, "notify/v1/broadcast/inbox", true},
        {PRINCIPAL_USER, "notify/v1/broadcast/a/b/c", false},
        {PRINCIPAL_USER, "notify/v1/roles/ops/inbox", true},
        {PRINCIPAL_USER, "notify/v1/roles/ops/a/b/c", false},
        {PRINCIPAL_ADMIN, "notify/v1/dlq/email/bounced", true},
        {PRINCIPAL_ADMIN, "notify/v1/dlq/email/bounced/x", false},
        {PRINCIPAL_ADMIN, "notify/v1/presence/alice", true},
        {PRINCIPAL_ADMIN, "notify/v1/presence/alice/x", false},
        {PRINCIPAL_ADMIN, "$SYS/broker/load/messages/received/1min", true},
        {PRINCIPAL_BRIDGE, "notify/v1/users/+/up/a/b/c/d", true},
    };
    struct principal p;
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(principal_parse(names[cases[i].kind], &p));
        if (acl_may_subscribe(&p, cases[i].filter) != cases[i].may)
            fail_msg("%s: %d", cases[i].filter, !cases[i].may);
    }
    /* What the bridge publishes deeper still reaches a '#'. */
    assert_true(principal_parse(names[PRINCIPAL_USER], &p));
    assert_true(acl_may_read(&p, "notify/v1/users/alice/down/a/b/c/d"));
}

static void sizes_are_bounded(void **state)
{
    char topic[2048] = "notify/v1/users/alice/down/";
    size_t len = strlen(topic);
    struct principal p;
    (void)state;

    assert_true(principal_parse(names[PRINCIPAL_USER], &p));
    memset(topic + len, 'x', ACL_TOPIC_MAX - len);
    topic[ACL_TOPIC_MAX] = '\0';
    assert_true(acl_may_read(&p, topic));
    topic[ACL_TOPIC_MAX] = 'x';
    topic[ACL_TOPIC_MAX + 1] = '\0';
    assert_false(acl_may_read(&p, topic));
    assert_false(acl_may_subscribe(&p, topic));
    topic[len] = '\0';
    for (int levels = 5; levels < ACL_LEVELS_MAX; levels++)
        memcpy(topic + strlen(topic), "x/", 3);
    topic[strlen(topic) - 1] = '\0';
    assert_true(acl_may_read(&p, topic));
    memcpy(topic + strlen(topic), "/x", 3);
    assert_false(acl_may_read(&p, topic));
    assert_false(acl_may_read(&p, ""));
    assert_false(acl_may_subscribe(&p, ""));
}

static void retained_and_qos_2_are_the_bridges(void **state)
{
    struct principal user, bridge;
    (void)state;

    assert_true(principal_parse(names[PRINCIPAL_USER], &user));
    assert_true(principal_parse(names[PRINCIPAL_BRIDGE], &bridge));
    assert_true(acl_may_write(&user, "notify/v1/users/alice/up/x", 0, false));
    assert_false(acl_may_write(&user, "notify/v1/users/alice/up/x", 2, false));
    assert_false(acl_may_write(&user, "notify/v1/users/alice/up/x", 1, true));
    assert_true(acl_may_write(&bridge, "notify/v1/users/bob/down/x", 2, true));
    assert_false(acl_may_write(&bridge, ACL_CONTROL_TOPIC, 1, true));
    assert_false(acl_may_write(&bridge, ACL_CONTROL_TOPIC, 2, false));
    assert_false(acl_may_write(&bridge, "notify/v1/presence/bob", 1, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics_agree_with_the_naive_rule),
        cmocka_unit_test(granted_filters_hold_only_readable_topics),
        cmocka_unit_test(denied_filters_hold_a_foreign_topic),
        cmocka_unit_test(filters_are_as_deep_as_the_contract),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(retained_and_qos_2_are_the_bridges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

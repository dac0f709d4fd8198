/* SPDX-License-Identifier: MIT */
#include "dead.h"

#include "exact.h"
#include "say.h"
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static json_int_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* A number, or an id of whatever kind. */
static void add_number(struct table *t, const json_t *value)
{
    char text[24] = "";

    if (json_is_integer(value))
        snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(value));
    table_add(t, json_is_string(value) ? json_string_value(value) : text);
}

void show_dead_list(const json_t *result)
{
    static const char *const headings[] = {"DELIVERY", "CHANNEL", "REASON",  "TYPE",  "SERVICE",
                                           "TO",       "TRIES",   "DIED AT", "STATUS"};
    json_t *entries = json_object_get(result, "entries"), *e;
    struct table t;
    size_t i;

    if (json_array_size(entries) == 0) {
        say("no dead letters\n");
        return;
    }
    table_init(&t, sizeof(headings) / sizeof(headings[0]), headings);
    t.ranks = "959~1~023";
    json_array_foreach(entries, i, e)
    {
        const char *user = text_of(e, "user");

        add_number(&t, json_object_get(e, "delivery"));
        table_add(&t, text_of(e, "channel"));
        table_add(&t, text_of(e, "reason"));
        table_add(&t, text_of(e, "type"));
        table_add(&t, text_of(e, "service"));
        table_add(&t, user ? user : text_of(e, "target"));
        add_number(&t, json_object_get(e, "attempts"));
        table_add(&t, text_of(e, "died_at"));
        table_add(&t, text_of(e, "status"));
    }
    table_print(&t);
}

/* "name       value", where there is one. */
static void show_field(const json_t *entry, const char *key, const char *name)
{
    const json_t *value = json_object_get(entry, key);
    char *clean = clean_field(entry, key);

    if (json_is_integer(value))
        say("  %-12s %lld\n", name, (long long)json_integer_value(value));
    else if (*clean)
        say("  %-12s %s\n", name, clean);
    free(clean);
}

static void show_json(const json_t *entry, const char *key, const char *name)
{
    const json_t *value = json_object_get(entry, key);
    char *text = value ? exact_dump(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    char *clean = clean_text(text);

    if (value)
        say("  %-12s %s\n", name, clean);
    free(clean);
    free(text);
}

static void show_history(const json_t *entry)
{
    json_t *attempt;
    size_t i;

    json_array_foreach(json_object_get(entry, "history"), i, attempt)
    {
        char *at = clean_field(attempt, "at"), *outcome = clean_field(attempt, "outcome");
        char *by = clean_field(attempt, "destination"), *reason = clean_field(attempt, "reason");
        char *detail = clean_field(attempt, "detail"), *state = clean_field(attempt, "state");

        say("  attempt %lld    %s  %s  by %s%s%s%s%s%s%s\n",
            (long long)number_of(attempt, "attempt"), at, outcome, by, *reason ? "  " : "", reason,
            *detail ? ": " : "", detail, *state ? "  -> " : "", state);
        free(at);
        free(outcome);
        free(by);
        free(reason);
        free(detail);
        free(state);
    }
}

void show_dead_entry(const json_t *result)
{
    static const char *const fields[][2] = {
        {"notification", "notification"},
        {"service", "service"},
        {"request", "request"},
        {"type", "type"},
        {"priority", "priority"},
        {"channel", "channel"},
        {"destination", "destination"},
        {"user", "user"},
        {"target", "target"},
        {"reason", "reason"},
        {"code", "code"},
        {"detail", "detail"},
        {"attempts", "attempts"},
        {"retries", "retries"},
        {"created_at", "created"},
        {"expires_at", "expires"},
        {"died_at", "died"},
        {"status", "status"},
        {"changed_at", "changed"},
        {"changed_by", "changed by"},
        {"resolved_by", "resolved by"},
        {"note", "note"},
    };
    char *delivery = clean_field(result, "delivery");

    say("%s\n", delivery);
    free(delivery);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        show_field(result, fields[i][0], fields[i][1]);
    show_json(result, "content", "content");
    show_json(result, "edited_content", "edited");
    show_history(result);
}

void show_dead_count(const json_t *result)
{
    say("%lld\n", (long long)number_of(result, "count"));
}

static void show_groups(const json_t *list, const char *const *headings, size_t columns,
                        const char *const *keys)
{
    struct table t;
    json_t *group;
    size_t i;

    if (json_array_size(list) == 0)
        return;
    table_init(&t, columns, headings);
    json_array_foreach(list, i, group)
    {
        for (size_t column = 0; column < columns; column++)
            add_number(&t, json_object_get(group, keys[column]));
    }
    say("\n");
    table_print(&t);
}

void show_dead_stats(const json_t *result)
{
    static const char *const reason_headings[] = {"CHANNEL", "REASON", "DEAD", "PENDING"};
    static const char *const reason_keys[] = {"channel", "reason", "count", "pending_review"};
    static const char *const day_headings[] = {"DAY", "DEAD", "PENDING"};
    static const char *const day_keys[] = {"day", "count", "pending_review"};
    const char *status;
    json_t *count;

    say("%lld dead letters", (long long)number_of(result, "count"));
    json_object_foreach(json_object_get(result, "statuses"), status, count)
    {
        char *clean = clean_text(status);

        say("  %lld %s", (long long)json_integer_value(count), clean);
        free(clean);
    }
    say("\n");
    show_groups(json_object_get(result, "reasons"), reason_headings, 4, reason_keys);
    show_groups(json_object_get(result, "days"), day_headings, 3, day_keys);
}

void show_dead_change(const json_t *result)
{
    static const char *const words[] = {"retried", "resolved", "ignored"};
    json_int_t skipped = number_of(result, "skipped");

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (json_object_get(result, words[i]))
            say("%lld %s", (long long)number_of(result, words[i]), words[i]);
    if (skipped)
        say(", %lld skipped", (long long)skipped);
    say("\n");
}

static void add_json(struct table *t, const json_t *value)
{
    char *text = value ? exact_dump(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

    table_add(t, text);
    free(text);
}

/* An admin's id, or service/ and a service's. */
static void add_author(struct table *t, const json_t *entry)
{
    char service[256];

    if (!json_object_get(entry, "service")) {
        table_add(t, text_of(entry, "admin"));
        return;
    }
    snprintf(service, sizeof(service), "service/%s", text_of(entry, "service"));
    table_add(t, service);
}

void show_audit(const json_t *result)
{
    static const char *const headings[] = {"ID",     "AT",     "ADMIN", "ACTION",
                                           "PARAMS", "BEFORE", "AFTER", "RESULT"};
    json_t *entries = json_object_get(result, "entries"), *e;
    struct table t;
    size_t i;

    if (json_array_size(entries) == 0) {
        say("nothing\n");
        return;
    }
    table_init(&t, sizeof(headings) / sizeof(headings[0]), headings);
    t.ranks = "99~9~012";
    json_array_foreach(entries, i, e)
    {
        table_add(&t, text_of(e, "id"));
        table_add(&t, text_of(e, "at"));
        add_author(&t, e);
        table_add(&t, text_of(e, "action"));
        add_json(&t, json_object_get(e, "params"));
        add_json(&t, json_object_get(e, "before"));
        add_json(&t, json_object_get(e, "after"));
        add_json(&t, json_object_get(e, "result"));
    }
    table_print(&t);
}

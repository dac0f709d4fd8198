/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "config_check.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/timefmt.h"
#include "channels/callback.h"
#include "services/callbacks.h"
#include "services/jwks.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { KIND_TEXT, KIND_FILE, KIND_NUMBER, KIND_BYTES, KIND_DURATION, KIND_BOOL, KIND_REAL };

struct key {
    const char *section, *name; /* name: of a key, or "*" for keys of each member */
    enum kind kind;
    size_t offset;
    const char *fallback; /* NULL: none; "!": required */
    double min, max;
    const char *help;
};

#define AT(member) offsetof(struct config, member)
#define DAY        86400000.0

static const struct key keys[] = {
    {"bridge", "node", KIND_NUMBER, AT(bridge.node), "0", 0, 1023,
     "This bridge's number among those alive, part of every id; 0 lets the database choose."},
    {"bridge", "name", KIND_TEXT, AT(bridge.name), NULL, 0, 0,
     "What only one process at a time can be called; a new one takes over from the dead one of its "
     "name at once. Default: host name and http.listen."},
    {"bridge", "lease", KIND_DURATION, AT(bridge.lease_ms), "15s", 1000, 300000,
     "How long the others wait for our heartbeat; they take over after twice that. Must exceed "
     "every destination's timeout."},
    {"bridge", "drain", KIND_DURATION, AT(bridge.drain_ms), "30s", 0, 600000,
     "How long SIGTERM lets what is under way finish."},
    {"log", "level", KIND_TEXT, AT(log.level), "info", 0, 0, "debug, info, warn or error."},
    {"log", "format", KIND_TEXT, AT(log.format), "text", 0, 0, "text (key=value) or json."},
    {"mqtt", "url", KIND_TEXT, AT(mqtt.url), "!", 0, 0,
     "mqtt://host:port, mqtts://host:port or unix:/path of the broker."},
    {"mqtt", "id", KIND_TEXT, AT(mqtt.id), "tocsin", 0, 0,
     "The `sub` of the bridge's token; sessions are called bridge/{id}/..."},
    {"mqtt", "token_file", KIND_FILE, AT(mqtt.token_file), NULL, 0, 0,
     "The JWT of kind bridge; read again at each connect."},
    {"mqtt", "ca_file", KIND_FILE, AT(mqtt.ca_file), NULL, 0, 0,
     "PEM file of the authorities trusted for mqtts."},
    {"mqtt", "keepalive", KIND_DURATION, AT(mqtt.keepalive_ms), "30s", 5000, 3600000,
     "Silence after which broker and bridge give each other up."},
    {"mqtt", "lane_batch", KIND_NUMBER, AT(mqtt.lane_batch), "500", 1, 5000,
     "Messages a lane reads before it commits; max_inflight_messages of the broker or fewer."},
    {"mqtt", "window", KIND_NUMBER, AT(mqtt.window), "2000", 1, 65535,
     "Messages published and not yet acknowledged by the broker."},
    {"mqtt", "outbox", KIND_BYTES, AT(mqtt.outbox_bytes), "4194304", 65536, 1e9,
     "Receipts kept for a broker that is away; past it nothing new is sent."},
    {"mqtt", "backoff_max", KIND_DURATION, AT(mqtt.backoff_max_ms), "10s", 100, 300000,
     "Longest wait between two tries to connect; full jitter."},
    {"postgres", "url", KIND_TEXT, AT(postgres.url), "!", 0, 0,
     "postgresql://... or libpq keywords; several hosts with target_session_attrs=read-write."},
    {"postgres", "password_file", KIND_FILE, AT(postgres.password_file), NULL, 0, 0,
     "File with the password."},
    {"postgres", "deadline", KIND_DURATION, AT(postgres.deadline_ms), "5s", 500, 60000,
     "A statement without an answer after this is in doubt and the connection is dropped."},
    {"postgres", "connect", KIND_DURATION, AT(postgres.connect_ms), "5s", 500, 60000,
     "Longest wait for a connection."},
    {"postgres", "backoff_max", KIND_DURATION, AT(postgres.backoff_max_ms), "5s", 100, 300000,
     "Longest wait between two tries to connect; full jitter."},
    {"http", "listen", KIND_TEXT, AT(http.listen), "127.0.0.1:8080", 0, 0,
     "Address and port of /healthz, /readyz, /metrics, /callbacks/ and /t/."},
    {"http", "health_listen", KIND_TEXT, AT(http.health_listen), NULL, 0, 0,
     "Another address and port for /healthz, /readyz and /metrics, which http.listen then refuses: "
     "where providers and mail readers reach http.listen."},
    {"http", "public_url", KIND_TEXT, AT(http.public_url), NULL, 0, 0,
     "What providers put before /callbacks/{destination} to reach us, https://host; part of what "
     "some sign, and sent to those that want it. Default: http:// and http.listen."},
    {"requests", "broadcast", KIND_TEXT, AT(requests.broadcast), "*", 0, 0,
     "The services that may ask for broadcasts, separated by spaces; * for all, - for none."},
    {"requests", "roles", KIND_TEXT, AT(requests.roles), "*", 0, 0,
     "The services that may address roles; as requests.broadcast."},
    {"requests", "people", KIND_TEXT, AT(requests.people), "*", 0, 0,
     "The services that may read and change contacts and suppression; as requests.broadcast."},
    {"requests", "deliveries_rate", KIND_NUMBER, AT(requests.deliveries_rate), "20000", 0, 1e7,
     "Deliveries a second one service may ask for, 50 times as many at once; 0: any number."},
    {"queue", "active_limit", KIND_NUMBER, AT(queue.active_limit), "20000", 10, 1e6,
     "Deliveries in memory at most; the rest stays in the database."},
    {"queue", "active_bytes", KIND_BYTES, AT(queue.active_bytes), "16777216", 65536, 1e10,
     "Bytes of deliveries in memory at most."},
    {"queue", "poll_min", KIND_DURATION, AT(queue.poll_min_ms), "250ms", 10, 60000,
     "A destination with room looks for ready deliveries this often at most."},
    {"queue", "poll_max", KIND_DURATION, AT(queue.poll_max_ms), "1s", 10, 600000,
     "And this often at least."},
    {"queue", "settle_batch", KIND_NUMBER, AT(queue.settle_batch), "500", 1, 5000,
     "Outcomes recorded in one statement at most."},
    {"queue", "http_inflight", KIND_NUMBER, AT(queue.http_inflight), "4000", 1, 60000,
     "Requests to providers under way at once, over all destinations."},
    {"queue", "http_connections", KIND_NUMBER, AT(queue.http_connections), "1000", 1, 60000,
     "Connections to one provider's host at most."},
    {"presence", "users", KIND_NUMBER, AT(presence.users), "100000", 0, 1e7,
     "Users whose presence is remembered, some 150 bytes each; 0: not at all."},
    {"presence", "settle", KIND_DURATION, AT(presence.settle_ms), "300ms", 0, 60000,
     "From a user's coming to what waits for them: their client must have subscribed by then."},
    {"presence", "replay_rate", KIND_NUMBER, AT(presence.replay_rate), "5000", 1, 1e6,
     "Deliveries a second that a bridge brings back for users who have come, at most."},
    {"retention", "days", KIND_NUMBER, AT(retention.days), "30", 1, 3650,
     "Notifications and attempts are kept this long, then dropped by day; the unfinished stays."},
    {"retention", "inbox_days", KIND_NUMBER, AT(retention.inbox_days), "0", 0, 3650,
     "Entries of inboxes are kept this long; 0: as days. history says when that cut it."},
    {"retention", "reject_days", KIND_NUMBER, AT(retention.reject_days), "30", 1, 3650,
     "What could not be stored as it was (ingest_reject) is kept this long."},
    {"retention", "callback_days", KIND_NUMBER, AT(retention.callback_days), "14", 1, 3650,
     "What providers reported is kept this long as it came; also how long repeats are known."},
    {"retention", "resolve_after", KIND_DURATION, AT(retention.resolve_ms), "14d", 0, 3650 * DAY,
     "A dead letter that waited so long for review is resolved by age; 0s: never."},
    {"tracking", "key_file", KIND_FILE, AT(tracking.key_file), NULL, 0, 0,
     "The secret that signs links and images in mails of types with `tracking`; 16 bytes or more."},
    {"tracking", "former_key_file", KIND_FILE, AT(tracking.former_key_file), NULL, 0, 0,
     "The secret before it, for the links in mails that are out."},
    {"alerts", "dead_letters", KIND_NUMBER, AT(alerts.dead_letters), "50", 0, 1e9,
     "Dead letters waiting for review above which an alert fires; 0: never."},
    {"alerts", "success_rate", KIND_NUMBER, AT(alerts.success_rate), "90", 0, 100,
     "Percentage below which an alert fires, of a destination's deliveries that ended in five "
     "minutes, twenty at least; 0: never."},
    {"alerts", "queue_age", KIND_DURATION, AT(alerts.queue_age_ms), "5m", 0, 30 * DAY,
     "An alert fires when a delivery has waited longer for a destination; 0s: never."},
    {"alerts", "breaker", KIND_BOOL, AT(alerts.wants_breaker), "true", 0, 0,
     "An alert fires while a destination's breaker is not closed."},
    {"alerts", "after", KIND_DURATION, AT(alerts.after_ms), "10s", 0, DAY,
     "How long it must be so before any alert fires, those of the database and the broker too."},
    {"alerts", "clear", KIND_DURATION, AT(alerts.clear_ms), "1m", 0, DAY,
     "How long it must be over before an alert is resolved."},
    {"alerts", "to", KIND_TEXT, AT(alerts.to), NULL, 0, 0,
     "Who is notified, as a list: `[user:alice, role:ops, email:a@example.org, phone:+4915..., "
     "url:https://...]`; default nobody. Requests of type tocsin.alert."},
    {"jwks", "url", KIND_TEXT, AT(jwks.url), NULL, 0, 0,
     "Where an identity provider publishes its keys (RFC 7517); fetched into jwks.file. A list for "
     "up to eight of them."},
    {"jwks", "file", KIND_FILE, AT(jwks.file), NULL, 0, 0,
     "The file that the broker's plugin watches (plugin_opt_jwks_file); a list of as many as "
     "there are URLs."},
    {"jwks", "ca_file", KIND_FILE, AT(jwks.ca_file), NULL, 0, 0,
     "PEM file of the authorities trusted for jwks.url."},
    {"jwks", "every", KIND_DURATION, AT(jwks.every_ms), "5m", 1000, DAY,
     "How often to look for new keys; only what changed is sent (ETag)."},
    {"channels", "in_app.ack_timeout", KIND_DURATION, AT(ack_timeout_ms), "5s", 100, 300000,
     "How long a user's client has to acknowledge an in-app notification."},
    {"channels", "in_app.window", KIND_NUMBER, AT(in_app_window), "20000", 1, 1e6,
     "In-app notifications published and not yet acknowledged by their users."},
};

#undef AT
#define AT(member) offsetof(struct config_channel, member)
static const struct key channel_keys[] = {
    {"channels", "attempts", KIND_NUMBER, AT(attempts), "3", 1, 100,
     "Attempts in all. Default for in_app: 4."},
    {"channels", "retry_base", KIND_DURATION, AT(base_ms), "2s", 1, DAY,
     "Wait after the first failure."},
    {"channels", "retry_factor", KIND_REAL, AT(factor), "2", 1, 100,
     "By how much each wait exceeds the one before."},
    {"channels", "retry_max", KIND_DURATION, AT(max_ms), "8s", 1, 30 * DAY, "Longest wait."},
    {"channels", "jitter", KIND_BOOL, AT(is_jittered), "true", 0, 0,
     "Full jitter: each wait is drawn between nothing and its length. Default for in_app: false."},
};

#undef AT
#define AT(member) offsetof(struct config_type, member)
static const struct key type_keys[] = {
    {"types", "attempts", KIND_NUMBER, AT(attempts), "-1", 1, 100, "As the channel's."},
    {"types", "retry_base", KIND_DURATION, AT(base_ms), "-1", 1, DAY, "As the channel's."},
    {"types", "retry_factor", KIND_REAL, AT(factor), "-1", 1, 100, "As the channel's."},
    {"types", "retry_max", KIND_DURATION, AT(max_ms), "-1", 1, 30 * DAY, "As the channel's."},
    {"types", "channels", KIND_TEXT, AT(channels), NULL, 0, 0,
     "Channels of requests of this type that name none."},
    {"types", "offline", KIND_TEXT, AT(offline), "dead_letter", 0, 0,
     "What becomes of an in-app notification whose user was not there for any attempt: "
     "dead_letter, "
     "hold (it waits until it expires) or next_channel (it waits, and the next of `channels` is "
     "told)."},
    {"types", "escalate_after", KIND_DURATION, AT(escalate_after_ms), "-1", 1000, 7 * DAY,
     "With next_channel: the next is told after this as well, unless the user has acknowledged."},
    {"types", "unknown", KIND_TEXT, AT(unknown), "repeat", 0, 0,
     "What a sent request without an answer means where the provider drops no repeats: repeat, or "
     "at_most_once (a dead letter, outcome_unknown)."},
    {"types", "tracking", KIND_TEXT, AT(tracking), NULL, 0, 0,
     "What is put into its mails, as a list of `opens`, `clicks` and `unsubscribe`; default "
     "nothing. Needs tracking.key_file and an https http.public_url."},
};

#undef AT
#define AT(member) offsetof(struct config_destination, member)
static const struct key destination_keys[] = {
    {"destinations", "concurrency", KIND_NUMBER, AT(concurrency), "100", 1, 20000,
     "Requests under way at once; the window opens up to it by good answers."},
    {"destinations", "timeout", KIND_DURATION, AT(timeout_ms), "10s", 1, 300000,
     "How long one request may take in all. Less than three quarters of bridge.lease: default at "
     "most that."},
    {"destinations", "strikes", KIND_NUMBER, AT(strikes), "10", 0, 100000,
     "Transient failures in a row that open the breaker; 0: never (webhooks)."},
    {"destinations", "shut_min", KIND_DURATION, AT(shut_min_ms), "1s", 10, DAY,
     "How long the breaker stays open at first; doubled by each failed probe."},
    {"destinations", "shut_max", KIND_DURATION, AT(shut_max_ms), "60s", 10, DAY, "And at most."},
    {"destinations", "rate_per_second", KIND_NUMBER, AT(per_second), "0", 0, 1e9, "0: no limit."},
    {"destinations", "rate_per_minute", KIND_NUMBER, AT(per_minute), "0", 0, 1e9, "0: no limit."},
    {"destinations", "rate_per_hour", KIND_NUMBER, AT(per_hour), "0", 0, 1e9, "0: no limit."},
    {"destinations", "rate_per_day", KIND_NUMBER, AT(per_day), "0", 0, 1e9, "0: no limit."},
    {"destinations", "prefixes", KIND_TEXT, AT(prefixes), NULL, 0, 0,
     "Phone prefixes it is for, as a list (`[+49, +43]`); default all."},
    {"destinations", "types", KIND_TEXT, AT(types), NULL, 0, 0,
     "Types it is for, as a list (`[order.*, alarm]`); default all."},
    {"destinations", "weight", KIND_NUMBER, AT(weight), "0", 0, 1e6,
     "Share among the destinations of its channel that have one; 0: by order alone."},
};
#undef AT

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

struct reader {
    struct config *config;
    struct config_faults *faults;
};

static void fail(struct reader *reader, unsigned line, const char *key, const char *what)
{
    config_fault(reader->faults, line, key, "%s", what);
}

static bool parse_number(const char *text, double *value)
{
    char *end;

    errno = 0;
    *value = strtod(text, &end);
    return end != text && *end == '\0' && errno == 0 && isfinite(*value);
}

static void bad_range(struct reader *reader, const struct key *key, unsigned line, const char *name)
{
    char what[160], low[TIMEFMT_BYTES], high[TIMEFMT_BYTES];

    if (key->kind == KIND_DURATION)
        snprintf(what, sizeof(what), "give a duration with a unit between %s and %s",
                 timefmt_duration((int64_t)key->min, low),
                 timefmt_duration((int64_t)key->max, high));
    else
        snprintf(what, sizeof(what), "give a number between %.0f and %.0f", key->min, key->max);
    fail(reader, line, name, what);
}

/* Stores one value; line is 0 for a default. */
static void store(struct reader *reader, const struct key *key, void *base, const char *text,
                  unsigned line, const char *name)
{
    void *at = (char *)base + key->offset;
    int64_t ms = 0;
    double number = 0;

    switch (key->kind) {
    case KIND_TEXT:
    case KIND_FILE:
        if (!text[0] && key->fallback)
            fail(reader, line, name, "needs a value; leave the key out for its default");
        *(const char **)at = text[0] ? text : key->fallback;
        return;
    case KIND_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            fail(reader, line, name, "give true or false");
        *(bool *)at = strcmp(text, "true") == 0;
        return;
    case KIND_DURATION:
        if (line &&
            (timefmt_parse_duration(text, &ms) || (double)ms < key->min || (double)ms > key->max))
            bad_range(reader, key, line, name);
        else if (!line && timefmt_parse_duration(text, &ms))
            ms = -1;
        *(int64_t *)at = ms;
        return;
    case KIND_NUMBER:
    case KIND_BYTES:
    case KIND_REAL:
        if (!parse_number(text, &number) || (line && (number < key->min || number > key->max)) ||
            (key->kind != KIND_REAL && number != floor(number))) {
            bad_range(reader, key, line, name);
            number = key->min; /* what was written may fit no integer */
        }
        if (key->kind == KIND_REAL)
            *(double *)at = number;
        else
            *(int64_t *)at = (int64_t)number;
        return;
    }
}

/* Reads one key of one member ("channels", "sms", "attempts") or of a section (name NULL). */
static void read_key(struct reader *reader, const struct key *key, void *base, const char *member)
{
    char second[64], label[192];
    const char *dot = strchr(key->name, '.');
    struct config_entry *entry;

    if (member) {
        entry = config_tree_get(&reader->config->tree, key->section, member, key->name);
        snprintf(label, sizeof(label), "%s.%s.%s", key->section, member, key->name);
    } else if (dot) {
        snprintf(second, sizeof(second), "%.*s", (int)(dot - key->name), key->name);
        entry = config_tree_get(&reader->config->tree, key->section, second, dot + 1);
        snprintf(label, sizeof(label), "%s.%s", key->section, key->name);
    } else {
        entry = config_tree_get(&reader->config->tree, key->section, key->name, NULL);
        snprintf(label, sizeof(label), "%s.%s", key->section, key->name);
    }
    if (entry && !entry->is_broken)
        store(reader, key, base, entry->value, entry->line, label);
    else if (!entry && key->fallback && strcmp(key->fallback, "!") == 0)
        fail(reader, 0, label, "is required and not given");
    else if (key->fallback && strcmp(key->fallback, "!") != 0)
        store(reader, key, base, key->fallback, 0, label);
}

/* Calls visit once for each member of a section, in the order of the file. */
static void each_member(struct reader *reader, const char *section,
                        void (*visit)(struct reader *reader, const char *name, unsigned line))
{
    struct config_tree *tree = &reader->config->tree;

    for (size_t i = 0; i < tree->count; i++) {
        const struct config_entry *entry = &tree->entries[i];
        bool is_first = true;

        if (strcmp(entry->path[0], section) != 0 || !entry->path[1] || !entry->path[2])
            continue;
        for (size_t j = 0; j < i && is_first; j++)
            is_first = strcmp(tree->entries[j].path[0], section) != 0 ||
                       !tree->entries[j].path[1] ||
                       strcmp(tree->entries[j].path[1], entry->path[1]) != 0;
        if (is_first)
            visit(reader, entry->path[1], entry->line);
    }
}

int config_tracking(const char *words, unsigned *what)
{
    static const char *const names[] = {"opens", "clicks", "unsubscribe"};
    char word[16];
    int used;

    *what = 0;
    while (words && sscanf(words, " %15s%n", word, &used) == 1) {
        size_t i = 0;

        while (i < COUNT(names) && strcmp(names[i], word) != 0)
            i++;
        if (i == COUNT(names))
            return ERR_INVALID;
        *what |= 1u << i; /* in the order of JOB_TRACK_... */
        words += used;
    }
    return 0;
}

static void read_type(struct reader *reader, const char *name, unsigned line)
{
    struct config *config = reader->config;
    struct config_type *type;

    (void)line;
    config->types = xrealloc(config->types, (config->type_count + 1) * sizeof(*config->types));
    type = &config->types[config->type_count++];
    memset(type, 0, sizeof(*type));
    type->name = name;
    for (size_t i = 0; i < COUNT(type_keys); i++)
        read_key(reader, &type_keys[i], type, name);
}

/* {public_url}/callbacks/{name}, when callbacks can be verified and outside is known. */
static char *callback_url(const struct config *config, struct config_destination *destination)
{
    struct adapter_settings settings = {destination->name, config_destination_get, destination};
    const char *url = config->http.public_url;
    size_t length = url ? strlen(url) : 0;
    struct buf out = {0};

    if (!url || !callback_is_configured(destination->adapter->name, &settings))
        return NULL;
    while (length && url[length - 1] == '/')
        length--;
    buf_printf(&out, "%.*s" CALLBACKS_PATH "%s", (int)length, url, destination->name);
    return out.data;
}

static void read_destination(struct reader *reader, const char *name, unsigned line)
{
    struct config *config = reader->config;
    struct config_entry *adapter = config_tree_get(&config->tree, "destinations", name, "adapter");
    struct config_destination *destination;
    char what[256];

    config->destinations = xrealloc(config->destinations, (config->destination_count + 1) *
                                                              sizeof(*config->destinations));
    destination = &config->destinations[config->destination_count++];
    memset(destination, 0, sizeof(*destination));
    destination->name = name;
    destination->line = line;
    destination->config = config;
    if (!adapter) {
        fail(reader, line, name, "a destination needs the key adapter");
        return;
    }
    destination->adapter = adapter_find(adapter->value);
    if (!destination->adapter) {
        size_t used = (size_t)snprintf(what, sizeof(what), "there is no such adapter; there are");

        for (const struct adapter *const *one = adapter_all(); *one && used < sizeof(what); one++)
            used += (size_t)snprintf(what + used, sizeof(what) - used, " %s", (*one)->name);
        fail(reader, adapter->line, adapter->value, what);
        for (size_t i = 0; i < config->tree.count; i++) /* its keys depend on the adapter */
            if (strcmp(config->tree.entries[i].path[0], "destinations") == 0 &&
                strcmp(config->tree.entries[i].path[1], name) == 0)
                config->tree.entries[i].is_used = true;
        return;
    }
    for (size_t i = 0; i < COUNT(destination_keys); i++)
        read_key(reader, &destination_keys[i], destination, name);
    for (const struct adapter_key *key = destination->adapter->keys; key && key->name; key++)
        (void)config_tree_get(&config->tree, "destinations", name, key->name);
    destination->callback_url = callback_url(config, destination);
}

/* Mail clients call what RFC 8058 names by https alone. */
static void check_tracking(struct reader *reader, const struct config_type *type)
{
    const struct config *config = reader->config;
    unsigned what = 0;

    if (!type->tracking)
        return;
    if (config_tracking(type->tracking, &what))
        fail(reader, 0, type->name, "tracking is a list of opens, clicks and unsubscribe");
    else if (!config->tracking.key_file)
        fail(reader, 0, type->name, "its tracking needs tracking.key_file");
    else if (!config->http.public_url || strncmp(config->http.public_url, "https://", 8) != 0)
        fail(reader, 0, type->name, "its tracking needs an https http.public_url");
}

static bool is_offline_policy(const char *word)
{
    return word && (strcmp(word, "dead_letter") == 0 || strcmp(word, "hold") == 0 ||
                    strcmp(word, "next_channel") == 0);
}

/* ---- keys that are not known ---- */

#define NAMES_MAX 128
struct names {
    const char *all[NAMES_MAX];
    size_t count;
};

static void add_name(struct names *names, const char *name)
{
    if (names->count < NAMES_MAX)
        names->all[names->count++] = name;
}

/* Keys of one member alone, "in_app.window": by what follows the dot. */
static void add_own(struct names *names, const struct config_entry *entry)
{
    size_t length = strlen(entry->path[1]);

    for (size_t i = 0; i < COUNT(keys); i++)
        if (strcmp(keys[i].section, entry->path[0]) == 0 &&
            strncmp(keys[i].name, entry->path[1], length) == 0 && keys[i].name[length] == '.')
            add_name(names, keys[i].name + length + 1);
}

static void add_table(struct names *names, const struct key *table, size_t count,
                      const char *section)
{
    for (size_t i = 0; i < count; i++)
        if (!section || strcmp(table[i].section, section) == 0)
            add_name(names, table[i].name);
}

/* What could stand where the unknown key stands: its last part is what was mistyped. */
static const char *add_candidates(const struct reader *reader, const struct config_entry *entry,
                                  struct names *names)
{
    static const char *const sections[] = {"bridge",    "log",      "mqtt",         "postgres",
                                           "http",      "requests", "queue",        "presence",
                                           "retention", "tracking", "alerts",       "jwks",
                                           "channels",  "types",    "destinations", NULL};
    size_t i = 0;

    while (sections[i] && strcmp(sections[i], entry->path[0]) != 0)
        i++;
    if (!sections[i]) {
        for (i = 0; sections[i]; i++)
            add_name(names, sections[i]);
        return entry->path[0];
    }
    if (strcmp(entry->path[0], "types") == 0)
        add_table(names, type_keys, COUNT(type_keys), NULL);
    if (strcmp(entry->path[0], "channels") == 0 && entry->path[1] && entry->path[2]) {
        enum channel channel;

        if (channel_parse(entry->path[1], &channel)) {
            for (int one = 0; one < CHANNEL_COUNT; one++)
                add_name(names, channel_name((enum channel)one));
            return entry->path[1];
        }
        add_table(names, channel_keys, COUNT(channel_keys), NULL);
        add_own(names, entry);
    }
    if (strcmp(entry->path[0], "destinations") == 0) {
        const struct config_entry *adapter =
            config_tree_get(&reader->config->tree, "destinations", entry->path[1], "adapter");
        const struct adapter *found = adapter ? adapter_find(adapter->value) : NULL;

        add_name(names, "adapter");
        add_table(names, destination_keys, COUNT(destination_keys), NULL);
        for (const struct adapter_key *key = found ? found->keys : NULL; key && key->name; key++)
            add_name(names, key->name);
    }
    add_table(names, keys, COUNT(keys), entry->path[0]);
    return entry->path[2] ? entry->path[2] : entry->path[1] ? entry->path[1] : "";
}

static void check_unknown(struct reader *reader)
{
    for (size_t i = 0; i < reader->config->tree.count; i++) {
        const struct config_entry *entry = &reader->config->tree.entries[i];
        struct names names = {.count = 0};
        const char *typed, *nearest;
        char name[256];

        if (entry->is_used)
            continue;
        snprintf(name, sizeof(name), "%s%s%s%s%s", entry->path[0], entry->path[1] ? "." : "",
                 entry->path[1] ? entry->path[1] : "", entry->path[2] ? "." : "",
                 entry->path[2] ? entry->path[2] : "");
        typed = add_candidates(reader, entry, &names);
        nearest = config_nearest(typed, names.all, names.count);
        if (nearest && strcmp(nearest, typed) != 0)
            config_fault(reader->faults, entry->line, name,
                         "there is no such key; is \"%s\" meant?", nearest);
        else
            fail(reader, entry->line, name, "there is no such key; docs/config.md has them all");
    }
}

static void check(struct reader *reader)
{
    struct config *config = reader->config;
    enum log_level level;

    if (!config->log.level || log_level_parse(config->log.level, &level))
        fail(reader, 0, "log.level", "give debug, info, warn or error");
    if (!config->log.format ||
        (strcmp(config->log.format, "text") != 0 && strcmp(config->log.format, "json") != 0))
        fail(reader, 0, "log.format", "give text or json");
    for (size_t i = 0; i < config->type_count; i++)
        if (strcmp(config->types[i].unknown, "repeat") != 0 &&
            strcmp(config->types[i].unknown, "at_most_once") != 0)
            fail(reader, 0, config->types[i].name, "unknown must be repeat or at_most_once");
    for (size_t i = 0; i < config->type_count; i++)
        check_tracking(reader, &config->types[i]);
    if (config->tracking.former_key_file && !config->tracking.key_file)
        fail(reader, 0, "tracking.former_key_file", "is of no use without tracking.key_file");
    for (size_t i = 0; i < config->type_count; i++)
        if (!is_offline_policy(config->types[i].offline))
            fail(reader, 0, config->types[i].name,
                 "offline must be dead_letter, hold or next_channel");
    if (!config->jwks.url != !config->jwks.file)
        fail(reader, 0, "jwks", "give both url and file, or neither");
    else if (config->jwks.url && jwks_count(config->jwks.url) > 1 &&
             (jwks_count(config->jwks.url) > JWKS_MAX ||
              jwks_count(config->jwks.url) != jwks_count(config->jwks.file)))
        fail(reader, 0, "jwks.file", "give one file for each URL, at most 32");
    if (config->queue.poll_max_ms < config->queue.poll_min_ms)
        fail(reader, 0, "queue.poll_max", "must not be less than queue.poll_min");
    for (size_t i = 0; i < config->destination_count; i++) {
        struct config_destination *destination = &config->destinations[i];
        int64_t most_ms = config->bridge.lease_ms - config->bridge.lease_ms / 4 - 1;

        if (destination->timeout_ms > most_ms && config_destination_get(destination, "timeout"))
            fail(reader, destination->line, destination->name,
                 "its timeout must be less than three quarters of bridge.lease, or a send could"
                 " outlive the lease on its delivery");
        if (destination->timeout_ms > most_ms)
            destination->timeout_ms = most_ms;
        if (destination->shut_max_ms < destination->shut_min_ms)
            fail(reader, destination->line, destination->name,
                 "shut_max must not be less than shut_min");
    }
    check_unknown(reader);
}

struct config *config_read(const char *file, char *why, size_t why_bytes)
{
    struct config *config = xcalloc(1, sizeof(*config));
    struct config_faults faults;
    struct reader reader = {config, &faults};

    config_faults_init(&faults, file, why, why_bytes);
    if (config_tree_read(&config->tree, file, &faults)) {
        free(config);
        return NULL;
    }
    for (size_t i = 0; i < COUNT(keys); i++)
        read_key(&reader, &keys[i], config, NULL);
    for (int channel = 0; channel < CHANNEL_COUNT; channel++)
        for (size_t i = 0; i < COUNT(channel_keys); i++)
            read_key(&reader, &channel_keys[i], &config->channels[channel],
                     channel_name((enum channel)channel));
    /*
     * Users who reconnect do so at their own times: there is no herd to scatter, and a wait cut
     * to nothing would bury what a moment more had delivered.
     */
    if (!config_tree_get(&config->tree, "channels", "in_app", "jitter"))
        config->channels[CHANNEL_IN_APP].is_jittered = false;
    /* Again after 2, 4 and 8 s. */
    if (!config_tree_get(&config->tree, "channels", "in_app", "attempts"))
        config->channels[CHANNEL_IN_APP].attempts = 4;
    each_member(&reader, "types", read_type);
    each_member(&reader, "destinations", read_destination);
    check(&reader);
    config_check_values(config, &faults);
    if (faults.count) {
        config_free(config);
        return NULL;
    }
    return config;
}

void config_free(struct config *config)
{
    for (size_t i = 0; i < config->destination_count; i++)
        free(config->destinations[i].callback_url);
    free(config->destinations);
    free(config->types);
    config_tree_free(&config->tree);
    free(config);
}

const char *config_destination_get(void *ctx, const char *key)
{
    struct config_destination *destination = ctx;
    struct config_entry *entry =
        config_tree_get(&destination->config->tree, "destinations", destination->name, key);

    if (entry)
        return entry->value;
    /* Providers that are told with each message where to report are told, without being asked. */
    if (strcmp(key, "status_callback") == 0 || strcmp(key, "report_url") == 0)
        return destination->callback_url;
    return NULL;
}

/* ---- writing ---- */

static void print_value(const struct key *key, const void *base, struct buf *out)
{
    const void *at = (const char *)base + key->offset;
    char text[TIMEFMT_BYTES];

    switch (key->kind) {
    case KIND_TEXT:
    case KIND_FILE:
        if (*(const char *const *)at)
            buf_add_json(out, *(const char *const *)at);
        else
            buf_add_text(out, "\"\"");
        return;
    case KIND_BOOL:
        buf_add_text(out, *(const bool *)at ? "true" : "false");
        return;
    case KIND_DURATION:
        buf_add_text(out, timefmt_duration(*(const int64_t *)at, text));
        return;
    case KIND_NUMBER:
    case KIND_BYTES:
        buf_add_i64(out, *(const int64_t *)at);
        return;
    case KIND_REAL:
        buf_printf(out, "%g", *(const double *)at);
        return;
    }
}

void config_print(const struct config *config, struct buf *out)
{
    const char *section = "";

    for (size_t i = 0; i < COUNT(keys); i++) {
        if (strchr(keys[i].name, '.'))
            continue;
        if (strcmp(section, keys[i].section) != 0)
            buf_printf(out, "%s:\n", keys[i].section);
        section = keys[i].section;
        buf_printf(out, "  %s: ", keys[i].name);
        print_value(&keys[i], config, out);
        buf_add_char(out, '\n');
    }
    buf_add_text(out, "channels:\n");
    for (int channel = 0; channel < CHANNEL_COUNT; channel++) {
        buf_printf(out, "  %s:\n", channel_name((enum channel)channel));
        for (size_t i = 0; i < COUNT(keys); i++) {
            const char *dot = strchr(keys[i].name, '.');

            if (!dot || strncmp(keys[i].name, channel_name((enum channel)channel),
                                (size_t)(dot - keys[i].name)) != 0)
                continue;
            buf_printf(out, "    %s: ", dot + 1);
            print_value(&keys[i], config, out);
            buf_add_char(out, '\n');
        }
        for (size_t i = 0; i < COUNT(channel_keys); i++) {
            buf_printf(out, "    %s: ", channel_keys[i].name);
            print_value(&channel_keys[i], &config->channels[channel], out);
            buf_add_char(out, '\n');
        }
    }
    for (size_t i = 0; i < config->tree.count; i++) {
        const struct config_entry *entry = &config->tree.entries[i];
        bool is_new = i == 0 || strcmp(config->tree.entries[i - 1].path[0], entry->path[0]) != 0;
        bool is_member = is_new || !entry->path[1] || !config->tree.entries[i - 1].path[1] ||
                         strcmp(config->tree.entries[i - 1].path[1], entry->path[1]) != 0;

        if (strcmp(entry->path[0], "destinations") != 0 && strcmp(entry->path[0], "types") != 0)
            continue;
        if (is_new)
            buf_printf(out, "%s:\n", entry->path[0]);
        if (is_member) {
            buf_add_text(out, "  ");
            buf_add_json(out, entry->path[1]);
            buf_add_text(out, ":\n");
        }
        buf_printf(out, "    %s: ", entry->path[2] ? entry->path[2] : "");
        buf_add_json(out, entry->value);
        buf_add_char(out, '\n');
    }
}

static void reference_row(const char *name, const char *fallback, const char *help, struct buf *out)
{
    buf_printf(out, "| `%s` | ", name);
    if (!fallback || !fallback[0] || strcmp(fallback, "-1") == 0)
        buf_add_text(out, "-");
    else if (strcmp(fallback, "!") == 0)
        buf_add_text(out, "**required**");
    else
        buf_printf(out, "`%s`", fallback);
    buf_printf(out, " | %s |\n", help);
}

static void reference_table(const struct key *table, size_t count, const char *prefix,
                            struct buf *out)
{
    char name[128];

    buf_add_text(out, "\n| key | default | meaning |\n| --- | --- | --- |\n");
    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "%s%s%s", prefix ? prefix : table[i].section,
                 prefix ? "" : ".", table[i].name);
        reference_row(name, table[i].fallback, table[i].help, out);
    }
}

void config_reference(struct buf *out)
{
    buf_add_text(
        out, "# Configuration\n\nGenerated by `tocsind --config-reference`; a test compares.\n\n"
             "One YAML file, given with `--config`. Durations need a unit (`30s`). `${NAME}` "
             "and `${NAME:-default}` come from the environment. Secrets are named by file. "
             "Unknown keys stop the start.\n");
    reference_table(keys, COUNT(keys), NULL, out);
    buf_add_text(out, "\n## Each channel: `channels.{in_app,push,sms,email,chat,webhook}`\n");
    reference_table(channel_keys, COUNT(channel_keys), "", out);
    buf_add_text(out, "\n## Each type: `types.{type}`\n");
    reference_table(type_keys, COUNT(type_keys), "", out);
    buf_add_text(out, "\n## Each destination: `destinations.{name}`\n\n`adapter` names the "
                      "provider's code; these keys are common, the adapters' own follow.\n");
    reference_table(destination_keys, COUNT(destination_keys), "", out);
    for (const struct adapter *const *adapter = adapter_all(); *adapter; adapter++) {
        buf_printf(out,
                   "\n### adapter `%s` (%s)\n\n| key | default | meaning |\n| --- | --- | --- |\n",
                   (*adapter)->name, channel_name((*adapter)->channel));
        for (const struct adapter_key *key = (*adapter)->keys; key && key->name; key++)
            reference_row(key->name, key->is_required ? "!" : key->fallback, key->help, out);
    }
}

/* SPDX-License-Identifier: MIT */
#include "core/alert.h"

#include <stdio.h>
#include <string.h>

#include "base/panic.h"
#include "base/timefmt.h"

#include "core/syntax.h"

/* Deliveries that must have ended before a share of them says anything. */
#define ENDED_MIN 20
/* A count or an age that has fallen by this part of its threshold is good again. */
#define BAND 0.2

const char *alert_kind_name(enum alert_kind kind)
{
    switch (kind) {
    case ALERT_DEAD_LETTERS:
        return "dead_letters";
    case ALERT_SUCCESS_RATE:
        return "success_rate";
    case ALERT_QUEUE_AGE:
        return "queue_age";
    case ALERT_BREAKER:
        return "breaker";
    case ALERT_DATABASE:
        return "database";
    case ALERT_BROKER:
        return "broker";
    case ALERT_PARTITIONS:
        return "partitions";
    case ALERT_KINDS:
        break;
    }
    panic("an alert of no known kind");
}

void alert_init(struct alert *alert, enum alert_kind kind, const char *provider)
{
    size_t used;

    *alert = (struct alert){.kind = kind, .provider = provider};
    used = (size_t)snprintf(alert->name, sizeof(alert->name), "%s%s", alert_kind_name(kind),
                            provider ? "." : "");
    for (; provider && *provider && used + 4 < sizeof(alert->name); provider++) {
        unsigned char c = (unsigned char)*provider;
        bool is_plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
                        (c >= 'a' && c <= 'z') || c == '.' || c == '_' || c == '-';

        used += (size_t)snprintf(alert->name + used, sizeof(alert->name) - used,
                                 is_plain ? "%c" : "%%%02X", c);
    }
}

bool alert_look(struct alert *alert, enum alert_sign sign, const struct alert_limits *limits,
                int64_t now_ms)
{
    if (sign != ALERT_BAD)
        alert->bad_ms = 0;
    else if (!alert->bad_ms)
        alert->bad_ms = now_ms;
    if (sign != ALERT_GOOD)
        alert->good_ms = 0;
    else if (!alert->good_ms)
        alert->good_ms = now_ms;
    if (!alert->is_firing && alert->bad_ms && now_ms - alert->bad_ms >= limits->after_ms)
        alert->since_ms = alert->bad_ms;
    else if (alert->is_firing && alert->good_ms && now_ms - alert->good_ms >= limits->clear_ms)
        alert->since_ms = alert->good_ms;
    else
        return false;
    alert->is_firing = !alert->is_firing;
    return true;
}

static enum alert_sign sign_above(double value, double threshold)
{
    if (value > threshold)
        return ALERT_BAD;
    return value <= threshold * (1 - BAND) ? ALERT_GOOD : ALERT_BETWEEN;
}

/* Where nothing ends nothing fails; of a few nothing follows. */
static enum alert_sign success_sign(struct alert *alert, const struct queue_flow *recent)
{
    int64_t ended = recent->completed + recent->failed;

    alert->value = ended ? 100.0 * (double)recent->completed / (double)ended : 100.0;
    if (!ended)
        return ALERT_GOOD;
    if (ended < ENDED_MIN)
        return ALERT_BETWEEN;
    if (alert->value < alert->threshold)
        return ALERT_BAD;
    return alert->value >= alert->threshold + (100 - alert->threshold) * BAND ? ALERT_GOOD
                                                                              : ALERT_BETWEEN;
}

enum alert_sign alert_sign_of(struct alert *alert, const struct alert_limits *limits,
                              const struct queue_line *line, int64_t now_ms)
{
    int64_t oldest_ms = line->counts.oldest_ms;

    switch (alert->kind) {
    case ALERT_DEAD_LETTERS:
        alert->value = (double)line->counts.dead;
        alert->threshold = (double)limits->dead_letters;
        return limits->dead_letters ? sign_above(alert->value, alert->threshold) : ALERT_GOOD;
    case ALERT_SUCCESS_RATE:
        alert->threshold = (double)limits->success_percent;
        /* A user who is away is no fault of the way there. */
        if (!limits->success_percent || line->channel == CHANNEL_IN_APP)
            return ALERT_GOOD;
        return success_sign(alert, &line->recent);
    case ALERT_QUEUE_AGE:
        alert->value = oldest_ms && oldest_ms < now_ms ? (double)(now_ms - oldest_ms) / 1000 : 0;
        alert->threshold = (double)limits->queue_age_ms / 1000;
        /* What an admin has stopped is meant to wait. */
        if (!limits->queue_age_ms || line->is_paused)
            return ALERT_GOOD;
        return sign_above(alert->value, alert->threshold);
    case ALERT_BREAKER:
        alert->value = line->open_breakers;
        return limits->wants_breaker && line->open_breakers ? ALERT_BAD : ALERT_GOOD;
    case ALERT_DATABASE:
    case ALERT_BROKER:
    case ALERT_PARTITIONS:
    case ALERT_KINDS:
        break;
    }
    panic("an alert that no line is asked for");
}

enum alert_sign alert_sign_of_days(struct alert *alert, int64_t days_ahead)
{
    if (days_ahead < 0)
        return ALERT_BETWEEN;
    alert->value = (double)days_ahead;
    alert->threshold = ALERT_DAYS_AHEAD;
    return days_ahead < ALERT_DAYS_AHEAD ? ALERT_BAD : ALERT_GOOD;
}

/* ---- telling ---- */

void alert_write_text(const struct alert *alert, struct buf *out)
{
    const char *provider = alert->provider ? alert->provider : "";

    switch (alert->kind) {
    case ALERT_DEAD_LETTERS:
        buf_printf(out, "%.0f dead letters wait for review; the threshold is %.0f", alert->value,
                   alert->threshold);
        return;
    case ALERT_SUCCESS_RATE:
        buf_printf(out,
                   "%.1f %% of what %s was given in five minutes ended well; the threshold is"
                   " %.0f %%",
                   alert->value, provider, alert->threshold);
        return;
    case ALERT_QUEUE_AGE:
        buf_printf(out, "the oldest delivery for %s has waited %.0f s; the threshold is %.0f s",
                   provider, alert->value, alert->threshold);
        return;
    case ALERT_BREAKER:
        if (alert->is_firing)
            buf_printf(out, "%s does not answer as it should: its breaker is open at %.0f bridges",
                       provider, alert->value);
        else
            buf_printf(out, "%s answers again: its breaker is closed", provider);
        return;
    case ALERT_DATABASE:
        buf_add_text(out, alert->is_firing ? "the database is away: nothing is accepted"
                                           : "the database is there");
        return;
    case ALERT_BROKER:
        buf_add_text(out, alert->is_firing ? "the broker is away" : "the broker is there");
        return;
    case ALERT_PARTITIONS:
        buf_printf(out, "the database has partitions for %.0f days ahead; the threshold is %.0f",
                   alert->value, alert->threshold);
        return;
    case ALERT_KINDS:
        break;
    }
    panic("an alert of no known kind");
}

void alert_write(const struct alert *alert, struct buf *out)
{
    struct buf text = {0};
    char since[TIMEFMT_BYTES];

    alert_write_text(alert, &text);
    buf_printf(out, "{\"name\":\"%s\",\"alert\":\"%s\",\"state\":\"%s\",\"since\":\"%s\"",
               alert->name, alert_kind_name(alert->kind), alert->is_firing ? "firing" : "resolved",
               timefmt_wall(alert->since_ms, since));
    buf_add_member(out, "provider", alert->provider);
    if (alert->kind < ALERT_BREAKER || alert->kind == ALERT_PARTITIONS)
        buf_printf(out, ",\"value\":%.1f,\"threshold\":%.1f", alert->value, alert->threshold);
    buf_add_member(out, "text", buf_text(&text));
    buf_add_char(out, '}');
    buf_fini(&text);
}

/* FNV-1a over the alert's name and the recipient: an id has 128 characters at most. */
static uint64_t digest(const char *name, const char *to, size_t to_bytes)
{
    uint64_t hash = 14695981039346656037u;

    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    for (size_t i = 0; i < to_bytes; i++)
        hash = (hash ^ (unsigned char)to[i]) * 1099511628211u;
    return hash;
}

/* How a recipient is written, what it is in a request, and the channel it needs. */
static const struct way {
    const char *prefix, *member, *channel;
    bool (*check)(const char *text);
} ways[] = {
    {"user:", "user", NULL, NULL},
    {"role:", "role", NULL, NULL},
    {"email:", "email", "email", syntax_is_email},
    {"phone:", "phone", "sms", syntax_is_phone},
    {"url:", "url", "webhook", syntax_is_url},
};

static const struct way *way_of(const char *to, size_t to_bytes)
{
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        size_t prefix = strlen(ways[i].prefix);
        char address[256] = "";

        if (to_bytes <= prefix || strncmp(to, ways[i].prefix, prefix) != 0 ||
            to_bytes - prefix >= sizeof(address))
            continue;
        memcpy(address, to + prefix, to_bytes - prefix);
        return !ways[i].check || ways[i].check(address) ? &ways[i] : NULL;
    }
    return NULL;
}

bool alert_is_recipient(const char *to, size_t to_bytes)
{
    return way_of(to, to_bytes) != NULL;
}

bool alert_write_request(const struct alert *alert, const char *to, size_t to_bytes,
                         struct buf *out)
{
    const struct way *way = way_of(to, to_bytes);
    size_t prefix = way ? strlen(way->prefix) : 0;
    struct buf text = {0};

    if (!way)
        return false;
    alert_write_text(alert, &text);
    buf_printf(out, "{\"id\":\"alert/%s/%lld/%016llx\",\"type\":\"tocsin.alert\",\"to\":{\"%s\":",
               alert_kind_name(alert->kind), (long long)alert->since_ms,
               (unsigned long long)digest(alert->name, to, to_bytes), way->member);
    buf_add_json_n(out, to + prefix, to_bytes - prefix);
    buf_add_char(out, '}');
    if (way->channel)
        buf_printf(out, ",\"channels\":[\"%s\"]", way->channel);
    buf_printf(out, ",\"priority\":\"urgent\",\"receipts\":\"none\",\"title\":\"Tocsin: %s %s\"",
               alert->name, alert->is_firing ? "fires" : "is resolved");
    buf_add_member(out, "body", buf_text(&text));
    buf_add_text(out, ",\"data\":");
    alert_write(alert, out);
    buf_add_char(out, '}');
    buf_fini(&text);
    return true;
}

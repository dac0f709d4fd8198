/* SPDX-License-Identifier: MIT */
#include "services/alerts.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "store/alerts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS 1000
/* How often the stored ones are read: what a speaker before us stored last. */
#define READ_TICKS 30
/* Ticks without the admins lane, with a database, after which somebody else speaks. */
#define SILENT_TICKS 5
/* Whoever takes over tells again what began so lately that it may not have been told. */
#define TELL_AGAIN_MS 600000

struct alarm {
    struct list_node node;
    struct alert alert;
    char *provider;  /* owned; alert.provider */
    bool is_seen;    /* in the look under way */
    bool is_unsaved; /* not stored as it is now */
    bool is_saving;
    bool is_doubtful;    /* an earlier try may have stored it */
    bool is_unpublished; /* not told as it is now */
    bool is_silent;      /* to be published again, but nobody notified */
};

struct alerts {
    struct loop *loop;
    struct alert_limits limits;
    char *to; /* NULL: nobody */
    struct store *store;
    struct alerts_ops ops;
    struct loop_timer timer;
    struct list alarms;
    struct alarm *database, *broker, *partitions; /* their looks are our own, not a line's */
    int64_t days_ahead;                           /* -1: not known */
    unsigned tick, silent_ticks;
    bool is_speaker; /* also while the database is away, if it was before */
    bool is_reading, has_read;
    struct metric *firing[ALERT_KINDS];
    struct buf topic, text;
};

static struct alarm *add(struct alerts *alerts, enum alert_kind kind, const char *provider)
{
    struct alarm *alarm = xcalloc(1, sizeof(*alarm));

    alarm->provider = provider ? xstrdup(provider) : NULL;
    alert_init(&alarm->alert, kind, alarm->provider);
    list_push_back(&alerts->alarms, &alarm->node);
    return alarm;
}

static void drop(struct alerts *alerts, struct alarm *alarm)
{
    list_remove(&alerts->alarms, &alarm->node);
    free(alarm->provider);
    free(alarm);
}

static struct alarm *find(struct alerts *alerts, enum alert_kind kind, const char *provider)
{
    for (struct list_node *node = alerts->alarms.head.next; node != &alerts->alarms.head;
         node = node->next) {
        struct alarm *alarm = CONTAINER_OF(node, struct alarm, node);

        if (alarm->alert.kind == kind && !alarm->provider == !provider &&
            (!provider || strcmp(alarm->provider, provider) == 0))
            return alarm;
    }
    return NULL;
}

static bool is_own(const struct alerts *alerts, const struct alarm *alarm)
{
    return alarm == alerts->database || alarm == alerts->broker || alarm == alerts->partitions;
}

/* ---- telling ---- */

static void notify(struct alerts *alerts, const struct alert *alert)
{
    for (const char *to = alerts->to; to && *to;) {
        size_t bytes = strcspn(to, " ");

        buf_clear(&alerts->text);
        if (bytes && alert_write_request(alert, to, bytes, &alerts->text))
            alerts->ops.request(alerts->ops.ctx, buf_text(&alerts->text), alerts->text.length);
        to += bytes;
        to += strspn(to, " ");
    }
}

static void publish(struct alerts *alerts, struct alarm *alarm)
{
    buf_clear(&alerts->topic);
    buf_clear(&alerts->text);
    buf_printf(&alerts->topic, "notify/v1/alerts/%s", alarm->alert.name);
    alert_write(&alarm->alert, &alerts->text);
    if (!alerts->ops.publish(alerts->ops.ctx, buf_text(&alerts->topic), buf_text(&alerts->text),
                             alerts->text.length))
        return;
    alarm->is_unpublished = false;
    if (!alarm->is_silent)
        notify(alerts, &alarm->alert);
}

static void on_saved(void *ctx, int err, bool did_change);

/* An alarm may be dropped while it is being stored: found again by its name. */
struct saving {
    struct alerts *alerts;
    enum alert_kind kind;
    char *provider;
    int64_t since_ms;
};

static void save(struct alerts *alerts, struct alarm *alarm)
{
    struct saving *saving = xmalloc(sizeof(*saving));

    *saving =
        (struct saving){alerts, alarm->alert.kind,
                        alarm->provider ? xstrdup(alarm->provider) : NULL, alarm->alert.since_ms};
    alarm->is_saving = store_alert_save(alerts->store, &alarm->alert, on_saved, saving) == 0;
    if (alarm->is_saving)
        return;
    free(saving->provider);
    free(saving);
}

static void on_saved(void *ctx, int err, bool did_change)
{
    struct saving *saving = ctx;
    struct alarm *alarm = find(saving->alerts, saving->kind, saving->provider);

    if (alarm) {
        alarm->is_saving = false;
        alarm->is_doubtful = alarm->is_doubtful || err == ERR_DOUBT;
        /* Told all the same: what the database refuses must not keep an alert from those on call.
         */
        if (err_is_refusal(err)) {
            log_error("alerts.refused", LOG_STR("alert", alarm->alert.name),
                      LOG_STR("err", err_name(err)));
            alarm->is_unsaved = false;
        }
        if (!err && alarm->alert.since_ms == saving->since_ms) {
            alarm->is_unsaved = false;
            /* Another speaker was first, and has told it. */
            if (!did_change && !alarm->is_doubtful)
                alarm->is_unpublished = false;
            alarm->is_doubtful = false;
        }
    }
    free(saving->provider);
    free(saving);
}

/* Stored before it is told, but for what the database's being away keeps from being stored. */
static void pump(struct alerts *alerts)
{
    bool is_up = store_is_up(alerts->store);

    for (struct list_node *node = alerts->alarms.head.next; node != &alerts->alarms.head;
         node = node->next) {
        struct alarm *alarm = CONTAINER_OF(node, struct alarm, node);

        if (alarm->is_unsaved && is_up && !alarm->is_saving)
            save(alerts, alarm);
        if (alarm->is_unpublished && (!alarm->is_unsaved || !is_up))
            publish(alerts, alarm);
    }
}

/* ---- looking ---- */

static void look(struct alerts *alerts, struct alarm *alarm, enum alert_sign sign, int64_t now_ms)
{
    struct alert *alert = &alarm->alert;

    if (!alert_look(alert, sign, &alerts->limits, now_ms))
        return;
    buf_clear(&alerts->text);
    alert_write_text(alert, &alerts->text);
    if (alert->is_firing)
        log_warn("alert.firing", LOG_STR("alert", alert->name),
                 LOG_STR("text", buf_text(&alerts->text)));
    else
        log_info("alert.resolved", LOG_STR("alert", alert->name),
                 LOG_STR("text", buf_text(&alerts->text)));
    metric_add(alerts->firing[alert->kind], alert->is_firing ? 1 : -1);
    alarm->is_unsaved = alarm->is_unpublished = true;
    alarm->is_silent = false;
}

/* What never was bad needs no alarm. */
static void look_at(struct alerts *alerts, enum alert_kind kind, const char *provider,
                    const struct queue_line *line, int64_t now_ms)
{
    struct alarm *alarm = find(alerts, kind, provider);
    struct alert fresh;
    enum alert_sign sign;

    if (!alarm) {
        alert_init(&fresh, kind, provider);
        if (alert_sign_of(&fresh, &alerts->limits, line, now_ms) != ALERT_BAD)
            return;
        alarm = add(alerts, kind, provider);
    }
    alarm->is_seen = true;
    sign = alert_sign_of(&alarm->alert, &alerts->limits, line, now_ms);
    look(alerts, alarm, sign, now_ms);
}

/* A destination that nobody has any more is good. */
static void look_at_rest(struct alerts *alerts, int64_t now_ms)
{
    for (struct list_node *node = alerts->alarms.head.next; node != &alerts->alarms.head;
         node = node->next) {
        struct alarm *alarm = CONTAINER_OF(node, struct alarm, node);

        if (!alarm->is_seen && !is_own(alerts, alarm))
            look(alerts, alarm, ALERT_GOOD, now_ms);
        alarm->is_seen = false;
    }
}

void alerts_look(struct alerts *alerts, const struct queue_line *lines, size_t count,
                 int64_t now_ms)
{
    struct queue_line sum = queue_stats_sum(lines, count);

    if (!alerts->has_read) /* what fires already is not known yet */
        return;
    look_at(alerts, ALERT_DEAD_LETTERS, NULL, &sum, now_ms);
    for (size_t i = 0; i < count; i++) {
        look_at(alerts, ALERT_SUCCESS_RATE, lines[i].name, &lines[i], now_ms);
        look_at(alerts, ALERT_QUEUE_AGE, lines[i].name, &lines[i], now_ms);
        look_at(alerts, ALERT_BREAKER, lines[i].name, &lines[i], now_ms);
    }
    look_at_rest(alerts, now_ms);
    pump(alerts);
}

/* ---- what is stored ---- */

static void on_row(void *ctx, const struct alert *stored)
{
    struct alerts *alerts = ctx;
    struct alarm *alarm = find(alerts, stored->kind, stored->provider);
    struct alert *alert;

    if (!alarm)
        alarm = add(alerts, stored->kind, stored->provider);
    alert = &alarm->alert;
    if (alert->since_ms >= stored->since_ms)
        return;
    if (alert->is_firing != stored->is_firing)
        metric_add(alerts->firing[alert->kind], stored->is_firing ? 1 : -1);
    alert->is_firing = stored->is_firing;
    alert->since_ms = stored->since_ms;
    alert->value = stored->value;
    alert->threshold = stored->threshold;
    alarm->is_unpublished = true;
    alarm->is_unsaved = false;
    alarm->is_silent = clock_wall_ms() - stored->since_ms > TELL_AGAIN_MS;
}

static void on_read(void *ctx, int err)
{
    struct alerts *alerts = ctx;
    struct alarm *database = alerts->database;

    alerts->is_reading = false;
    if (err) {
        log_warn("alerts.unread", LOG_STR("err", err_name(err)));
        return;
    }
    /* A speaker that died while the database was away may have left its message on the broker. */
    if (!alerts->has_read && !database->alert.since_ms) {
        database->alert.since_ms = clock_wall_ms();
        database->is_unpublished = database->is_silent = true;
    }
    alerts->has_read = true;
    pump(alerts);
}

static void read_stored(struct alerts *alerts)
{
    struct alerts_call call = {on_row, on_read, alerts};

    if (!alerts->is_reading)
        alerts->is_reading = store_alerts(alerts->store, &call) == 0;
}

/* ---- who speaks ---- */

static void clear(struct alerts *alerts)
{
    struct list_node *node = alerts->alarms.head.next;

    while (node != &alerts->alarms.head) {
        struct alarm *alarm = CONTAINER_OF(node, struct alarm, node);

        node = node->next;
        if (!is_own(alerts, alarm)) {
            drop(alerts, alarm);
            continue;
        }
        alert_init(&alarm->alert, alarm->alert.kind, NULL);
        alarm->is_unsaved = alarm->is_unpublished = false;
    }
    for (int kind = 0; kind < ALERT_KINDS; kind++)
        metric_set(alerts->firing[kind], 0);
    alerts->has_read = false;
    alerts->days_ahead = -1;
}

/* Who spoke when the database went away goes on: nobody can take the lane from it then. */
static void find_speaker(struct alerts *alerts)
{
    if (alerts->ops.is_speaker(alerts->ops.ctx)) {
        alerts->is_speaker = true;
        alerts->silent_ticks = 0;
    } else if (store_is_up(alerts->store) && alerts->is_speaker &&
               ++alerts->silent_ticks >= SILENT_TICKS) {
        alerts->is_speaker = false;
        clear(alerts);
    }
}

static void on_timer(void *ctx)
{
    struct alerts *alerts = ctx;
    bool is_up = store_is_up(alerts->store);
    int64_t now_ms = clock_wall_ms();

    loop_timer_start(alerts->loop, &alerts->timer, TICK_MS, on_timer, alerts);
    find_speaker(alerts);
    if (!alerts->is_speaker)
        return;
    if (is_up && (!alerts->has_read || alerts->tick % READ_TICKS == 0))
        read_stored(alerts);
    alerts->tick++;
    pump(alerts); /* what could not be told is, before it is over */
    look(alerts, alerts->database, is_up ? ALERT_GOOD : ALERT_BAD, now_ms);
    look(alerts, alerts->broker, alerts->ops.is_broker_up(alerts->ops.ctx) ? ALERT_GOOD : ALERT_BAD,
         now_ms);
    look(alerts, alerts->partitions,
         alert_sign_of_days(&alerts->partitions->alert, alerts->days_ahead), now_ms);
    pump(alerts);
}

void alerts_set_days_ahead(struct alerts *alerts, int64_t days)
{
    alerts->days_ahead = days;
}

void alerts_configure(struct alerts *alerts, const struct alerts_config *config)
{
    alerts->limits = config->limits;
    free(alerts->to);
    alerts->to = config->to ? xstrdup(config->to) : NULL;
}

struct alerts *alerts_new(struct loop *loop, const struct alerts_config *config,
                          struct store *store, struct metrics *metrics,
                          const struct alerts_ops *ops)
{
    struct alerts *alerts = xcalloc(1, sizeof(*alerts));

    alerts->loop = loop;
    alerts->store = store;
    alerts->ops = *ops;
    list_init(&alerts->alarms);
    alerts_configure(alerts, config);
    alerts->database = add(alerts, ALERT_DATABASE, NULL);
    alerts->broker = add(alerts, ALERT_BROKER, NULL);
    alerts->partitions = add(alerts, ALERT_PARTITIONS, NULL);
    alerts->days_ahead = -1;
    for (int kind = 0; kind < ALERT_KINDS; kind++) {
        char labels[64];

        snprintf(labels, sizeof(labels), "alert=\"%s\"", alert_kind_name((enum alert_kind)kind));
        alerts->firing[kind] =
            metrics_get(metrics, METRIC_GAUGE, "tocsin_alerts_firing",
                        "Alerts that fire, at the bridge that speaks for all.", labels);
    }
    loop_timer_start(loop, &alerts->timer, TICK_MS, on_timer, alerts);
    return alerts;
}

void alerts_free(struct alerts *alerts)
{
    loop_timer_stop(&alerts->timer);
    while (alerts->alarms.count)
        drop(alerts, CONTAINER_OF(alerts->alarms.head.next, struct alarm, node));
    buf_fini(&alerts->topic);
    buf_fini(&alerts->text);
    free(alerts->to);
    free(alerts);
}

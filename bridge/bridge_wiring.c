/* SPDX-License-Identifier: MIT */
/*
 * bridge_wiring - who is told what: the callbacks that join services that do not know each other
 */
#include "bridge.h"

#include "base/clock.h"
#include "base/log.h"
#include "services/dead.h"

#include <string.h>

static void publish(void *ctx, const char *topic, const void *payload, size_t bytes)
{
    struct bridge *bridge = ctx;

    outbox_keep(bridge->outbox, topic, payload, bytes, false);
}

static void publish_retained(void *ctx, const char *topic, const void *payload, size_t bytes)
{
    struct bridge *bridge = ctx;

    outbox_keep(bridge->outbox, topic, payload, bytes, true);
}

static void add_receipt(void *ctx, const char *service, const struct receipt *receipt)
{
    struct bridge *bridge = ctx;

    receipts_add(bridge->receipts, service, receipt);
}

static void on_dead(void *ctx, const struct task *task, const struct outcome *outcome, int attempts,
                    const char *destination)
{
    struct bridge *bridge = ctx;
    char topic[DEAD_TOPIC_BYTES];

    buf_clear(&bridge->scratch);
    dead_write(task, outcome, attempts, destination, clock_wall_ms(), topic, &bridge->scratch);
    outbox_keep(bridge->outbox, topic, buf_text(&bridge->scratch), bridge->scratch.length, false);
}

static bool is_outbox_full(void *ctx)
{
    struct bridge *bridge = ctx;

    return outbox_is_full(bridge->outbox);
}

static int watch(void *ctx, const char *topic, const void *payload, size_t bytes, uint32_t expiry_s,
                 in_app_result_fn *on_result, void *result_ctx)
{
    struct bridge *bridge = ctx;

    return outbox_watch(bridge->outbox, topic, payload, bytes, expiry_s, on_result, result_ctx);
}

static bool is_away(void *ctx, const char *user)
{
    struct bridge *bridge = ctx;

    return presence_is_away(bridge->presence, user);
}

static bool awaits(void *ctx, const char *user, int64_t since_ms)
{
    struct bridge *bridge = ctx;

    return presence_awaits(bridge->presence, user, since_ms);
}

static bool is_plain(void *ctx, uint64_t delivery)
{
    struct bridge *bridge = ctx;

    return dispatch_is_plain(bridge->dispatch, delivery);
}

static void heard(void *ctx, const char *user)
{
    struct bridge *bridge = ctx;

    presence_heard(bridge->presence, user);
}

static void on_came(void *ctx, const char *user)
{
    struct bridge *bridge = ctx;

    dispatch_wake(bridge->dispatch, user);
}

/* ---- the inbox ---- */

static void touch(void *ctx, const char *user)
{
    struct bridge *bridge = ctx;

    badge_touch(bridge->badge, user);
}

static void mark(void *ctx, const char *user, const struct ack *ack)
{
    struct bridge *bridge = ctx;

    inbox_add(bridge->inbox, user, ack);
}

static bool has_marks(void *ctx)
{
    struct bridge *bridge = ctx;

    return inbox_has_events(bridge->inbox);
}

static int commit_marks(void *ctx, store_done_fn *on_done, void *done_ctx)
{
    struct bridge *bridge = ctx;

    return inbox_commit(bridge->inbox, on_done, done_ctx);
}

static void forget_marks(void *ctx)
{
    struct bridge *bridge = ctx;

    inbox_forget(bridge->inbox);
}

static const char *roles(void *ctx, const char *user)
{
    struct bridge *bridge = ctx;

    return presence_roles(bridge->presence, user);
}

static void gone(void *ctx, uint64_t delivery)
{
    struct bridge *bridge = ctx;

    dispatch_gone(bridge->dispatch, delivery);
}

static size_t recall(void *ctx, uint64_t id, enum reason reason)
{
    struct bridge *bridge = ctx;

    return dispatch_recall(bridge->dispatch, id, reason);
}

static void replaced(void *ctx)
{
    struct bridge *bridge = ctx;

    inbox_replaced(bridge->inbox);
}

void bridge_open_inbox(struct bridge *bridge)
{
    struct badge_ops badge = {publish_retained, is_outbox_full, bridge};
    struct inbox_ops inbox = {.publish = publish,
                              .receipt = add_receipt,
                              .touch = touch,
                              .roles = roles,
                              .gone = gone,
                              .recall = recall,
                              .is_full = is_outbox_full,
                              .ctx = bridge};

    bridge->badge = badge_new(bridge->loop, bridge->store, bridge->metrics, &badge);
    bridge->inbox = inbox_new(bridge->loop, bridge->asks, bridge->store, &bridge->fence,
                              bridge->metrics, &inbox);
}

static bool on_acked(void *ctx, uint64_t delivery)
{
    struct bridge *bridge = ctx;
    bool is_known = dispatch_acked(bridge->dispatch, delivery);

    if (!is_known)
        dispatch_acked_elsewhere(bridge->dispatch);
    in_app_acked(bridge->in_app, delivery);
    return is_known;
}

static void on_rpc(void *ctx, const struct topic_up *from, const struct mqtt_message *message)
{
    struct bridge *bridge = ctx;

    asks_receive(bridge->asks, from, message);
}

static void show(void *ctx, const struct job *job)
{
    struct bridge *bridge = ctx;

    if (!dispatch_is_held(bridge->dispatch, CHANNEL_IN_APP))
        in_app_show(bridge->in_app, job);
}

static void poke(void *ctx)
{
    struct bridge *bridge = ctx;

    dispatch_poke(bridge->dispatch, 0);
}

static unsigned available(void *ctx)
{
    struct bridge *bridge = ctx;

    return bridge->available;
}

static const struct route_type *type_route(void *ctx, const char *type)
{
    struct bridge *bridge = ctx;

    return dispatch_type_route(bridge->dispatch, type);
}

static bool may_reach(void *ctx, const char *service, enum recipient_kind kind)
{
    struct bridge *bridge = ctx;
    const struct config *config = bridge->config;

    return bridge_list_has(
        kind == RECIPIENT_ROLE ? config->requests.roles : config->requests.broadcast, service);
}

static int64_t deliveries_rate(void *ctx)
{
    struct bridge *bridge = ctx;

    return bridge->config->requests.deliveries_rate;
}

static int choose(void *ctx, enum channel channel, enum recipient_kind kind, const char *recipient,
                  const char *type, const char *adapter, int32_t *destination)
{
    struct bridge *bridge = ctx;
    struct choice choice = {channel, kind, recipient, type, adapter};

    return dispatch_choose(bridge->dispatch, &choice, destination);
}

static bool admit(void *ctx, int32_t destination, const char *service)
{
    struct bridge *bridge = ctx;

    return dispatch_admit(bridge->dispatch, destination, service);
}

static void enter(void *ctx, int32_t destination, struct task *task)
{
    struct bridge *bridge = ctx;

    dispatch_enter(bridge->dispatch, destination, task);
}

static void withdraw(void *ctx, int32_t destination)
{
    struct bridge *bridge = ctx;

    dispatch_withdraw(bridge->dispatch, destination);
}

static void poke_one(void *ctx, int32_t destination)
{
    struct bridge *bridge = ctx;

    dispatch_poke(bridge->dispatch, destination);
}

static void on_doubt(void *ctx)
{
    struct bridge *bridge = ctx;

    dispatch_reconcile(bridge->dispatch);
}

static void on_outbox_change(void *ctx)
{
    struct bridge *bridge = ctx;

    log_debug("outbox.change", LOG_INT("up", outbox_is_up(bridge->outbox)));
}

/* ---- membership ---- */

static void on_joined(void *ctx)
{
    (void)ctx; /* the lanes come by themselves */
}

void bridge_close_lanes(struct bridge *bridge)
{
    ingest_close(bridge->ingest);
    events_close(bridge->events);
    admin_close(bridge->admin);
}

static void on_fenced(void *ctx)
{
    struct bridge *bridge = ctx;

    /* In this order: closing gives back what the dispatcher is about to forget. */
    bridge_close_lanes(bridge);
    dispatch_fenced(bridge->dispatch);
    untold_forget(bridge->untold);
}

static void on_lane(void *ctx, enum lane lane, unsigned crashes)
{
    struct bridge *bridge = ctx;

    if (bridge->stage != BRIDGE_RUNNING)
        return;
    careful_take(bridge->careful, lane, crashes, (size_t)bridge->config->mqtt.lane_batch);
    if (lane == LANE_REQUESTS)
        ingest_open(bridge->ingest);
    else if (lane == LANE_USERS)
        events_open(bridge->events);
    else
        admin_open(bridge->admin);
}

static void on_untold(void *ctx, int64_t epoch, int64_t since_us)
{
    struct bridge *bridge = ctx;

    untold_take(bridge->untold, epoch, since_us);
}

static void on_beat(void *ctx)
{
    struct bridge *bridge = ctx;

    untold_beat(bridge->untold);
}

static void on_swept(void *ctx)
{
    struct bridge *bridge = ctx;

    dispatch_look_again(bridge->dispatch, 0);
}

/* ---- the database comes and goes ---- */

static void ask_destination(struct bridge_destination *destination);

static void on_destination(void *ctx, int err, int32_t id)
{
    struct bridge_destination *destination = ctx;
    struct bridge *bridge = destination->bridge;

    destination->is_asked = false;
    if (err) {
        log_warn("destination.unknown", LOG_STR("destination", destination->config.name),
                 LOG_STR("err", err_name(err)));
        if (err == ERR_AGAIN)
            ask_destination(destination);
        return;
    }
    destination->id = id;
    bridge->available |= 1u << destination->config.channel;
    bridge->destinations_known++;
    if (bridge->destinations_known < bridge->destination_count)
        return;
    /* In the order of the configuration: the first of a channel is its first choice. */
    for (size_t i = 0; i < bridge->destination_count; i++)
        dispatch_add_destination(bridge->dispatch, &bridge->destinations[i].config,
                                 bridge->destinations[i].id);
    membership_store_up(bridge->membership);
}

static void ask_destination(struct bridge_destination *destination)
{
    struct bridge *bridge = destination->bridge;

    if (destination->id || destination->is_asked)
        return;
    destination->is_asked =
        store_destination(bridge->store, destination->config.name, destination->config.channel,
                          destination->config.adapter_name, on_destination, destination) == 0;
}

static void on_store_up(void *ctx)
{
    struct bridge *bridge = ctx;

    log_info("store.up", LOG_INT("destinations", bridge->destination_count));
    for (size_t i = 0; i < bridge->destination_count; i++)
        ask_destination(&bridge->destinations[i]);
    if (bridge->destinations_known == bridge->destination_count)
        membership_store_up(bridge->membership);
}

static void on_store_down(void *ctx, const char *why)
{
    struct bridge *bridge = ctx;

    log_error("store.down", LOG_STR("why", why));
    for (size_t i = 0; i < bridge->destination_count; i++)
        bridge->destinations[i].is_asked = false;
    bridge_close_lanes(bridge);
    if (bridge->stage == BRIDGE_RUNNING && membership_has_lane(bridge->membership, LANE_REQUESTS))
        ingest_open_degraded(bridge->ingest);
    bridge_doubt(bridge);
    membership_store_down(bridge->membership);
}

/* ---- health ---- */

static void missing(struct buf *out, bool *is_ready, bool is_there, const char *what)
{
    if (is_there)
        return;
    *is_ready = false;
    buf_printf(out, "%s\n", what);
}

bool bridge_is_ready(void *ctx, struct buf *out)
{
    struct bridge *bridge = ctx;
    int64_t silent_ms = loop_now_ms(bridge->loop) - membership_beat_ms(bridge->membership);
    bool ready = true;

    missing(out, &ready, bridge->stage == BRIDGE_RUNNING, "bridge: shutting down");
    missing(out, &ready, store_is_up(bridge->store), "postgres: not connected");
    missing(out, &ready, membership_is_joined(bridge->membership), "lease: not registered");
    missing(out, &ready, silent_ms < bridge->config->bridge.lease_ms,
            "postgres: no heartbeat was committed lately");
    missing(out, &ready, membership_has_asked(bridge->membership),
            "lease: the lanes are not shared out yet");
    missing(out, &ready, outbox_is_up(bridge->outbox), "mqtt: the publishing connection is down");
    missing(out, &ready,
            !membership_has_lane(bridge->membership, LANE_REQUESTS) ||
                ingest_is_ready(bridge->ingest),
            "mqtt: the requests lane is not reading");
    missing(out, &ready,
            !membership_has_lane(bridge->membership, LANE_USERS) || events_is_ready(bridge->events),
            "mqtt: the users lane is not reading");
    missing(out, &ready,
            !membership_has_lane(bridge->membership, LANE_ADMINS) || admin_is_ready(bridge->admin),
            "mqtt: the admins lane is not reading");
    return ready;
}

static void refresh(void *ctx)
{
    struct bridge *bridge = ctx;
    struct metric *up = metrics_get(bridge->metrics, METRIC_GAUGE, "tocsin_up",
                                    "1 when the part is connected.", "part=\"postgres\"");

    metric_set(up, store_is_up(bridge->store));
    up = metrics_get(bridge->metrics, METRIC_GAUGE, "tocsin_up", "1 when the part is connected.",
                     "part=\"mqtt\"");
    metric_set(up, outbox_is_up(bridge->outbox));
    up = metrics_get(bridge->metrics, METRIC_GAUGE, "tocsin_queue_oldest_seconds",
                     "For how long the oldest in a queue of the process has been there.",
                     "queue=\"outbox\"");
    metric_set(up, (double)outbox_oldest_age_ms(bridge->outbox) / 1000);
    up = metrics_get(bridge->metrics, METRIC_COUNTER, "tocsin_log_dropped_total",
                     "Log lines that could not be written at once.", NULL);
    metric_set(up, (double)log_dropped());
    up = metrics_get(bridge->metrics, METRIC_COUNTER, "tocsin_loop_turns_total",
                     "Turns of the event loop; more than 100/s without load means that it spins.",
                     NULL);
    metric_set(up, (double)loop_turns(bridge->loop));
}

/* ---- callbacks ---- */

uint64_t bridge_receipts_mark(void *ctx)
{
    struct bridge *bridge = ctx;

    return outbox_mark(bridge->outbox);
}

bool bridge_receipts_are_past(void *ctx, uint64_t mark)
{
    struct bridge *bridge = ctx;

    return outbox_is_past(bridge->outbox, mark);
}

static bool has_callbacks(void *ctx, const char *path)
{
    struct bridge *bridge = ctx;

    return callbacks_has(bridge->callbacks, path);
}

static void on_callback(void *ctx, struct http_exchange *exchange,
                        const struct http_server_request *request)
{
    struct bridge *bridge = ctx;

    callbacks_request(bridge->callbacks, exchange, request);
}

static void on_tracking(void *ctx, struct http_exchange *exchange,
                        const struct http_server_request *request)
{
    struct bridge *bridge = ctx;

    tracking_request(bridge->tracking, exchange, request);
}

static void on_tracked(void *ctx)
{
    struct bridge *bridge = ctx;

    callbacks_poke(bridge->callbacks);
}

static int32_t destination_id(void *ctx, const char *name)
{
    struct bridge *bridge = ctx;

    for (size_t i = 0; i < bridge->destination_count; i++)
        if (strcmp(bridge->destinations[i].config.name, name) == 0)
            return bridge->destinations[i].id;
    return 0;
}

static size_t destination_ids(void *ctx, int32_t ids[DESK_DESTINATIONS_MAX])
{
    struct bridge *bridge = ctx;
    size_t count = 0;

    for (size_t i = 0; i < bridge->destination_count; i++)
        if (bridge->destinations[i].id)
            ids[count++] = bridge->destinations[i].id;
    return count;
}

static const char *destination_name(void *ctx, int32_t id)
{
    struct bridge *bridge = ctx;

    for (size_t i = 0; i < bridge->destination_count; i++)
        if (bridge->destinations[i].id == id)
            return bridge->destinations[i].config.name;
    return NULL;
}

static bool is_configured(void *ctx, int32_t destination)
{
    return destination_name(ctx, destination) != NULL;
}

/* ---- what is told of the queue ---- */

static void flows(void *ctx,
                  void (*on_flow)(void *flow_ctx, int32_t destination, enum breaker breaker,
                                  const struct queue_flow *flow),
                  void *flow_ctx)
{
    struct bridge *bridge = ctx;

    dispatch_flows(bridge->dispatch, on_flow, flow_ctx);
}

/* Who reads the admins lane speaks for all: there is one, and when it dies another takes it. */
static bool is_speaker(void *ctx)
{
    struct bridge *bridge = ctx;

    return bridge->stage == BRIDGE_RUNNING && membership_has_lane(bridge->membership, LANE_ADMINS);
}

/* What is told again soon is not kept for a broker that is away. */
static bool publish_if_up(void *ctx, const char *topic, const void *payload, size_t bytes)
{
    struct bridge *bridge = ctx;

    if (!outbox_is_up(bridge->outbox))
        return false;
    outbox_keep(bridge->outbox, topic, payload, bytes, true);
    return true;
}

static void on_lines(void *ctx, const struct queue_line *lines, size_t count,
                     const struct queue_moment *moment)
{
    struct bridge *bridge = ctx;

    alerts_look(bridge->alerts, lines, count, moment->now_ms);
}

static bool is_broker_up(void *ctx)
{
    struct bridge *bridge = ctx;

    return outbox_is_up(bridge->outbox);
}

/* We are a service too, under our own id: it goes the way of all requests. */
static void request(void *ctx, const void *payload, size_t bytes)
{
    struct bridge *bridge = ctx;
    struct buf topic = {0};

    buf_printf(&topic, "notify/v1/services/%s/up/request", bridge->config->mqtt.id);
    outbox_keep(bridge->outbox, buf_text(&topic), payload, bytes, false);
    buf_fini(&topic);
}

/* ---- the tables ---- */

struct health_ops bridge_health_ops(struct bridge *bridge)
{
    return (struct health_ops){bridge_is_ready, refresh,     has_callbacks,
                               on_callback,     on_tracking, bridge};
}

struct callbacks_ops bridge_callbacks_ops(struct bridge *bridge)
{
    return (struct callbacks_ops){
        .receipt = add_receipt,
        .dead = on_dead,
        .mark = bridge_receipts_mark,
        .is_past = bridge_receipts_are_past,
        .destination_id = destination_id,
        .destination_name = destination_name,
        .ctx = bridge,
    };
}

struct tracking_ops bridge_tracking_ops(struct bridge *bridge)
{
    return (struct tracking_ops){on_tracked, bridge};
}

struct store_handlers bridge_store_handlers(void)
{
    return (struct store_handlers){on_store_up, on_store_down};
}

struct in_app_ops bridge_in_app_ops(struct bridge *bridge)
{
    return (struct in_app_ops){.watch = watch, .shown = touch, .is_away = is_away, .ctx = bridge};
}

struct dispatch_ops bridge_dispatch_ops(struct bridge *bridge)
{
    return (struct dispatch_ops){.receipt = add_receipt,
                                 .dead = on_dead,
                                 .is_full = is_outbox_full,
                                 .is_away = is_away,
                                 .awaits = awaits,
                                 .ctx = bridge};
}

struct presence_ops bridge_presence_ops(struct bridge *bridge)
{
    return (struct presence_ops){on_came, bridge};
}

struct ingest_ops bridge_ingest_ops(struct bridge *bridge)
{
    return (struct ingest_ops){
        .available = available,
        .type_route = type_route,
        .may_reach = may_reach,
        .deliveries_rate = deliveries_rate,
        .choose = choose,
        .admit = admit,
        .enter = enter,
        .withdraw = withdraw,
        .poke = poke_one,
        .doubt = on_doubt,
        .receipt = add_receipt,
        .mark = bridge_receipts_mark,
        .is_past = bridge_receipts_are_past,
        .replaced = replaced,
        .rpc = on_rpc,
        .refuse = bridge_refuse,
        .show = show,
        .ctx = bridge,
    };
}

struct events_ops bridge_events_ops(struct bridge *bridge)
{
    return (struct events_ops){.acked = on_acked,
                               .is_plain = is_plain,
                               .heard = heard,
                               .receipt = add_receipt,
                               .rpc = on_rpc,
                               .refuse = bridge_refuse,
                               .mark = mark,
                               .has_marks = has_marks,
                               .commit = commit_marks,
                               .forget = forget_marks,
                               .doubt = bridge_doubt,
                               .ctx = bridge};
}

struct pauses_ops bridge_pauses_ops(struct bridge *bridge)
{
    return (struct pauses_ops){is_configured, bridge};
}

static void ahead(void *ctx, int64_t days)
{
    struct bridge *bridge = ctx;

    alerts_set_days_ahead(bridge->alerts, days);
}

struct retention_ops bridge_retention_ops(struct bridge *bridge)
{
    return (struct retention_ops){is_speaker, touch, ahead, bridge};
}

struct alerts_ops bridge_alerts_ops(struct bridge *bridge)
{
    return (struct alerts_ops){is_speaker, is_broker_up, publish_if_up, request, bridge};
}

struct queue_stats_ops bridge_queue_stats_ops(struct bridge *bridge)
{
    return (struct queue_stats_ops){flows, is_speaker, publish_if_up, on_lines, bridge};
}

struct desk_ops bridge_desk_ops(struct bridge *bridge)
{
    return (struct desk_ops){poke_one, destination_ids, destination_id, on_dead, bridge};
}

struct membership_ops bridge_membership_ops(struct bridge *bridge)
{
    return (struct membership_ops){on_joined, on_fenced, on_lane,        on_untold,
                                   on_beat,   on_swept,  bridge_told_ms, bridge};
}

struct outbox *bridge_open_outbox(struct bridge *bridge, const struct outbox_config *config)
{
    bridge->receipts = receipts_new(publish, bridge);
    return outbox_open(bridge->loop, config, bridge->metrics, on_outbox_change, bridge);
}

struct chores *bridge_open_chores(struct bridge *bridge, const struct chores_config *config)
{
    return chores_new(bridge->loop, config, bridge->store, &bridge->fence, poke, bridge);
}

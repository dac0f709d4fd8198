/* SPDX-License-Identifier: MIT */
/*
 * main - argv, start-up order, signals, the loop turn, shutdown; nothing else
 */
#include "bridge.h"
#include "config_check.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/panic.h"
#include "base/secret.h"
#include "core/presence.h"
#include "io/memory.h"
#include "io/service_manager.h"
#include "store/migrate.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How long the end waits for the broker to have the last receipts, and for the database. */
#define TELL_MS  5000
#define LEAVE_MS 5000
/*
 * With more than this under way the loop sleeps a little before it polls, so that what broker and
 * database write gathers instead of waking it message by message.  Measured with 1,000 users:
 * twice the throughput, for 0.2 ms.
 */
#define BUSY_UNDER_WAY 32
#define BUSY_LINGER_US 200

/* ---- shutdown: stop ingest, drain, tell, leave, close ---- */

static void on_left(void *ctx)
{
    struct bridge *bridge = ctx;

    bridge->stage = BRIDGE_OVER;
    loop_stop(bridge->loop);
}

static void on_stage_late(void *ctx)
{
    struct bridge *bridge = ctx;

    bridge->is_drain_over = true;
    loop_wake(bridge->loop);
}

static void enter_stage(struct bridge *bridge, enum bridge_stage stage, int64_t limit_ms)
{
    bridge->stage = stage;
    bridge->is_drain_over = false;
    loop_timer_stop(&bridge->drain_timer);
    loop_timer_start(bridge->loop, &bridge->drain_timer, limit_ms, on_stage_late, bridge);
}

static void on_terminate(void *ctx, int signo)
{
    struct bridge *bridge = ctx;

    if (bridge->stage != BRIDGE_RUNNING)
        return;
    log_info("bridge.stopping", LOG_INT("signal", signo),
             LOG_INT("under_way", dispatch_busy(bridge->dispatch)));
    service_manager_tell("STOPPING=1");
    ingest_close(bridge->ingest);
    admin_close(bridge->admin);
    callbacks_stop(bridge->callbacks);
    inbox_stop_sweeps(bridge->inbox);
    dispatch_drain(bridge->dispatch);
    bridge->stopping_ms = loop_now_ms(bridge->loop);
    enter_stage(bridge, BRIDGE_DRAINING, bridge->config->bridge.drain_ms);
}

/* What is left of bridge.drain while the broker answers; a broker that is away has TELL_MS. */
static int64_t tell_limit_ms(const struct bridge *bridge)
{
    int64_t spent_ms = loop_now_ms(bridge->loop) - bridge->stopping_ms;
    int64_t left_ms = bridge->config->bridge.drain_ms - spent_ms;

    return outbox_is_up(bridge->outbox) && left_ms > TELL_MS ? left_ms : TELL_MS;
}

/*
 * The broker has confirmed every receipt, and no statement is under way that could end deliveries:
 * a bridge that left earlier would hand over receipts that it has sent, and they would come twice.
 */
static bool has_told_all(struct bridge *bridge)
{
    return !outbox_waiting(bridge->outbox) && !dispatch_busy(bridge->dispatch) &&
           bridge_told_ms(bridge) >= loop_now_ms(bridge->loop);
}

/* Moves on when a stage is done, or its time is up. */
static void shutdown_turn(struct bridge *bridge)
{
    bool is_late = bridge->is_drain_over;

    if (bridge->stage == BRIDGE_DRAINING && (is_late || !dispatch_busy(bridge->dispatch))) {
        if (is_late)
            log_warn("bridge.cut", LOG_INT("under_way", dispatch_busy(bridge->dispatch)));
        in_app_abandon(bridge->in_app);
        enter_stage(bridge, BRIDGE_TELLING, tell_limit_ms(bridge));
        is_late = false;
    }
    if (bridge->stage == BRIDGE_TELLING &&
        ((events_stop(bridge->events) && has_told_all(bridge)) || is_late)) {
        events_close(bridge->events);
        /* Leaving says since when receipts are unconfirmed; another bridge sends those again. */
        if (outbox_waiting(bridge->outbox))
            log_warn("bridge.untold", LOG_INT("messages", outbox_waiting(bridge->outbox)));
        enter_stage(bridge, BRIDGE_LEAVING, LEAVE_MS);
        membership_leave(bridge->membership, on_left, bridge);
        is_late = false;
    }
    if (bridge->stage == BRIDGE_LEAVING && is_late)
        on_left(bridge);
}

static void on_hangup(void *ctx, int signo)
{
    (void)signo;
    bridge_reload(ctx);
}

/* ---- the loop ---- */

static void on_watchdog(void *ctx)
{
    struct bridge *bridge = ctx;

    service_manager_tell("WATCHDOG=1");
    loop_timer_start(bridge->loop, &bridge->watchdog_timer, bridge->watchdog_ms, on_watchdog,
                     bridge);
}

static int64_t bridge_turn(void *ctx)
{
    struct bridge *bridge = ctx;
    int64_t next_ms;

    membership_turn(bridge->membership);
    next_ms = dispatch_turn(bridge->dispatch);
    receipts_flush(bridge->receipts);
    ingest_turn(bridge->ingest);
    careful_turn(bridge->careful);
    untold_turn(bridge->untold);
    bridge->said_ms = bridge_said_ms(bridge);
    outbox_set_since(bridge->outbox, bridge->said_ms);
    if (in_app_waiting(bridge->in_app) > BUSY_UNDER_WAY)
        loop_linger(bridge->loop, BUSY_LINGER_US);
    if (bridge->stage != BRIDGE_RUNNING)
        shutdown_turn(bridge);
    else if (!bridge->is_told_ready) {
        buf_clear(&bridge->scratch);
        if (bridge_is_ready(bridge, &bridge->scratch)) {
            bridge->is_told_ready = true;
            memory_trim();
            log_info("bridge.ready", LOG_INT("port", health_port(bridge->health)));
            service_manager_tell("READY=1");
        }
    }
    return next_ms;
}

/* ---- start-up ---- */

static const char *const request_filters[] = {"notify/v1/services/+/up/#", NULL};
static const char *const user_filters[] = {"notify/v1/users/+/up/#", NULL};
static const char *const presence_filters[] = {PRESENCE_FILTER, NULL};
static const char *const admin_filters[] = {"notify/v1/admins/+/up/#", NULL};

static char *client_id(const struct config *config, const char *what, unsigned number)
{
    struct buf id = {0};

    buf_printf(&id, "bridge/%s/%s", config->mqtt.id, what);
    if (number)
        buf_printf(&id, "-%u", number);
    return id.data;
}

static void open_health(struct bridge *bridge)
{
    struct health_config config = {bridge->config->http.listen, bridge->config->http.health_listen};
    struct health_ops ops = bridge_health_ops(bridge);
    struct buf name = {0};
    char host[256] = "localhost", why[256];

    if (health_open(bridge->loop, &config, bridge->metrics, &ops, &bridge->health, why,
                    sizeof(why)))
        fatal("http.listen", why);
    host[sizeof(host) - 1] = '\0';
    (void)gethostname(host, sizeof(host) - 1);
    bridge->host = xstrdup(host);
    if (bridge->config->bridge.name)
        buf_add_text(&name, bridge->config->bridge.name);
    else
        buf_printf(&name, "%s:%u", host, (unsigned)health_port(bridge->health));
    bridge->name = name.data;
}

static void open_outbox(struct bridge *bridge)
{
    struct outbox_config config = {.bytes_max = (size_t)bridge->config->mqtt.outbox_bytes};

    bridge->outbox_id = client_id(bridge->config, "out", (unsigned)getpid());
    config.mqtt = bridge_mqtt_config(bridge->config, bridge->outbox_id, NULL);
    bridge->outbox = bridge_open_outbox(bridge, &config);
}

static void add_in_app(struct bridge *bridge)
{
    struct in_app_config config = {bridge->config->ack_timeout_ms};
    struct in_app_ops ops = bridge_in_app_ops(bridge);
    struct bridge_destination *destination = &bridge->destinations[bridge->destination_count++];

    bridge->in_app = in_app_open(bridge->loop, &config, &ops);
    destination->bridge = bridge;
    /* What fails here fails for one user: it says nothing about the way there. */
    destination->config = (struct destination_config){
        .name = "in_app",
        .channel = CHANNEL_IN_APP,
        .adapter_name = "in_app",
        .throttle = {.max_window = (unsigned)bridge->config->in_app_window,
                     .max_strikes = 0,
                     .shut_min_ms = 1000,
                     .shut_max_ms = 1000},
        .send = in_app_send,
        .state = bridge->in_app,
    };
}

static void open_destinations(struct bridge *bridge)
{
    struct http_client_config http = {
        .max_inflight = (size_t)bridge->config->queue.http_inflight,
        .max_connections = (size_t)bridge->config->queue.http_connections,
    };
    const struct config *config = bridge->config;
    char why[512];

    bridge->http = http_client_open(bridge->loop, &http);
    bridge->tracker = tracker_new();
    if (bridge_load_tracker(bridge->tracker, config, why, sizeof(why)))
        fatal("config.tracking", why);
    add_in_app(bridge);
    if (config->destination_count >= sizeof(bridge->destinations) / sizeof(bridge->destinations[0]))
        fatal("config.destinations", "there are more than 63 destinations");
    for (size_t i = 0; i < config->destination_count; i++) {
        struct bridge_destination *destination = &bridge->destinations[bridge->destination_count++];

        destination->bridge = bridge;
        if (bridge_open_destination(bridge, &config->destinations[i], &destination->config, why,
                                    sizeof(why)))
            fatal("config.destination", why);
    }
}

static void open_callbacks(struct bridge *bridge)
{
    const struct config *config = bridge->config;
    struct callbacks_config callbacks = {
        .sent_days = (int)config->retention.days,
        .event_days = (int)config->retention.callback_days,
    };
    struct tracking_ops tracking_ops = bridge_tracking_ops(bridge);
    struct callbacks_ops ops = bridge_callbacks_ops(bridge);
    struct buf url = {0};
    char why[512];

    callbacks.public_url = bridge_public_url(config, &url);
    bridge->callbacks = callbacks_new(bridge->loop, &callbacks, bridge->store, &bridge->fence,
                                      bridge->http, bridge->metrics, &ops);
    callbacks_track(bridge->callbacks, config->tracking.key_file != NULL);
    bridge->tracking =
        tracking_new(bridge->loop, bridge->tracker, bridge->store, bridge->metrics, &tracking_ops);
    buf_fini(&url);
    for (size_t i = 0; i < config->destination_count; i++) {
        const struct config_destination *from = &config->destinations[i];
        struct callback_account account;

        if (bridge_open_callbacks(from, &account, why, sizeof(why)))
            fatal("config.destination", why);
        callbacks_set(bridge->callbacks, from->name, &account);
    }
}

static void open_dispatch(struct bridge *bridge)
{
    const struct config *config = bridge->config;
    struct dispatch_config dispatch = {
        .active_max = (size_t)config->queue.active_limit,
        .bytes_max = (size_t)config->queue.active_bytes,
        .poll_min_ms = config->queue.poll_min_ms,
        .poll_max_ms = config->queue.poll_max_ms,
        .settle_batch = (size_t)config->queue.settle_batch,
        .hold_max_ms = config->retention.days * 86400000,
        .wake_after_ms = config->presence.settle_ms,
        .wake_per_second = config->presence.replay_rate,
        .wake_users_max = (size_t)config->presence.users,
    };
    struct dispatch_ops ops = bridge_dispatch_ops(bridge);
    struct channel_config channels[CHANNEL_COUNT];

    bridge_channel_configs(config, channels);
    bridge->types = bridge_type_configs(config);
    bridge->dispatch =
        dispatch_new(bridge->loop, &dispatch, channels, bridge->types, config->type_count,
                     bridge->store, &bridge->fence, bridge->metrics, &ops);
}

static void open_lanes(struct bridge *bridge)
{
    const struct config *config = bridge->config;
    struct ingest_ops ingest_ops = bridge_ingest_ops(bridge);
    struct events_ops events_ops = bridge_events_ops(bridge);
    struct asks_ops asks_ops = bridge_asks_ops(bridge);
    struct careful_ops careful_ops = bridge_careful_ops(bridge);
    struct refusals_ops refusals_ops = bridge_refusals_ops(bridge);
    struct admin_ops admin_ops = bridge_admin_ops(bridge);
    struct desk_ops desk_ops = bridge_desk_ops(bridge);
    struct pauses_ops pauses_ops = bridge_pauses_ops(bridge);
    struct queue_stats_ops stats_ops = bridge_queue_stats_ops(bridge);
    struct alerts_ops alerts_ops = bridge_alerts_ops(bridge);
    struct alerts_config alerts = bridge_alerts_config(config);
    struct ingest_config ingest;
    struct events_config events;
    struct admin_config admin;

    for (int lane = 0; lane < LANE_COUNT; lane++) {
        char what[32];

        snprintf(what, sizeof(what), "lane/%s", lane_name((enum lane)lane));
        bridge->lane_ids[lane] = client_id(config, what, 0);
    }
    ingest.lane = bridge_mqtt_config(config, bridge->lane_ids[LANE_REQUESTS], request_filters);
    events.lane = bridge_mqtt_config(config, bridge->lane_ids[LANE_USERS], user_filters);
    admin.lane = bridge_mqtt_config(config, bridge->lane_ids[LANE_ADMINS], admin_filters);
    bridge->careful = careful_new(bridge->store, &bridge->fence, bridge->metrics, &careful_ops);
    ingest.lane.care = careful_of(bridge->careful, LANE_REQUESTS, lane_name(LANE_REQUESTS));
    events.lane.care = careful_of(bridge->careful, LANE_USERS, lane_name(LANE_USERS));
    admin.lane.care = careful_of(bridge->careful, LANE_ADMINS, lane_name(LANE_ADMINS));
    bridge->ingest = ingest_new(bridge->loop, &ingest, bridge->store, &bridge->fence,
                                bridge->metrics, &ingest_ops);
    bridge->events = events_new(bridge->loop, &events, bridge->store, &bridge->fence,
                                bridge->metrics, &events_ops);
    bridge->asks = asks_new(bridge->loop, bridge->store, bridge->metrics, &asks_ops);
    bridge->refusals = refusals_new(bridge->metrics, &refusals_ops);
    bridge->admin = admin_new(bridge->loop, &admin, bridge->asks, &admin_ops);
    bridge->requests_desk = requests_desk_new(bridge->asks, bridge->store);
    bridge->desk = desk_new(bridge->loop, bridge->asks, bridge->store, &bridge->fence, &desk_ops);
    audit_open(bridge->asks, bridge->store);
    bridge->people = people_new(bridge->asks, bridge->store);
    bridge_open_inbox(bridge);
    bridge->pauses = pauses_new(bridge->asks, bridge->store, &pauses_ops);
    bridge->alerts = alerts_new(bridge->loop, &alerts, bridge->store, bridge->metrics, &alerts_ops);
    bridge->queue_stats =
        queue_stats_new(bridge->loop, bridge->asks, bridge->store, &bridge->fence, &stats_ops);
}

static void open_presence(struct bridge *bridge)
{
    struct presence_config config = {.users_max = (size_t)bridge->config->presence.users};
    struct presence_ops ops = bridge_presence_ops(bridge);

    bridge->presence_id = client_id(bridge->config, "presence", (unsigned)getpid());
    config.mqtt = bridge_mqtt_config(bridge->config, bridge->presence_id, presence_filters);
    config.mqtt.clean_start = true;
    config.mqtt.session_expiry_s = 0;
    bridge->presence = presence_new(bridge->loop, &config, bridge->metrics, bridge->asks, &ops);
}

static void open_membership(struct bridge *bridge)
{
    const struct config *config = bridge->config;
    struct membership_config membership = {
        .name = bridge->name,
        .host = bridge->host,
        .node = (int)config->bridge.node,
        .lease_ms = config->bridge.lease_ms,
        .grace_ms = config->bridge.lease_ms,
    };
    struct membership_ops ops = bridge_membership_ops(bridge);
    struct untold_ops untold = bridge_untold_ops(bridge);
    struct retention_config retention = {(int)config->retention.days,
                                         (int)config->retention.inbox_days,
                                         (int)config->retention.reject_days};
    struct retention_ops retention_ops = bridge_retention_ops(bridge);
    struct chores_config chores = {(int)config->retention.days, config->retention.resolve_ms};

    bridge->untold = untold_new(bridge->loop, bridge->store, &bridge->fence, &untold);
    bridge->membership =
        membership_new(bridge->loop, &membership, bridge->store, &bridge->fence, &ops);
    bridge->chores = bridge_open_chores(bridge, &chores);
    bridge->retention = retention_new(bridge->loop, &retention, bridge->store, &bridge->fence,
                                      bridge->metrics, &retention_ops);
}

static void open_store(struct bridge *bridge)
{
    const struct config *config = bridge->config;
    struct store_config store = {
        .conninfo = config->postgres.url,
        .password_file = config->postgres.password_file,
        .deadline_ms = config->postgres.deadline_ms,
        .connect_ms = config->postgres.connect_ms,
        .backoff_min_ms = 100,
        .backoff_max_ms = config->postgres.backoff_max_ms,
    };
    struct store_handlers handlers = bridge_store_handlers();

    bridge->store = store_open(bridge->loop, &store, &handlers, bridge);
}

static void open_jwks(struct bridge *bridge)
{
    const struct config *config = bridge->config;
    struct jwks_config jwks = {config->jwks.url, config->jwks.file, config->jwks.ca_file,
                               config->jwks.every_ms};

    if (jwks.url)
        bridge->jwks = jwks_open(bridge->loop, &jwks, bridge->http, bridge->metrics);
}

static void bridge_close(struct bridge *bridge)
{
    bridge_close_lanes(bridge);
    loop_timer_stop(&bridge->drain_timer);
    loop_timer_stop(&bridge->watchdog_timer);
    loop_timer_stop(&bridge->reload_timer);
    token_watch_free(bridge->token_watch);
    in_app_abandon(bridge->in_app);
    if (bridge->jwks)
        jwks_close(bridge->jwks);
    http_client_close(bridge->http);
    /* Statements under way call back here: whoever they tell must still be there. */
    store_close(bridge->store);
    queue_stats_free(bridge->queue_stats);
    alerts_free(bridge->alerts);
    retention_free(bridge->retention);
    chores_free(bridge->chores);
    outbox_close(bridge->outbox);
    membership_free(bridge->membership);
    untold_free(bridge->untold);
    admin_free(bridge->admin);
    pauses_free(bridge->pauses);
    people_free(bridge->people);
    desk_free(bridge->desk);
    requests_desk_free(bridge->requests_desk);
    presence_free(bridge->presence);
    asks_free(bridge->asks);
    refusals_free(bridge->refusals);
    events_free(bridge->events);
    inbox_free(bridge->inbox);
    badge_free(bridge->badge);
    ingest_free(bridge->ingest);
    careful_free(bridge->careful);
    dispatch_free(bridge->dispatch);
    in_app_close(bridge->in_app);
    receipts_free(bridge->receipts);
    tracking_free(bridge->tracking);
    callbacks_free(bridge->callbacks);
    health_close(bridge->health);
    loop_free(bridge->loop);
    if (bridge->jwks)
        jwks_free(bridge->jwks);
    metrics_free(bridge->metrics);
    for (int lane = 0; lane < LANE_COUNT; lane++)
        free(bridge->lane_ids[lane]);
    tracker_free(bridge->tracker);
    free(bridge->outbox_id);
    free(bridge->presence_id);
    free(bridge->types);
    free(bridge->name);
    free(bridge->host);
    buf_fini(&bridge->scratch);
    if (bridge->old_config && bridge->old_config != bridge->first_config)
        config_free(bridge->old_config);
    if (bridge->config != bridge->first_config)
        config_free(bridge->config);
    config_free(bridge->first_config);
}

static int run(struct config *config, const char *file)
{
    struct bridge bridge = {.config = config, .first_config = config, .config_file = file};

    secret_guard_process();
    mqtt_library_init();
    http_library_init();
    bridge.loop = loop_new();
    bridge.metrics = metrics_new();
    open_health(&bridge);
    open_store(&bridge);
    open_outbox(&bridge);
    open_dispatch(&bridge);
    open_destinations(&bridge);
    open_callbacks(&bridge);
    open_lanes(&bridge);
    open_presence(&bridge);
    open_membership(&bridge);
    open_jwks(&bridge);
    if (config->mqtt.token_file)
        bridge.token_watch = token_watch_new(bridge.loop, config->mqtt.token_file, bridge.metrics);
    loop_on_signal(bridge.loop, SIGTERM, on_terminate, &bridge);
    loop_on_signal(bridge.loop, SIGINT, on_terminate, &bridge);
    loop_on_signal(bridge.loop, SIGHUP, on_hangup, &bridge);
    bridge.watchdog_ms = service_manager_watchdog_ms();
    if (bridge.watchdog_ms)
        on_watchdog(&bridge);
    log_info("bridge.started", LOG_STR("version", TOCSIN_VERSION), LOG_STR("name", bridge.name),
             LOG_INT("pid", getpid()));
    loop_run(bridge.loop, bridge_turn, &bridge);
    log_info("bridge.stopped", LOG_INT("pid", getpid()));
    bridge_close(&bridge);
    http_library_fini();
    mqtt_library_fini();
    return 0;
}

static int migrate(const struct config *config)
{
    char why[512] = "";
    int from = 0, to = 0;

    if (store_migrate(config->postgres.url, config->postgres.password_file, &from, &to, why,
                      sizeof(why))) {
        fprintf(stderr, "tocsind: %s\n", why);
        return 1;
    }
    printf("schema version %d%s\n", to, from == to ? " (nothing to do)" : "");
    return 0;
}

static int print(const struct config *config)
{
    struct buf out = {0};

    if (config)
        config_print(config, &out);
    else
        config_reference(&out);
    fputs(buf_text(&out), stdout);
    buf_fini(&out);
    return 0;
}

static void print_fault(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "tocsind: %s\n", line);
}

/* What the configuration says is right by itself; here, what is there to be read. */
static int check(struct config *config, const char *file)
{
    char why[CONFIG_WHY_BYTES];
    struct config_faults faults;

    config_faults_init(&faults, file, why, sizeof(why));
    config_check_files(config, &faults);
    http_library_init();
    bridge_check_destinations(config, &faults);
    http_library_fini();
    config_faults_each(why, print_fault, NULL);
    if (!faults.count)
        printf("%s: ok\n", file);
    return faults.count ? 1 : 0;
}

static void usage(FILE *out)
{
    fputs("usage: tocsind --config FILE [--migrate | --check-config | --print-config]\n"
          "       tocsind --config-reference | --version | --help\n",
          out);
}

enum mode { MODE_RUN, MODE_MIGRATE, MODE_CHECK, MODE_PRINT, MODE_REFERENCE };

static int start(enum mode mode, const char *file)
{
    char why[CONFIG_WHY_BYTES];
    enum log_level level;
    struct config *config;
    int status = 0;

    if (mode == MODE_REFERENCE)
        return print(NULL);
    config = config_read(file, why, sizeof(why));
    if (!config) {
        config_faults_each(why, print_fault, NULL);
        return 1;
    }
    if (log_level_parse(config->log.level, &level))
        panic("config_read() has let an unknown log level pass");
    log_init(level, strcmp(config->log.format, "json") == 0 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT);
    log_crashes();
    if (mode == MODE_RUN)
        return run(config, file);
    if (mode == MODE_MIGRATE)
        status = migrate(config);
    else if (mode == MODE_PRINT)
        status = print(config);
    else
        status = check(config, file);
    config_free(config);
    return status;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"migrate", no_argument, NULL, 'm'},
                                            {"check-config", no_argument, NULL, 't'},
                                            {"print-config", no_argument, NULL, 'p'},
                                            {"config-reference", no_argument, NULL, 'r'},
                                            {"version", no_argument, NULL, 'v'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *file = NULL;
    enum mode mode = MODE_RUN;
    int option;

    while ((option = getopt_long(argc, argv, "c:mtprvh", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            file = optarg;
            break;
        case 'm':
            mode = MODE_MIGRATE;
            break;
        case 't':
            mode = MODE_CHECK;
            break;
        case 'p':
            mode = MODE_PRINT;
            break;
        case 'r':
            mode = MODE_REFERENCE;
            break;
        case 'v':
            puts("tocsind " TOCSIN_VERSION);
            return 0;
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    }
    if (optind < argc || (!file && mode != MODE_REFERENCE)) {
        usage(stderr);
        return 2;
    }
    return start(mode, file);
}

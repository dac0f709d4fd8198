/* SPDX-License-Identifier: MIT */
/*
 * bridge - every long-lived object of the daemon, in the order in which they are made
 *
 * They die in reverse order.  main.c wires them: services do not know each other.
 */
#ifndef TOCSIN_BRIDGE_H
#define TOCSIN_BRIDGE_H
#include "base/metrics.h"
#include "config.h"
#include "core/fence.h"
#include "io/http_client.h"
#include "services/admin.h"
#include "services/audit.h"
#include "services/callbacks.h"
#include "services/alerts.h"
#include "services/asks.h"
#include "services/badge.h"
#include "services/chores.h"
#include "services/desk.h"
#include "services/dispatch.h"
#include "services/events.h"
#include "services/health.h"
#include "services/in_app.h"
#include "services/inbox.h"
#include "services/ingest.h"
#include "services/jwks.h"
#include "services/membership.h"
#include "services/outbox.h"
#include "services/pauses.h"
#include "services/people.h"
#include "services/presence.h"
#include "services/queue_stats.h"
#include "services/receipts.h"
#include "services/careful.h"
#include "services/refusals.h"
#include "services/tracking.h"
#include "services/token_watch.h"
#include "services/untold.h"
#include "services/requests_desk.h"
#include "services/retention.h"
#include "store/store.h"

/* A destination as configured, and its number once the database has told it. */
struct bridge_destination {
    struct bridge *bridge;
    struct destination_config config;
    int32_t id; /* 0 until known */
    bool is_asked;
};

enum bridge_stage { BRIDGE_RUNNING, BRIDGE_DRAINING, BRIDGE_TELLING, BRIDGE_LEAVING, BRIDGE_OVER };

struct bridge {
    struct config *config;
    /*
     * What we were started with is kept: connections, lanes and services borrow from it.  One that
     * came by a reload and was replaced is old: until nothing borrows from it.
     */
    struct config *first_config, *old_config;
    bool wants_reload; /* asked for while old_config was still borrowed */
    const char *config_file;
    struct loop *loop;
    struct metrics *metrics;
    struct fence fence;
    struct health *health;
    char *name, *host;
    struct store *store;
    struct outbox *outbox;
    struct receipts *receipts;
    struct http_client *http;
    struct tracker *tracker;
    struct in_app *in_app;
    struct callbacks *callbacks;
    struct tracking *tracking;
    struct dispatch *dispatch;
    struct type_config *types;
    struct bridge_destination destinations[64];
    size_t destination_count, destinations_known;
    unsigned available; /* channels that have a destination */
    struct ingest *ingest;
    struct badge *badge;
    struct inbox *inbox;
    struct events *events;
    struct admin *admin;
    struct asks *asks;
    struct refusals *refusals;
    struct requests_desk *requests_desk;
    struct desk *desk;
    struct people *people;
    struct presence *presence;
    struct pauses *pauses;
    struct alerts *alerts;
    struct queue_stats *queue_stats;
    struct membership *membership;
    struct untold *untold;
    int64_t said_ms; /* bridge_said_ms() at the end of the last turn */
    struct chores *chores;
    struct retention *retention;
    struct jwks *jwks;               /* NULL: none configured */
    struct token_watch *token_watch; /* NULL: no token file */
    char *lane_ids[LANE_COUNT], *outbox_id, *presence_id;
    struct careful *careful;
    struct loop_timer drain_timer, watchdog_timer, reload_timer;
    int64_t watchdog_ms;
    enum bridge_stage stage;
    bool is_told_ready, is_drain_over;
    int64_t stopping_ms; /* when it was asked to end; loop time */
    struct buf scratch;
};

/* bridge_setup.c: reads what the configuration says into the modules' own structs. */
void bridge_channel_configs(const struct config *config, struct channel_config out[CHANNEL_COUNT]);
/* The result is the caller's; its names are borrowed from the configuration. */
struct type_config *bridge_type_configs(const struct config *config);
struct mqtt_config bridge_mqtt_config(const struct config *config, const char *client_id,
                                      const char *const *filters);
/* What reaches us from outside; out is cleared first. */
const char *bridge_public_url(const struct config *config, struct buf *out);
/* Reads the keys of tracking; why gets a sentence. */
NODISCARD int bridge_load_tracker(struct tracker *into, const struct config *config, char *why,
                                  size_t why_bytes);
/* Reads how a destination's callbacks are verified, if at all; why gets a sentence. */
struct config_faults;
/* For --check-config: opens every destination, which reads its files, and closes it again. */
void bridge_check_destinations(struct config *config, struct config_faults *faults);
NODISCARD int bridge_open_callbacks(const struct config_destination *from,
                                    struct callback_account *out, char *why, size_t why_bytes);
/* Opens the adapter; why gets a sentence. */
NODISCARD int bridge_open_destination(struct bridge *bridge, const struct config_destination *from,
                                      struct destination_config *out, char *why, size_t why_bytes);
struct alerts_config bridge_alerts_config(const struct config *config);
void bridge_reload(struct bridge *bridge);

/* bridge_wiring.c: the callbacks that join services that do not know each other. */
struct health_ops bridge_health_ops(struct bridge *bridge);
struct callbacks_ops bridge_callbacks_ops(struct bridge *bridge);
struct tracking_ops bridge_tracking_ops(struct bridge *bridge);
struct store_handlers bridge_store_handlers(void);
struct in_app_ops bridge_in_app_ops(struct bridge *bridge);
struct dispatch_ops bridge_dispatch_ops(struct bridge *bridge);
struct ingest_ops bridge_ingest_ops(struct bridge *bridge);
struct events_ops bridge_events_ops(struct bridge *bridge);
struct asks_ops bridge_asks_ops(struct bridge *bridge);
struct refusals_ops bridge_refusals_ops(struct bridge *bridge);
struct careful_ops bridge_careful_ops(struct bridge *bridge);
struct admin_ops bridge_admin_ops(struct bridge *bridge);
/* Is a service (its encoded id) in a list of the configuration, or does the list name all? */
bool bridge_list_has(const char *list, const char *service);
void bridge_refuse(void *ctx, const struct topic_up *from, const struct mqtt_message *message,
                   const struct rejection *rejection);
struct presence_ops bridge_presence_ops(struct bridge *bridge);
struct desk_ops bridge_desk_ops(struct bridge *bridge);
struct pauses_ops bridge_pauses_ops(struct bridge *bridge);
struct queue_stats_ops bridge_queue_stats_ops(struct bridge *bridge);
struct alerts_ops bridge_alerts_ops(struct bridge *bridge);
struct retention_ops bridge_retention_ops(struct bridge *bridge);
struct membership_ops bridge_membership_ops(struct bridge *bridge);
/* A place among the outbox' kept messages, and whether the broker has all up to there. */
uint64_t bridge_receipts_mark(void *ctx);
bool bridge_receipts_are_past(void *ctx, uint64_t mark);

/* bridge_untold.c: moments are of the boot clock; now, where nothing is left. */
struct untold_ops bridge_untold_ops(struct bridge *bridge);
/* The outbox has all that was to be told of what we settled before. */
int64_t bridge_said_ms(const struct bridge *bridge);
/* And the broker has it. */
int64_t bridge_told_ms(void *ctx);
/* What was under way when this turn began may have ended deliveries, and is not told. */
void bridge_doubt(void *ctx);
/* The inbox and its badges. */
void bridge_open_inbox(struct bridge *bridge);
/* Also makes bridge->receipts. */
struct outbox *bridge_open_outbox(struct bridge *bridge, const struct outbox_config *config);
struct chores *bridge_open_chores(struct bridge *bridge, const struct chores_config *config);
void bridge_close_lanes(struct bridge *bridge);
/* Appends a line for each thing that is missing; true when nothing is. */
bool bridge_is_ready(void *ctx, struct buf *missing);

#endif

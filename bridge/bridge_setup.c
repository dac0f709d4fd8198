/* SPDX-License-Identifier: MIT */
#include "bridge.h"
#include "config_check.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/service_manager.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A session that nobody resumes for this long is the broker's to forget: a week. */
#define SESSION_EXPIRY_S (7 * 86400)

void bridge_channel_configs(const struct config *config, struct channel_config out[CHANNEL_COUNT])
{
    for (int channel = 0; channel < CHANNEL_COUNT; channel++) {
        const struct config_channel *from = &config->channels[channel];

        out[channel].retry = (struct retry_policy){
            .attempts = (int)from->attempts,
            .base_ms = from->base_ms,
            .max_ms = from->max_ms,
            .factor = from->factor,
            .is_jittered = from->is_jittered,
        };
    }
}

/* "sms email"; an unknown word is passed over. */
static void read_channels(const char *words, struct route_type *route)
{
    char word[16];
    int used;

    while (words && sscanf(words, " %15s%n", word, &used) == 1) {
        enum channel channel;

        words += used;
        if (channel_parse(word, &channel) || (route->channels & 1u << channel))
            continue;
        route->channels |= 1u << channel;
        route->order[route->order_count++] = channel;
    }
}

static enum offline_policy offline_policy(const char *word)
{
    if (strcmp(word, "hold") == 0)
        return OFFLINE_HOLD;
    return strcmp(word, "next_channel") == 0 ? OFFLINE_NEXT_CHANNEL : OFFLINE_DEAD_LETTER;
}

struct type_config *bridge_type_configs(const struct config *config)
{
    struct type_config *types = xcalloc(config->type_count + 1, sizeof(*types));

    for (size_t i = 0; i < config->type_count; i++) {
        const struct config_type *from = &config->types[i];

        types[i] = (struct type_config){
            .name = from->name,
            .attempts = (int)from->attempts,
            .base_ms = from->base_ms,
            .max_ms = from->max_ms,
            .factor = from->factor,
            .route = {.is_first = strcmp(from->offline, "next_channel") == 0,
                      .escalate_after_ms = from->escalate_after_ms},
            .offline = offline_policy(from->offline),
            .is_at_most_once = strcmp(from->unknown, "at_most_once") == 0,
        };
        read_channels(from->channels, &types[i].route);
        if (config_tracking(from->tracking, &types[i].tracking))
            types[i].tracking = 0; /* config_read() has refused it before */
    }
    return types;
}

struct mqtt_config bridge_mqtt_config(const struct config *config, const char *client_id,
                                      const char *const *filters)
{
    bool is_lane = filters != NULL;

    return (struct mqtt_config){
        .url = config->mqtt.url,
        .client_id = client_id,
        .username = config->mqtt.id,
        .token_file = config->mqtt.token_file,
        .ca_file = config->mqtt.ca_file,
        .clean_start = !is_lane,
        .session_expiry_s = is_lane ? SESSION_EXPIRY_S : 0,
        .receive_maximum = (uint16_t)(is_lane ? config->mqtt.lane_batch : config->mqtt.window),
        .keepalive_s = (uint16_t)(config->mqtt.keepalive_ms / 1000),
        .batch_max = is_lane ? (size_t)config->mqtt.lane_batch : 0,
        .filters = filters,
        .backoff_min_ms = 100,
        .backoff_max_ms = config->mqtt.backoff_max_ms,
    };
}

const char *bridge_public_url(const struct config *config, struct buf *out)
{
    buf_clear(out);
    if (config->http.public_url)
        buf_add_text(out, config->http.public_url);
    else
        buf_printf(out, "http://%s", config->http.listen);
    return out->data;
}

int bridge_load_tracker(struct tracker *into, const struct config *config, char *why,
                        size_t why_bytes)
{
    struct buf url = {0};
    struct tracker_config tracker = {bridge_public_url(config, &url), config->tracking.key_file,
                                     config->tracking.former_key_file};
    int err = tracker_load(into, &tracker, why, why_bytes);

    buf_fini(&url);
    return err;
}

int bridge_open_callbacks(const struct config_destination *from, struct callback_account *out,
                          char *why, size_t why_bytes)
{
    struct adapter_settings settings = {from->name, config_destination_get,
                                        (void *)(uintptr_t)from};
    int err = callback_open(out, from->adapter->name, &settings, why, why_bytes);

    if (!err && !out->reader)
        callback_close(out);
    return err;
}

struct alerts_config bridge_alerts_config(const struct config *config)
{
    return (struct alerts_config){
        .limits = {.dead_letters = config->alerts.dead_letters,
                   .success_percent = config->alerts.success_rate,
                   .queue_age_ms = config->alerts.queue_age_ms,
                   .wants_breaker = config->alerts.wants_breaker,
                   .after_ms = config->alerts.after_ms,
                   .clear_ms = config->alerts.clear_ms},
        .to = config->alerts.to,
    };
}

int bridge_open_destination(struct bridge *bridge, const struct config_destination *from,
                            struct destination_config *out, char *why, size_t why_bytes)
{
    struct adapter_env env = {bridge->loop, bridge->http, clock_wall_ms, bridge->tracker,
                              from->timeout_ms};
    struct adapter_settings settings = {from->name, config_destination_get,
                                        (void *)(uintptr_t)from};
    void *state = NULL;
    int err = from->adapter->open(&env, &settings, &state, why, why_bytes);

    if (err)
        return err;
    *out = (struct destination_config){
        .name = from->name,
        .channel = from->adapter->channel,
        .adapter_name = from->adapter->name,
        .throttle = {.max_window = (unsigned)from->concurrency,
                     .max_strikes = (unsigned)from->strikes,
                     .shut_min_ms = from->shut_min_ms,
                     .shut_max_ms = from->shut_max_ms},
        .rate = {.per_second = (uint32_t)from->per_second,
                 .per_minute = (uint32_t)from->per_minute,
                 .per_hour = (uint32_t)from->per_hour,
                 .per_day = (uint32_t)from->per_day},
        .send = from->adapter->send,
        .close = from->adapter->close,
        .prefixes = from->prefixes,
        .types = from->types,
        .weight = (unsigned)from->weight,
        .is_idempotent = from->adapter->is_idempotent,
        .state = state,
        .has_receipts = from->adapter->has_receipts,
    };
    return 0;
}

/* ---- --check-config ---- */

struct checking {
    struct config_faults *faults;
    const struct config_destination *destination;
};

static void add_fault(void *ctx, const char *sentence)
{
    const struct checking *checking = ctx;
    const char *colon = strstr(sentence, ": "); /* "destination NAME: ..." */
    char key[160];

    if (colon && strncmp(sentence, "destination ", 12) == 0)
        sentence = colon + 2;
    if (strstr(checking->faults->text, sentence))
        return; /* a file that callbacks need as well */
    snprintf(key, sizeof(key), "destinations.%s", checking->destination->name);
    config_fault(checking->faults, checking->destination->line, key, "%s", sentence);
}

/* Opens everything that is configured, reads its files, and closes it again. */
void bridge_check_destinations(struct config *config, struct config_faults *faults)
{
    struct http_client_config http = {.max_inflight = 1, .max_connections = 1};
    struct bridge bridge = {.loop = loop_new(), .tracker = tracker_new()};
    char why[2000] = "";

    bridge.http = http_client_open(bridge.loop, &http);
    if (bridge_load_tracker(bridge.tracker, config, why, sizeof(why)))
        config_fault(faults, 0, "tracking", "%s", why);
    for (size_t i = 0; i < config->destination_count; i++) {
        struct checking checking = {faults, &config->destinations[i]};
        struct destination_config opened;
        struct callback_account callbacks;

        why[0] = '\0';
        if (bridge_open_destination(&bridge, checking.destination, &opened, why, sizeof(why)))
            config_faults_each(why, add_fault, &checking);
        else
            opened.close(opened.state);
        why[0] = '\0';
        if (bridge_open_callbacks(checking.destination, &callbacks, why, sizeof(why)))
            config_faults_each(why, add_fault, &checking);
        else
            callback_close(&callbacks);
    }
    http_client_close(bridge.http);
    tracker_free(bridge.tracker);
    loop_free(bridge.loop);
}

/* ---- SIGHUP ---- */

static void refuse_reload(void *ctx, const char *line)
{
    (void)ctx;
    log_error("reload.refused", LOG_STR("why", line));
}

static void on_old_config_free(void *ctx)
{
    struct bridge *bridge = ctx;

    if (bridge->old_config != bridge->first_config)
        config_free(bridge->old_config);
    bridge->old_config = NULL;
    if (bridge->wants_reload && bridge->stage == BRIDGE_RUNNING)
        bridge_reload(bridge);
}

/* Everything of a new configuration that reads files, before anything is changed. */
#define OPENED_MAX 64
struct opened {
    struct destination_config destinations[OPENED_MAX];
    struct callback_account callbacks[OPENED_MAX];
    size_t count;
};

static void close_all(struct opened *opened)
{
    while (opened->count > 0) {
        opened->count--;
        opened->destinations[opened->count].close(opened->destinations[opened->count].state);
        callback_close(&opened->callbacks[opened->count]);
    }
}

static int open_all(struct bridge *bridge, struct config *config, struct opened *opened, char *why,
                    size_t why_bytes)
{
    int err = 0;

    opened->count = 0;
    if (config->destination_count >= OPENED_MAX) {
        snprintf(why, why_bytes, "there are more than %d destinations", OPENED_MAX - 1);
        return ERR_TOO_LARGE;
    }
    for (size_t i = 0; i < config->destination_count && !err; i++) {
        const struct config_destination *from = &config->destinations[i];

        err = bridge_open_callbacks(from, &opened->callbacks[i], why, why_bytes);
        if (err)
            break;
        err = bridge_open_destination(bridge, from, &opened->destinations[i], why, why_bytes);
        if (err)
            callback_close(&opened->callbacks[i]);
        else
            opened->count++;
    }
    if (!err)
        err = bridge_load_tracker(bridge->tracker, config, why, why_bytes);
    if (err)
        close_all(opened);
    return err;
}

/* Our copy must not borrow from a configuration that is about to go. */
static void remember(struct bridge *bridge, const struct destination_config *opened)
{
    for (size_t i = 0; i < bridge->destination_count; i++)
        if (strcmp(bridge->destinations[i].config.name, opened->name) == 0)
            bridge->destinations[i].config = *opened;
}

static void swap(struct bridge *bridge, struct config *config, const struct opened *opened)
{
    struct channel_config channels[CHANNEL_COUNT];
    struct type_config *types = bridge_type_configs(config);
    struct alerts_config alerts = bridge_alerts_config(config);

    bridge_channel_configs(config, channels);
    dispatch_reload_policies(bridge->dispatch, channels, types, config->type_count);
    alerts_configure(bridge->alerts, &alerts);
    free(bridge->types);
    bridge->types = types;
    for (size_t i = 0; i < opened->count; i++) {
        const struct destination_config *one = &opened->destinations[i];
        struct callback_account account = opened->callbacks[i];

        if (!dispatch_reload_destination(bridge->dispatch, one)) {
            remember(bridge, one);
            callbacks_set(bridge->callbacks, one->name, &account);
            continue;
        }
        log_warn("reload.ignored", LOG_STR("destination", one->name),
                 LOG_STR("why", "a new destination needs a restart"));
        one->close(one->state);
        callback_close(&account);
    }
    bridge->old_config = bridge->config;
    bridge->config = config;
    loop_timer_start(bridge->loop, &bridge->reload_timer, config->bridge.lease_ms,
                     on_old_config_free, bridge);
    callbacks_track(bridge->callbacks, config->tracking.key_file != NULL);
}

/* What was configured stays: its adapter borrows from the file it was read from. */
static bool has_all(const struct bridge *bridge, const struct config *config, char *why,
                    size_t why_bytes)
{
    for (size_t i = 1; i < bridge->destination_count; i++) {
        const char *name = bridge->destinations[i].config.name;
        size_t j = 0;

        while (j < config->destination_count && strcmp(config->destinations[j].name, name) != 0)
            j++;
        if (j < config->destination_count)
            continue;
        snprintf(why, why_bytes, "destination %s is gone: removing one needs a restart", name);
        return false;
    }
    return true;
}

/*
 * One reload at a time: the configuration before the last one may still be borrowed.  A request
 * for another is remembered, and the file is read as it is then: it serves every request made
 * meanwhile.  The service manager learns that the reload is done when it is.
 */
void bridge_reload(struct bridge *bridge)
{
    enum log_level level;
    struct opened opened;
    char why[512] = "";
    struct config *config;

    service_manager_tell("RELOADING=1");
    if (bridge->old_config) {
        if (!bridge->wants_reload)
            log_info("reload.deferred",
                     LOG_STR("why", "the last reload is not over yet: the file is read again then"),
                     LOG_MS("within", bridge->config->bridge.lease_ms));
        bridge->wants_reload = true;
        return;
    }
    bridge->wants_reload = false;
    config = config_read(bridge->config_file, why, sizeof(why));
    if (!config || !has_all(bridge, config, why, sizeof(why)) ||
        open_all(bridge, config, &opened, why, sizeof(why))) {
        config_faults_each(why, refuse_reload, NULL);
        if (config)
            config_free(config);
    } else {
        if (!log_level_parse(config->log.level, &level))
            log_set_level(level);
        swap(bridge, config, &opened);
        log_info("reload.done", LOG_INT("destinations", opened.count));
    }
    service_manager_tell("READY=1");
}

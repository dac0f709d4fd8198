/* SPDX-License-Identifier: MIT */
/*
 * config - everything that can be set, from one table of keys
 *
 * Each key has a type, a default, bounds and one line of help; docs/config.md is generated from
 * the same table.  Unknown keys, values out of bounds and missing ones stop the start with file,
 * line and remedy.  Durations need a unit; secrets are named by file.
 *
 * Ownership: all texts live in the struct, until config_free().
 */
#ifndef TOCSIN_CONFIG_H
#define TOCSIN_CONFIG_H
#include "base/buf.h"
#include "channels/adapter.h"
#include "config_tree.h"
#include "services/dispatch.h"

struct config_destination {
    const char *name;
    const struct adapter *adapter;
    int64_t concurrency, timeout_ms, strikes, shut_min_ms, shut_max_ms;
    int64_t per_second, per_minute, per_hour, per_day, weight;
    const char *prefixes, *types;
    char *callback_url; /* where its provider reaches us; NULL: nowhere that is known */
    unsigned line;
    struct config *config;
};

struct config_channel {
    int64_t attempts, base_ms, max_ms;
    double factor;
    bool is_jittered;
};

struct config_type {
    const char *name;
    int64_t attempts, base_ms, max_ms; /* -1: as the channel */
    double factor;
    const char *channels; /* space-separated, or NULL */
    const char *unknown;  /* "repeat" or "at_most_once" */
    const char *tracking; /* space-separated, or NULL */
    const char *offline;  /* "dead_letter", "hold" or "next_channel" */
    int64_t escalate_after_ms;
};

struct config {
    struct config_tree tree;
    struct {
        int64_t node, lease_ms, drain_ms;
        const char *name;
    } bridge;
    struct {
        const char *level, *format;
    } log;
    struct {
        const char *url, *id, *token_file, *ca_file;
        int64_t keepalive_ms, lane_batch, window, outbox_bytes, backoff_max_ms;
    } mqtt;
    struct {
        const char *url, *password_file;
        int64_t deadline_ms, connect_ms, backoff_max_ms;
    } postgres;
    struct {
        const char *listen, *health_listen, *public_url;
    } http;
    struct {
        const char *broadcast, *roles, *people;
        int64_t deliveries_rate;
    } requests;
    struct {
        int64_t active_limit, active_bytes, poll_min_ms, poll_max_ms, settle_batch;
        int64_t http_inflight, http_connections;
    } queue;
    struct {
        int64_t users, settle_ms, replay_rate;
    } presence;
    struct {
        int64_t days, inbox_days, reject_days, callback_days, resolve_ms;
    } retention;
    struct {
        const char *key_file, *former_key_file;
    } tracking;
    struct {
        const char *url, *file, *ca_file;
        int64_t every_ms;
    } jwks;
    struct {
        int64_t dead_letters, success_rate, queue_age_ms, after_ms, clear_ms;
        bool wants_breaker;
        const char *to;
    } alerts;
    int64_t ack_timeout_ms, in_app_window;
    struct config_channel channels[CHANNEL_COUNT];
    struct config_destination *destinations;
    size_t destination_count;
    struct config_type *types;
    size_t type_count;
};

/*
 * NULL on failure; why gets every fault, one a line: "FILE:LINE: key: what is wrong, and what would
 * be right" (config_check.h).
 */
#define CONFIG_WHY_BYTES 8192
struct config *config_read(const char *file, char *why, size_t why_bytes);
void config_free(struct config *config);
/* The configuration in force, as YAML; secrets are files, so nothing needs hiding. */
void config_print(const struct config *config, struct buf *out);
/* docs/config.md, from the table. */
void config_reference(struct buf *out);
/* "opens clicks" to JOB_TRACK_...; NULL is nothing. */
NODISCARD int config_tracking(const char *words, unsigned *what);
/* For adapter_settings.get: ctx is the struct config_destination. */
const char *config_destination_get(void *ctx, const char *key);

#endif

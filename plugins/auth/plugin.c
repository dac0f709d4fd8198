/* SPDX-License-Identifier: MIT */
/*
 * plugin - what Mosquitto calls: entry points and the callback table
 *
 * A guest in the broker's only thread: nothing here blocks, nothing is fatal,
 * and every doubt denies.  Return codes are chosen by what 2.0.11 does with
 * them: BASIC_AUTH answers SUCCESS or AUTH, ACL checks SUCCESS or ACL_DENIED
 * (any other code punishes the publisher), the rest SUCCESS; never DEFER.
 * EXT_AUTH is not registered: it leads to a use after free in the broker.
 */
#include "plugin.h"

#include "acl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REAP_EVERY_MS = 200, CHORES_EVERY_MS = 500, SEAL_FILE_MIN = 32, SEAL_FILE_MAX = 1 << 20 };

/* The one piece of state outside struct plugin: a second copy would guard nothing. */
static bool is_loaded;

int64_t plugin_now_ms(struct plugin *pl)
{
    struct timespec now;

    if (clock_gettime(CLOCK_MONOTONIC_COARSE, &now) == 0)
        pl->now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    return pl->now_ms;
}

static int on_basic_auth(int event, void *data, void *userdata)
{
    (void)event;
    return admission_check(userdata, data);
}

static int on_acl_check(int event, void *data, void *userdata)
{
    (void)event;
    return access_check(userdata, data);
}

static int on_control(int event, void *data, void *userdata)
{
    (void)event;
    command_run(userdata, data);
    return MOSQ_ERR_SUCCESS; /* anything else disconnects; answers are messages */
}

static int on_message(int event, void *data, void *userdata)
{
    (void)event;
    return access_message(userdata, data);
}

static int on_disconnect(int event, void *data, void *userdata)
{
    const struct mosquitto_evt_disconnect *ev = data;
    struct plugin *pl = userdata;
    struct connection *conn = live_find(&pl->live, ev->client);
    (void)event;

    if (!conn)
        return MOSQ_ERR_SUCCESS;
    struct subject *subj = conn->subject; /* kept for a while, idle */
    char *client_id = subj->kind == PRINCIPAL_BRIDGE ? NULL : strdup(conn->client_id);
    if (!client_id)
        filters_forget(&pl->filters, conn->client_id); /* a bridge has none; or out of memory */
    live_remove(&pl->live, conn, plugin_now_ms(pl));
    if (client_id)
        left_disconnected(pl, subj->key, client_id);
    free(client_id);
    return MOSQ_ERR_SUCCESS;
}

static int on_reload(int event, void *data, void *userdata)
{
    struct plugin *pl = userdata;
    (void)event, (void)data;

    pl->is_rechecking = true; /* the broker goes on to that before anything else */
    reload_changed(pl, true);
    return MOSQ_ERR_SUCCESS;
}

static void publish_counters(struct plugin *pl)
{
    struct counters *c = &pl->counters;

    c->now[COUNTER_LIVE_CONNECTIONS] = pl->live.connections.count;
    c->now[COUNTER_LIVE_PRINCIPALS] = pl->live.subjects.count - pl->live.spent_count;
    c->now[COUNTER_LEFT_SESSIONS] = pl->sessions.ids.count;
    c->now[COUNTER_KEYS] = keys_count(pl->keys);
    c->now[COUNTER_REVOCATIONS] = pl->revocations.entries.count;
    c->now[COUNTER_CACHE_HITS] = pl->cache.hits;
    c->now[COUNTER_CACHE_MISSES] = pl->cache.misses;
    for (unsigned i = 0; i < COUNTER_COUNT; i++) {
        char topic[96], text[24];
        if ((c->was_published && c->now[i] == c->published[i]) ||
            i == (unsigned)COUNTER_REFUSED_FIRST + REFUSAL_NONE)
            continue;
        counter_topic((enum counter)i, topic, sizeof(topic));
        int len = snprintf(text, sizeof(text), "%llu", (unsigned long long)c->now[i]);
        (void)mosquitto_broker_publish_copy(NULL, topic, len, text, 0, true, NULL);
        c->published[i] = c->now[i];
    }
    c->was_published = 1;
}

/* Twice a second, so that what a file revokes is gone within one. */
static void run_chores(struct plugin *pl)
{
    reload_changed(pl, false);
    sessions_expire(&pl->sessions, pl->now_ms);
    live_forget(&pl->live, pl->now_ms, pl->now_ms - pl->options->presence_linger_s * 1000,
                presence_forget, pl);
    if (pl->now_ms - pl->counters_ms >= pl->options->counters_interval_s * 1000) {
        pl->counters_ms = pl->now_ms;
        publish_counters(pl);
    }
}

/* Called on every pass of the broker's loop, up to 11,500 times a second. */
static int on_tick(int event, void *data, void *userdata)
{
    struct plugin *pl = userdata;
    int64_t now_ms = plugin_now_ms(pl);
    (void)event, (void)data;

    pl->has_ticked = true;
    pl->connecting = NULL;
    pl->is_rechecking = false;
    presence_flush(pl);
    left_run(pl);
    if (now_ms - pl->second_ms >= CHORES_EVERY_MS) {
        pl->second_ms = now_ms;
        run_chores(pl);
    }
    if (now_ms - pl->reaped_ms >= REAP_EVERY_MS || pl->sweep_is_due) {
        pl->reaped_ms = now_ms;
        reaper_run(pl, (int64_t)time(NULL));
    }
    return MOSQ_ERR_SUCCESS;
}

static const struct {
    int event;
    MOSQ_FUNC_generic_callback call;
    const char *topic;
} callbacks[] = {
    {MOSQ_EVT_BASIC_AUTH, on_basic_auth, NULL}, {MOSQ_EVT_ACL_CHECK, on_acl_check, NULL},
    {MOSQ_EVT_DISCONNECT, on_disconnect, NULL}, {MOSQ_EVT_CONTROL, on_control, ACL_CONTROL_TOPIC},
    {MOSQ_EVT_RELOAD, on_reload, NULL},         {MOSQ_EVT_TICK, on_tick, NULL},
    {MOSQ_EVT_MESSAGE, on_message, NULL},
};

enum { CALLBACKS = sizeof(callbacks) / sizeof(callbacks[0]) };

static int register_all(struct plugin *pl)
{
    for (; pl->registered < CALLBACKS; pl->registered++)
        if (mosquitto_callback_register(pl->id, callbacks[pl->registered].event,
                                        callbacks[pl->registered].call,
                                        callbacks[pl->registered].topic, pl) != MOSQ_ERR_SUCCESS)
            return -1;
    return 0;
}

/*
 * The key that names are sealed with must be the same after a restart: it comes from seal_file, or
 * else from the secret of our own issuer.  Who has that can mint a token for any principal anyway.
 */
static int choose_seal(struct plugin *pl, char *err)
{
    const char *path = pl->options->seal_file;
    size_t len;

    for (size_t i = 0; !path && i < pl->options->issuer_count; i++)
        if (*pl->options->issuers[i].label == '\0')
            path = pl->options->issuers[i].secret_file;
    if (!path) {
        mosquitto_log_printf(MOSQ_LOG_NOTICE,
                             "tocsin: without seal_file, sessions restored after a restart get "
                             "nothing until their client is back");
        snprintf(err, FILE_ERROR_SIZE, "there is no randomness");
        return seal_init(pl->seal_key);
    }
    char *secret = file_read(path, SEAL_FILE_MAX, true, &len, err);
    if (!secret)
        return -1;
    int rc = len < SEAL_FILE_MIN ? -1 : seal_derive(pl->seal_key, secret, len);
    file_wipe(secret, len);
    if (rc != 0)
        snprintf(err, FILE_ERROR_SIZE, "%.400s must have at least %d bytes", path, SEAL_FILE_MIN);
    return rc;
}

/* 0, or -1 with a sentence in err; the caller frees what is there already. */
static int start(struct plugin *pl, const struct mosquitto_opt *opts, int opt_count, char *err)
{
    pl->options = options_new();
    if (!pl->options || guard_check(&pl->facts, err) != 0)
        return -1;
    for (int i = 0; i < opt_count; i++)
        if (options_set(pl->options, opts[i].key, opts[i].value, err) != 0)
            return -1;
    if (options_finish(pl->options, err) != 0 || reload_start(pl, err) != 0)
        return -1;
    if (*pl->options->notes)
        mosquitto_log_printf(MOSQ_LOG_WARNING, "tocsin: options: %s", pl->options->notes);
    if (choose_seal(pl, err) != 0)
        return -1;
    snprintf(err, FILE_ERROR_SIZE, "out of memory");
    if (live_init(&pl->live, &pl->options->limits) != 0 || sessions_init(&pl->sessions) != 0 ||
        filters_init(&pl->filters) != 0 ||
        cache_init(&pl->cache, (size_t)pl->options->cache_entries) != 0)
        return -1;
    plugin_now_ms(pl);
    for (unsigned i = 0; i < REFUSAL_COUNT; i++)
        bucket_init(&pl->log_buckets[i], 5, pl->now_ms);
    return register_all(pl);
}

static void stop(struct plugin *pl)
{
    while (pl->registered > 0) {
        pl->registered--;
        mosquitto_callback_unregister(pl->id, callbacks[pl->registered].event,
                                      callbacks[pl->registered].call,
                                      callbacks[pl->registered].topic);
    }
    live_fini(&pl->live);
    sessions_fini(&pl->sessions);
    filters_fini(&pl->filters);
    cache_fini(&pl->cache);
    reload_stop(pl);
    options_free(pl->options);
    free(pl);
}

int mosquitto_plugin_version(int supported_version_count, const int *supported_versions)
{
    for (int i = 0; i < supported_version_count; i++)
        if (supported_versions[i] == MOSQ_PLUGIN_VERSION)
            return MOSQ_PLUGIN_VERSION;
    return -1;
}

int mosquitto_plugin_init(mosquitto_plugin_id_t *identifier, void **userdata,
                          struct mosquitto_opt *opts, int opt_count)
{
    char err[FILE_ERROR_SIZE] = "out of memory";
    struct plugin *pl = NULL;

    *userdata = NULL;
    if (is_loaded) {
        snprintf(err, sizeof(err),
                 "the plugin is loaded twice; one `plugin` line, before or after "
                 "the listeners, guards all of them");
    } else if ((pl = calloc(1, sizeof(*pl)))) {
        pl->id = identifier;
        if (start(pl, opts, opt_count, err) == 0) {
            is_loaded = true;
            *userdata = pl;
            mosquitto_log_printf(MOSQ_LOG_NOTICE, "tocsin: guarding with %zu keys of %zu issuers",
                                 keys_count(pl->keys), pl->options->issuer_count);
            return MOSQ_ERR_SUCCESS;
        }
        stop(pl);
    }
    mosquitto_log_printf(MOSQ_LOG_ERR, "tocsin: not starting: %s", err);
    return MOSQ_ERR_INVAL;
}

int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *opts, int opt_count)
{
    (void)opts, (void)opt_count;
    if (userdata) {
        stop(userdata);
        is_loaded = false;
    }
    return MOSQ_ERR_SUCCESS;
}

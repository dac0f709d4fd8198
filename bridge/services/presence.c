/* SPDX-License-Identifier: MIT */
#include "services/presence.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "core/presence.h"

#include <stdlib.h>
#include <string.h>

/* How often a user who keeps acknowledging is taken for one who may have something waiting. */
#define HEARD_EVERY_MS 10000
#define NOT_KNOWN      (-1)

struct user {
    struct list_node node; /* in idle, unless here */
    int connections;       /* NOT_KNOWN: only heard */
    int64_t at_ms;         /* wall, as told; 0: not told */
    int64_t came_ms;       /* boot; 0: not seen to come */
    int64_t told_ms;       /* boot: when ops.came() was last told of them */
    char *roles;           /* owned; NULL: none */
    char name[];
};

struct presence {
    struct loop *loop;
    struct presence_config config;
    struct presence_ops ops;
    struct mqtt *mqtt; /* NULL: turned off */
    struct strmap users;
    struct list idle; /* users without a connection, the longest away first */
    struct arena *scratch;
    struct metric *here, *away, *came, *unread, *over;
};

static void presence_get(struct ask *ask);
static const struct method methods[] = {{"presence.get", ASK_ADMINS, 0, presence_get}};

static void count(struct presence *presence)
{
    metric_set(presence->here, (double)(presence->users.count - presence->idle.count));
    metric_set(presence->away, (double)presence->idle.count);
}

static void forget(struct presence *presence, struct user *user)
{
    strmap_remove(&presence->users, user->name);
    if (list_is_linked(&user->node))
        list_remove(&presence->idle, &user->node);
    free(user->roles);
    free(user);
}

/* NULL when there is no room. */
static struct user *learn(struct presence *presence, const char *name)
{
    size_t length = strlen(name);
    struct user *user;

    if (presence->users.count >= presence->config.users_max) {
        struct list_node *oldest = list_first(&presence->idle);

        if (!oldest) {
            metric_add(presence->over, 1);
            return NULL;
        }
        forget(presence, CONTAINER_OF(oldest, struct user, node));
    }
    user = xcalloc(1, sizeof(*user) + length + 1);
    memcpy(user->name, name, length + 1);
    user->connections = NOT_KNOWN;
    list_push_back(&presence->idle, &user->node);
    strmap_set(&presence->users, user->name, user);
    return user;
}

static void tell(struct presence *presence, struct user *user)
{
    user->told_ms = loop_now_ms(presence->loop);
    metric_add(presence->came, 1);
    presence->ops.came(presence->ops.ctx, user->name);
}

static void take(struct presence *presence, const struct presence_told *told)
{
    struct user *user = strmap_get(&presence->users, told->user);
    int before;

    if (!user)
        user = learn(presence, told->user);
    if (!user)
        return;
    before = user->connections;
    user->connections = told->connections;
    user->at_ms = told->at_ms;
    free(user->roles);
    user->roles = told->roles[0] ? xstrdup(told->roles) : NULL;
    if (list_is_linked(&user->node))
        list_remove(&presence->idle, &user->node);
    if (told->connections == 0) {
        list_push_back(&presence->idle, &user->node);
    } else if (told->connections >= before) {
        /* As many as before: one has taken the place of another. */
        user->came_ms = loop_now_ms(presence->loop);
        tell(presence, user);
    }
}

static void on_message(void *ctx, const struct mqtt_message *message)
{
    struct presence *presence = ctx;
    struct presence_told told;

    if (presence_read(message->topic, message->payload, message->payload_bytes, presence->scratch,
                      &told))
        metric_add(presence->unread, 1);
    else
        take(presence, &told);
    arena_reset(presence->scratch);
}

/* Nothing is stored: what is not heard now is retained, and comes at the next connect. */
static void on_batch(void *ctx, size_t messages)
{
    struct presence *presence = ctx;

    (void)messages;
    count(presence);
    mqtt_release(presence->mqtt);
}

static void on_up(void *ctx, bool session_present)
{
    (void)ctx, (void)session_present;
    log_info("presence.up", LOG_STR("filter", PRESENCE_FILTER));
}

static void free_user(void *ctx, const char *name, void *value)
{
    struct presence *presence = ctx;
    struct user *user = value;

    (void)name;
    if (list_is_linked(&user->node))
        list_remove(&presence->idle, &user->node);
    free(user->roles);
    free(user);
}

static void forget_all(struct presence *presence)
{
    strmap_each(&presence->users, free_user, presence);
    strmap_fini(&presence->users);
    presence->users = (struct strmap){0};
    count(presence);
}

static void on_down(void *ctx, const char *why)
{
    struct presence *presence = ctx;

    log_warn("presence.down", LOG_STR("why", why), LOG_INT("users", presence->users.count));
    forget_all(presence);
}

struct presence *presence_new(struct loop *loop, const struct presence_config *config,
                              struct metrics *metrics, struct asks *asks,
                              const struct presence_ops *ops)
{
    static const struct mqtt_handlers handlers = {
        .on_up = on_up, .on_down = on_down, .on_message = on_message, .on_batch = on_batch};
    struct presence *presence = xcalloc(1, sizeof(*presence));

    presence->loop = loop;
    presence->config = *config;
    presence->ops = *ops;
    presence->scratch = arena_new(1024);
    list_init(&presence->idle);
    presence->here = metrics_get(metrics, METRIC_GAUGE, "tocsin_presence_users",
                                 "Users of whom it is known.", "state=\"here\"");
    presence->away = metrics_get(metrics, METRIC_GAUGE, "tocsin_presence_users",
                                 "Users of whom it is known.", "state=\"away\"");
    presence->came = metrics_get(metrics, METRIC_COUNTER, "tocsin_presence_came_total",
                                 "Users for whom it was looked whether something waits.", NULL);
    presence->unread = metrics_get(metrics, METRIC_COUNTER, "tocsin_presence_malformed_total",
                                   "Presence messages that could not be read.", NULL);
    presence->over = metrics_get(metrics, METRIC_COUNTER, "tocsin_presence_over_total",
                                 "Presence messages of users beyond presence.users.", NULL);
    asks_add(asks, methods, sizeof(methods) / sizeof(methods[0]), presence);
    if (config->users_max)
        presence->mqtt = mqtt_open(loop, &config->mqtt, &handlers, presence);
    return presence;
}

void presence_free(struct presence *presence)
{
    if (presence->mqtt)
        mqtt_close(presence->mqtt);
    forget_all(presence);
    arena_free(presence->scratch);
    free(presence);
}

/* ---- what others ask ---- */

bool presence_is_away(const struct presence *presence, const char *name)
{
    /* Mostly everybody is here: then nobody is looked for. */
    const struct user *user = presence->idle.count ? strmap_get(&presence->users, name) : NULL;

    return user && user->connections == 0;
}

const char *presence_roles(const struct presence *presence, const char *name)
{
    const struct user *user = strmap_get(&presence->users, name);

    return user && user->roles ? user->roles : "";
}

bool presence_awaits(struct presence *presence, const char *name, int64_t since_ms)
{
    struct user *user = strmap_get(&presence->users, name);

    if (!user)
        return false;
    user->told_ms = 0;
    return user->connections > 0 && user->came_ms >= since_ms;
}

void presence_heard(struct presence *presence, const char *name)
{
    struct user *user = strmap_get(&presence->users, name);

    if (!user && presence->config.users_max)
        user = learn(presence, name);
    if (user && (!user->told_ms || loop_now_ms(presence->loop) - user->told_ms >= HEARD_EVERY_MS))
        tell(presence, user);
}

static void presence_get(struct ask *ask)
{
    const struct presence *presence = ask->service;
    const struct user *user;
    const char *name = NULL, *id = NULL;

    if (!rpc_text(&ask->rpc, "user", RPC_REQUIRED, TOPIC_ID_MAX, &name) ||
        !rpc_principal(&ask->rpc, "user", RPC_REQUIRED, &id) || !rpc_done(&ask->rpc)) {
        ask_answer(ask);
        return;
    }
    user = strmap_get(&presence->users, id);
    ask_begin(ask);
    buf_add_text(&ask->out, "{\"user\":");
    buf_add_json(&ask->out, name);
    if (!user || user->connections == NOT_KNOWN)
        buf_add_text(&ask->out, ",\"presence\":\"unknown\"");
    else
        buf_printf(&ask->out, ",\"presence\":\"%s\",\"connections\":%d",
                   user->connections ? "here" : "away", user->connections);
    if (user && user->at_ms)
        ask_add_time(ask, "at", user->at_ms);
    buf_add_char(&ask->out, '}');
    ask_end(ask);
}

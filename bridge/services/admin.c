/* SPDX-License-Identifier: MIT */
#include "services/admin.h"

#include "base/alloc.h"
#include "base/log.h"
#include "core/topic.h"

#include <stdlib.h>
#include <string.h>

struct admin {
    struct loop *loop;
    struct admin_config config;
    struct asks *asks;
    struct admin_ops ops;
    struct mqtt *lane;
    bool is_up;
};

struct admin *admin_new(struct loop *loop, const struct admin_config *config, struct asks *asks,
                        const struct admin_ops *ops)
{
    struct admin *admin = xcalloc(1, sizeof(*admin));

    admin->loop = loop;
    admin->config = *config;
    admin->asks = asks;
    admin->ops = *ops;
    return admin;
}

void admin_free(struct admin *admin)
{
    admin_close(admin);
    free(admin);
}

static void on_message(void *ctx, const struct mqtt_message *message)
{
    struct admin *admin = ctx;
    struct topic_up up;

    if (topic_parse_up(message->topic, &up))
        log_warn("admin.event", LOG_STR("topic", message->topic));
    else if (strncmp(up.event, "rpc/", 4) != 0)
        admin->ops.refuse(admin->ops.ctx, &up, message, NULL);
    else
        asks_receive(admin->asks, &up, message);
}

/* A call is not a promise: a caller that gets no answer asks again. */
static void on_batch(void *ctx, size_t count)
{
    struct admin *admin = ctx;

    (void)count;
    mqtt_release(admin->lane);
}

static void on_up(void *ctx, bool session_present)
{
    struct admin *admin = ctx;

    (void)session_present;
    admin->is_up = true;
    log_info("admin.up", LOG_INT("session_present", session_present));
}

static void on_down(void *ctx, const char *why)
{
    struct admin *admin = ctx;

    admin->is_up = false;
    log_warn("admin.down", LOG_STR("why", why));
}

void admin_open(struct admin *admin)
{
    static const struct mqtt_handlers handlers = {
        .on_up = on_up, .on_down = on_down, .on_message = on_message, .on_batch = on_batch};

    if (!admin->lane)
        admin->lane = mqtt_open(admin->loop, &admin->config.lane, &handlers, admin);
}

void admin_close(struct admin *admin)
{
    struct mqtt *lane = admin->lane;

    if (!lane)
        return;
    admin->lane = NULL;
    admin->is_up = false;
    mqtt_close(lane);
}

bool admin_is_open(const struct admin *admin)
{
    return admin->lane != NULL;
}

bool admin_is_ready(const struct admin *admin)
{
    return admin->is_up;
}

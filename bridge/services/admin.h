/* SPDX-License-Identifier: MIT */
/*
 * admin - questions and commands by rpc: from services, users and admins, each to its own
 *
 * Reads the admins lane itself; main hands over what services and users ask on theirs.  Who asks
 * is taken from the topic and from nothing else.  Answers go to the asker's down/reply.  What an
 * admin changes is written to the audit table.
 */
#ifndef TOCSIN_SERVICES_ADMIN_H
#define TOCSIN_SERVICES_ADMIN_H
#include "base/metrics.h"
#include "core/fence.h"
#include "core/topic.h"
#include "io/mqtt.h"
#include "store/store.h"

struct admin;

struct admin_config {
    struct mqtt_config lane;
};

struct admin_ops {
    void (*publish)(void *ctx, const char *topic, const void *payload, size_t bytes);
    void (*poke)(void *ctx); /* something became ready */
    /* As people_rpc(): true when the call is another's to answer. */
    bool (*elsewhere)(void *ctx, const struct topic_up *from, const struct mqtt_message *message);
    void *ctx;
};

struct admin *admin_new(struct loop *loop, const struct admin_config *config, struct store *store,
                        const struct fence *fence, struct metrics *metrics,
                        const struct admin_ops *ops);
void admin_free(struct admin *admin);
void admin_open(struct admin *admin);
void admin_close(struct admin *admin);
bool admin_is_open(const struct admin *admin);
bool admin_is_ready(const struct admin *admin);
void admin_rpc(struct admin *admin, const struct topic_up *from,
               const struct mqtt_message *message);

#endif

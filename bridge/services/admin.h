/* SPDX-License-Identifier: MIT */
/*
 * admin - the admins lane: what admins ask by rpc, handed to asks
 */
#ifndef TOCSIN_SERVICES_ADMIN_H
#define TOCSIN_SERVICES_ADMIN_H
#include "io/mqtt.h"
#include "services/asks.h"

struct admin;

struct admin_ops {
    /* Answers a message whose topic names nothing. */
    void (*refuse)(void *ctx, const struct topic_up *from, const struct mqtt_message *message,
                   const struct rejection *rejection);
    void *ctx;
};

struct admin_config {
    struct mqtt_config lane;
};

struct admin *admin_new(struct loop *loop, const struct admin_config *config, struct asks *asks,
                        const struct admin_ops *ops);
void admin_free(struct admin *admin);
void admin_open(struct admin *admin);
void admin_close(struct admin *admin);
bool admin_is_open(const struct admin *admin);
bool admin_is_ready(const struct admin *admin);

#endif

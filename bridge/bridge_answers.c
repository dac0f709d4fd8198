/* SPDX-License-Identifier: MIT */
/*
 * bridge_answers - how answers to calls, and to what cannot be read, leave
 */
#include "bridge.h"

static void publish_reply(void *ctx, const struct reply *reply)
{
    struct bridge *bridge = ctx;

    outbox_keep_reply(bridge->outbox, reply->topic, reply->payload, reply->payload_bytes,
                      reply->correlation, reply->correlation_bytes);
}

static void add_receipt(void *ctx, const char *service, const struct receipt *receipt)
{
    struct bridge *bridge = ctx;

    receipts_add(bridge->receipts, service, receipt);
}

void bridge_refuse(void *ctx, const struct topic_up *from, const struct mqtt_message *message,
                   const struct rejection *rejection)
{
    struct bridge *bridge = ctx;

    refusals_answer(bridge->refusals, from, message, rejection);
}

struct asks_ops bridge_asks_ops(struct bridge *bridge)
{
    return (struct asks_ops){publish_reply, bridge};
}

struct refusals_ops bridge_refusals_ops(struct bridge *bridge)
{
    return (struct refusals_ops){publish_reply, add_receipt, bridge};
}

struct admin_ops bridge_admin_ops(struct bridge *bridge)
{
    return (struct admin_ops){bridge_refuse, bridge};
}

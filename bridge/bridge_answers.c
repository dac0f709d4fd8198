/* SPDX-License-Identifier: MIT */
/*
 * bridge_answers - how answers to calls, and to what cannot be read, leave; which services may
 */
#include "bridge.h"

#include <string.h>

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

/* A word is an id as the token has it, or percent-encoded: so an id with a blank can be named. */
static bool is_service(const char *word, size_t length, const char *service)
{
    char raw[3 * TOPIC_ID_MAX + 1], id[TOPIC_ID_MAX + 1];

    if (length == strlen(service) && memcmp(word, service, length) == 0)
        return true;
    if (length >= sizeof(raw))
        return false;
    memcpy(raw, word, length);
    raw[length] = '\0';
    return topic_encode_id(raw, id) == 0 && strcmp(id, service) == 0;
}

bool bridge_list_has(const char *list, const char *service)
{
    for (const char *at = list; *at; at += strspn(at, " ")) {
        size_t span = strcspn(at, " ");

        if ((span == 1 && *at == '*') || is_service(at, span, service))
            return true;
        at += span;
    }
    return false;
}

static bool is_named(void *ctx, const char *service)
{
    struct bridge *bridge = ctx;

    return bridge_list_has(bridge->config->requests.people, service);
}

static size_t packet_max(void *ctx)
{
    struct bridge *bridge = ctx;

    return outbox_packet_max(bridge->outbox);
}

struct asks_ops bridge_asks_ops(struct bridge *bridge)
{
    return (struct asks_ops){
        .reply = publish_reply, .is_named = is_named, .packet_max = packet_max, .ctx = bridge};
}

struct refusals_ops bridge_refusals_ops(struct bridge *bridge)
{
    return (struct refusals_ops){publish_reply, add_receipt, bridge};
}

struct admin_ops bridge_admin_ops(struct bridge *bridge)
{
    return (struct admin_ops){bridge_refuse, bridge};
}

struct careful_ops bridge_careful_ops(struct bridge *bridge)
{
    return (struct careful_ops){bridge_refuse, bridge_receipts_mark, bridge_receipts_are_past,
                                bridge};
}

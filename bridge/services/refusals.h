/* SPDX-License-Identifier: MIT */
/*
 * refusals - answers what a client publishes below up/ that names nothing or cannot be read
 *
 *   {topic, error: {code, message, field?}}        on down/reply, or the Response Topic
 *   {status: rejected, reason, detail, ...}        besides, on a service's down/receipt
 *
 * The broker has acknowledged such a message already; without an answer a misspelt topic would be
 * lost in silence.
 *
 * Bounded: REFUSALS_EACH answers a second to one client, REFUSALS_ALL to all of them; what is
 * beyond that is counted only (tocsin_publishes_refused_total).
 */
#ifndef TOCSIN_SERVICES_REFUSALS_H
#define TOCSIN_SERVICES_REFUSALS_H
#include "base/metrics.h"
#include "core/receipt.h"
#include "core/request.h"
#include "services/reply.h"

#define REFUSALS_EACH 10
#define REFUSALS_ALL  500

struct refusals;

struct refusals_ops {
    void (*reply)(void *ctx, const struct reply *reply); /* all is copied */
    void (*receipt)(void *ctx, const char *service, const struct receipt *receipt);
    void *ctx;
};

struct refusals *refusals_new(struct metrics *metrics, const struct refusals_ops *ops);
void refusals_free(struct refusals *refusals);
/* rejection: what is wrong with the payload; NULL when the topic itself names nothing. */
void refusals_answer(struct refusals *refusals, const struct topic_up *from,
                     const struct mqtt_message *message, const struct rejection *rejection);

#endif

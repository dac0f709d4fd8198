/* SPDX-License-Identifier: MIT */
/*
 * reply - where an answer to a client's message goes
 *
 * To the message's MQTT 5 Response Topic when that lies one or two levels below the client's own
 * down/, else to its down/reply: nobody can have answers sent into the subtree of another.  The
 * message's Correlation Data goes along in both cases.
 *
 * Ownership: all that struct reply points to is the arena's.
 */
#ifndef TOCSIN_SERVICES_REPLY_H
#define TOCSIN_SERVICES_REPLY_H
#include "base/arena.h"
#include "core/topic.h"
#include "io/mqtt.h"

/* A call with more of it is refused as too_large. */
#define REPLY_CORRELATION_MAX 1024

struct reply {
    const char *topic;
    const void *payload;
    size_t payload_bytes;
    const void *correlation; /* NULL when there is none */
    size_t correlation_bytes;
};

/* Fills topic and correlation; correlation data beyond the bound is left out. */
void reply_address(struct reply *reply, const struct topic_up *from,
                   const struct mqtt_message *message, struct arena *arena);

#endif

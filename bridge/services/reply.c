/* SPDX-License-Identifier: MIT */
#include "services/reply.h"

#include <string.h>

void reply_address(struct reply *reply, const struct topic_up *from,
                   const struct mqtt_message *message, struct arena *arena)
{
    char topic[TOPIC_BYTES_MAX];

    *reply = (struct reply){0};
    if (message->response_topic && topic_is_own_down(from->kind, from->id, message->response_topic))
        reply->topic = arena_strdup(arena, message->response_topic);
    else
        reply->topic = arena_strdup(arena, topic_down(from->kind, from->id, "reply", topic));
    if (message->correlation_bytes && message->correlation_bytes <= REPLY_CORRELATION_MAX) {
        void *copy = arena_alloc(arena, message->correlation_bytes);

        memcpy(copy, message->correlation, message->correlation_bytes);
        reply->correlation = copy;
        reply->correlation_bytes = message->correlation_bytes;
    }
}

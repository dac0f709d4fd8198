/* SPDX-License-Identifier: MIT */
/*
 * inbox_told - what users' devices are told on down/changed, many ids in one message
 */
#include "core/id.h"
#include "services/inbox_internal.h"

#include <stdio.h>
#include <string.h>

/* Ids in one message: within the 10 KiB that clients are promised. */
#define TOLD_MAX 400

void told_fini(struct told *told)
{
    buf_fini(&told->payload);
}

void told_flush(struct inbox *inbox, struct told *told)
{
    char topic[TOPIC_BYTES_MAX];

    if (!told->count)
        return;
    buf_printf(&told->payload, "],\"state\":\"%s\"", told->state);
    if (told->why)
        buf_printf(&told->payload, ",\"why\":\"%s\"", told->why);
    buf_add_char(&told->payload, '}');
    inbox->ops.publish(inbox->ops.ctx, topic_down(TOPIC_USER, told->user, "changed", topic),
                       buf_text(&told->payload), told->payload.length);
    inbox->ops.touch(inbox->ops.ctx, told->user);
    told->count = 0;
}

void told_add(struct inbox *inbox, struct told *told, const char *user, uint64_t delivery,
              const char *state, const char *why)
{
    char id[ID_TEXT_BYTES];

    if (told->count && (told->count == TOLD_MAX || strcmp(told->user, user) != 0 ||
                        strcmp(told->state, state) != 0))
        told_flush(inbox, told);
    if (!told->count) {
        snprintf(told->user, sizeof(told->user), "%s", user);
        told->state = state;
        told->why = why;
        buf_clear(&told->payload);
        buf_add_text(&told->payload, "{\"ids\":[");
    }
    buf_printf(&told->payload, "%s\"%s\"", told->count ? "," : "", id_format(delivery, id));
    told->count++;
}

/* SPDX-License-Identifier: MIT */
#include "services/dead.h"

#include "base/timefmt.h"
#include "core/id.h"
#include "core/topic.h"

#include <stdio.h>

void dead_write(const struct task *task, const struct outcome *outcome, int attempts,
                const char *destination, int64_t now_wall_ms, char *topic, struct buf *payload)
{
    const struct note *note = task->note;
    char id[ID_TEXT_BYTES], at[TIMEFMT_BYTES];

    snprintf(topic, DEAD_TOPIC_BYTES, "notify/v1/dlq/%s/%s", channel_name(task->channel),
             outcome->reason ? reason_name(outcome->reason) : reason_name(REASON_INTERNAL));
    buf_printf(payload, "{\"delivery\":\"%s\"", id_format(task->id, id));
    buf_printf(payload, ",\"notification\":\"%s\"", id_format(note->id, id));
    topic_add_id(payload, "service", note->service);
    buf_add_member(payload, "request", note->request);
    buf_add_member(payload, "type", note->type);
    buf_add_member(payload, "priority", priority_name(note->priority));
    buf_add_member(payload, "channel", channel_name(task->channel));
    buf_add_member(payload, "destination", destination);
    topic_add_id(payload, "user",
                 task->recipient_kind == RECIPIENT_USER ? task->recipient : task->user);
    if (task->recipient_kind == RECIPIENT_ROLE)
        topic_add_id(payload, "target", task->recipient);
    else if (task->recipient_kind != RECIPIENT_USER)
        buf_add_member(payload, "target", task->recipient);
    buf_add_member(payload, "reason", reason_name(outcome->reason));
    buf_add_member(payload, "code", outcome->code);
    buf_add_member(payload, "detail", outcome->detail);
    if (outcome->status)
        buf_printf(payload, ",\"status_code\":%d", outcome->status);
    buf_printf(payload, ",\"attempts\":%d,\"status\":\"pending_review\"", attempts);
    buf_printf(payload, ",\"created_at\":\"%s\"", timefmt_wall(note->created_ms, at));
    if (note->expires_ms)
        buf_printf(payload, ",\"expires_at\":\"%s\"", timefmt_wall(note->expires_ms, at));
    buf_add_member(payload, "collapse_key", note->collapse_key);
    buf_printf(payload, ",\"died_at\":\"%s\"", timefmt_wall(now_wall_ms, at));
    buf_add_text(payload, ",\"content\":");
    buf_add(payload, note->content, note->content_bytes);
    buf_add_char(payload, '}');
}

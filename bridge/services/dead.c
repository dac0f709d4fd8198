/* SPDX-License-Identifier: MIT */
#include "services/dead.h"

#include "base/timefmt.h"
#include "core/id.h"

#include <stdio.h>

static void add_text(struct buf *out, const char *name, const char *text)
{
    if (!text || !text[0])
        return;
    buf_printf(out, ",\"%s\":", name);
    buf_add_json(out, text);
}

void dead_write(const struct task *task, const struct outcome *outcome, int attempts,
                const char *destination, int64_t now_wall_ms, char *topic, struct buf *payload)
{
    const struct note *note = task->note;
    char id[ID_TEXT_BYTES], at[TIMEFMT_BYTES];

    snprintf(topic, DEAD_TOPIC_BYTES, "notify/v1/dlq/%s/%s", channel_name(task->channel),
             outcome->reason ? reason_name(outcome->reason) : reason_name(REASON_INTERNAL));
    buf_printf(payload, "{\"delivery\":\"%s\"", id_format(task->id, id));
    buf_printf(payload, ",\"notification\":\"%s\"", id_format(note->id, id));
    add_text(payload, "service", note->service);
    add_text(payload, "request", note->request);
    add_text(payload, "type", note->type);
    add_text(payload, "priority", priority_name(note->priority));
    add_text(payload, "channel", channel_name(task->channel));
    add_text(payload, "destination", destination);
    add_text(payload, task->recipient_kind == RECIPIENT_USER ? "user" : "target", task->recipient);
    add_text(payload, "reason", reason_name(outcome->reason));
    add_text(payload, "code", outcome->code);
    add_text(payload, "detail", outcome->detail);
    if (outcome->status)
        buf_printf(payload, ",\"status_code\":%d", outcome->status);
    buf_printf(payload, ",\"attempts\":%d,\"status\":\"pending_review\"", attempts);
    buf_printf(payload, ",\"created_at\":\"%s\"", timefmt_wall(note->created_ms, at));
    buf_printf(payload, ",\"died_at\":\"%s\"", timefmt_wall(now_wall_ms, at));
    buf_add_text(payload, ",\"content\":");
    buf_add(payload, note->content, note->content_bytes);
    buf_add_char(payload, '}');
}

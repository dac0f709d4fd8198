/* SPDX-License-Identifier: MIT */
#include "services/refusals.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/map.h"
#include "core/ack.h"
#include "core/fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_MS 1000

struct refusals {
    struct refusals_ops ops;
    struct strmap answered; /* "kind/id" -> how many in this second, as a pointer */
    size_t answered_count;
    int64_t second_ms; /* when it began; boot clock */
    struct metric *refused;
};

struct refusals *refusals_new(struct metrics *metrics, const struct refusals_ops *ops)
{
    struct refusals *refusals = xcalloc(1, sizeof(*refusals));

    refusals->ops = *ops;
    refusals->refused =
        metrics_get(metrics, METRIC_COUNTER, "tocsin_publishes_refused_total",
                    "Messages below up/ that name nothing or cannot be read.", NULL);
    return refusals;
}

void refusals_free(struct refusals *refusals)
{
    strmap_fini(&refusals->answered);
    free(refusals);
}

static bool may_answer(struct refusals *refusals, const struct topic_up *from)
{
    int64_t now_ms = clock_boot_ms();
    char key[TOPIC_ID_MAX + 8];
    uintptr_t count;

    if (now_ms - refusals->second_ms >= SECOND_MS) {
        strmap_fini(&refusals->answered);
        refusals->answered = (struct strmap){0};
        refusals->answered_count = 0;
        refusals->second_ms = now_ms;
    }
    snprintf(key, sizeof(key), "%d/%s", (int)from->kind, from->id);
    count = (uintptr_t)strmap_get(&refusals->answered, key);
    if (count >= REFUSALS_EACH || refusals->answered_count >= REFUSALS_ALL)
        return false;
    refusals->answered_count++;
    strmap_set(&refusals->answered, key, (void *)(count + 1));
    return true;
}

/* ---- what would be right ---- */

static const char *near_name(const struct topic_up *from)
{
    if (from->kind == TOPIC_SERVICE)
        return fields_is_slip(from->event, "request") ? "request" : NULL;
    for (int kind = 0; from->kind == TOPIC_USER && kind < ACK_KIND_COUNT; kind++)
        if (fields_is_slip(from->event, ack_kind_name((enum ack_kind)kind)))
            return ack_kind_name((enum ack_kind)kind);
    return NULL;
}

static const char *names_nothing(const struct topic_up *from, struct arena *arena)
{
    static const char *const there_is[] = {
        [TOPIC_SERVICE] = "a service publishes to up/request and up/rpc/{method}",
        [TOPIC_USER] =
            ("a user publishes to up/ack, read, unread, archive, delete, click, seen and "
             "up/rpc/{method}"),
        [TOPIC_ADMIN] = "an admin publishes to up/rpc/{method}",
    };
    const char *near = near_name(from);

    if (near)
        return arena_printf(arena, "nothing reads this topic; is \"up/%s\" meant?", near);
    return arena_printf(arena, "nothing reads this topic; %s", there_is[from->kind]);
}

/* ---- the answer ---- */

static void answer(struct refusals *refusals, struct reply *reply, const char *topic,
                   const struct rejection *rejection)
{
    struct buf out = {0};

    buf_add_text(&out, "{\"topic\":");
    buf_add_json(&out, topic);
    buf_add_text(&out, ",\"error\":{\"code\":");
    buf_add_json(&out, reject_name(rejection->reason));
    buf_add_member(&out, "message", rejection->detail);
    if (rejection->pointer && rejection->pointer[0])
        buf_add_member(&out, "field", rejection->pointer);
    buf_add_text(&out, "}}");
    reply->payload = buf_text(&out);
    reply->payload_bytes = out.length;
    refusals->ops.reply(refusals->ops.ctx, reply);
    buf_fini(&out);
}

static void add_receipt(struct refusals *refusals, const struct topic_up *from,
                        const struct rejection *rejection, struct arena *arena)
{
    struct receipt receipt = {
        .status = "rejected",
        .reason = reject_name(rejection->reason),
        .detail = arena_printf(arena, "up/%s: %s", from->event, rejection->detail),
        .at_ms = clock_wall_ms(),
    };

    refusals->ops.receipt(refusals->ops.ctx, from->id, &receipt);
}

void refusals_answer(struct refusals *refusals, const struct topic_up *from,
                     const struct mqtt_message *message, const struct rejection *rejection)
{
    struct rejection nothing = {REJECT_MALFORMED, "", NULL};
    struct reply reply;
    struct arena *arena;

    metric_add(refusals->refused, 1);
    if (!may_answer(refusals, from))
        return;
    arena = arena_new(1024);
    nothing.detail = rejection ? NULL : names_nothing(from, arena);
    reply_address(&reply, from, message, arena);
    answer(refusals, &reply, message->topic, rejection ? rejection : &nothing);
    if (from->kind == TOPIC_SERVICE)
        add_receipt(refusals, from, rejection ? rejection : &nothing, arena);
    arena_free(arena);
}

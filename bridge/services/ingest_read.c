/* SPDX-License-Identifier: MIT */
/*
 * ingest_read - from a message on the requests lane to what is to be stored
 */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "services/ingest_internal.h"
#include "store/people.h"

#include <stdlib.h>
#include <string.h>

/* Notifications shown and not stored yet whose ids are remembered. */
#define SHOWN_MAX        5000
#define RETRY_TEXT_BYTES 96

static struct entry *add_entry(struct ingest *ingest, const char *service,
                               const struct request_item *item)
{
    struct entry *entry = arena_zalloc(ingest->arena, sizeof(*entry));

    if (ingest->count == ingest->capacity) {
        ingest->capacity = ingest->capacity ? ingest->capacity * 2 : 64;
        ingest->entries = xrealloc(ingest->entries, ingest->capacity * sizeof(*ingest->entries));
        ingest->good = xrealloc(ingest->good, ingest->capacity * sizeof(*ingest->good));
    }
    ingest->entries[ingest->count++] = entry;
    entry->service = service;
    entry->request = &item->request;
    entry->rejection = item->rejection;
    return entry;
}

void ingest_refuse(struct entry *entry, enum reject reason, const char *pointer, const char *detail)
{
    entry->rejection = (struct rejection){reason, pointer, detail};
}

const char *ingest_shown_key(struct ingest *ingest, const struct entry *entry)
{
    /* A line feed cannot occur in an encoded service id. */
    return arena_printf(ingest->arena, "%s\n%s", entry->service, entry->request->id);
}

/* While the database is away only what will be shown is planned. */
static bool is_shown(const struct entry *entry)
{
    return entry->request->priority == PRIORITY_URGENT && entry->route.kind == RECIPIENT_USER &&
           (entry->route.channels & 1u << CHANNEL_IN_APP) && !entry->request->deliver_at_ms;
}

static void prepare_to_show(struct ingest *ingest, struct entry *entry)
{
    if (is_shown(entry) && ingest_plan(ingest, entry))
        ingest->good[ingest->good_count++] = entry;
}

/* What is over the budget waits for a look at what was accepted before, as repeats do. */
void ingest_take_in(struct ingest *ingest, struct entry *entry)
{
    size_t asks = entry->route.deliveries;

    if (!ingest_charge(ingest, entry, asks)) {
        entry->is_limited = entry->is_duplicate = true;
        ingest->looking_count++;
        return;
    }
    entry->share = ingest_share(ingest, entry->service);
    ingest_take_share(entry);
    entry->is_waiting = !entry->is_deferred && ingest_must_ask(entry);
    ingest->good[ingest->good_count++] = entry;
}

static void prepare(struct ingest *ingest, struct entry *entry)
{
    const struct request *request = entry->request;

    if (entry->rejection.reason)
        return;
    if ((request->to == RECIPIENT_ROLE || request->to == RECIPIENT_BROADCAST) &&
        !ingest->ops.may_reach(ingest->ops.ctx, entry->service, request->to)) {
        entry->rejection = (struct rejection){
            REJECT_NOT_ALLOWED, request->to == RECIPIENT_ROLE ? "/to/role" : "/to/broadcast",
            "this service is not among those that may (requests.broadcast, requests.roles)"};
        return;
    }
    if (!route_request(request, ingest->ops.type_route(ingest->ops.ctx, request->type),
                       ingest->ops.available(ingest->ops.ctx), ingest->arena, &entry->route,
                       &entry->rejection))
        return;
    if (entry->route.deliveries > PLANS_MAX) {
        ingest_refuse(entry, REJECT_TOO_LARGE, "/to", "this would be more than 100,000 deliveries");
        return;
    }
    request_key_make(entry->service, request->id, ingest->read_ms, &entry->key);
    if (retry_override_is_set(&request->retry))
        entry->retry = retry_override_write(
            &request->retry, arena_alloc(ingest->arena, RETRY_TEXT_BYTES), RETRY_TEXT_BYTES);
    if (ingest->is_degraded)
        prepare_to_show(ingest, entry);
    else
        ingest_take_in(ingest, entry);
}

static void on_request(struct ingest *ingest, const struct topic_up *up,
                       const struct mqtt_message *message)
{
    const char *service = arena_strdup(ingest->arena, up->id);
    const char *payload = arena_copy(ingest->arena, message->payload, message->payload_bytes);
    struct request_batch batch;

    request_decode(payload, message->payload_bytes, ingest->read_ms, ingest->arena, &batch);
    for (size_t i = 0; i < batch.count; i++) {
        struct entry *entry = add_entry(ingest, service, &batch.items[i]);

        entry->payload = payload;
        entry->payload_bytes = message->payload_bytes;
        entry->text = batch.items[i].text;
        entry->text_bytes = batch.items[i].text_bytes;
        prepare(ingest, entry);
    }
}

void ingest_on_message(void *ctx, const struct mqtt_message *message)
{
    struct ingest *ingest = ctx;
    struct topic_up up;

    metric_add(ingest->messages, 1);
    if (!ingest->read_ms)
        ingest->read_ms = clock_wall_ms();
    if (topic_parse_up(message->topic, &up)) {
        log_warn("ingest.topic", LOG_STR("topic", message->topic));
        return;
    }
    if (strcmp(up.event, "request") == 0)
        on_request(ingest, &up, message);
    else if (strncmp(up.event, "rpc/", 4) == 0)
        ingest->ops.rpc(ingest->ops.ctx, &up, message);
    else if (!ingest->is_degraded) /* else it comes again when the database is back */
        ingest->ops.refuse(ingest->ops.ctx, &up, message, NULL);
}

/* ---- the database is away ---- */

static void show(struct ingest *ingest, const struct entry *entry)
{
    const struct request *request = entry->request;
    struct shown *shown;
    const char *key;

    key = ingest_shown_key(ingest, entry);
    if (ingest->shown.count >= SHOWN_MAX || strmap_get(&ingest->shown, key))
        return; /* the broker has sent it again: it was shown already */
    for (size_t i = 0; i < entry->plan_count; i++) {
        const struct plan *one = &entry->plans[i];
        struct job job = {
            .delivery = one->id,
            .notification = entry->id,
            .attempt = 1,
            .service = entry->service,
            .request = request->id,
            .priority = request->priority,
            .target_kind = TARGET_USER,
            .target = one->recipient,
            .content = request->content,
            .content_bytes = request->content_bytes,
            .created_ms = id_wall_ms(entry->id),
            .expires_ms = request->expires_at_ms,
        };

        if (one->channel == CHANNEL_IN_APP && !one->step)
            ingest->ops.show(ingest->ops.ctx, &job);
    }
    shown = xmalloc(sizeof(*shown));
    *shown = (struct shown){entry->id, ingest->batch};
    strmap_set(&ingest->shown, key, shown);
}

void ingest_degraded_batch(struct ingest *ingest)
{
    for (size_t i = 0; i < ingest->good_count; i++)
        show(ingest, ingest->good[i]);
    ingest_work_reset(ingest);
    ingest_batch_reset(ingest);
    mqtt_read_on(ingest->lane);
}

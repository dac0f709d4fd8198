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
/* Deliveries of one request. */
#define PLANS_MAX 100000

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

/* false: no destination reaches it. */
static bool add_plan(struct ingest *ingest, struct entry *entry, const struct plan *plan,
                     const char *adapter)
{
    struct plan *one = &entry->plans[entry->plan_count];

    *one = *plan;
    if (ingest->ops.choose(ingest->ops.ctx, plan->channel, plan->kind, plan->recipient,
                           entry->request->type, adapter, &one->destination))
        return false;
    entry->plan_count++;
    return true;
}

/* One recipient on one channel: each of its targets, or itself when it has none. */
static bool add_plans(struct ingest *ingest, struct entry *entry, const struct plan *plan,
                      const struct need *need)
{
    size_t before = entry->plan_count;

    for (const struct found *found = need ? need->first : NULL; found; found = found->next) {
        struct plan one = *plan;

        one.kind = found->kind;
        one.recipient = found->address;
        one.user = plan->recipient;
        one.suppressed = found->suppressed;
        /* A device of a platform that we have no account for is as good as none. */
        (void)add_plan(ingest, entry, &one, found->adapter);
    }
    return entry->plan_count > before || add_plan(ingest, entry, plan, NULL);
}

static size_t count_plans(const struct entry *entry)
{
    const struct route *route = &entry->route;
    size_t in_app = route->channels & 1u << CHANNEL_IN_APP ? route->recipient_count : 0;
    size_t count = route->deliveries;

    for (size_t i = 0; entry->needs && i < route->deliveries - in_app; i++)
        if (entry->needs[i].count > 1)
            count += entry->needs[i].count - 1;
    return count;
}

/* Who gets it by which destination.  false: one has none, and the entry is refused. */
static bool choose_destinations(struct ingest *ingest, struct entry *entry)
{
    const struct route *route = &entry->route;
    size_t count = count_plans(entry), asked = 0;

    if (count > PLANS_MAX) {
        ingest_refuse(entry, REJECT_TOO_LARGE, "/to", "this would be more than 100,000 deliveries");
        return false;
    }
    entry->plans = arena_zalloc(ingest->arena, count * sizeof(*entry->plans));
    for (size_t step = 0; step < route->order_count; step++) {
        enum channel channel = route->order[step];

        for (size_t i = 0; i < route->recipient_count; i++) {
            bool is_asked = entry->needs && channel != CHANNEL_IN_APP;
            const struct need *need = is_asked ? &entry->needs[asked++] : NULL;
            struct plan one = {.channel = channel,
                               .step = route->is_first ? step : 0,
                               .for_whom = i,
                               .kind = route->kind,
                               .recipient = route->recipients[i],
                               .suppressed = need ? need->suppressed : REASON_NONE};

            if (add_plans(ingest, entry, &one, need))
                continue;
            ingest_refuse(entry, REJECT_NOT_ALLOWED, "/channels",
                          "no destination is configured for this type, target and channel");
            return false;
        }
    }
    return true;
}

/* Also reserves room for what we can send ourselves, now. */
static void plan(struct ingest *ingest, struct entry *entry, int64_t now_ms)
{
    bool is_now = entry->request->deliver_at_ms <= now_ms && !ingest->is_degraded;

    if (!choose_destinations(ingest, entry))
        return;
    for (size_t i = 0; is_now && i < entry->plan_count; i++)
        entry->plans[i].is_admitted =
            !entry->plans[i].step &&
            ingest->ops.admit(ingest->ops.ctx, entry->plans[i].destination, entry->service);
}

const char *ingest_shown_key(struct ingest *ingest, const struct entry *entry)
{
    /* A line feed cannot occur in an encoded service id. */
    return arena_printf(ingest->arena, "%s\n%s", entry->service, entry->request->id);
}

/*
 * The ids it was shown with while the database was away, or new ones: then with room for the
 * targets that only the database knows, since they will take the ids after these.
 */
static uint64_t take_id(struct ingest *ingest, const struct entry *entry, int64_t now_ms)
{
    struct shown *shown =
        ingest->shown.count ? strmap_get(&ingest->shown, ingest_shown_key(ingest, entry)) : NULL;
    size_t count = 1 + entry->plan_count;

    /* Once in a batch: its service may have sent it again meanwhile, and two rows have two ids. */
    if (shown && shown->generation != ingest->generation) {
        shown->generation = ingest->generation;
        return shown->id;
    }
    if (ingest->is_degraded && ingest_must_ask(entry))
        count += entry->plan_count * PEOPLE_TARGETS_MAX;
    return id_take(&ingest->ids, now_ms, count < ID_RUN_MAX ? count : ID_RUN_MAX);
}

/*
 * What one recipient gets one after the other belongs together by its head: their in-app delivery,
 * which is what they acknowledge, or else the first.
 */
static void set_heads(struct ingest *ingest, struct entry *entry)
{
    size_t count = entry->route.recipient_count;
    uint64_t *heads = arena_zalloc(ingest->arena, count * sizeof(*heads));

    for (size_t i = 0; i < entry->plan_count; i++) {
        const struct plan *one = &entry->plans[i];

        if (!heads[one->for_whom] || one->channel == CHANNEL_IN_APP)
            heads[one->for_whom] = one->id;
    }
    for (size_t i = 0; i < entry->plan_count; i++)
        entry->plans[i].head = heads[entry->plans[i].for_whom];
}

bool ingest_plan(struct ingest *ingest, struct entry *entry)
{
    int64_t now_ms = clock_wall_ms();
    uint64_t id;

    plan(ingest, entry, now_ms);
    if (entry->rejection.reason)
        return false;
    ingest->ids.node = ingest->fence->node;
    id = take_id(ingest, entry, now_ms);
    entry->id = id;
    for (size_t i = 0; i < entry->plan_count; i++) {
        id = id_next(id);
        entry->plans[i].id = id;
    }
    if (entry->route.is_first)
        set_heads(ingest, entry);
    return true;
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
    request_key_make(entry->service, request->id, clock_wall_ms(), &entry->key);
    if (retry_override_is_set(&request->retry))
        entry->retry = retry_override_write(
            &request->retry, arena_alloc(ingest->arena, RETRY_TEXT_BYTES), RETRY_TEXT_BYTES);
    entry->is_waiting = !ingest->is_degraded && ingest_must_ask(entry);
    if (entry->is_waiting)
        ingest->waiting_count++;
    else if (!ingest_plan(ingest, entry))
        return;
    ingest->good[ingest->good_count++] = entry;
}

static void on_request(struct ingest *ingest, const struct topic_up *up,
                       const struct mqtt_message *message)
{
    const char *service = arena_strdup(ingest->arena, up->id);
    const char *payload = arena_strndup(ingest->arena, message->payload, message->payload_bytes);
    struct request_batch batch;

    request_decode(payload, message->payload_bytes, clock_wall_ms(), ingest->arena, &batch);
    for (size_t i = 0; i < batch.count; i++) {
        struct entry *entry = add_entry(ingest, service, &batch.items[i]);

        entry->payload = payload;
        entry->payload_bytes = message->payload_bytes;
        prepare(ingest, entry);
    }
}

void ingest_on_message(void *ctx, const struct mqtt_message *message)
{
    struct ingest *ingest = ctx;
    struct topic_up up;

    metric_add(ingest->messages, 1);
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

    if (request->priority != PRIORITY_URGENT || entry->route.kind != RECIPIENT_USER ||
        !(entry->route.channels & 1u << CHANNEL_IN_APP) || request->deliver_at_ms)
        return;
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
    *shown = (struct shown){entry->id, ingest->generation};
    strmap_set(&ingest->shown, key, shown);
}

void ingest_degraded_batch(struct ingest *ingest)
{
    for (size_t i = 0; i < ingest->good_count; i++)
        show(ingest, ingest->good[i]);
    ingest_reset(ingest);
    mqtt_read_on(ingest->lane);
}

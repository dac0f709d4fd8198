/* SPDX-License-Identifier: MIT */
/*
 * ingest_plan - from an entry whose targets are known to its deliveries and their ids
 *
 * Ownership: plans live in the arena of the work, and die with the group.
 */
#include "base/clock.h"
#include "base/log.h"
#include "services/ingest_internal.h"

#include <string.h>

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

/* NULL for in-app, and where nothing was asked. */
static const struct need *need_of(const struct entry *entry, size_t step, size_t recipient)
{
    size_t asked = 0;

    if (!entry->needs || entry->route.order[step] == CHANNEL_IN_APP)
        return NULL;
    for (size_t i = 0; i < step; i++)
        asked += entry->route.order[i] != CHANNEL_IN_APP;
    return &entry->needs[asked * entry->need_stride + recipient];
}

static size_t count_plans_of(const struct entry *entry, size_t recipient)
{
    size_t count = 0;

    for (size_t step = 0; step < entry->route.order_count; step++) {
        const struct need *need = need_of(entry, step, recipient);

        count += need && need->count > 1 ? need->count : 1;
    }
    return count;
}

static size_t count_plans(const struct entry *entry)
{
    size_t count = 0;

    for (size_t i = 0; i < entry->route.recipient_count; i++)
        count += count_plans_of(entry, i);
    return count;
}

size_t ingest_most_plans(const struct entry *entry)
{
    const struct route *route = &entry->route;
    size_t in_app = route->channels & 1u << CHANNEL_IN_APP ? route->recipient_count : 0;

    if (route->kind != RECIPIENT_USER)
        return route->deliveries;
    return in_app + (route->deliveries - in_app) * PEOPLE_TARGETS_MAX;
}

bool ingest_is_counted(const struct entry *entry)
{
    return ingest_most_plans(entry) > PLANS_MAX;
}

/* Who gets it by which destination.  false: one has none, and the entry is refused. */
static bool choose_destinations(struct ingest *ingest, struct entry *entry, size_t count)
{
    const struct route *route = &entry->route;

    entry->plans = arena_zalloc(ingest->work.arena, count * sizeof(*entry->plans));
    entry->plan_count = 0;
    for (size_t step = 0; step < route->order_count; step++) {
        for (size_t i = 0; i < route->recipient_count; i++) {
            const struct need *need = need_of(entry, step, i);
            struct plan one = {.channel = route->order[step],
                               .step = route->is_first ? step : 0,
                               .for_whom = i,
                               .kind = route->kind,
                               .recipient = route->recipients[i],
                               .suppressed = need ? need->suppressed : REASON_NONE};

            if (add_plans(ingest, entry, &one, need))
                continue;
            if (ingest->work.is_slice) { /* accepted: a receipt reports it */
                ingest->expand.unreached++;
                continue;
            }
            ingest_refuse(entry, REJECT_NOT_ALLOWED, "/channels",
                          "no destination is configured for this type, target and channel");
            return false;
        }
    }
    return true;
}

/* Reserves room for what we can send ourselves, now. */
static void admit(struct ingest *ingest, struct entry *entry, int64_t now_ms)
{
    if (entry->request->deliver_at_ms > now_ms || ingest->is_degraded)
        return;
    for (size_t i = 0; i < entry->plan_count; i++)
        entry->plans[i].is_admitted =
            !entry->plans[i].step &&
            ingest->ops.admit(ingest->ops.ctx, entry->plans[i].destination, entry->service);
}

void ingest_withdraw(struct ingest *ingest, struct entry *entry)
{
    for (size_t i = 0; i < entry->plan_count; i++) {
        if (!entry->plans[i].is_admitted)
            continue;
        entry->plans[i].is_admitted = false;
        ingest->ops.withdraw(ingest->ops.ctx, entry->plans[i].destination);
    }
}

/* ---- ids ---- */

/* 0: there is none (core/id.h), which is worth a line: nothing is accepted until there is. */
static uint64_t take(struct ingest *ingest, size_t count)
{
    int64_t now_ms = clock_wall_ms();
    uint64_t id;

    ingest->ids.node = ingest->fence->node;
    id_start_after(&ingest->ids, ingest->fence->ids_after_ms);
    id = id_take(&ingest->ids, now_ms, count < ID_RUN_MAX ? count : ID_RUN_MAX);
    if (!id)
        log_error("ingest.no_ids", LOG_INT("clock_ms", now_ms),
                  LOG_STR("what", "the database's clock is outside the time that ids can hold"
                                  " (1970 to 2039-09-07): nothing is accepted until it is set"));
    return id;
}

/*
 * The ids it was shown with while the database was away, or new ones: then with room for the
 * targets that only the database knows, since they will take the ids after these.
 */
static uint64_t take_id(struct ingest *ingest, const struct entry *entry)
{
    struct shown *shown =
        ingest->shown.count ? strmap_get(&ingest->shown, ingest_shown_key(ingest, entry)) : NULL;
    size_t count = 1 + entry->plan_count;

    /* Once in a batch: its service may have sent it again meanwhile, and two rows have two ids. */
    if (shown && shown->batch != ingest->batch) {
        shown->batch = ingest->batch;
        return shown->id;
    }
    if (ingest->is_degraded || entry->is_deferred) {
        size_t most = ingest_most_plans(entry);

        count = 1 + (most < PLANS_MAX ? most : PLANS_MAX);
    }
    return take(ingest, count);
}

static uint64_t number(struct entry *entry, uint64_t id)
{
    for (size_t i = 0; i < entry->plan_count; i++) {
        entry->plans[i].id = id;
        id = id_next(id);
    }
    return id;
}

/*
 * What one recipient gets one after the other belongs together by its head: their in-app delivery,
 * which is what they acknowledge, or else the first.
 */
static void set_heads(struct ingest *ingest, struct entry *entry)
{
    size_t count = entry->route.recipient_count;
    uint64_t *heads = arena_zalloc(ingest->work.arena, count * sizeof(*heads));

    for (size_t i = 0; i < entry->plan_count; i++) {
        const struct plan *one = &entry->plans[i];

        if (!heads[one->for_whom] || one->channel == CHANNEL_IN_APP)
            heads[one->for_whom] = one->id;
    }
    for (size_t i = 0; i < entry->plan_count; i++)
        entry->plans[i].head = heads[entry->plans[i].for_whom];
}

static uint64_t finish_plans(struct ingest *ingest, struct entry *entry, uint64_t id)
{
    id = number(entry, id);
    if (entry->route.is_first)
        set_heads(ingest, entry);
    return id;
}

static void refuse_for_ids(struct entry *entry)
{
    entry->is_failed = true;
}

bool ingest_new_ids(struct ingest *ingest, struct entry *entry)
{
    size_t most = ingest_most_plans(entry);
    size_t count = entry->is_deferred ? (most < PLANS_MAX ? most : PLANS_MAX) : entry->plan_count;
    uint64_t id = take(ingest, 1 + count);

    if (!id)
        return false;
    if (ingest->work.is_slice) { /* its notification is stored and keeps its id */
        ingest->expand.slice.next_id = finish_plans(ingest, entry, id);
        return true;
    }
    entry->id = id;
    (void)finish_plans(ingest, entry, id_next(id));
    return true;
}

/* ---- entries of the batch ---- */

/* Whether a destination reaches each recipient; only a phone number's says who (prefixes). */
static bool can_reach_all(struct ingest *ingest, const struct entry *entry)
{
    const struct route *route = &entry->route;
    size_t count = route->kind == RECIPIENT_PHONE ? route->recipient_count : 1;
    int32_t destination;

    for (size_t step = 0; step < route->order_count; step++)
        for (size_t i = 0; i < count; i++)
            if (ingest->ops.choose(ingest->ops.ctx, route->order[step], route->kind,
                                   route->recipients[i], entry->request->type, NULL, &destination))
                return false;
    return true;
}

bool ingest_defer(struct ingest *ingest, struct entry *entry)
{
    entry->is_deferred = true;
    entry->plan_count = 0;
    if (!can_reach_all(ingest, entry)) {
        ingest_refuse(entry, REJECT_NOT_ALLOWED, "/channels",
                      "no destination is configured for this type, target and channel");
        return false;
    }
    entry->id = take_id(ingest, entry);
    if (!entry->id)
        refuse_for_ids(entry);
    return entry->id != 0;
}

bool ingest_plan(struct ingest *ingest, struct entry *entry)
{
    size_t count = count_plans(entry);

    if (count > PLANS_MAX) {
        ingest_refuse(entry, REJECT_TOO_LARGE, "/to", "this would be more than 100,000 deliveries");
        return false;
    }
    if (!ingest->is_degraded) {
        entry->share->plans += count;
        if (count > ingest->chunk || ingest_is_over_plans(entry->share, count))
            return ingest_defer(ingest, entry);
        ingest_charge_more(ingest, entry, count - entry->route.deliveries);
    }
    if (!choose_destinations(ingest, entry, count))
        return false;
    entry->id = take_id(ingest, entry);
    if (!entry->id) {
        refuse_for_ids(entry);
        return false;
    }
    (void)finish_plans(ingest, entry, id_next(entry->id));
    admit(ingest, entry, clock_wall_ms());
    return true;
}

/* ---- slices ---- */

size_t ingest_plan_slice(struct ingest *ingest, struct entry *entry, uint64_t *next_id)
{
    size_t fits = 0, count = 0;

    for (; fits < entry->route.recipient_count; fits++) {
        size_t more = count_plans_of(entry, fits);

        if (fits && count + more > ingest->chunk)
            break;
        count += more;
    }
    if (!entry->is_counted)
        ingest_charge_more(ingest, entry, count - fits * entry->route.order_count);
    entry->route.recipient_count = fits;
    entry->route.deliveries = fits * entry->route.order_count;
    (void)choose_destinations(ingest, entry, count);
    *next_id = finish_plans(ingest, entry, *next_id);
    admit(ingest, entry, clock_wall_ms());
    return fits;
}

/* SPDX-License-Identifier: MIT */
/*
 * ingest_targets - how the users of a batch are reached, asked once for all of it before it is
 * stored; and which of its addresses are suppressed
 *
 * A batch that is in-app alone asks nothing and pays nothing.  The others wait for one statement
 * (or a few, of ASKS_MAX questions each) on the connection that will store them.
 */
#include "base/alloc.h"
#include "base/log.h"
#include "services/ingest_internal.h"
#include "store/people.h"

#include <stdlib.h>

/* Questions in one statement: each has sixteen answers at most, which are in memory at once. */
#define ASKS_MAX 2000

bool ingest_must_ask(const struct entry *entry)
{
    const struct route *route = &entry->route;

    return route->kind >= RECIPIENT_EMAIL ||
           (route->kind == RECIPIENT_USER && (route->channels & ~(1u << CHANNEL_IN_APP)) != 0);
}

/* One statement under way. */
struct asking {
    struct ingest *ingest;
    unsigned generation;
    size_t from; /* the first question's place among all */
};

static size_t make_needs(struct ingest *ingest, struct entry *entry)
{
    const struct route *route = &entry->route;
    size_t count = 0;

    entry->needs = arena_zalloc(ingest->work.arena, route->deliveries * sizeof(*entry->needs));
    entry->need_stride = route->recipient_count;
    for (size_t step = 0; step < route->order_count; step++) {
        enum channel channel = route->order[step];

        if (channel == CHANNEL_IN_APP)
            continue;
        for (size_t i = 0; i < route->recipient_count; i++) {
            struct need *need = &entry->needs[count++];

            need->entry = entry;
            need->channel = channel;
            need->recipient = route->recipients[i];
            need->last = &need->first;
        }
    }
    return count;
}

static void on_row(void *ctx, const struct reach_row *row)
{
    struct asking *asking = ctx;
    struct ingest *ingest = asking->ingest;
    struct need *need;
    struct found *found;

    if (asking->generation != ingest->generation)
        return;
    need = ingest->work.needs[asking->from + row->index];
    if (need->entry->route.kind != RECIPIENT_USER) {
        need->suppressed = row->suppressed;
        return;
    }
    found = arena_zalloc(ingest->work.arena, sizeof(*found));
    found->kind = row->kind;
    found->address = arena_strdup(ingest->work.arena, row->address);
    found->adapter = row->platform[0] ? arena_strdup(ingest->work.arena, row->platform) : NULL;
    found->suppressed = row->suppressed;
    *need->last = found;
    need->last = &found->next;
    need->count++;
}

static void ask(struct ingest *ingest, size_t from);

static void on_done(void *ctx, int err)
{
    struct asking *asking = ctx;
    struct ingest *ingest = asking->ingest;
    bool is_current = asking->generation == ingest->generation;
    size_t next = asking->from + ASKS_MAX;

    free(asking);
    if (!is_current)
        return;
    if (err)
        ingest_abandon(ingest, err);
    else if (next < ingest->work.need_count)
        ask(ingest, next);
    else if (ingest->work.is_slice)
        ingest_expand_planned(ingest);
    else
        ingest_planned(ingest);
}

static void ask(struct ingest *ingest, size_t from)
{
    size_t count =
        ingest->work.need_count - from < ASKS_MAX ? ingest->work.need_count - from : ASKS_MAX;
    struct reach_ask *asks = xmalloc(count * sizeof(*asks));
    struct asking *asking = xmalloc(sizeof(*asking));
    struct reach_call call = {on_row, on_done, asking};
    int err;

    *asking = (struct asking){ingest, ingest->generation, from};
    for (size_t i = 0; i < count; i++) {
        const struct need *need = ingest->work.needs[from + i];
        bool is_user = need->entry->route.kind == RECIPIENT_USER;

        asks[i] = (struct reach_ask){
            .user = is_user ? need->recipient : NULL,
            .address = is_user ? NULL : need->recipient,
            .channel = need->channel,
            .type = need->entry->request->type,
        };
    }
    err = store_reach(ingest->store, asks, count, &call);
    free(asks);
    if (err) {
        free(asking);
        ingest_abandon(ingest, err);
    }
}

/* Those of the group that wait, or the slice at hand. */
static size_t waiting(const struct ingest *ingest, struct entry ***entries)
{
    *entries =
        ingest->work.is_slice ? (struct entry **)&ingest->expand.entry : ingest->work.entries;
    return ingest->work.is_slice ? 1 : ingest->work.count;
}

void ingest_find_targets(struct ingest *ingest)
{
    struct entry **entries;
    size_t count = waiting(ingest, &entries), total = 0;

    for (size_t i = 0; i < count; i++)
        if (entries[i]->is_waiting)
            total += entries[i]->route.deliveries;
    ingest->work.needs = arena_alloc(ingest->work.arena, total * sizeof(struct need *));
    ingest->work.need_count = 0;
    for (size_t i = 0; i < count; i++) {
        size_t needs = entries[i]->is_waiting ? make_needs(ingest, entries[i]) : 0;

        for (size_t k = 0; k < needs; k++)
            ingest->work.needs[ingest->work.need_count++] = &entries[i]->needs[k];
    }
    ask(ingest, 0);
}

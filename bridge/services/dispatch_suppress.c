/* SPDX-License-Identifier: MIT */
/*
 * dispatch_suppress - addresses that became suppressed while deliveries to them waited in memory
 *
 * Ingest and claim have asked about every address.  What has come since, from whichever bridge,
 * is read once a second while anything waits for its turn by a provider, and never otherwise.
 * Numbers are given out before their rows are committed: the last few are read again.
 */
#include "base/alloc.h"
#include "base/log.h"
#include "core/address.h"
#include "core/topic.h"
#include "services/dispatch_internal.h"
#include "store/people.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_EVERY_MS 1000
/* Who has not looked for longer starts anew: what came in between was seen by the claim. */
#define STALE_MS 10000
#define ROWS_MAX 1000
/* So many numbers may still be on their way when a later one is seen. */
#define OVERLAP 200

/* A suppression that is new to us; those of one address form a list. */
struct fresh {
    struct fresh *next;
    enum reason reason;
    char scope[];
};

struct look {
    struct dispatch *dispatch;
    unsigned generation;
    struct strmap by_address; /* "channel address" */
    struct idmap ids;         /* of all rows, for the next look */
    int64_t last_id;
    size_t rows, fresh;
};

/* Channel and address, as addresses are compared. */
static const char *key_of(enum channel channel, const char *address, char *out, size_t bytes)
{
    int used = snprintf(out, bytes, "%d %s", (int)channel, address);

    if (used < 0 || (size_t)used >= bytes)
        return NULL; /* longer than an address can be */
    address_fold(channel, out);
    return out;
}

static void on_row(void *ctx, const struct suppression *row)
{
    struct look *look = ctx;
    char text[2100];
    const char *key = key_of(row->channel, row->address, text, sizeof(text));
    size_t scope = strlen(row->scope);
    struct fresh *fresh;

    look->rows++;
    look->last_id = (int64_t)row->id;
    idmap_set(&look->ids, row->id, look);
    if (!key || idmap_get(&look->dispatch->suppressed_ids, row->id))
        return;
    fresh = xmalloc(sizeof(*fresh) + scope + 1);
    fresh->reason = row->reason;
    memcpy(fresh->scope, row->scope, scope + 1);
    fresh->next = strmap_set(&look->by_address, key, fresh);
    look->fresh++;
}

static void mark(void *ctx, uint64_t id, void *value)
{
    struct look *look = ctx;
    struct task *task = value;
    char text[2100];
    const char *key;

    (void)id;
    if (task->channel == CHANNEL_IN_APP || task->suppressed || task->is_sending)
        return;
    key = key_of(task->channel, task->recipient, text, sizeof(text));
    for (const struct fresh *fresh = key ? strmap_get(&look->by_address, key) : NULL; fresh;
         fresh = fresh->next)
        if (!fresh->scope[0] || strcmp(fresh->scope, task->note->type) == 0)
            task->suppressed = fresh->reason;
}

static void free_fresh(void *ctx, const char *key, void *value)
{
    struct fresh *next;

    (void)ctx, (void)key;
    for (struct fresh *fresh = value; fresh; fresh = next) {
        next = fresh->next;
        free(fresh);
    }
}

static void on_done(void *ctx, int err)
{
    struct look *look = ctx;
    struct dispatch *dispatch = look->dispatch;

    dispatch->is_looking = false;
    if (err)
        log_debug("suppressed.failed", LOG_STR("err", err_name(err)));
    if (!err && look->fresh && look->generation == dispatch->generation)
        idmap_each(&dispatch->tasks, mark, look);
    if (!err) {
        idmap_fini(&dispatch->suppressed_ids);
        dispatch->suppressed_ids = look->ids;
        look->ids = (struct idmap){0};
        /* A full answer leaves more behind it: at once, and without going back. */
        if (look->rows == ROWS_MAX && look->fresh)
            dispatch->next_look_ms = loop_now_ms(dispatch->loop);
        if (look->rows)
            dispatch->suppressed_since =
                look->fresh > ROWS_MAX - OVERLAP ? look->last_id : look->last_id - OVERLAP;
    }
    strmap_each(&look->by_address, free_fresh, NULL);
    strmap_fini(&look->by_address);
    idmap_fini(&look->ids);
    free(look);
}

static bool has_waiting(const struct dispatch *dispatch)
{
    for (size_t i = 0; i < dispatch->destination_count; i++)
        if (dispatch->destinations[i]->config.channel != CHANNEL_IN_APP &&
            active_count(dispatch->destinations[i]->queue))
            return true;
    return false;
}

int64_t dispatch_suppress_turn(struct dispatch *dispatch)
{
    int64_t now_ms = loop_now_ms(dispatch->loop);
    struct suppression_call call = {on_row, on_done, NULL};
    struct look *look;

    if (dispatch->is_looking || !has_waiting(dispatch))
        return -1;
    if (now_ms < dispatch->next_look_ms)
        return dispatch->next_look_ms - now_ms;
    look = xcalloc(1, sizeof(*look));
    look->dispatch = dispatch;
    look->generation = dispatch->generation;
    call.ctx = look;
    if (now_ms - dispatch->next_look_ms > STALE_MS)
        dispatch->suppressed_since = -1;
    dispatch->next_look_ms = now_ms + LOOK_EVERY_MS;
    dispatch->is_looking =
        store_suppressed_since(dispatch->store, dispatch->suppressed_since, ROWS_MAX, &call) == 0;
    if (!dispatch->is_looking)
        free(look);
    return LOOK_EVERY_MS;
}

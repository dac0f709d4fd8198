/* SPDX-License-Identifier: MIT */
/*
 * reaper - ends connections, from TICK and by client id only
 *
 * The broker does not survive other ways: a kick from inside an ACL or auth
 * callback changes lists that are being walked, and a kick of an id that is
 * offline frees its session twice.  A kick calls our DISCONNECT callback
 * before it returns, so ids are copied first and kicked after.
 */
#include "plugin.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH = 500 };

struct batch {
    char *ids[BATCH];
    unsigned count;
};

/* Out of memory: it stays in the heap for the next TICK. */
static bool batch_add(struct plugin *pl, struct batch *batch, struct connection *conn)
{
    if (batch->count == BATCH || !(batch->ids[batch->count] = strdup(conn->client_id)))
        return false;
    batch->count++;
    live_doom(&pl->live, conn);
    return true;
}

static void batch_kick(struct plugin *pl, struct batch *batch)
{
    pl->is_kicking = true;
    for (unsigned i = 0; i < batch->count; i++) {
        /* With the will: without it 2.0.11 frees the session twice if it went offline meanwhile. */
        (void)mosquitto_kick_client_by_clientid(batch->ids[i], true);
        free(batch->ids[i]);
    }
    pl->is_kicking = false;
}

static void collect_expired(struct plugin *pl, struct batch *batch, int64_t now_s)
{
    struct connection *conn;

    while ((conn = live_expired(&pl->live, now_s)) && batch_add(pl, batch, conn))
        pl->counters.now[COUNTER_KICKED_EXPIRED]++;
}

/* Looks at every connection after keys or revocations changed. */
static void collect_unwanted(struct plugin *pl, struct batch *batch)
{
    for (struct list *at = pl->live.all.next; at != &pl->live.all; at = at->next) {
        struct connection *conn = MAP_OWNER(at, struct connection, all);
        enum counter why = COUNTER_COUNT;

        if (!live_is_kickable(conn))
            continue;
        if (conn->is_marked)
            why = COUNTER_KICKED_ADMIN;
        else if (!keys_has_print(pl->keys, conn->key_print))
            why = COUNTER_KICKED_KEY;
        else if (revocations_match(&pl->revocations, conn->subject->key, conn->jti, conn->issued_s))
            why = COUNTER_KICKED_REVOKED;
        if (why == COUNTER_COUNT)
            continue;
        if (!batch_add(pl, batch, conn))
            return; /* the sweep stays due */
        pl->counters.now[why]++;
    }
    pl->sweep_is_due = false;
}

void reaper_run(struct plugin *pl, int64_t now_s)
{
    struct batch batch = {.count = 0};

    collect_expired(pl, &batch, now_s);
    if (pl->sweep_is_due)
        collect_unwanted(pl, &batch);
    if (batch.count)
        batch_kick(pl, &batch);
}

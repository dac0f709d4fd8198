/* SPDX-License-Identifier: MIT */
/*
 * dispatch_rates - rates and pauses that all bridges on one database keep together
 *
 * A destination with a rate sends at the moments it has taken from the database (core/slots.h).
 * A provider's "not now" is written there too, and looked up by everybody once a second; so is
 * what an admin has stopped.  What waited in memory for that goes back to the database as it came,
 * so that it costs no attempt, takes no room from others, and nobody who restarts forgets it.
 */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "services/dispatch_internal.h"
#include "store/rates.h"

#include <stdlib.h>

#define PAUSES_EVERY_MS 1000
/* A pause shorter than this is over before others have read of it. */
#define PAUSE_MIN_MS 500

struct taking {
    struct dispatch *dispatch;
    struct destination *destination;
    unsigned count, generation;
    int64_t spacing_us;
};

static void on_taken(void *ctx, int err, int64_t in_us)
{
    struct taking *taking = ctx;
    struct destination *destination = taking->destination;

    if (taking->generation == taking->dispatch->generation) {
        destination->is_taking = false;
        if (err)
            log_warn("rate.failed", LOG_STR("destination", destination->config.name),
                     LOG_STR("err", err_name(err)));
        else if (taking->spacing_us == destination->slots.spacing_us)
            slots_give(&destination->slots, taking->count, clock_boot_us() + in_us);
    }
    free(taking);
}

static void take(struct dispatch *dispatch, struct destination *destination)
{
    unsigned waiting = (unsigned)active_count(destination->queue);
    struct taking *taking;
    unsigned count;

    if (destination->is_taking || !waiting)
        return;
    count = slots_wanted(&destination->slots, waiting, clock_boot_us());
    if (!count)
        return;
    taking = xmalloc(sizeof(*taking));
    *taking = (struct taking){dispatch, destination, count, dispatch->generation,
                              destination->slots.spacing_us};
    destination->is_taking = true;
    if (!store_take_slots(dispatch->store, destination->id, count, taking->spacing_us, on_taken,
                          taking))
        return;
    destination->is_taking = false;
    free(taking);
}

/* ---- pauses ---- */

static void on_pause(void *ctx, int32_t id, int64_t for_ms, bool is_held)
{
    struct dispatch *dispatch = ctx;
    struct destination *destination = dispatch_find(dispatch, id);

    if (!destination)
        return;
    if (for_ms > 0)
        throttle_pause(&destination->throttle, for_ms, loop_now_ms(dispatch->loop));
    destination->is_held_next = is_held;
}

static void on_pauses_done(void *ctx, int err)
{
    struct dispatch *dispatch = ctx;

    dispatch->is_asking_pauses = false;
    if (err)
        log_debug("pauses.failed", LOG_STR("err", err_name(err)));
    else
        dispatch->knows_pauses = true;
    for (size_t i = 0; i < dispatch->destination_count; i++) {
        struct destination *destination = dispatch->destinations[i];
        bool was_held = destination->is_held;

        if (!err)
            destination->is_held = destination->is_held_next;
        destination->is_held_next = false;
        if (was_held == destination->is_held)
            continue;
        log_warn(was_held ? "destination.resumed" : "destination.paused",
                 LOG_STR("destination", destination->config.name));
        dispatch_look_again(dispatch, destination->id);
    }
}

void dispatch_give_back(struct dispatch *dispatch, struct destination *held)
{
    if (!active_count(held->queue))
        return;
    log_info("destination.given_back", LOG_STR("destination", held->config.name),
             LOG_INT("deliveries", active_count(held->queue)));
    while (active_count(held->queue))
        dispatch_forget(dispatch, CONTAINER_OF(active_pop(held->queue), struct task, entry));
    dispatch->wants_reconcile = true;
}

void dispatch_share_pause(struct dispatch *dispatch, struct destination *destination,
                          int64_t before_ms)
{
    int64_t now_ms = loop_now_ms(dispatch->loop);
    int64_t until_ms = destination->throttle.paused_until_ms;

    if (until_ms <= before_ms || until_ms - now_ms < PAUSE_MIN_MS)
        return;
    if (store_pause(dispatch->store, destination->id, until_ms - now_ms))
        log_warn("pause.unshared", LOG_STR("destination", destination->config.name));
}

void dispatch_rates_turn(struct dispatch *dispatch)
{
    struct pauses_call call = {on_pause, on_pauses_done, dispatch};
    int64_t now_ms = loop_now_ms(dispatch->loop);

    for (size_t i = 0; i < dispatch->destination_count; i++)
        if (dispatch->destinations[i]->slots.spacing_us)
            take(dispatch, dispatch->destinations[i]);
    if (dispatch->is_asking_pauses || now_ms < dispatch->next_pauses_ms)
        return;
    dispatch->next_pauses_ms = now_ms + PAUSES_EVERY_MS;
    dispatch->is_asking_pauses = store_pauses(dispatch->store, &call) == 0;
}

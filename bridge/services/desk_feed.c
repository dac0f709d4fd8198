/* SPDX-License-Identifier: MIT */
/*
 * Puts accepted retries into the queue, as fast as it takes them.
 *
 * Each destination has a room: how many deliveries, of any priority, may be ready and due for it
 * before nothing is added.  The room doubles while the queue runs dry and is halved while
 * deliveries wait, as a sender's window is: live traffic that has to wait stops the feeding, and a
 * slow destination has few urgent retries before its live ones.
 */
#include "services/desk_internal.h"

#include "base/crash.h"
#include "base/log.h"

#define ROOM_MIN   20
#define ROOM_FIRST 100
#define ROOM_MAX   1000
#define BUSY_MS    100
#define IDLE_MS    1000

static void on_timer(void *ctx);

static struct dead_room *room_of(struct desk *desk, int32_t destination)
{
    for (size_t i = 0; i < desk->room_count; i++)
        if (desk->rooms[i].destination == destination)
            return &desk->rooms[i];
    return NULL;
}

/* The bridge's destinations may have changed; a room that is known stays. */
static void take_stock(struct desk *desk)
{
    int32_t ids[DESK_DESTINATIONS_MAX];
    size_t count = desk->ops.destinations(desk->ops.ctx, ids);
    struct dead_room rooms[DESK_DESTINATIONS_MAX];

    for (size_t i = 0; i < count; i++) {
        const struct dead_room *known = room_of(desk, ids[i]);

        rooms[i] = known ? *known : (struct dead_room){ids[i], ROOM_FIRST};
    }
    for (size_t i = 0; i < count; i++)
        desk->rooms[i] = rooms[i];
    desk->room_count = count;
}

static void on_fed(void *ctx, int32_t destination, int waiting, int fed)
{
    struct desk *desk = ctx;
    struct dead_room *room = room_of(desk, destination);

    desk->has_waiting = true;
    if (!room)
        return;
    if (waiting == 0)
        room->room = room->room * 2 < ROOM_MAX ? room->room * 2 : ROOM_MAX;
    else if (waiting * 2 > room->room)
        room->room = room->room / 2 > ROOM_MIN ? room->room / 2 : ROOM_MIN;
    if (fed)
        desk->ops.poke(desk->ops.ctx, destination);
}

static void on_done(void *ctx, int err)
{
    struct desk *desk = ctx;

    if (desk->has_waiting)
        crash_point("desk.fed");
    desk->is_feeding = false;
    if (err)
        log_warn("desk.unfed", LOG_STR("err", err_name(err)));
    loop_timer_start(desk->loop, &desk->timer, desk->has_waiting && !err ? BUSY_MS : IDLE_MS,
                     on_timer, desk);
}

static void on_timer(void *ctx)
{
    struct desk *desk = ctx;
    struct dead_feed_call call = {on_fed, on_done, desk};

    loop_timer_start(desk->loop, &desk->timer, IDLE_MS, on_timer, desk);
    desk_tell_turn(desk);
    if (desk->is_feeding || desk->changing || !store_is_up(desk->store) || !desk->fence->epoch)
        return;
    take_stock(desk);
    desk->has_waiting = false;
    desk->is_feeding = desk->room_count > 0 &&
                       store_dlq_feed(desk->store, desk->rooms, desk->room_count, &call) == 0;
}

void desk_feed_start(struct desk *desk)
{
    loop_timer_start(desk->loop, &desk->timer, IDLE_MS, on_timer, desk);
}

void desk_feed_stop(struct desk *desk)
{
    loop_timer_stop(&desk->timer);
}

void desk_feed_poke(struct desk *desk)
{
    if (!desk->is_feeding)
        loop_timer_start(desk->loop, &desk->timer, 0, on_timer, desk);
}

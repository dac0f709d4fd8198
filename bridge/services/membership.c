/* SPDX-License-Identifier: MIT */
#include "services/membership.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

#define BEATS_PER_LEASE 5
/* The fence stands this part of the lease before its end: clocks drift, packets take time. */
#define MARGIN_PARTS      4
#define REGISTER_RETRY_MS 500
#define SWEEP_EVERY_MS    60000
#define CLOCK_APART_MS    2000

struct membership {
    struct loop *loop;
    struct membership_config config;
    struct store *store;
    struct fence *fence;
    struct membership_ops ops;
    struct loop_timer timer;
    bool is_registering, is_leaving, is_beating, is_reaping;
    bool has_lane[LANE_COUNT];
    int64_t epoch_before; /* of this process; 0: none */
    bool has_asked;       /* for lanes, under this epoch and connection */
    bool is_reap_due;     /* something died: sweep */
    bool is_apart;        /* this machine's clock from the database's */
    bool is_steered;      /* this connection's database has told what its clock says */
    int64_t beat_sent_ms, beat_ms, swept_ms;
    void (*on_left)(void *ctx);
    void *left_ctx;
};

static void on_timer(void *ctx);

const char *lane_name(enum lane lane)
{
    static const char *const names[LANE_COUNT] = {"requests", "users", "admins"};

    return names[lane];
}

struct membership *membership_new(struct loop *loop, const struct membership_config *config,
                                  struct store *store, struct fence *fence,
                                  const struct membership_ops *ops)
{
    struct membership *membership = xcalloc(1, sizeof(*membership));

    membership->loop = loop;
    membership->config = *config;
    membership->store = store;
    membership->fence = fence;
    membership->ops = *ops;
    return membership;
}

void membership_free(struct membership *membership)
{
    loop_timer_stop(&membership->timer);
    free(membership);
}

static void arm(struct membership *membership, int64_t after_ms)
{
    loop_timer_start(membership->loop, &membership->timer, after_ms, on_timer, membership);
}

static int64_t beat_every_ms(const struct membership *membership)
{
    return membership->config.lease_ms / BEATS_PER_LEASE;
}

static void set_fence(struct membership *membership, int64_t sent_ms)
{
    membership->beat_ms = loop_now_ms(membership->loop);
    membership->fence->send_until_ms =
        sent_ms + membership->config.lease_ms - membership->config.lease_ms / MARGIN_PARTS;
}

/* Wall time is the database's; a machine that disagrees with it is worth a word, once. */
static void steer(struct membership *membership, int64_t wall_us)
{
    int64_t apart_ms = (clock_machine_us() - wall_us) / 1000;
    bool is_apart = llabs(apart_ms) > CLOCK_APART_MS;

    clock_steer(wall_us, membership->beat_sent_ms * 1000, clock_boot_us());
    if (is_apart && !membership->is_apart)
        log_warn("clock.apart", LOG_INT("ahead_ms", apart_ms),
                 LOG_STR("what", "this machine's clock is not the database's, which counts"));
    else if (!is_apart && membership->is_apart)
        log_info("clock.agrees", LOG_INT("ahead_ms", apart_ms));
    membership->is_apart = is_apart;
    membership->is_steered = true;
}

static void fenced(struct membership *membership, const char *why)
{
    if (!membership->fence->epoch)
        return;
    log_warn("membership.fenced", LOG_STR("why", why), LOG_INT("epoch", membership->fence->epoch));
    membership->epoch_before = membership->fence->epoch;
    membership->fence->epoch = 0;
    membership->fence->send_until_ms = 0;
    membership->has_asked = false;
    memset(membership->has_lane, 0, sizeof(membership->has_lane));
    membership->ops.on_fenced(membership->ops.ctx);
    arm(membership, 0);
}

/* ---- joining ---- */

static void on_registered(void *ctx, int err, const struct registered *registered)
{
    struct membership *membership = ctx;

    membership->is_registering = false;
    if (err) {
        log_warn("membership.refused", LOG_STR("err", err_name(err)),
                 LOG_INT("node", membership->config.node));
        arm(membership, REGISTER_RETRY_MS);
        return;
    }
    membership->fence->epoch = registered->epoch;
    membership->fence->node = (unsigned)registered->node;
    membership->fence->ids_after_ms = registered->ids_after_ms;
    steer(membership, registered->wall_us);
    set_fence(membership, membership->beat_sent_ms);
    membership->is_reap_due = true;
    log_info("membership.joined", LOG_INT("epoch", registered->epoch),
             LOG_INT("node", registered->node));
    membership->ops.on_joined(membership->ops.ctx);
    arm(membership, 0);
}

static void join(struct membership *membership)
{
    if (membership->is_registering)
        return;
    membership->beat_sent_ms = loop_now_ms(membership->loop);
    if (store_register(membership->store, membership->config.name, membership->config.host,
                       membership->config.node, membership->config.lease_ms, on_registered,
                       membership))
        arm(membership, REGISTER_RETRY_MS);
    else
        membership->is_registering = true;
}

/* ---- the dead ---- */

static void on_dead(void *ctx, int64_t epoch)
{
    struct membership *membership = ctx;

    crash_point("membership.reaped");
    log_warn("membership.reaped", LOG_INT("epoch", epoch));
    membership->is_reap_due = true;
}

static void on_untold(void *ctx, int64_t epoch, int64_t since_us)
{
    struct membership *membership = ctx;

    membership->ops.on_untold(membership->ops.ctx, epoch, since_us);
}

static void on_swept(void *ctx, int err)
{
    struct membership *membership = ctx;

    if (err) {
        membership->is_reap_due = true;
        return;
    }
    membership->swept_ms = loop_now_ms(membership->loop);
    membership->ops.on_swept(membership->ops.ctx);
}

static void on_reaped(void *ctx, int err)
{
    struct membership *membership = ctx;
    bool is_late = loop_now_ms(membership->loop) - membership->swept_ms > SWEEP_EVERY_MS;

    membership->is_reaping = false;
    if (err || (!membership->is_reap_due && !is_late))
        return;
    membership->is_reap_due = store_sweep(membership->store, on_swept, membership) != 0;
}

static void reap(struct membership *membership)
{
    struct reap_call call = {on_dead, on_untold, on_reaped, membership};

    if (!membership->is_reaping)
        membership->is_reaping =
            store_reap(membership->store, membership->fence->epoch, membership->config.lease_ms,
                       membership->config.grace_ms, membership->config.name, &call) == 0;
}

/* ---- lanes ---- */

static void on_lane(void *ctx, const char *name, unsigned crashes)
{
    struct membership *membership = ctx;

    for (int lane = 0; lane < LANE_COUNT; lane++) {
        if (strcmp(name, lane_name((enum lane)lane)) != 0 || membership->has_lane[lane])
            continue;
        membership->has_lane[lane] = true;
        log_info("membership.lane", LOG_STR("lane", name), LOG_INT("crashes", crashes));
        membership->ops.on_lane(membership->ops.ctx, (enum lane)lane, crashes);
    }
}

static void on_lanes_done(void *ctx, int err)
{
    struct membership *membership = ctx;

    if (err)
        log_warn("membership.lanes", LOG_STR("err", err_name(err)));
    else
        membership->has_asked = true;
}

/* ---- the heartbeat ---- */

static void on_beat(void *ctx, int err, int64_t wall_us)
{
    struct membership *membership = ctx;
    struct lanes_call lanes = {on_lane, on_lanes_done, membership};

    membership->is_beating = false;
    if (!membership->fence->epoch || membership->is_leaving)
        return;
    if (err == ERR_FENCED) {
        fenced(membership, "the lease is over in the database");
        return;
    }
    if (err)
        return;
    steer(membership, wall_us);
    set_fence(membership, membership->beat_sent_ms);
    /*
     * A last look at what the dead settled comes after the sweep, which ends what of theirs may
     * still be under way: where that has failed, a later heartbeat is the one.
     */
    if (!membership->is_reap_due)
        membership->ops.on_beat(membership->ops.ctx);
    if (store_lanes(membership->store, membership->fence->epoch, membership->epoch_before, &lanes))
        log_warn("membership.lanes", LOG_STR("err", "not sent"));
    reap(membership);
}

/*
 * Wall time up to which all that we settled is told; INT64_MIN while the database's clock may be
 * another than the one that the answers before went by.
 */
static int64_t told_until_us(const struct membership *membership)
{
    if (!membership->is_steered)
        return INT64_MIN;
    return clock_wall_least_us(membership->ops.told_ms(membership->ops.ctx) * 1000);
}

static void beat(struct membership *membership)
{
    if (membership->is_beating)
        return;
    membership->beat_sent_ms = loop_now_ms(membership->loop);
    membership->is_beating =
        store_heartbeat(membership->store, membership->fence->epoch, membership->config.lease_ms,
                        told_until_us(membership), on_beat, membership) == 0;
}

static void on_timer(void *ctx)
{
    struct membership *membership = ctx;

    if (membership->is_leaving)
        return;
    arm(membership, beat_every_ms(membership));
    if (!store_is_up(membership->store))
        return;
    if (membership->fence->epoch)
        beat(membership);
    else
        join(membership);
}

void membership_store_up(struct membership *membership)
{
    if (!membership->is_leaving)
        arm(membership, 0);
}

void membership_store_down(struct membership *membership)
{
    membership->is_steered = false;
    membership->is_beating = membership->is_registering = membership->is_reaping = false;
    membership->has_asked = false;
    memset(membership->has_lane, 0, sizeof(membership->has_lane));
}

static void on_left(void *ctx, int err)
{
    struct membership *membership = ctx;

    if (err)
        log_warn("membership.leave", LOG_STR("err", err_name(err)));
    membership->on_left(membership->left_ctx);
}

void membership_leave(struct membership *membership, void (*left)(void *ctx), void *ctx)
{
    int64_t epoch = membership->fence->epoch;
    int64_t told_ms = membership->ops.told_ms(membership->ops.ctx);
    bool is_told = told_ms >= loop_now_ms(membership->loop);
    int64_t untold_us = is_told ? INT64_MIN : clock_wall_least_us(told_ms * 1000);

    membership->is_leaving = true;
    membership->on_left = left;
    membership->left_ctx = ctx;
    membership->fence->epoch = 0;
    loop_timer_stop(&membership->timer);
    if (!epoch || store_leave(membership->store, epoch, untold_us, on_left, membership))
        left(ctx);
}

bool membership_is_joined(const struct membership *membership)
{
    return membership->fence->epoch != 0;
}

bool membership_has_asked(const struct membership *membership)
{
    return membership->has_asked;
}

bool membership_has_lane(const struct membership *membership, enum lane lane)
{
    return membership->has_lane[lane];
}

int64_t membership_beat_ms(const struct membership *membership)
{
    return membership->beat_ms;
}

/*
 * A loop that stood still past the lease has lost it, whatever the next heartbeat says: others
 * may act on our deliveries already.  While the database is away the lease runs out too, and
 * nothing is sent; but as long as our row is there nobody has touched what is ours, and the next
 * heartbeat revives it.
 */
void membership_turn(struct membership *membership)
{
    int64_t now_ms = loop_now_ms(membership->loop);
    int64_t over_ms = membership->beat_sent_ms + membership->config.lease_ms;

    if (!membership->fence->epoch || !membership->beat_ms)
        return;
    if (now_ms > over_ms && store_is_up(membership->store) && !membership->is_beating)
        beat(membership);
}

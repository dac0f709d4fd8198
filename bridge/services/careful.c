/* SPDX-License-Identifier: MIT */
#include "services/careful.h"

#include "base/alloc.h"
#include "base/log.h"
#include "io/digest.h"
#include "store/fleet.h"
#include "store/requests.h"

#include <stdlib.h>
#include <string.h>

enum step {
    STEP_NONE,
    STEP_WAITING, /* another lane has a message in hand */
    STEP_NOTING,  /* the lane's row is written */
    STEP_THROUGH, /* its service has it */
    STEP_KEEPING, /* set aside: ingest_reject is written */
    STEP_TELLING  /* set aside: the broker takes the answer */
};

struct watched {
    struct careful *careful;
    const char *name;
    struct mqtt_care mqtt;
    bool has_crashed; /* and nothing of it was acknowledged since */
    enum step step;
    unsigned turn; /* counts messages in hand: an answer about an earlier one is dropped */
    uint64_t mark;
};

struct careful {
    struct store *store;
    const struct fence *fence;
    struct careful_ops ops;
    struct metric *set_aside;
    struct watched lanes[CAREFUL_LANES];
};

/* One statement under way. */
struct asking {
    struct watched *watched;
    unsigned turn;
};

static struct asking *asking_new(struct watched *watched)
{
    struct asking *asking = xmalloc(sizeof(*asking));

    *asking = (struct asking){watched, watched->turn};
    return asking;
}

/* Frees it.  NULL: the message that it was about is not in hand any more. */
static struct watched *asking_end(struct asking *asking, enum step step)
{
    struct watched *watched = asking->watched;
    bool is_current =
        asking->turn == watched->turn && watched->step == step && watched->mqtt.holder;

    free(asking);
    return is_current ? watched : NULL;
}

static void drop(struct watched *watched, int err)
{
    log_warn("careful.failed", LOG_STR("lane", watched->name), LOG_STR("err", err_name(err)));
    watched->step = STEP_NONE;
    mqtt_discard(watched->mqtt.holder, "the message in hand could not be noted");
}

/* ---- a message is set aside ---- */

static void refuse(void *ctx, const struct mqtt_message *message)
{
    static const struct rejection rejection = {
        REJECT_UNAVAILABLE, "",
        "the bridge ended each time that it read this message: it is set aside for its operators"
        " (ingest_reject); do not send it again as it is"};
    struct watched *watched = ctx;
    struct topic_up up;

    if (topic_parse_up(message->topic, &up) == 0)
        watched->careful->ops.refuse(watched->careful->ops.ctx, &up, message, &rejection);
}

static void on_kept(void *ctx, int err)
{
    struct watched *watched = asking_end(ctx, STEP_KEEPING);

    if (!watched)
        return;
    if (err) {
        drop(watched, err);
        return;
    }
    metric_add(watched->careful->set_aside, 1);
    mqtt_show_in_hand(watched->mqtt.holder, refuse, watched);
    watched->step = STEP_TELLING;
    watched->mark = 0;
}

static void keep(void *ctx, const struct mqtt_message *message)
{
    struct watched *watched = ctx;
    struct asking *asking = asking_new(watched);

    log_error("careful.set_aside", LOG_STR("lane", watched->name),
              LOG_INT("bytes", (int64_t)message->payload_bytes),
              LOG_STR("why", "bridges end when they read it: it is kept in ingest_reject"));
    watched->step = STEP_KEEPING;
    if (store_reject(watched->careful->store, message->topic, "bridges end when they read it",
                     message->payload, message->payload_bytes, on_kept, asking)) {
        free(asking);
        watched->step = STEP_NONE;
    }
}

static void set_aside(struct watched *watched)
{
    mqtt_show_in_hand(watched->mqtt.holder, keep, watched);
    if (watched->step != STEP_KEEPING)
        drop(watched, ERR_FULL);
}

/* ---- a message is in hand ---- */

static void on_noted(void *ctx, int err, unsigned crashes)
{
    struct watched *watched = asking_end(ctx, STEP_NOTING);

    if (!watched)
        return;
    if (err) {
        drop(watched, err);
    } else if (crashes >= CAREFUL_CRASHES_MAX) {
        set_aside(watched);
    } else {
        watched->step = STEP_THROUGH;
        mqtt_let_through(watched->mqtt.holder);
    }
}

static void digest_of(void *ctx, const struct mqtt_message *message)
{
    unsigned char both[2 * DIGEST_BYTES];

    digest_sha256(message->topic, strlen(message->topic), both);
    digest_sha256(message->payload, message->payload_bytes, both + DIGEST_BYTES);
    digest_sha256(both, sizeof(both), ctx);
}

static void note(struct watched *watched)
{
    struct careful *careful = watched->careful;
    struct asking *asking = asking_new(watched);
    unsigned char digest[DIGEST_BYTES] = {0};
    int err;

    mqtt_show_in_hand(watched->mqtt.holder, digest_of, digest);
    watched->step = STEP_NOTING;
    err = store_lane_in_hand(careful->store, careful->fence->epoch, watched->name, digest,
                             sizeof(digest), on_noted, asking);
    if (err) {
        free(asking);
        drop(watched, err);
    }
}

static void calm(struct watched *watched)
{
    struct careful *careful = watched->careful;

    watched->mqtt.was_released = false;
    if (!watched->has_crashed && watched->step == STEP_NONE)
        return;
    watched->has_crashed = false;
    watched->step = STEP_NONE;
    if (careful->fence->epoch &&
        store_lane_calm(careful->store, careful->fence->epoch, watched->name))
        log_debug("careful.calm_unsent", LOG_STR("lane", watched->name));
}

static bool is_any_in_hand(const struct careful *careful)
{
    for (unsigned lane = 0; lane < CAREFUL_LANES; lane++)
        if (careful->lanes[lane].step > STEP_WAITING && careful->lanes[lane].mqtt.holder)
            return true;
    return false;
}

static void on_in_hand(void *ctx, struct mqtt *lane)
{
    struct watched *watched = ctx;

    if (watched->mqtt.was_released)
        calm(watched);
    watched->turn++;
    watched->step = STEP_NONE;
    if (!watched->careful->fence->epoch || !store_is_up(watched->careful->store)) {
        mqtt_let_through(lane);
        return;
    }
    watched->step = STEP_WAITING;
    if (!is_any_in_hand(watched->careful))
        note(watched);
}

static void tell(struct watched *watched)
{
    struct careful *careful = watched->careful;

    if (!watched->mark)
        watched->mark = careful->ops.mark(careful->ops.ctx);
    if (careful->ops.is_past(careful->ops.ctx, watched->mark))
        mqtt_release(watched->mqtt.holder);
}

void careful_turn(struct careful *careful)
{
    for (unsigned lane = 0; lane < CAREFUL_LANES; lane++) {
        struct watched *watched = &careful->lanes[lane];

        if (watched->step == STEP_TELLING && watched->mqtt.holder)
            tell(watched);
        if (watched->mqtt.was_released)
            calm(watched);
        if (!watched->mqtt.holder)
            watched->step = STEP_NONE;
    }
    for (unsigned lane = 0; lane < CAREFUL_LANES && !is_any_in_hand(careful); lane++)
        if (careful->lanes[lane].step == STEP_WAITING)
            note(&careful->lanes[lane]);
}

/* ---- life ---- */

struct careful *careful_new(struct store *store, const struct fence *fence, struct metrics *metrics,
                            const struct careful_ops *ops)
{
    struct careful *careful = xcalloc(1, sizeof(*careful));

    careful->store = store;
    careful->fence = fence;
    careful->ops = *ops;
    careful->set_aside =
        metrics_get(metrics, METRIC_COUNTER, "tocsin_messages_set_aside_total",
                    "Messages at which bridges ended, kept in ingest_reject.", NULL);
    for (unsigned lane = 0; lane < CAREFUL_LANES; lane++) {
        struct watched *watched = &careful->lanes[lane];

        watched->careful = careful;
        watched->mqtt.on_in_hand = on_in_hand;
        watched->mqtt.ctx = watched;
    }
    return careful;
}

void careful_free(struct careful *careful)
{
    free(careful);
}

struct mqtt_care *careful_of(struct careful *careful, unsigned lane, const char *name)
{
    careful->lanes[lane].name = name;
    return &careful->lanes[lane].mqtt;
}

void careful_take(struct careful *careful, unsigned lane, unsigned crashes, size_t messages)
{
    struct watched *watched = &careful->lanes[lane];

    watched->mqtt.was_released = false;
    watched->has_crashed = crashes != 0;
    if (!crashes)
        return;
    watched->mqtt.left = messages;
    log_warn("lane.careful", LOG_STR("lane", watched->name), LOG_INT("crashes", crashes),
             LOG_STR("what", "its reader was lost: what it had in hand is read one by one"));
}

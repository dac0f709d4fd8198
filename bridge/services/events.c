/* SPDX-License-Identifier: MIT */
#include "services/events.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/map.h"
#include "core/ack.h"
#include "core/id.h"
#include "core/request.h"
#include "store/queue.h"

#include <stdlib.h>
#include <string.h>

/* Acks in doubt that are remembered: more than the broker lets a lane hold. */
#define DOUBTED_MAX 10000
/* Messages read one at a time after the database has refused the data of a batch. */
#define CAREFUL_MESSAGES 1000
/* How long a lone message waits that the database refuses for a reason that is not its data. */
#define REFUSED_RETRY_MS 10000
/* How long a step waits for a place on the connection to the database. */
#define FULL_RETRY_MS 20

/* One notification whose service is to be told, and that was not in memory. */
struct stranger {
    uint64_t delivery, notification;
    int attempts;
    const char *user;
    enum delivery_state state;
    enum channel channel;
};

struct events {
    struct loop *loop;
    struct events_config config;
    struct store *store;
    const struct fence *fence;
    struct events_ops ops;
    struct mqtt *lane;
    bool is_up, is_stopping;
    unsigned generation; /* of the lane */
    struct arena *arena;
    struct ack_item *acks;
    size_t ack_count, ack_capacity;
    struct unread_of *alls; /* who has read all that they have */
    size_t all_count, all_capacity;
    struct stranger *strangers;
    size_t stranger_count, stranger_capacity;
    /*
     * Acks whose commit was in doubt.  They come again; when their row is gone by then, it was
     * the doubtful commit that took it, and nobody was told.
     */
    struct idmap doubted;
    struct idmap asked; /* by `up/ack` of this batch, and not ended by it */
    uint64_t *ended;    /* doubted, and perhaps gone */
    size_t ended_count;
    int64_t held_since_ms;
    struct loop_timer again; /* a step that found no place; the lane is held meanwhile */
    void (*step)(struct events *events);
    size_t batch_count; /* messages of the batch at hand */
    size_t careful;     /* batches of one message still to come */
    bool is_waiting;    /* for a database that refuses our statement; `again` is its timer */
    struct metric *refused;
    struct queue_metrics queue;
    struct metric *messages, *malformed, *acked, *late, *called_off;
};

/* One statement under way. */
struct storing {
    struct events *events;
    unsigned generation;
};

struct events *events_new(struct loop *loop, const struct events_config *config,
                          struct store *store, const struct fence *fence, struct metrics *metrics,
                          const struct events_ops *ops)
{
    struct events *events = xcalloc(1, sizeof(*events));

    events->loop = loop;
    events->config = *config;
    events->store = store;
    events->fence = fence;
    events->ops = *ops;
    events->arena = arena_new(32768);
    events->messages = metrics_get(metrics, METRIC_COUNTER, "tocsin_event_messages_total",
                                   "MQTT messages read from the users lane.", NULL);
    events->malformed = metrics_get(metrics, METRIC_COUNTER, "tocsin_events_malformed_total",
                                    "User events that could not be read.", NULL);
    events->queue = metrics_get_queue(metrics, "queue=\"users_lane\"");
    events->refused = metrics_get(metrics, METRIC_COUNTER, "tocsin_events_refused_total",
                                  "User events that the database refused to store.", NULL);
    events->acked = metrics_get(metrics, METRIC_COUNTER, "tocsin_acks_total",
                                "Acknowledgements that ended a delivery.", NULL);
    events->called_off = metrics_get(metrics, METRIC_COUNTER, "tocsin_steps_called_off_total",
                                     "Deliveries that an acknowledgement has made needless.", NULL);
    events->late =
        metrics_get(metrics, METRIC_COUNTER, "tocsin_acks_late_total",
                    "Acknowledgements of what was over, unknown or somebody else's.", NULL);
    return events;
}

void events_free(struct events *events)
{
    events_close(events);
    arena_free(events->arena);
    idmap_fini(&events->doubted);
    idmap_fini(&events->asked);
    free(events->ended);
    free(events->acks);
    free(events->alls);
    free(events->strangers);
    free(events);
}

static void add_ack(struct events *events, uint64_t id, const char *user)
{
    if (events->ack_count == events->ack_capacity) {
        events->ack_capacity = events->ack_capacity ? events->ack_capacity * 2 : 128;
        events->acks = xrealloc(events->acks, events->ack_capacity * sizeof(*events->acks));
    }
    events->acks[events->ack_count++] =
        (struct ack_item){id, user, events->ops.is_plain(events->ops.ctx, id)};
}

/* All there is, is all there was when this was read. */
static void add_all(struct events *events, const char *user, int64_t before_ms)
{
    int64_t read_ms = clock_wall_ms() + 1;

    if (events->all_count == events->all_capacity) {
        events->all_capacity = events->all_capacity ? events->all_capacity * 2 : 8;
        events->alls = xrealloc(events->alls, events->all_capacity * sizeof(*events->alls));
    }
    events->alls[events->all_count++] =
        (struct unread_of){user, id_first_of(before_ms < read_ms ? before_ms : read_ms)};
}

static void on_event(struct events *events, const struct topic_up *up,
                     const struct mqtt_message *message)
{
    struct rejection rejection;
    struct ack ack;
    enum ack_kind kind;
    const char *user;

    if (ack_kind_parse(up->event, &kind)) {
        metric_add(events->malformed, 1);
        events->ops.refuse(events->ops.ctx, up, message, NULL);
        return;
    }
    if (ack_decode(kind, message->payload, message->payload_bytes, events->arena, &ack,
                   &rejection)) {
        metric_add(events->malformed, 1);
        events->ops.refuse(events->ops.ctx, up, message, &rejection);
        return;
    }
    if (kind != ACK_ACK) {
        events->ops.mark(events->ops.ctx, up->id, &ack);
        /* Whoever reads it has been shown it. */
        if (kind != ACK_READ && kind != ACK_CLICK)
            return;
    }
    events->ops.heard(events->ops.ctx, up->id);
    user = arena_strdup(events->arena, up->id);
    if (ack.is_all)
        add_all(events, user, ack.before_ms);
    for (size_t i = 0; i < ack.id_count; i++) {
        add_ack(events, ack.ids[i], user);
        if (kind == ACK_ACK)
            idmap_set(&events->asked, ack.ids[i], events);
    }
}

static void on_message(void *ctx, const struct mqtt_message *message)
{
    struct events *events = ctx;
    struct topic_up up;

    metric_add(events->messages, 1);
    if (topic_parse_up(message->topic, &up))
        metric_add(events->malformed, 1);
    else if (strncmp(up.event, "rpc/", 4) == 0)
        events->ops.rpc(events->ops.ctx, &up, message);
    else
        on_event(events, &up, message);
}

static void reset(struct events *events)
{
    if (events->stranger_count)
        events->ops.doubt(events->ops.ctx); /* they have ended, and nobody has been told */
    events->ack_count = 0;
    idmap_fini(&events->asked);
    events->all_count = 0;
    events->stranger_count = 0;
    events->held_since_ms = 0;
    events->is_waiting = false;
    metric_set(events->queue.depth, 0);
    loop_timer_stop(&events->again);
    events->generation++;
    events->ops.forget(events->ops.ctx);
    arena_reset(events->arena);
}

static void on_again(void *ctx)
{
    struct events *events = ctx;

    events->step(events);
}

/*
 * The connection to the database is full: the step is made again, and the broker keeps what comes.
 * To discard the batch would only make the same work again.
 */
static void wait_for_place(struct events *events, void (*step)(struct events *events))
{
    events->step = step;
    loop_timer_start(events->loop, &events->again, FULL_RETRY_MS, on_again, events);
}

static void release(struct events *events)
{
    metric_add(events->queue.taken, (double)events->batch_count);
    reset(events);
    if (events->careful && --events->careful == 0)
        mqtt_limit_batch(events->lane, 0);
    mqtt_release(events->lane);
}

/*
 * The database refuses the data of this batch, and would each time that the broker sends it again.
 * Read one by one, all but the message that it refuses are stored; that one is acknowledged.
 */
static void on_refused_data(struct events *events)
{
    if (events->batch_count > 1) {
        log_warn("events.one_by_one", LOG_INT("messages", events->batch_count));
        events->careful = CAREFUL_MESSAGES;
        mqtt_limit_batch(events->lane, 1);
        reset(events);
        mqtt_discard(events->lane, "the database refuses the data of one of these messages");
        return;
    }
    metric_add(events->refused, 1);
    log_error("events.refused", LOG_INT("acks", events->ack_count),
              LOG_STR("why", "the database cannot store this message: it is dropped"));
    release(events);
}

static void discard_refused(struct events *events)
{
    reset(events);
    mqtt_discard(events->lane, "the database refused the statement: the message is read again");
}

/*
 * The schema, a permission or a key of ours is at fault, not the message.  It is not acknowledged:
 * the broker keeps it, and the timer has it sent again.
 */
static void wait_for_mending(struct events *events, int err)
{
    log_error("events.held", LOG_STR("err", err_name(err)), LOG_INT("acks", events->ack_count),
              LOG_STR("why", "the database refuses the statement, not the data: the message is kept"
                             " and tried again every 10 s; mend the schema or its permissions"));
    events->is_waiting = true;
    events->step = discard_refused;
    loop_timer_start(events->loop, &events->again, REFUSED_RETRY_MS, on_again, events);
}

static void abandon(struct events *events, int err)
{
    if (err == ERR_DATA || (err_is_refusal(err) && events->batch_count > 1)) {
        on_refused_data(events);
        return;
    }
    if (err_is_refusal(err)) {
        wait_for_mending(events, err);
        return;
    }
    log_warn("events.abandoned", LOG_STR("err", err_name(err)), LOG_INT("acks", events->ack_count));
    reset(events);
    mqtt_discard(events->lane, "the acknowledgements could not be stored");
}

/* What may have been committed without our knowing. */
static void doubt(struct events *events)
{
    for (size_t i = 0; i < events->ack_count && events->doubted.count < DOUBTED_MAX; i++)
        idmap_set(&events->doubted, events->acks[i].id, events);
}

static struct storing *storing_new(struct events *events)
{
    struct storing *storing = xmalloc(sizeof(*storing));

    *storing = (struct storing){events, events->generation};
    return storing;
}

/* Frees it.  false: the batch it belonged to is gone. */
static bool storing_end(struct storing *storing)
{
    bool is_current = storing->generation == storing->events->generation;

    free(storing);
    return is_current;
}

/* ---- after the acknowledgements: what else was said ---- */

static void on_committed(void *ctx, int err)
{
    struct events *events = ((struct storing *)ctx)->events;

    if (!storing_end(ctx))
        return;
    if (err) {
        abandon(events, err);
        return;
    }
    release(events);
}

static void finish(struct events *events)
{
    struct storing *storing;
    int err;

    if (!events->ops.has_marks(events->ops.ctx)) {
        release(events);
        return;
    }
    storing = storing_new(events);
    err = events->ops.commit(events->ops.ctx, on_committed, storing);
    if (!err)
        return;
    free(storing);
    if (err == ERR_FULL)
        wait_for_place(events, finish);
    else
        abandon(events, err);
}

/* ---- deliveries of other bridges, or of before our start ---- */

static void on_about(void *ctx, const struct about *about)
{
    struct storing *storing = ctx;
    struct events *events = storing->events;

    if (storing->generation != events->generation || about->receipts == RECEIPTS_NONE)
        return;
    for (size_t i = 0; i < events->stranger_count; i++) {
        const struct stranger *stranger = &events->strangers[i];
        struct receipt receipt = {
            .id = about->request,
            .notification = about->notification,
            .status = delivery_state_name(stranger->state),
            .channel = channel_name(stranger->channel),
            .user = stranger->user[0] ? stranger->user : NULL,
            .attempt = stranger->attempts,
            .at_ms = clock_wall_ms(),
        };

        if (stranger->notification == about->notification)
            events->ops.receipt(events->ops.ctx, about->service, &receipt);
    }
}

static void on_about_done(void *ctx, int err)
{
    struct events *events = ((struct storing *)ctx)->events;

    if (!storing_end(ctx))
        return;
    if (err) {
        log_warn("events.untold", LOG_STR("err", err_name(err)),
                 LOG_INT("deliveries", events->stranger_count));
        events->ops.doubt(events->ops.ctx);
    }
    events->stranger_count = 0;
    finish(events);
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void ask_about(struct events *events)
{
    struct storing *storing = storing_new(events);
    struct about_call call = {on_about, on_about_done, storing};
    uint64_t *ids = xmalloc(events->stranger_count * sizeof(*ids));
    size_t count = 0;
    int err;

    for (size_t i = 0; i < events->stranger_count; i++)
        ids[i] = events->strangers[i].notification;
    qsort(ids, events->stranger_count, sizeof(*ids), by_number);
    for (size_t i = 0; i < events->stranger_count; i++)
        if (i == 0 || ids[i] != ids[i - 1])
            ids[count++] = ids[i];
    err = store_about(events->store, ids, count, &call);
    free(ids);
    if (err == ERR_FULL) {
        free(storing);
        wait_for_place(events, ask_about);
    } else if (err) {
        on_about_done(storing, err);
    }
}

/* ---- the batch ---- */

static void add_stranger(struct events *events, const struct acked_row *row)
{
    if (events->stranger_count == events->stranger_capacity) {
        events->stranger_capacity = events->stranger_capacity ? events->stranger_capacity * 2 : 64;
        events->strangers =
            xrealloc(events->strangers, events->stranger_capacity * sizeof(*events->strangers));
    }
    events->strangers[events->stranger_count++] = (struct stranger){
        row->id,    row->notification, row->attempts, arena_strdup(events->arena, row->user),
        row->state, row->channel};
}

/* Called off is told as what it is, by whatever channel it would have gone. */
static void on_acked(void *ctx, const struct acked_row *row)
{
    struct storing *storing = ctx;
    struct events *events = storing->events;
    bool is_off = row->state == DELIVERY_CANCELLED;

    metric_add(is_off ? events->called_off : events->acked, 1);
    if (!is_off) {
        idmap_remove(&events->doubted, row->id);
        idmap_remove(&events->asked, row->id);
    }
    if (!is_off && events->ops.acked(events->ops.ctx, row->id))
        return;
    if (storing->generation == events->generation)
        add_stranger(events, row);
    else
        events->ops.doubt(events->ops.ctx); /* its lane was lost meanwhile */
}

/* ---- after a doubt ---- */

static void on_ended(void *ctx, const struct acked_row *row)
{
    struct storing *storing = ctx;
    struct events *events = storing->events;

    if (storing->generation == events->generation && !events->ops.acked(events->ops.ctx, row->id))
        add_stranger(events, row);
}

static void on_ended_done(void *ctx, int err)
{
    struct events *events = ((struct storing *)ctx)->events;

    if (!storing_end(ctx))
        return;
    if (err) {
        abandon(events, err);
        return;
    }
    for (size_t i = 0; i < events->ended_count; i++)
        idmap_remove(&events->doubted, events->ended[i]);
    if (events->stranger_count)
        ask_about(events);
    else
        finish(events);
}

static void add_ended(void *ctx, uint64_t key, void *value)
{
    struct events *events = ctx;

    (void)value;
    events->ended[events->ended_count++] = key;
}

/*
 * Acks of this batch that were in doubt before and found no row now.  Of who has read all nobody
 * knows any more which those were: all that were in doubt.
 */
static bool collect_ended(struct events *events)
{
    size_t most = events->all_count ? events->doubted.count : events->ack_count;

    events->ended_count = 0;
    if (!events->doubted.count)
        return false;
    events->ended = xrealloc(events->ended, most * sizeof(*events->ended));
    if (events->all_count)
        idmap_each(&events->doubted, add_ended, events);
    for (size_t i = 0; !events->all_count && i < events->ack_count; i++)
        if (idmap_get(&events->doubted, events->acks[i].id))
            events->ended[events->ended_count++] = events->acks[i].id;
    return events->ended_count > 0;
}

static void ask_ended(struct events *events)
{
    struct storing *storing = storing_new(events);
    struct acked ended = {on_ended, on_ended_done, storing};
    int err = store_ended(events->store, events->fence->epoch, events->ended, events->ended_count,
                          &ended);

    if (!err)
        return;
    free(storing);
    if (err == ERR_FULL)
        wait_for_place(events, ask_ended);
    else
        abandon(events, err);
}

static void on_stored(void *ctx, int err)
{
    struct events *events = ((struct storing *)ctx)->events;

    crash_point("events.pre_puback");
    if (!storing_end(ctx))
        return;
    if (err == ERR_DOUBT)
        doubt(events);
    if (!err)
        metric_add(events->late, (double)events->asked.count);
    if (err)
        abandon(events, err);
    else if (collect_ended(events))
        ask_ended(events);
    else if (events->stranger_count)
        ask_about(events);
    else
        finish(events);
}

static int by_delivery(const void *a, const void *b)
{
    const struct ack_item *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

static void store_acks(struct events *events)
{
    struct storing *storing;
    struct acked acked;
    int err;

    if (events->ack_count == 0 && events->all_count && collect_ended(events)) {
        ask_ended(events);
        return;
    }
    if (events->ack_count == 0) {
        finish(events);
        return;
    }
    /* In the order of ids, as everywhere: two bridges must not wait for each other's rows. */
    qsort(events->acks, events->ack_count, sizeof(*events->acks), by_delivery);
    storing = storing_new(events);
    acked = (struct acked){on_acked, on_stored, storing};
    err = store_ack(events->store, events->fence->epoch, events->acks, events->ack_count, &acked);
    if (!err)
        return;
    free(storing);
    if (err == ERR_FULL)
        wait_for_place(events, store_acks);
    else
        abandon(events, err);
}

/* ---- who has read all has acknowledged all ---- */

static void on_unread(void *ctx, uint64_t delivery, const char *user)
{
    struct storing *storing = ctx;
    struct events *events = storing->events;

    if (storing->generation == events->generation)
        add_ack(events, delivery, arena_strdup(events->arena, user));
}

static void on_unread_done(void *ctx, int err)
{
    struct storing *storing = ctx;
    struct events *events = storing->events;
    bool is_current = storing->generation == events->generation;

    free(storing);
    if (!is_current)
        return;
    if (err)
        abandon(events, err);
    else
        store_acks(events);
}

static void find_unread(struct events *events)
{
    struct storing *storing = storing_new(events);
    struct unread_call call = {on_unread, on_unread_done, storing};
    int err = store_unread(events->store, events->alls, events->all_count, &call);

    if (!err)
        return;
    free(storing);
    if (err == ERR_FULL)
        wait_for_place(events, find_unread);
    else
        abandon(events, err);
}

static void on_batch(void *ctx, size_t count)
{
    struct events *events = ctx;

    if (events->is_stopping)
        return;
    events->batch_count = count;
    metric_set(events->queue.depth, (double)count);
    events->held_since_ms = loop_now_ms(events->loop);
    if (events->all_count == 0)
        store_acks(events);
    else
        find_unread(events);
}

/* ---- the lane ---- */

static void on_up(void *ctx, bool session_present)
{
    struct events *events = ctx;

    events->is_up = true;
    log_info("events.up", LOG_INT("session_present", session_present));
}

static void on_down(void *ctx, const char *why)
{
    struct events *events = ctx;

    events->is_up = false;
    log_warn("events.down", LOG_STR("why", why));
    reset(events);
}

void events_open(struct events *events)
{
    static const struct mqtt_handlers handlers = {
        .on_up = on_up, .on_down = on_down, .on_message = on_message, .on_batch = on_batch};

    if (!events->lane)
        events->lane = mqtt_open(events->loop, &events->config.lane, &handlers, events);
}

void events_close(struct events *events)
{
    struct mqtt *lane = events->lane;

    if (!lane)
        return;
    events->lane = NULL;
    events->is_up = events->is_stopping = false;
    mqtt_close(lane);
    reset(events);
}

bool events_stop(struct events *events)
{
    events->is_stopping = events->lane != NULL;
    if (!events->held_since_ms || events->is_waiting)
        events_close(events);
    return events->lane == NULL;
}

int64_t events_since_ms(const struct events *events)
{
    return events->held_since_ms ? events->held_since_ms : INT64_MAX;
}

bool events_is_open(const struct events *events)
{
    return events->lane != NULL;
}

bool events_is_ready(const struct events *events)
{
    int64_t held_ms = events->held_since_ms ? loop_now_ms(events->loop) - events->held_since_ms : 0;

    return events->is_up && held_ms < 10000;
}

/* SPDX-License-Identifier: MIT */
#include "services/dispatch.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/panic.h"
#include "core/topic.h"
#include "services/dispatch_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How many deliveries of one destination may be in memory, as a multiple of its concurrency. */
#define CAP_FACTOR 4
/* Enough for a burst, little enough that another bridge gets its share of a longer one. */
#define CAP_MIN 256
/* A service with fewer waiting than TURN_MIN finds room beyond the cap, TURN_ROOM in all. */
#define TURN_MIN  8
#define TURN_ROOM 256
/* Sends per destination and turn, so that one of them cannot hold up the loop. */
#define SEND_BUDGET   512
#define FULL_RETRY_MS 5
/* When to move more of what waits for a destination that is held. */
#define HELD_RETRY_MS 100

/* One attempt under way. */
struct attempt {
    struct dispatch *dispatch;
    struct destination *destination;
    struct opened *opened;
    struct task *task;
    unsigned generation;
    int64_t started_us;
    struct job job; /* the adapter's until on_outcome */
};

static struct opened *opened_new(const struct destination_config *config)
{
    struct opened *opened = xcalloc(1, sizeof(*opened));

    opened->send = config->send;
    opened->state = config->state;
    opened->close = config->close;
    return opened;
}

static void opened_retire(struct opened *opened)
{
    opened->is_retired = true;
    if (opened->inflight)
        return;
    if (opened->close)
        opened->close(opened->state);
    free(opened);
}

static void opened_done(struct opened *opened)
{
    opened->inflight--;
    if (opened->is_retired)
        opened_retire(opened);
}

static void make_metrics(struct destination *destination, struct metrics *metrics)
{
    char labels[160];
    const char *channel = channel_name(destination->config.channel);
    const char *name = destination->config.name;

    for (int kind = 0; kind < OUTCOME_COUNT; kind++) {
        snprintf(labels, sizeof(labels), "channel=\"%s\",destination=\"%s\",outcome=\"%s\"",
                 channel, name, outcome_name((enum outcome_kind)kind));
        destination->outcomes[kind] = metrics_get(metrics, METRIC_COUNTER, "tocsin_attempts_total",
                                                  "Attempts by outcome.", labels);
    }
    for (int to = 0; to < BREAKER_COUNT; to++) {
        snprintf(labels, sizeof(labels), "channel=\"%s\",destination=\"%s\",to=\"%s\"", channel,
                 name, breaker_name((enum breaker)to));
        destination->moves[to] =
            metrics_get(metrics, METRIC_COUNTER, "tocsin_destination_breaker_moves_total",
                        "Moves of the breaker, by the state it went to.", labels);
    }
    snprintf(labels, sizeof(labels), "channel=\"%s\",destination=\"%s\"", channel, name);
    destination->queued = metrics_get(metrics, METRIC_GAUGE, "tocsin_destination_queued",
                                      "Deliveries in memory that wait for their turn.", labels);
    destination->inflight = metrics_get(metrics, METRIC_GAUGE, "tocsin_destination_inflight",
                                        "Attempts under way.", labels);
    destination->breaker = metrics_get(metrics, METRIC_GAUGE, "tocsin_destination_breaker",
                                       "0 closed, 1 open, 2 half open.", labels);
    destination->took = metrics_get(metrics, METRIC_HISTOGRAM, "tocsin_attempt_seconds",
                                    "From sending to the outcome.", labels);
}

struct dispatch *dispatch_new(struct loop *loop, const struct dispatch_config *config,
                              const struct channel_config channels[CHANNEL_COUNT],
                              const struct type_config *types, size_t type_count,
                              struct store *store, const struct fence *fence,
                              struct metrics *metrics, const struct dispatch_ops *ops)
{
    struct dispatch *dispatch = xcalloc(1, sizeof(*dispatch));
    uint64_t seed;

    dispatch->loop = loop;
    dispatch->config = *config;
    dispatch_reload_policies(dispatch, channels, types, type_count);
    dispatch->store = store;
    dispatch->fence = fence;
    dispatch->ops = *ops;
    dispatch->metrics = metrics;
    random_bytes(&seed, sizeof(seed));
    rng_init(&dispatch->rng, seed);
    dispatch->settle_queue = metrics_get_queue(metrics, "queue=\"settle\"");
    dispatch->settle_refused =
        metrics_get(metrics, METRIC_GAUGE, "tocsin_settle_refused",
                    "Outcomes that the database refuses by themselves; see the log.", NULL);
    list_init(&dispatch->unstarted);
    for (int kind = 0; kind < SETTLE_KINDS; kind++)
        list_init(&dispatch->settling[kind]);
    for (int state = 0; state < DELIVERY_STATE_COUNT; state++) {
        char labels[64];

        snprintf(labels, sizeof(labels), "state=\"%s\"",
                 delivery_state_name((enum delivery_state)state));
        dispatch->settled[state] =
            metrics_get(metrics, METRIC_COUNTER, "tocsin_settled_total",
                        "Deliveries recorded, by the state they went to.", labels);
    }
    dispatch->active_gauge =
        metrics_get(metrics, METRIC_GAUGE, "tocsin_active", "Deliveries in memory.", NULL);
    dispatch->wall_offset_ms = clock_wall_ms() - clock_boot_ms();
    dispatch->waker = waker_new(metrics);
    return dispatch;
}

void dispatch_free(struct dispatch *dispatch)
{
    dispatch_fenced(dispatch);
    for (size_t i = 0; i < dispatch->destination_count; i++) {
        active_queue_free(dispatch->destinations[i]->queue);
        opened_retire(dispatch->destinations[i]->opened);
        free(dispatch->destinations[i]->refusals);
        free((char *)(uintptr_t)dispatch->destinations[i]->config.name);
        free(dispatch->destinations[i]);
    }
    idmap_fini(&dispatch->suppressed_ids);
    dispatch_recall_free(dispatch);
    idmap_fini(&dispatch->tasks);
    waker_free(dispatch->waker);
    strmap_fini(&dispatch->type_by_name);
    free(dispatch);
}

/* Most deliveries in memory, from the concurrency; the one place that derives it. */
static size_t cap_of(const struct destination_config *config)
{
    size_t cap = (size_t)config->throttle.max_window * CAP_FACTOR;

    return cap < CAP_MIN ? CAP_MIN : cap;
}

void dispatch_add_destination(struct dispatch *dispatch, const struct destination_config *config,
                              int32_t id)
{
    struct destination *destination = dispatch_find(dispatch, id);
    size_t max = sizeof(dispatch->destinations) / sizeof(dispatch->destinations[0]);

    if (destination || dispatch->destination_count == max)
        return;
    destination = xcalloc(1, sizeof(*destination));
    destination->config = *config;
    /* Outlives the configuration it was read from. */
    destination->config.name = xstrdup(config->name);
    destination->opened = opened_new(config);
    destination->id = id;
    destination->queue = active_queue_new();
    destination->claim_max = DISPATCH_CLAIM_MAX;
    destination->cap = cap_of(config);
    throttle_init(&destination->throttle, &destination->config.throttle);
    destination->slots.spacing_us = rate_spacing_us(&destination->config.rate);
    make_metrics(destination, dispatch->metrics);
    dispatch->destinations[dispatch->destination_count++] = destination;
}

int dispatch_reload_destination(struct dispatch *dispatch, const struct destination_config *config)
{
    for (size_t i = 0; i < dispatch->destination_count; i++) {
        struct destination *destination = dispatch->destinations[i];
        const char *name = destination->config.name;

        if (strcmp(name, config->name) != 0)
            continue;
        opened_retire(destination->opened);
        destination->opened = opened_new(config);
        destination->config = *config;
        destination->config.name = name;
        destination->cap = cap_of(config);
        destination->slots = (struct slots){.spacing_us = rate_spacing_us(&config->rate)};
        return 0;
    }
    return ERR_NOT_FOUND;
}

void dispatch_reload_policies(struct dispatch *dispatch,
                              const struct channel_config channels[CHANNEL_COUNT],
                              const struct type_config *types, size_t type_count)
{
    memcpy(dispatch->channels, channels, sizeof(dispatch->channels));
    strmap_fini(&dispatch->type_by_name);
    dispatch->type_by_name = (struct strmap){0};
    dispatch->types = types;
    dispatch->type_count = type_count;
    for (size_t i = 0; i < type_count; i++)
        strmap_set(&dispatch->type_by_name, types[i].name, (void *)(uintptr_t)(i + 1));
}

struct destination *dispatch_find(struct dispatch *dispatch, int32_t id)
{
    for (size_t i = 0; i < dispatch->destination_count; i++)
        if (dispatch->destinations[i]->id == id)
            return dispatch->destinations[i];
    return NULL;
}

const struct type_config *dispatch_type(struct dispatch *dispatch, const char *name)
{
    uintptr_t index = (uintptr_t)strmap_get(&dispatch->type_by_name, name);

    return index ? &dispatch->types[index - 1] : NULL;
}

const struct route_type *dispatch_type_route(struct dispatch *dispatch, const char *type)
{
    const struct type_config *config = dispatch_type(dispatch, type);

    return config ? &config->route : NULL;
}

struct retry_policy dispatch_policy(struct dispatch *dispatch, const struct task *task)
{
    struct retry_policy policy = dispatch->channels[task->channel].retry;
    const struct type_config *type = dispatch_type(dispatch, task->note->type);

    if (type && type->attempts > 0)
        policy.attempts = type->attempts;
    if (type && type->base_ms >= 0)
        policy.base_ms = type->base_ms;
    if (type && type->max_ms >= 0)
        policy.max_ms = type->max_ms;
    if (type && type->factor >= 0)
        policy.factor = type->factor;
    return retry_policy_with(&policy, &task->note->retry);
}

/*
 * Half of the room is for what already waits in the database, while anything does: else new
 * deliveries would take every place that comes free, and the older ones wait for ever.
 */
static bool has_room(const struct dispatch *dispatch, const struct destination *destination)
{
    size_t cap = destination->has_backlog ? destination->cap / 2 : destination->cap;

    return destination->held < cap && dispatch->active < dispatch->config.active_max &&
           dispatch->bytes < dispatch->config.bytes_max;
}

static unsigned text_hash(const char *text)
{
    unsigned hash = 5381;

    while (*text)
        hash = hash * 33 + (unsigned char)*text++;
    return hash;
}

/*
 * A service with next to nothing waiting here is let in although the others have filled the
 * room: behind what they keep in the database it would wait for all of it.  In memory the
 * services take turns.
 */
static bool take_turn(const struct dispatch *dispatch, struct destination *destination,
                      const char *service)
{
    uint8_t *turns = &destination->turns[text_hash(service) % TURN_SLOTS];

    if (destination->held >= destination->cap + TURN_ROOM ||
        dispatch->active >= dispatch->config.active_max + TURN_ROOM ||
        dispatch->bytes >= dispatch->config.bytes_max || *turns >= TURN_MIN ||
        active_count_by(destination->queue, service) >= TURN_MIN)
        return false;
    destination->has_turns = true;
    ++*turns; /* what a batch brings is not in the queue before its commit */
    return true;
}

bool dispatch_admit(struct dispatch *dispatch, int32_t id, const char *service)
{
    struct destination *destination = dispatch_find(dispatch, id);

    if (dispatch->is_draining || !destination || destination_is_shut(dispatch, destination))
        return false;
    if (!has_room(dispatch, destination)) {
        destination->has_backlog = true;
        if (!take_turn(dispatch, destination, service))
            return false;
    }
    destination->held++;
    dispatch->active++;
    return true;
}

void dispatch_withdraw(struct dispatch *dispatch, int32_t id)
{
    struct destination *destination = dispatch_find(dispatch, id);

    destination->held--;
    dispatch->active--;
}

/* What the desk brings back takes turns with the services, so that none waits behind all of it. */
static const char *flow_of(const struct task *task)
{
    return task->desk & TASK_RETRIED ? "/desk" : task->note->service;
}

void dispatch_queue(struct destination *destination, struct task *task)
{
    active_push(destination->queue, &task->entry, task->note->priority, flow_of(task));
}

void dispatch_requeue(struct destination *destination, struct task *task)
{
    active_return(destination->queue, &task->entry, task->note->priority, flow_of(task));
}

void dispatch_enter(struct dispatch *dispatch, int32_t id, struct task *task)
{
    struct destination *destination = dispatch_find(dispatch, id);

    task->destination = destination;
    dispatch->bytes += task_bytes(task) + (task->note->tasks == 1 ? task->note->bytes : 0);
    idmap_set(&dispatch->tasks, task->id, task);
    dispatch_queue(destination, task);
}

void dispatch_poke(struct dispatch *dispatch, int32_t id)
{
    int64_t latest_ms = dispatch_wall_ms(dispatch) - WATERMARK_SLACK_MS;

    for (size_t i = 0; i < dispatch->destination_count; i++) {
        struct destination *destination = dispatch->destinations[i];

        if (id && destination->id != id)
            continue;
        destination->next_claim_ms = 0;
        /* What was written just now is not passed over, also when clocks have been set back. */
        for (int p = 0; p < PRIORITY_COUNT; p++)
            if (destination->watermark_ms[p] > latest_ms)
                destination->watermark_ms[p] = latest_ms;
    }
}

void dispatch_forget(struct dispatch *dispatch, struct task *task)
{
    struct destination *destination = task->destination;

    if (task->is_suspect) {
        dispatch->has_suspect = false;
        dispatch_poke(dispatch, 0);
    }
    if (task->woken_ms)
        dispatch_wake_over(dispatch, task);
    idmap_remove(&dispatch->tasks, task->id);
    dispatch->bytes -= task_bytes(task) + (task->note->tasks == 1 ? task->note->bytes : 0);
    destination->held--;
    dispatch->active--;
    task_free(task);
}

void dispatch_tell(struct dispatch *dispatch, const struct task *task, const char *status,
                   const struct outcome *outcome, int attempt)
{
    const struct destination *destination = task->destination;
    char masked[64] = "";
    struct receipt receipt = {
        .id = task->note->request,
        .notification = task->note->id,
        .status = status,
        .channel = channel_name(task->channel),
        .provider = task->channel == CHANNEL_IN_APP ? NULL : destination->config.name,
        .provider_id = outcome->provider_id[0] ? outcome->provider_id : NULL,
        .reason = outcome->reason ? reason_name(outcome->reason) : NULL,
        .detail = outcome->detail[0] ? outcome->detail : NULL,
        .user = task->recipient_kind == RECIPIENT_USER ? task->recipient : task->user,
        .attempt = attempt,
        .segments = outcome->segments,
        .at_ms = dispatch_wall_ms(dispatch),
    };

    if (task->recipient_kind >= RECIPIENT_EMAIL) {
        log_mask(task->recipient, masked, sizeof(masked));
        receipt.target = masked;
    }
    dispatch->ops.receipt(dispatch->ops.ctx, task->note->service, &receipt);
}

static void count_ack(struct destination *destination, int tries)
{
    destination->flow.completed++;
    destination->flow.attempts++;
    destination->flow.tries += tries;
}

void dispatch_acked_elsewhere(struct dispatch *dispatch)
{
    for (size_t i = 0; i < dispatch->destination_count; i++)
        if (dispatch->destinations[i]->config.channel == CHANNEL_IN_APP)
            count_ack(dispatch->destinations[i], 1);
}

void dispatch_flows(const struct dispatch *dispatch,
                    void (*on_flow)(void *ctx, int32_t destination, enum breaker breaker,
                                    const struct queue_flow *flow),
                    void *ctx)
{
    for (size_t i = 0; i < dispatch->destination_count; i++) {
        const struct destination *destination = dispatch->destinations[i];

        on_flow(ctx, destination->id, destination->throttle.breaker, &destination->flow);
    }
}

void dispatch_gone(struct dispatch *dispatch, uint64_t delivery)
{
    struct task *task = idmap_get(&dispatch->tasks, delivery);

    if (!task)
        return;
    task->is_acked = true;
    if (list_is_linked(&task->entry.node)) {
        active_remove(((struct destination *)task->destination)->queue, &task->entry);
        dispatch_forget(dispatch, task);
    }
}

bool dispatch_acked(struct dispatch *dispatch, uint64_t delivery)
{
    struct task *task = idmap_get(&dispatch->tasks, delivery);
    struct outcome outcome;

    if (!task)
        return false;
    outcome_set(&outcome, OUTCOME_DELIVERED, REASON_NONE, "");
    metric_add(dispatch->settled[DELIVERY_DELIVERED], 1);
    count_ack(task->destination, task->attempts + 1);
    if (task->note->receipts != RECEIPTS_NONE)
        dispatch_tell(dispatch, task, "delivered", &outcome, task->attempts + 1);
    dispatch_gone(dispatch, delivery);
    return true;
}

static enum target_kind target_kind_of(enum recipient_kind kind)
{
    static const enum target_kind kinds[] = {
        [RECIPIENT_USER] = TARGET_USER,
        [RECIPIENT_ROLE] = TARGET_ROLE,
        [RECIPIENT_BROADCAST] = TARGET_BROADCAST,
        [RECIPIENT_TOPIC] = TARGET_USER,
        [RECIPIENT_EMAIL] = TARGET_EMAIL,
        [RECIPIENT_PHONE] = TARGET_PHONE,
        [RECIPIENT_PUSH_TOKEN] = TARGET_PUSH_TOKEN,
        [RECIPIENT_URL] = TARGET_URL,
    };

    return kinds[kind];
}

static void on_outcome(void *ctx, const struct outcome *given)
{
    struct attempt *attempt = ctx;
    struct dispatch *dispatch = attempt->dispatch;
    struct destination *destination = attempt->destination;
    struct task *task = attempt->task;
    int64_t took_us = clock_boot_us() - attempt->started_us;
    enum breaker before = destination->throttle.breaker;
    int64_t paused_ms = destination->throttle.paused_until_ms;
    bool is_current = attempt->generation == dispatch->generation;
    int64_t now_ms = loop_now_ms(dispatch->loop);
    struct outcome blamed = dispatch_blame(destination, task, given, now_ms);
    const struct outcome *outcome = &blamed;
    struct witness witness = dispatch_witness(task, given);

    opened_done(attempt->opened);
    free(attempt);
    dispatch->sending--;
    /* A message at fault has met a refusal all the same: no good answer of the destination's. */
    throttle_give(&destination->throttle, given, &witness, now_ms);
    dispatch_share_pause(dispatch, destination, paused_ms);
    metric_add(destination->outcomes[outcome->kind], 1);
    metric_observe(destination->took, (double)took_us / 1e6);
    dispatch_note_breaker(destination, before, outcome);
    task->is_sending = false;
    log_debug("delivery.attempt", LOG_ID("delivery", task->id),
              LOG_STR("destination", destination->config.name), LOG_ADDR("to", task->recipient),
              LOG_STR("outcome", outcome_name(outcome->kind)),
              LOG_STR("reason", reason_name(outcome->reason)), LOG_INT("status", outcome->status),
              LOG_MS("took", took_us / 1000));
    if (!is_current) /* its epoch is over, and with it our right to say what came of it */
        task_free(task);
    else if (task->is_acked)
        dispatch_forget(dispatch, task);
    else
        dispatch_judge(dispatch, task, outcome);
}

static void fill_job(struct dispatch *dispatch, struct job *job, const struct task *task)
{
    const struct note *note = task->note;
    const struct type_config *type =
        task->channel == CHANNEL_EMAIL ? dispatch_type(dispatch, note->type) : NULL;

    *job = (struct job){
        .delivery = task->id,
        .notification = note->id,
        .attempt = task->attempts + 1,
        .is_replay = task->is_replay || task->attempts > 0,
        .service = note->service,
        .request = note->request,
        .type = note->type,
        .priority = note->priority,
        .target_kind = target_kind_of(task->recipient_kind),
        .target = task->recipient,
        .seq = task->seq,
        .content = note->content,
        .content_bytes = note->content_bytes,
        .created_ms = note->created_ms,
        .expires_ms = note->expires_ms,
        .collapse_key = note->collapse_key,
        .tracking = type ? type->tracking : 0,
    };
}

bool dispatch_judge_untried(struct dispatch *dispatch, struct task *task)
{
    struct outcome outcome;

    task->tried_ms = loop_now_ms(dispatch->loop);
    (void)dispatch_is_recalled(dispatch, task);
    if (task->channel != ((struct destination *)task->destination)->config.channel) {
        outcome_set(&outcome, OUTCOME_PERMANENT, REASON_INTERNAL,
                    "the stored channel is not that of the stored destination");
    } else if (task->note->expires_ms && task->note->expires_ms <= dispatch_wall_ms(dispatch)) {
        outcome_set(&outcome, OUTCOME_EXPIRED, REASON_NONE, "");
    } else if (task->channel != CHANNEL_IN_APP && task->recipient_kind < RECIPIENT_EMAIL) {
        outcome_set(&outcome, OUTCOME_PERMANENT, REASON_NO_TARGET,
                    "the user has no address on this channel");
    } else if (task->is_recalled) {
        outcome_set(&outcome, OUTCOME_CANCELLED, REASON_NONE, "");
    } else if (task->suppressed) {
        outcome_set(&outcome, OUTCOME_SUPPRESSED, task->suppressed,
                    task->suppressed == REASON_COLLAPSED
                        ? "a newer one of its collapse_key has replaced it"
                        : "the address is on the suppression list");
    } else if (task->attempts > 0 && task->channel == CHANNEL_IN_APP &&
               task->recipient_kind == RECIPIENT_USER &&
               dispatch->ops.is_away(dispatch->ops.ctx, task->recipient)) {
        /* It was published before: a session, if there is one, has it already. */
        outcome_set(&outcome, OUTCOME_RETRY, REASON_USER_OFFLINE, "the user is away");
    } else {
        return false;
    }
    dispatch_judge(dispatch, task, &outcome);
    return true;
}

/* ERR_FULL: there is no room below, and nothing happened. */
static int send_one(struct dispatch *dispatch, struct destination *destination, struct task *task)
{
    struct attempt *attempt = xmalloc(sizeof(*attempt));
    struct outcome outcome;
    int err;

    *attempt = (struct attempt){.dispatch = dispatch,
                                .destination = destination,
                                .opened = destination->opened,
                                .task = task,
                                .generation = dispatch->generation,
                                .started_us = clock_boot_us()};
    fill_job(dispatch, &attempt->job, task);
    err = destination->opened->send(destination->opened->state, &attempt->job, on_outcome, attempt);
    if (!err) {
        destination->opened->inflight++;
        task->is_sending = true;
        dispatch->sending++;
        return 0;
    }
    free(attempt);
    throttle_cancel(&destination->throttle);
    if (err == ERR_FULL || err == ERR_CLOSED)
        return ERR_FULL;
    if (err == ERR_TOO_LARGE)
        outcome_set(&outcome, OUTCOME_PERMANENT, REASON_PAYLOAD_TOO_LARGE,
                    "the message is larger than the channel allows");
    else
        outcome_set(&outcome, OUTCOME_PERMANENT, REASON_CONTENT_INVALID,
                    "the content cannot be sent on this channel");
    dispatch_judge(dispatch, task, &outcome);
    return 0;
}

/* Whether the destination takes one more now; if not, *wait_ms says when to ask again. */
static bool may_send(struct destination *destination, int64_t now_ms, int64_t *wait_ms)
{
    int64_t next_ms;
    int64_t wait_us;

    if (!throttle_room(&destination->throttle, now_ms)) {
        next_ms = throttle_next_ms(&destination->throttle, now_ms);
        *wait_ms = next_ms < 0 ? -1 : next_ms - now_ms;
        return false;
    }
    if (!slots_ready(&destination->slots, clock_boot_us(), &wait_us)) {
        *wait_ms = wait_us < 0 ? -1 : wait_us / 1000 + 1;
        return false;
    }
    return true;
}

/* Returns the ms until there may be more to send, -1 when an event will tell. */
static int64_t run_destination(struct dispatch *dispatch, struct destination *destination)
{
    int64_t now_ms = loop_now_ms(dispatch->loop);
    int64_t wait_ms = -1;

    for (unsigned sent = 0; active_count(destination->queue) > 0; sent++) {
        struct task *task;

        if (sent == SEND_BUDGET)
            return 0;
        if (destination->is_held) {
            if (!dispatch_stand_in(dispatch, destination))
                dispatch_give_back(dispatch, destination);
            return HELD_RETRY_MS;
        }
        if (!may_send(destination, now_ms, &wait_ms))
            return wait_ms;
        task = dispatch_next(dispatch, destination);
        if (dispatch_judge_untried(dispatch, task))
            continue;
        if (!task->is_started && dispatch_must_record(dispatch, task)) {
            dispatch_start(dispatch, task);
            continue;
        }
        if (!throttle_take(&destination->throttle, now_ms))
            panic("room without a slot");
        if (send_one(dispatch, destination, task)) {
            dispatch_queue(destination, task);
            return FULL_RETRY_MS;
        }
        slots_use(&destination->slots);
    }
    return -1;
}

static int64_t sooner(int64_t a, int64_t b)
{
    if (a < 0)
        return b;
    return b < 0 || a < b ? a : b;
}

static void show(const struct destination *destination)
{
    const struct throttle *throttle = &destination->throttle;

    metric_set(destination->queued, (double)active_count(destination->queue));
    metric_set(destination->inflight, (double)throttle->inflight);
    metric_set(destination->breaker, (double)throttle->breaker);
    for (int to = 0; to < BREAKER_COUNT; to++)
        metric_set(destination->moves[to], (double)throttle->moves[to]);
}

static int64_t run_destinations(struct dispatch *dispatch)
{
    int64_t next_ms = -1;
    size_t count = dispatch->destination_count;

    /* Another one begins each turn, so that none is always last. */
    for (size_t i = 0; i < count; i++) {
        struct destination *destination =
            dispatch->destinations[(dispatch->turn_start + i) % count];

        dispatch_rescue(dispatch, destination);
        next_ms = sooner(next_ms, run_destination(dispatch, destination));
        show(destination);
    }
    if (count)
        dispatch->turn_start = (dispatch->turn_start + 1) % count;
    return next_ms;
}

static void forget_turns(struct dispatch *dispatch)
{
    for (size_t i = 0; i < dispatch->destination_count; i++) {
        struct destination *destination = dispatch->destinations[i];

        if (destination->has_turns)
            memset(destination->turns, 0, sizeof destination->turns);
        destination->has_turns = false;
    }
}

int64_t dispatch_turn(struct dispatch *dispatch)
{
    int64_t now_ms = loop_now_ms(dispatch->loop);
    int64_t next_ms = -1;

    dispatch->wall_offset_ms = clock_wall_ms() - clock_boot_ms();
    forget_turns(dispatch);
    metric_set(dispatch->active_gauge, (double)dispatch->active);
    if (!fence_may_send(dispatch->fence, now_ms))
        return -1;
    if (dispatch->knows_pauses && !dispatch->is_draining &&
        !dispatch->ops.is_full(dispatch->ops.ctx))
        next_ms = run_destinations(dispatch);
    if (store_is_up(dispatch->store)) {
        dispatch_rates_turn(dispatch);
        next_ms = sooner(next_ms, dispatch_suppress_turn(dispatch));
        next_ms = sooner(next_ms, dispatch_recall_turn(dispatch));
        dispatch_start_turn(dispatch);
        dispatch_settle_turn(dispatch);
        if (dispatch->knows_pauses && !dispatch->is_draining) {
            next_ms = sooner(next_ms, dispatch_wake_turn(dispatch));
            next_ms = sooner(next_ms, dispatch_claim_turn(dispatch));
        }
    }
    return next_ms;
}

/* The outcome of one under way, or the record of its start, finds another generation. */
static void drop_task(void *ctx, uint64_t id, void *value)
{
    struct task *task = value;

    (void)ctx, (void)id;
    if (task->is_starting)
        return;
    if (list_is_linked(&task->entry.node))
        active_remove(((struct destination *)task->destination)->queue, &task->entry);
    if (!task->is_sending)
        task_free(task);
}

void dispatch_fenced(struct dispatch *dispatch)
{
    if (dispatch->active)
        log_warn("dispatch.dropped", LOG_INT("deliveries", dispatch->active));
    dispatch->generation++;
    dispatch_settle_clear(dispatch);
    dispatch_start_clear(dispatch);
    idmap_each(&dispatch->tasks, drop_task, NULL);
    idmap_fini(&dispatch->tasks);
    dispatch->tasks = (struct idmap){0};
    dispatch->active = dispatch->bytes = 0;
    dispatch_wake_over(dispatch, NULL);
    dispatch->is_reconciling = dispatch->wants_reconcile = false;
    dispatch->has_suspect = dispatch->is_asking_suspect = false;
    for (size_t i = 0; i < dispatch->destination_count; i++) {
        dispatch->destinations[i]->held = 0;
        dispatch->destinations[i]->is_claiming = false;
        dispatch->destinations[i]->is_taking = false;
    }
}

void dispatch_drain(struct dispatch *dispatch)
{
    dispatch->is_draining = true;
}

size_t dispatch_busy(const struct dispatch *dispatch)
{
    size_t busy = dispatch->sending + dispatch->asking;

    for (int kind = 0; kind < SETTLE_KINDS; kind++)
        busy += dispatch->settling[kind].count + dispatch->is_settling[kind];
    return busy;
}

size_t dispatch_active(const struct dispatch *dispatch)
{
    return dispatch->active;
}

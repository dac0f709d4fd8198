/* SPDX-License-Identifier: MIT */
/*
 * play - the world that services talk to, played: broker lane, database, clock and timers
 *
 * Defines the functions of io/ that services/, store/ and core/ call, so that the real ones are not
 * linked.  One thread, virtual time, nothing happens by itself: the program says which message
 * comes, how the oldest statement is answered, and how time passes.
 *
 * Rows are free: any value that a column's type permits, drawn from a number.  A restored dump, an
 * older version or a hand may have written them, so nothing may end the process.
 *
 * Use:    one program includes it once, from one file.
 * Limits: one lane, PLAY_STATEMENTS statements under way, the parameters are not looked at.
 */
#ifndef TOCSIN_TESTS_SIM_PLAY_H
#define TOCSIN_TESTS_SIM_PLAY_H
#include "base/alloc.h"
#include "base/panic.h"
#include "io/loop.h"
#include "io/mqtt.h"
#include "io/pg.h"

#include <stdlib.h>
#include <string.h>

#define PLAY_STATEMENTS 64
#define PLAY_MESSAGES   64
#define PLAY_TIMERS     64

struct pg_result {
    int rows;
    uint64_t seed;
};

struct play_timer {
    int64_t due_ms;
    void (*on_due)(void *ctx);
    void *ctx;
};

struct play_message {
    char *topic, *payload; /* the payload in as many bytes as it has, without a NUL behind */
    size_t payload_bytes;
};

static struct {
    /* database */
    struct pg_handlers pg_handlers[4];
    void *pg_ctx[4];
    size_t pg_count;
    bool is_up, is_full;
    struct {
        pg_result_fn *fn;
        void *ctx;
    } statements[PLAY_STATEMENTS];
    size_t statement_count;
    /* time */
    int64_t now_ms;
    struct loop_timer *timers[PLAY_TIMERS];
    size_t timer_count;
    struct list deferred;
    /* lane */
    struct mqtt_handlers lane;
    void *lane_ctx;
    bool is_lane_up, is_held;
    size_t helping, limit;
    struct play_message unacked[PLAY_MESSAGES];
    size_t unacked_count;
} play;

/* ---- the loop ---- */

int64_t loop_now_ms(const struct loop *loop)
{
    (void)loop;
    return play.now_ms;
}

void loop_wake(struct loop *loop)
{
    (void)loop;
}

static inline void play_timer_forget(const struct loop_timer *timer)
{
    for (size_t i = 0; i < play.timer_count; i++)
        if (play.timers[i] == timer)
            play.timers[i--] = play.timers[--play.timer_count];
}

void loop_timer_start(struct loop *loop, struct loop_timer *handle, int64_t after_ms,
                      void (*on_due)(void *ctx), void *ctx)
{
    struct play_timer *timer = handle->handle ? handle->handle : xcalloc(1, sizeof(*timer));

    (void)loop;
    *timer = (struct play_timer){play.now_ms + (after_ms > 0 ? after_ms : 0), on_due, ctx};
    handle->handle = timer;
    play_timer_forget(handle);
    ASSERT(play.timer_count < PLAY_TIMERS);
    play.timers[play.timer_count++] = handle;
}

void loop_timer_stop(struct loop_timer *handle)
{
    play_timer_forget(handle);
    free(handle->handle);
    handle->handle = NULL;
}

bool loop_timer_is_armed(const struct loop_timer *handle)
{
    for (size_t i = 0; i < play.timer_count; i++)
        if (play.timers[i] == handle)
            return true;
    return false;
}

void loop_defer(struct loop *loop, struct loop_deferred *deferred)
{
    (void)loop;
    if (!list_is_linked(&deferred->node))
        list_push_back(&play.deferred, &deferred->node);
}

void loop_defer_cancel(struct loop *loop, struct loop_deferred *deferred)
{
    (void)loop;
    if (list_is_linked(&deferred->node))
        list_remove(&play.deferred, &deferred->node);
}

/* The end of a turn. */
static inline void play_turn(void)
{
    struct list_node *node;

    for (int budget = 1000; (node = list_pop_front(&play.deferred)); budget--) {
        struct loop_deferred *deferred = CONTAINER_OF(node, struct loop_deferred, node);

        if (budget == 0)
            panic("the turn never ends");
        deferred->run(deferred->ctx);
    }
}

static inline void play_time(int64_t ms)
{
    int64_t until_ms = play.now_ms + ms;

    for (int budget = 10000;; budget--) {
        struct loop_timer *first = NULL;
        const struct play_timer *timer;

        for (size_t i = 0; i < play.timer_count; i++) {
            timer = play.timers[i]->handle;
            if (timer->due_ms <= until_ms &&
                (!first || timer->due_ms < ((struct play_timer *)first->handle)->due_ms))
                first = play.timers[i];
        }
        if (!first)
            break;
        if (budget == 0)
            panic("time stands still: timers start timers that are due at once");
        timer = first->handle;
        if (timer->due_ms > play.now_ms)
            play.now_ms = timer->due_ms;
        play_timer_forget(first);
        timer->on_due(timer->ctx);
        play_turn();
    }
    play.now_ms = until_ms;
}

/* ---- the database ---- */

struct pg *pg_open(struct loop *loop, const struct pg_config *config,
                   const struct pg_handlers *handlers, void *ctx)
{
    (void)loop, (void)config;
    ASSERT(play.pg_count < 4);
    play.pg_handlers[play.pg_count] = *handlers;
    play.pg_ctx[play.pg_count] = ctx;
    return (struct pg *)(void *)&play.pg_handlers[play.pg_count++];
}

int pg_send(struct pg *pg, const struct pg_statement *statement, const struct pg_params *params,
            pg_result_fn *on_result, void *ctx)
{
    (void)pg;
    ASSERT(params->count == statement->params);
    if (!play.is_up)
        return ERR_CLOSED;
    if (play.is_full || play.statement_count == PLAY_STATEMENTS)
        return ERR_FULL;
    play.statements[play.statement_count].fn = on_result;
    play.statements[play.statement_count++].ctx = ctx;
    return 0;
}

/* Answers the oldest statement; false: there is none. */
static inline bool play_answer(int err, int rows, uint64_t seed)
{
    struct pg_result result = {err ? 0 : rows, seed};
    pg_result_fn *fn = play.statements[0].fn;
    void *ctx = play.statements[0].ctx;

    if (play.statement_count == 0)
        return false;
    play.statement_count--;
    memmove(play.statements, play.statements + 1,
            play.statement_count * sizeof(play.statements[0]));
    fn(ctx, err, &result);
    return true;
}

static inline void play_database_up(void)
{
    if (play.is_up)
        return;
    play.is_up = true;
    for (size_t i = 0; i < play.pg_count; i++)
        play.pg_handlers[i].on_up(play.pg_ctx[i]);
}

static inline void play_database_down(int err)
{
    if (!play.is_up)
        return;
    play.is_up = false;
    while (play_answer(err, 0, 0))
        ;
    for (size_t i = 0; i < play.pg_count; i++)
        play.pg_handlers[i].on_down(play.pg_ctx[i], "played");
}

void pg_close(struct pg *pg)
{
    (void)pg;
    while (play_answer(ERR_CLOSED, 0, 0))
        ;
}

size_t pg_pending(const struct pg *pg)
{
    (void)pg;
    return play.statement_count;
}

int64_t pg_oldest_ms(const struct pg *pg)
{
    (void)pg;
    return INT64_MAX;
}

/* ---- free rows ---- */

static inline uint64_t play_draw(const struct pg_result *result, int row, int column)
{
    uint64_t mixed =
        result->seed * UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)row * 31 + (uint64_t)column * 1009;

    mixed ^= mixed >> 29;
    mixed *= UINT64_C(0xbf58476d1ce4e5b9);
    return mixed ^ mixed >> 32;
}

int pg_rows(const struct pg_result *result)
{
    return result->rows;
}

bool pg_is_null(const struct pg_result *result, int row, int column)
{
    return play_draw(result, row, column) % 5 == 0;
}

int64_t pg_int(const struct pg_result *result, int row, int column)
{
    static const int64_t edges[] = {0,         1,         2,         3,         4,    5,  6,
                                    7,         8,         11,        24,        -1,   99, INT16_MAX,
                                    INT16_MIN, INT32_MAX, INT64_MAX, INT64_MIN, 4096, 1,  2};

    return edges[play_draw(result, row, column) % (sizeof(edges) / sizeof(edges[0]))];
}

double pg_float(const struct pg_result *result, int row, int column)
{
    return (double)pg_int(result, row, column);
}

const char *pg_text(const struct pg_result *result, int row, int column)
{
    static const char longest[] = "x123456789012345678901234567890123456789012345678901234567890123"
                                  "456789012345678901234567890"
                                  "x123456789012345678901234567890123456789012345678901234567890123"
                                  "456789012345678901234567890"
                                  "x123456789012345678901234567890123456789012345678901234567890123"
                                  "456789012345678901234567890";
    static const char *const texts[] = {
        "",   "bob",      "eve",         "{}",           "{\"content\":{}}",
        "[]", "{\"a\":1", "a@b.example", "+15551234567", "%2F",
        "/",  longest};

    return texts[play_draw(result, row, column) % (sizeof(texts) / sizeof(texts[0]))];
}

const char *pg_text_or_null(const struct pg_result *result, int row, int column)
{
    return pg_is_null(result, row, column) ? NULL : pg_text(result, row, column);
}

const void *pg_bytes(const struct pg_result *result, int row, int column, size_t *length)
{
    const char *text = pg_text(result, row, column);

    *length = strlen(text);
    return text;
}

int64_t pg_time_us(const struct pg_result *result, int row, int column)
{
    return pg_is_null(result, row, column) ? INT64_MIN : pg_int(result, row, column);
}

const char *pg_sqlstate(const struct pg_result *result)
{
    (void)result;
    return "";
}

const char *pg_message(const struct pg_result *result)
{
    (void)result;
    return "";
}

/* ---- the lane ---- */

struct mqtt *mqtt_open(struct loop *loop, const struct mqtt_config *config,
                       const struct mqtt_handlers *handlers, void *ctx)
{
    (void)loop, (void)config;
    play.lane = *handlers;
    play.lane_ctx = ctx;
    return (struct mqtt *)(void *)&play.lane;
}

static inline void play_forget_unacked(void)
{
    for (size_t i = 0; i < play.unacked_count; i++) {
        free(play.unacked[i].topic);
        free(play.unacked[i].payload);
    }
    play.unacked_count = play.helping = 0;
}

void mqtt_close(struct mqtt *mqtt)
{
    (void)mqtt;
    play_forget_unacked();
    play.is_lane_up = play.is_held = false;
}

void mqtt_release(struct mqtt *lane)
{
    (void)lane;
    play_forget_unacked();
    play.is_held = false;
}

void mqtt_limit_batch(struct mqtt *lane, size_t messages)
{
    (void)lane;
    play.limit = messages;
}

void mqtt_discard(struct mqtt *lane, const char *why)
{
    (void)lane;
    if (!play.is_lane_up)
        return;
    play.is_lane_up = play.is_held = false;
    play.lane.on_down(play.lane_ctx, why);
}

static inline void play_batch(void)
{
    if (!play.is_lane_up || play.is_held || play.helping == 0)
        return;
    play.is_held = true;
    play.helping = 0;
    play.lane.on_batch(play.lane_ctx, play.unacked_count);
}

/* A message for the lane; it is not there, or held: the broker keeps it, and it is left out here.
 */
static inline void play_bytes(const char *topic, const void *payload, size_t bytes)
{
    struct play_message *kept = &play.unacked[play.unacked_count];
    struct mqtt_message message = {.topic = topic, .payload_bytes = bytes};

    if (!play.is_lane_up || play.is_held || play.unacked_count == PLAY_MESSAGES)
        return;
    play.unacked_count++;
    *kept = (struct play_message){xstrdup(topic), xmalloc(bytes ? bytes : 1), bytes};
    memcpy(kept->payload, payload, bytes);
    message.payload = kept->payload;
    play.helping++;
    play.lane.on_message(play.lane_ctx, &message);
    if (play.helping >= (play.limit ? play.limit : 8))
        play_batch();
}

static inline void play_message(const char *topic, const char *payload)
{
    play_bytes(topic, payload, strlen(payload));
}

/* Connects the lane again: what was not acknowledged comes again, in order. */
static inline void play_lane_up(void)
{
    struct play_message again[PLAY_MESSAGES];
    size_t count = play.unacked_count;

    if (play.is_lane_up)
        return;
    memcpy(again, play.unacked, sizeof(again));
    play.unacked_count = play.helping = 0;
    play.is_lane_up = true;
    play.lane.on_up(play.lane_ctx, true);
    for (size_t i = 0; i < count; i++) {
        play_bytes(again[i].topic, again[i].payload, again[i].payload_bytes);
        free(again[i].topic);
        free(again[i].payload);
    }
}

#endif

/* SPDX-License-Identifier: MIT */
/* The users lane in a played world (tests/sim/play.h): what it does when the database refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "../sim/play.h"
#include "services/events.h"

#define POISON "00000000deadbeef"

struct world {
    struct metrics *metrics;
    struct store *store;
    struct events *events;
    struct fence fence;
    size_t marks;
    unsigned downs;
};

static bool no(void *ctx, uint64_t delivery)
{
    (void)ctx, (void)delivery;
    return false;
}

static void on_user(void *ctx, const char *user)
{
    (void)ctx, (void)user;
}

static void on_receipt(void *ctx, const char *service, const struct receipt *receipt)
{
    (void)ctx, (void)service, (void)receipt;
}

static void on_rpc(void *ctx, const struct topic_up *from, const struct mqtt_message *message)
{
    (void)ctx, (void)from, (void)message;
}

static void refuse(void *ctx, const struct topic_up *from, const struct mqtt_message *message,
                   const struct rejection *rejection)
{
    (void)ctx, (void)from, (void)message, (void)rejection;
}

static void mark(void *ctx, const char *user, const struct ack *ack)
{
    (void)user, (void)ack;
    ((struct world *)ctx)->marks++;
}

static bool has_marks(void *ctx)
{
    return ((struct world *)ctx)->marks > 0;
}

static void on_mark_done(void *ctx, int err, const struct pg_result *result)
{
    struct store_done {
        store_done_fn *fn;
        void *ctx;
    } *done = ctx;

    (void)result;
    done->fn(done->ctx, err);
    free(done);
}

static int commit(void *ctx, store_done_fn *on_done, void *done_ctx)
{
    static const struct pg_statement statement = {.name = "played"};
    static const struct pg_params params = {.count = 0};
    struct store_done {
        store_done_fn *fn;
        void *ctx;
    } *done = xmalloc(sizeof(*done));
    int err;

    (void)ctx;
    done->fn = on_done;
    done->ctx = done_ctx;
    err = pg_send(NULL, &statement, &params, on_mark_done, done);
    if (err)
        free(done);
    return err;
}

static void forget(void *ctx)
{
    ((struct world *)ctx)->marks = 0;
}

static void nothing(void *ctx)
{
    (void)ctx;
}

static void store_up(void *ctx)
{
    (void)ctx;
}

static void store_down(void *ctx, const char *why)
{
    (void)ctx, (void)why;
}

static void world_open(struct world *world)
{
    static const struct store_config store_config = {.conninfo = "", .deadline_ms = 5000};
    static const struct store_handlers store_handlers = {store_up, store_down};
    static const struct events_config config = {0};
    struct events_ops ops = {no,   no,        on_user, on_receipt, on_rpc,  refuse,
                             mark, has_marks, commit,  forget,     nothing, world};

    *world = (struct world){.fence = {.epoch = 7}};
    memset(&play, 0, sizeof(play));
    play.now_ms = 1000;
    list_init(&play.deferred);
    world->metrics = metrics_new();
    world->store = store_open(NULL, &store_config, &store_handlers, world);
    world->events = events_new(NULL, &config, world->store, &world->fence, world->metrics, &ops);
    play_database_up();
    events_open(world->events);
    play_lane_up();
}

static void world_close(struct world *world)
{
    events_close(world->events);
    store_close(world->store);
    events_free(world->events);
    metrics_free(world->metrics);
    play_forget_unacked();
    assert_int_equal(play.timer_count, 0);
}

static void send(const char *kind, const char *id)
{
    char topic[64], payload[64];

    snprintf(topic, sizeof(topic), "notify/v1/users/bob/up/%s", kind);
    snprintf(payload, sizeof(payload), "{\"ids\":[\"%s\"]}", id);
    play_message(topic, payload);
}

static bool has_poison(void)
{
    for (size_t i = 0; i < play.unacked_count; i++)
        if (memmem(play.unacked[i].payload, play.unacked[i].payload_bytes, POISON, strlen(POISON)))
            return true;
    return false;
}

/* Lets all of it happen; the database refuses whatever batch has the poison in it. */
static void settle(struct world *world)
{
    for (int i = 0; i < 100; i++) {
        if (!play.is_lane_up) {
            world->downs++;
            play_lane_up();
        }
        play_batch();
        while (play.statement_count && play.is_held)
            play_answer(has_poison() ? ERR_DATA : 0, 0, 0);
        play_turn();
        play_time(10);
    }
}

static void a_full_connection_is_waited_for_and_the_batch_is_kept(void **state)
{
    static const char *const kinds[] = {"ack", "read", "archive"};
    struct world world = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        world_open(&world);
        play.is_full = true;
        send(kinds[i], "0000000000000001");
        play_batch();
        play_time(5000);
        assert_true(play.is_lane_up);
        assert_true(play.is_held);
        play.is_full = false;
        play_time(100);
        assert_true(play.statement_count > 0);
        while (play_answer(0, 0, 0))
            play_turn();
        assert_true(play.is_lane_up);
        assert_false(play.is_held);
        assert_int_equal(play.unacked_count, 0);
        world_close(&world);
    }
}

static void assert_poison_is_set_aside(const char *kind, int position)
{
    struct world world = {0};
    char id[17];

    world_open(&world);
    for (int i = 0; i < 7; i++) {
        snprintf(id, sizeof(id), "%016x", i + 1);
        send(kind, i == position ? POISON : id);
    }
    settle(&world);
    assert_int_equal(world.downs, 1); /* once, to have them one by one */
    assert_true(play.is_lane_up);
    assert_false(play.is_held);
    assert_int_equal(play.unacked_count, 0);
    assert_int_equal(play.limit, 1);
    /* Nothing of it stays: later ones go as ever, and after a while in batches again. */
    for (int i = 0; i < 1000; i++) {
        send(kind, "0000000000000009");
        play_batch();
        while (play_answer(0, 0, 0))
            play_turn();
    }
    assert_int_equal(play.limit, 0);
    assert_int_equal(world.downs, 1);
    world_close(&world);
}

static void data_that_the_database_refuses_cost_no_other_message(void **state)
{
    static const int positions[] = {0, 3, 6};

    (void)state;
    for (size_t i = 0; i < sizeof(positions) / sizeof(positions[0]); i++) {
        assert_poison_is_set_aside("ack", positions[i]);
        assert_poison_is_set_aside("read", positions[i]);
        assert_poison_is_set_aside("archive", positions[i]);
    }
}

/* Refused at first as a batch, if there is more than one message, and then alone. */
static void assert_is_kept(const char *kind, int err, int count)
{
    struct world world = {0};
    bool is_refusing = true;

    world_open(&world);
    for (int i = 0; i < count; i++)
        send(kind, "0000000000000001");
    for (int i = 0; i < 3000; i++) {
        if (!play.is_lane_up)
            play_lane_up();
        play_batch();
        while (play.statement_count && play.is_held)
            play_answer(is_refusing ? err : 0, 0, 0);
        play_turn();
        play_time(100);
        if (i < 2000)
            assert_true(play.unacked_count > 0); /* alone in the end: the world forgets the rest */
        else
            is_refusing = false;
    }
    assert_int_equal(play.unacked_count, 0);
    assert_false(play.is_held);
    world_close(&world);
}

static void a_message_is_kept_while_the_database_refuses_the_statement(void **state)
{
    static const int errors[] = {ERR_REFUSED, ERR_COLLISION};

    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        assert_is_kept("ack", errors[i], 1);
        assert_is_kept("read", errors[i], 1);
        assert_is_kept("archive", errors[i], 3);
    }
}

static void a_refused_message_does_not_hold_up_the_stop(void **state)
{
    struct world world = {0};

    (void)state;
    world_open(&world);
    send("ack", "0000000000000001");
    play_batch();
    play_answer(ERR_REFUSED, 0, 0);
    assert_true(play.is_held);
    assert_true(events_stop(world.events));
    world_close(&world);
}

static void ids_that_no_notification_has_are_acknowledged_while_a_commit_is_in_question(
    void **state)
{
    static const char *const ids[] = {"0000000000000000", "ffffffffffffffff", "7fffffffffffffff"};
    struct world world = {0};

    (void)state;
    world_open(&world);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
            send("ack", ids[i]);
        play_batch();
        play_answer(ERR_DOUBT, 0, 0);
        play_lane_up();
    }
    settle(&world);
    assert_false(play.is_held);
    assert_int_equal(play.unacked_count, 0);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_connection_is_waited_for_and_the_batch_is_kept),
        cmocka_unit_test(data_that_the_database_refuses_cost_no_other_message),
        cmocka_unit_test(a_message_is_kept_while_the_database_refuses_the_statement),
        cmocka_unit_test(a_refused_message_does_not_hold_up_the_stop),
        cmocka_unit_test(
            ids_that_no_notification_has_are_acknowledged_while_a_commit_is_in_question),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "services/asks_queue.h"

#define PLACES 4000

struct scene {
    struct asks_queue *queue;
    struct asks_place *places;
    size_t used;
    bool is_own;
};

static void begin(struct scene *scene)
{
    *scene = (struct scene){.queue = asks_queue_new(),
                            .places = calloc(PLACES, sizeof(struct asks_place))};
}

static void end(struct scene *scene)
{
    struct asks_place *place;

    for (size_t i = 0; i < scene->used; i++)
        if (!list_is_linked(&scene->places[i].node))
            asks_queue_end(scene->queue, &scene->places[i]);
    while ((place = asks_queue_drop(scene->queue)))
        ;
    assert_int_equal(asks_queue_waiting(scene->queue), 0);
    assert_int_equal(asks_queue_running(scene->queue), 0);
    asks_queue_free(scene->queue);
    free(scene->places);
}

static int add(struct scene *scene, enum topic_kind kind, const char *id, size_t bytes)
{
    int err =
        asks_queue_add(scene->queue, kind, id, bytes, &scene->places[scene->used], &scene->is_own);

    scene->used += !err;
    return err;
}

static size_t fill(struct scene *scene, enum topic_kind kind, const char *id, size_t bytes)
{
    size_t count = 0;

    while (!add(scene, kind, id, bytes))
        count++;
    return count;
}

static size_t run(struct scene *scene)
{
    size_t count = 0;

    while (asks_queue_next(scene->queue))
        count++;
    return count;
}

static void one_caller_takes_half_and_leaves_room_for_the_next(void **state)
{
    struct scene scene;

    (void)state;
    begin(&scene);
    assert_int_equal(fill(&scene, TOPIC_SERVICE, "flood", 10), 1000);
    assert_true(scene.is_own);
    assert_int_equal(fill(&scene, TOPIC_SERVICE, "other", 10), 500);
    assert_true(scene.is_own);
    assert_int_equal(add(&scene, TOPIC_SERVICE, "good", 10), 0);
    end(&scene);
}

static void a_kind_has_its_own_bound(void **state)
{
    struct scene scene;

    (void)state;
    begin(&scene);
    fill(&scene, TOPIC_USER, "flood", 10);
    assert_int_equal(fill(&scene, TOPIC_SERVICE, "shop", 10), 1000);
    assert_int_equal(fill(&scene, TOPIC_ADMIN, "root", 10), 1000);
    end(&scene);
}

static void bytes_count_as_requests_do(void **state)
{
    struct scene scene;

    (void)state;
    begin(&scene);
    assert_in_range(fill(&scene, TOPIC_SERVICE, "large", 65536), 100, 112);
    assert_true(scene.is_own);
    assert_int_equal(add(&scene, TOPIC_SERVICE, "good", 65536), 0);
    end(&scene);
}

static void when_many_have_taken_all_it_is_nobodys_own_fault(void **state)
{
    struct scene scene;
    char id[16];
    int err = 0;

    (void)state;
    begin(&scene);
    for (int i = 0; !err && i < PLACES; i++) {
        snprintf(id, sizeof(id), "user%d", i);
        err = add(&scene, TOPIC_USER, id, 10);
    }
    assert_int_equal(err, ERR_FULL);
    assert_false(scene.is_own);
    end(&scene);
}

static void a_flood_waits_behind_itself_and_others_run_in_turn(void **state)
{
    struct scene scene;
    struct asks_place *good;

    (void)state;
    begin(&scene);
    fill(&scene, TOPIC_SERVICE, "flood", 10);
    assert_int_equal(run(&scene), 6); /* as many as one service may */
    assert_int_equal(add(&scene, TOPIC_SERVICE, "good", 10), 0);
    good = asks_queue_next(scene.queue);
    assert_ptr_equal(good, &scene.places[scene.used - 1]);
    assert_null(asks_queue_next(scene.queue));
    asks_queue_end(scene.queue, good);
    assert_null(asks_queue_next(scene.queue));
    asks_queue_end(scene.queue, &scene.places[0]);
    assert_ptr_equal(asks_queue_next(scene.queue), &scene.places[6]); /* in their order */
    assert_null(asks_queue_next(scene.queue));
    end(&scene);
}

static void slow_requests_of_one_kind_hold_up_no_other_kind(void **state)
{
    struct scene scene;
    char id[16];

    (void)state;
    begin(&scene);
    for (int i = 0; i < 100; i++) {
        snprintf(id, sizeof(id), "user%d", i);
        assert_int_equal(add(&scene, TOPIC_USER, id, 10), 0);
    }
    assert_int_equal(run(&scene), 16);
    assert_int_equal(add(&scene, TOPIC_SERVICE, "shop", 10), 0);
    assert_int_equal(add(&scene, TOPIC_ADMIN, "root", 10), 0);
    assert_int_equal(run(&scene), 2);
    end(&scene);
}

static void what_has_ended_gives_all_back(void **state)
{
    struct scene scene;

    (void)state;
    begin(&scene);
    for (int round = 0; round < 3; round++) {
        struct asks_place *place;
        size_t count = 0;

        scene.used = 0;
        assert_int_equal(fill(&scene, TOPIC_USER, "flood", 10), 1000);
        while ((place = asks_queue_next(scene.queue))) {
            asks_queue_end(scene.queue, place);
            count++;
        }
        assert_int_equal(count, 1000);
        assert_int_equal(asks_queue_waiting(scene.queue), 0);
    }
    end(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_caller_takes_half_and_leaves_room_for_the_next),
        cmocka_unit_test(a_kind_has_its_own_bound),
        cmocka_unit_test(bytes_count_as_requests_do),
        cmocka_unit_test(when_many_have_taken_all_it_is_nobodys_own_fault),
        cmocka_unit_test(a_flood_waits_behind_itself_and_others_run_in_turn),
        cmocka_unit_test(slow_requests_of_one_kind_hold_up_no_other_kind),
        cmocka_unit_test(what_has_ended_gives_all_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

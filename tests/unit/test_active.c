/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/active.h"

struct item {
    struct active_entry entry;
    char service[8];
    enum priority priority;
    int number;
};

static struct item *push(struct active_queue *queue, const char *service, enum priority priority,
                         int number)
{
    struct item *item = calloc(1, sizeof *item);

    snprintf(item->service, sizeof item->service, "%s", service);
    item->priority = priority;
    item->number = number;
    active_push(queue, &item->entry, priority, service);
    return item;
}

/* The next one's service, priority and number as text, freed; "" when there is none. */
static const char *pop(struct active_queue *queue, char out[32])
{
    struct active_entry *entry = active_pop(queue);
    struct item *item = entry ? CONTAINER_OF(entry, struct item, entry) : NULL;

    out[0] = '\0';
    if (item)
        snprintf(out, 32, "%s:%s:%d", item->service, priority_name(item->priority), item->number);
    free(item);
    return out;
}

static void drain(struct active_queue *queue)
{
    char out[32];

    while (*pop(queue, out))
        ;
    active_queue_free(queue);
}

static void an_empty_queue_gives_nothing(void **state)
{
    struct active_queue *queue = active_queue_new();

    (void)state;
    assert_null(active_pop(queue));
    assert_int_equal(active_count(queue), 0);
    active_queue_free(queue);
}

static void one_service_is_served_in_order(void **state)
{
    struct active_queue *queue = active_queue_new();
    char out[32], want[32];

    (void)state;
    for (int i = 0; i < 100; i++)
        push(queue, "shop", PRIORITY_NORMAL, i);
    for (int i = 0; i < 100; i++) {
        snprintf(want, sizeof want, "shop:normal:%d", i);
        assert_string_equal(pop(queue, out), want);
    }
    drain(queue);
}

static void priorities_are_served_by_weight_and_low_never_starves(void **state)
{
    struct active_queue *queue = active_queue_new();
    int served[PRIORITY_COUNT] = {0};
    char out[32];

    (void)state;
    for (int i = 0; i < 1000; i++)
        for (int p = 0; p < PRIORITY_COUNT; p++)
            push(queue, "shop", (enum priority)p, i);
    for (int i = 0; i < 150; i++) {
        enum priority priority = PRIORITY_COUNT;
        char *name = strchr(pop(queue, out), ':') + 1;

        *strchr(name, ':') = '\0';
        assert_int_equal(priority_parse(name, &priority), 0);
        served[priority]++;
    }
    assert_int_equal(served[PRIORITY_URGENT], 80);
    assert_int_equal(served[PRIORITY_HIGH], 40);
    assert_int_equal(served[PRIORITY_NORMAL], 20);
    assert_int_equal(served[PRIORITY_LOW], 10);
    drain(queue);
}

static void a_share_nobody_uses_goes_to_the_others(void **state)
{
    struct active_queue *queue = active_queue_new();
    char out[32];

    (void)state;
    for (int i = 0; i < 20; i++)
        push(queue, "shop", PRIORITY_LOW, i);
    for (int i = 0; i < 20; i++)
        assert_non_null(strstr(pop(queue, out), ":low:"));
    drain(queue);
}

static void a_flood_of_one_service_delays_only_itself(void **state)
{
    struct active_queue *queue = active_queue_new();
    char out[32];
    int quiet = 0;

    (void)state;
    for (int i = 0; i < 10000; i++)
        push(queue, "flood", PRIORITY_NORMAL, i);
    for (int i = 0; i < 10; i++) {
        push(queue, "quiet", PRIORITY_NORMAL, i);
        push(queue, "other", PRIORITY_NORMAL, i);
    }
    assert_int_equal(active_count_by(queue, "flood"), 10000);
    assert_int_equal(active_count_by(queue, "quiet"), 10);
    assert_int_equal(active_count_by(queue, "nobody"), 0);
    for (int i = 0; i < 30; i++)
        quiet += strncmp(pop(queue, out), "quiet", 5) == 0;
    assert_int_equal(quiet, 10);
    assert_int_equal(active_count_by(queue, "quiet"), 0);
    drain(queue);
}

static void what_is_removed_is_never_served(void **state)
{
    struct active_queue *queue = active_queue_new();
    struct item *items[6];
    char out[32];

    (void)state;
    for (int i = 0; i < 6; i++)
        items[i] = push(queue, i % 2 ? "b" : "a", PRIORITY_HIGH, i);
    assert_int_equal(active_count(queue), 6);
    for (int i = 0; i < 6; i += 2) {
        active_remove(queue, &items[i]->entry);
        assert_false(list_is_linked(&items[i]->entry.node));
        free(items[i]);
    }
    assert_int_equal(active_count(queue), 3);
    assert_int_equal(active_count_of(queue, PRIORITY_HIGH), 3);
    assert_int_equal(active_count_of(queue, PRIORITY_LOW), 0);
    assert_string_equal(pop(queue, out), "b:high:1");
    assert_string_equal(pop(queue, out), "b:high:3");
    assert_string_equal(pop(queue, out), "b:high:5");
    assert_string_equal(pop(queue, out), "");
    active_queue_free(queue);
}

static void an_entry_can_come_back(void **state)
{
    struct active_queue *queue = active_queue_new();
    struct item *item = push(queue, "a", PRIORITY_LOW, 1);

    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_ptr_equal(active_pop(queue), &item->entry);
        active_push(queue, &item->entry, PRIORITY_URGENT, "b");
    }
    drain(queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_queue_gives_nothing),
        cmocka_unit_test(one_service_is_served_in_order),
        cmocka_unit_test(priorities_are_served_by_weight_and_low_never_starves),
        cmocka_unit_test(a_share_nobody_uses_goes_to_the_others),
        cmocka_unit_test(a_flood_of_one_service_delays_only_itself),
        cmocka_unit_test(what_is_removed_is_never_served),
        cmocka_unit_test(an_entry_can_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

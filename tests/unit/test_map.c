/* SPDX-License-Identifier: MIT */
#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void strmap_agrees_with_a_plain_array(void **state)
{
    enum { KEYS = 700 };
    static int values[KEYS];
    void *model[KEYS] = {0};
    struct strmap map = {0};
    struct rng rng;
    size_t count = 0;

    (void)state;
    rng_init(&rng, 1);
    assert_null(strmap_get(&map, "x"));
    assert_null(strmap_remove(&map, "x"));
    for (int round = 0; round < 40000; round++) {
        size_t i = (size_t)rng_below(&rng, KEYS);
        char key[32];

        snprintf(key, sizeof key, "key/%zu/%zu", i % 7, i);
        switch (rng_below(&rng, 3)) {
        case 0:
            assert_ptr_equal(strmap_set(&map, key, &values[i]), model[i]);
            count += model[i] == NULL;
            model[i] = &values[i];
            break;
        case 1:
            assert_ptr_equal(strmap_remove(&map, key), model[i]);
            count -= model[i] != NULL;
            model[i] = NULL;
            break;
        default:
            assert_ptr_equal(strmap_get(&map, key), model[i]);
        }
        assert_int_equal(map.count, count);
    }
    strmap_fini(&map);
    assert_int_equal(map.count, 0);
}

struct visits {
    struct strmap *strmap;
    struct idmap *idmap;
    unsigned char seen[4096];
    size_t count;
};

static void remove_every_third(void *ctx, const char *key, void *value)
{
    struct visits *visits = ctx;
    char copy[32];

    visits->count++;
    assert_int_equal(visits->seen[*(int *)value]++, 0);
    snprintf(copy, sizeof copy, "%s", key);
    if (*(int *)value % 3 == 0)
        assert_ptr_equal(strmap_remove(visits->strmap, copy), value);
}

static void strmap_each_shows_each_once_though_some_go(void **state)
{
    static int values[1000];
    struct strmap map = {0};
    struct visits visits = {.strmap = &map};

    (void)state;
    for (int i = 0; i < 1000; i++) {
        char key[32];

        values[i] = i;
        snprintf(key, sizeof key, "%d", i);
        strmap_set(&map, key, &values[i]);
    }
    strmap_each(&map, remove_every_third, &visits);
    assert_int_equal(visits.count, 1000);
    assert_int_equal(map.count, 666);
    assert_null(strmap_get(&map, "3"));
    assert_ptr_equal(strmap_get(&map, "4"), &values[4]);
    strmap_fini(&map);
}

static void idmap_agrees_with_a_plain_array(void **state)
{
    enum { KEYS = 300 };
    static int values[KEYS];
    void *model[KEYS] = {0};
    struct idmap map = {0};
    struct rng rng;
    size_t count = 0;

    (void)state;
    rng_init(&rng, 2);
    assert_null(idmap_get(&map, 1));
    assert_null(idmap_remove(&map, 1));
    for (int round = 0; round < 60000; round++) {
        size_t i = (size_t)rng_below(&rng, KEYS);
        uint64_t key = i % 2 ? i + 1 : (uint64_t)(i + 1) << 40;

        switch (rng_below(&rng, 3)) {
        case 0:
            assert_ptr_equal(idmap_set(&map, key, &values[i]), model[i]);
            count += model[i] == NULL;
            model[i] = &values[i];
            break;
        case 1:
            assert_ptr_equal(idmap_remove(&map, key), model[i]);
            count -= model[i] != NULL;
            model[i] = NULL;
            break;
        default:
            assert_ptr_equal(idmap_get(&map, key), model[i]);
        }
        assert_int_equal(map.count, count);
    }
    idmap_fini(&map);
}

static void remove_two_of_three(void *ctx, uint64_t key, void *value)
{
    struct visits *visits = ctx;

    visits->count++;
    assert_int_equal(visits->seen[*(int *)value]++, 0);
    if (key % 3)
        assert_ptr_equal(idmap_remove(visits->idmap, key), value);
}

static void idmap_each_shows_each_once_though_some_go(void **state)
{
    static int values[3000];

    (void)state;
    for (int size = 1; size <= 3000; size = size * 3 / 2 + 1) {
        struct idmap map = {0};
        struct visits visits = {.idmap = &map};

        for (int i = 0; i < size; i++) {
            values[i] = i;
            idmap_set(&map, (uint64_t)i + 1, &values[i]);
        }
        idmap_each(&map, remove_two_of_three, &visits);
        assert_int_equal(visits.count, size);
        assert_int_equal(map.count, size / 3);
        idmap_fini(&map);
    }
}

static void heap_gives_the_smallest_first(void **state)
{
    enum { NODES = 500 };
    static struct heap_node nodes[NODES];
    struct heap heap = {0};
    struct rng rng;
    int64_t last = INT64_MIN;
    size_t left = 0;

    (void)state;
    rng_init(&rng, 3);
    for (int round = 0; round < 20000; round++) {
        struct heap_node *node = &nodes[rng_below(&rng, NODES)];

        if (heap_is_linked(node))
            heap_remove(&heap, node);
        else
            heap_insert(&heap, node, (int64_t)rng_below(&rng, 100) - 50);
    }
    for (size_t i = 0; i < NODES; i++)
        left += heap_is_linked(&nodes[i]);
    assert_int_equal(left, heap.count);
    for (struct heap_node *node; (node = heap_first(&heap)); left--) {
        assert_true(node->key >= last);
        last = node->key;
        heap_remove(&heap, node);
        assert_false(heap_is_linked(node));
    }
    assert_int_equal(left, 0);
    heap_fini(&heap);
}

static void list_keeps_order_and_count(void **state)
{
    struct list_node nodes[4] = {{NULL, NULL}};
    struct list list;

    (void)state;
    list_init(&list);
    assert_null(list_first(&list));
    list_push_back(&list, &nodes[1]);
    list_push_back(&list, &nodes[2]);
    list_push_front(&list, &nodes[0]);
    list_push_back(&list, &nodes[3]);
    list_remove(&list, &nodes[2]);
    assert_false(list_is_linked(&nodes[2]));
    assert_int_equal(list.count, 3);
    assert_ptr_equal(list_next(&list, &nodes[1]), &nodes[3]);
    assert_null(list_next(&list, &nodes[3]));
    assert_ptr_equal(list_pop_front(&list), &nodes[0]);
    assert_ptr_equal(list_pop_front(&list), &nodes[1]);
    assert_ptr_equal(list_pop_front(&list), &nodes[3]);
    assert_null(list_pop_front(&list));
}

static void rng_is_repeatable_and_in_bounds(void **state)
{
    struct rng one, two;
    size_t counts[10] = {0};

    (void)state;
    rng_init(&one, 42);
    rng_init(&two, 42);
    for (int i = 0; i < 10000; i++) {
        uint64_t value = rng_below(&one, 10);

        assert_int_equal(value, rng_below(&two, 10));
        counts[value]++;
    }
    for (int i = 0; i < 10; i++)
        assert_in_range(counts[i], 850, 1150);
    assert_int_equal(rng_below(&one, 0), 0);
    assert_int_equal(rng_below(&one, 1), 0);
    rng_init(&two, 43);
    assert_int_not_equal(rng_next(&one), rng_next(&two));
}

static void kernel_bytes_differ(void **state)
{
    unsigned char one[32] = {0}, two[32] = {0};

    (void)state;
    random_bytes(one, sizeof one);
    random_bytes(two, sizeof two);
    assert_memory_not_equal(one, two, sizeof one);
}

static void show_zero(void *ctx, uint64_t key, void *value)
{
    (void)value;
    *(unsigned *)ctx += key == 0 ? 1 : 100;
}

static void zero_is_a_key_like_any_other(void **state)
{
    struct idmap map = {0};
    unsigned shown = 0;
    int one, two;

    (void)state;
    assert_null(idmap_get(&map, 0));
    assert_null(idmap_remove(&map, 0));
    assert_null(idmap_set(&map, 0, &one));
    assert_ptr_equal(idmap_set(&map, 0, &two), &one);
    assert_ptr_equal(idmap_get(&map, 0), &two);
    assert_int_equal(map.count, 1);
    assert_null(idmap_get(&map, 1));
    idmap_set(&map, 7, &one);
    idmap_each(&map, show_zero, &shown);
    assert_int_equal(shown, 101);
    assert_ptr_equal(idmap_remove(&map, 0), &two);
    assert_int_equal(map.count, 1);
    assert_ptr_equal(idmap_get(&map, 7), &one);
    idmap_fini(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strmap_agrees_with_a_plain_array),
        cmocka_unit_test(strmap_each_shows_each_once_though_some_go),
        cmocka_unit_test(idmap_agrees_with_a_plain_array),
        cmocka_unit_test(idmap_each_shows_each_once_though_some_go),
        cmocka_unit_test(heap_gives_the_smallest_first),
        cmocka_unit_test(list_keeps_order_and_count),
        cmocka_unit_test(rng_is_repeatable_and_in_bounds),
        cmocka_unit_test(kernel_bytes_differ),
        cmocka_unit_test(zero_is_a_key_like_any_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
#include "base/heap.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

void heap_fini(struct heap *heap)
{
    free(heap->nodes);
    memset(heap, 0, sizeof *heap);
}

/* Slots count from 1; the array counts from 0. */
static void put(struct heap *heap, size_t slot, struct heap_node *node)
{
    heap->nodes[slot - 1] = node;
    node->slot = slot;
}

static void sift_up(struct heap *heap, size_t slot, struct heap_node *node)
{
    while (slot > 1) {
        struct heap_node *parent = heap->nodes[slot / 2 - 1];

        if (parent->key <= node->key)
            break;
        put(heap, slot, parent);
        slot /= 2;
    }
    put(heap, slot, node);
}

static void sift_down(struct heap *heap, size_t slot, struct heap_node *node)
{
    for (;;) {
        size_t child = slot * 2;

        if (child > heap->count)
            break;
        if (child < heap->count && heap->nodes[child]->key < heap->nodes[child - 1]->key)
            child++;
        if (heap->nodes[child - 1]->key >= node->key)
            break;
        put(heap, slot, heap->nodes[child - 1]);
        slot = child;
    }
    put(heap, slot, node);
}

void heap_insert(struct heap *heap, struct heap_node *node, int64_t key)
{
    ASSERT(node->slot == 0);
    if (heap->count == heap->capacity) {
        heap->capacity = heap->capacity ? heap->capacity * 2 : 64;
        heap->nodes = xrealloc(heap->nodes, heap->capacity * sizeof *heap->nodes);
    }
    node->key = key;
    heap->count++;
    sift_up(heap, heap->count, node);
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
    size_t slot = node->slot;
    struct heap_node *last;

    ASSERT(slot >= 1 && slot <= heap->count && heap->nodes[slot - 1] == node);
    last = heap->nodes[--heap->count];
    node->slot = 0;
    if (last == node)
        return;
    if (last->key < node->key)
        sift_up(heap, slot, last);
    else
        sift_down(heap, slot, last);
}

struct heap_node *heap_first(const struct heap *heap)
{
    return heap->count ? heap->nodes[0] : NULL;
}

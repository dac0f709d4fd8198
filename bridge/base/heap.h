/* SPDX-License-Identifier: MIT */
/*
 * heap - intrusive binary min-heap on an int64 key (a time, mostly)
 *
 * A node knows its slot, so removal is O(log n) and cannot fail.
 * Ownership: the array is the heap's, the nodes are the caller's.
 */
#ifndef TOCSIN_BASE_HEAP_H
#define TOCSIN_BASE_HEAP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    int64_t key;
    size_t slot; /* 1-based position; 0 when in no heap */
};

struct heap {
    struct heap_node **nodes;
    size_t count, capacity;
};

void heap_fini(struct heap *heap);
void heap_insert(struct heap *heap, struct heap_node *node, int64_t key);
void heap_remove(struct heap *heap, struct heap_node *node);
struct heap_node *heap_first(const struct heap *heap); /* NULL when empty */
static inline bool heap_is_linked(const struct heap_node *node)
{
    return node->slot != 0;
}

#endif

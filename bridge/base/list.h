/* SPDX-License-Identifier: MIT */
/*
 * list - intrusive doubly linked lists: no allocation, removal cannot fail
 *
 * A node that is in no list has next == NULL, so membership can be asked.
 */
#ifndef TOCSIN_BASE_LIST_H
#define TOCSIN_BASE_LIST_H
#include <stdbool.h>
#include <stddef.h>

struct list_node {
    struct list_node *prev, *next;
};

struct list {
    struct list_node head;
    size_t count;
};

#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

static inline void list_init(struct list *list)
{
    list->head.prev = list->head.next = &list->head;
    list->count = 0;
}

static inline bool list_is_linked(const struct list_node *node)
{
    return node->next != NULL;
}

static inline void list_push_back(struct list *list, struct list_node *node)
{
    node->prev = list->head.prev;
    node->next = &list->head;
    list->head.prev->next = node;
    list->head.prev = node;
    list->count++;
}

static inline void list_push_front(struct list *list, struct list_node *node)
{
    node->next = list->head.next;
    node->prev = &list->head;
    /* The analyser takes what list_first() says of an empty list for a NULL in the head. */
    list->head.next->prev = node; /* NOLINT(clang-analyzer-core.NullDereference) */
    list->head.next = node;
    list->count++;
}

/* Behind one of its nodes, or first with the head. */
static inline void list_insert_after(struct list *list, struct list_node *place,
                                     struct list_node *node)
{
    node->next = place->next;
    node->prev = place;
    place->next->prev = node; /* NOLINT(clang-analyzer-core.NullDereference) */
    place->next = node;
    list->count++;
}

static inline void list_remove(struct list *list, struct list_node *node)
{
    /* The analyser takes a node popped twice for the same one; a linked node has neighbours. */
    node->prev->next = node->next; /* NOLINT(clang-analyzer-core.NullDereference) */
    node->next->prev = node->prev;
    node->prev = node->next = NULL;
    list->count--;
}

/* NULL when empty. */
static inline struct list_node *list_first(struct list *list)
{
    return list->head.next == &list->head ? NULL : list->head.next;
}

static inline struct list_node *list_next(struct list *list, struct list_node *node)
{
    return node->next == &list->head ? NULL : node->next;
}

static inline struct list_node *list_pop_front(struct list *list)
{
    struct list_node *node = list_first(list);

    if (node)
        list_remove(list, node);
    return node;
}

#endif

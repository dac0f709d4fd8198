/* SPDX-License-Identifier: MIT */
/*
 * map - an intrusive hash map from byte strings to nodes
 *
 * Keys come from clients, so the hash is SipHash under a random seed: nobody
 * can choose ids or addresses that share a slot.
 *
 * Ownership: the caller owns the nodes and the keys they point at; the map
 *            owns its slots only.
 * Errors:    map_add() fails when out of memory; removal cannot fail.
 */
#ifndef TOCSIN_AUTH_MAP_H
#define TOCSIN_AUTH_MAP_H

#include "refusal.h"

#include <stddef.h>
#include <stdint.h>

struct map_node {
    struct map_node *next;
    const void *key; /* borrowed; must stay as it is while in the map */
    uint32_t key_len;
    uint32_t hash;
};

struct map {
    struct map_node **slots;
    size_t room, count; /* room is 0 or a power of two */
    size_t popped;      /* slots before this one are empty */
    uint64_t seed[2];
};

#define MAP_OWNER(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

/* 0, or -1 when there is no randomness. */
NODISCARD int map_init(struct map *map);
void map_fini(struct map *map);
struct map_node *map_find(const struct map *map, const void *key, size_t len);
/* The key must not be in the map yet. */
NODISCARD int map_add(struct map *map, struct map_node *node, const void *key, size_t len);
void map_remove(struct map *map, struct map_node *node);
/* The hash of a key under the map's seed. */
uint64_t map_hash(const struct map *map, const void *key, size_t len);
/* Takes out any one node; NULL when empty. */
struct map_node *map_pop(struct map *map);

#endif

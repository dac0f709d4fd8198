/* SPDX-License-Identifier: MIT */
#include "map.h"
#include "sip.h"

#include <openssl/rand.h>

#include <stdlib.h>
#include <string.h>

/* SipHash-1-3. */
uint64_t map_hash(const struct map *map, const void *key, size_t len)
{
    uint64_t v[4] = {map->seed[0] ^ 0x736f6d6570736575, map->seed[1] ^ 0x646f72616e646f6d,
                     map->seed[0] ^ 0x6c7967656e657261, map->seed[1] ^ 0x7465646279746573};
    const unsigned char *at = key;
    size_t left = len;
    uint64_t word;

    for (; left >= 8; left -= 8, at += 8) {
        memcpy(&word, at, 8);
        v[3] ^= word;
        sip_rounds(v, 1);
        v[0] ^= word;
    }
    word = 0;
    memcpy(&word, at, left);
    word |= (uint64_t)len << 56;
    v[3] ^= word;
    sip_rounds(v, 1);
    v[0] ^= word;
    v[2] ^= 0xff;
    sip_rounds(v, 3);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static uint32_t hash_of(const struct map *map, const void *key, size_t len)
{
    uint64_t hash = map_hash(map, key, len);
    return (uint32_t)(hash ^ hash >> 32);
}

int map_init(struct map *map)
{
    memset(map, 0, sizeof(*map));
    return RAND_bytes((unsigned char *)map->seed, sizeof(map->seed)) == 1 ? 0 : -1;
}

void map_fini(struct map *map)
{
    free(map->slots);
    memset(map, 0, sizeof(*map));
}

struct map_node *map_find(const struct map *map, const void *key, size_t len)
{
    if (map->room == 0)
        return NULL;
    uint32_t hash = hash_of(map, key, len);
    struct map_node *node = map->slots[hash & (map->room - 1)];
    while (node && (node->hash != hash || node->key_len != len || memcmp(node->key, key, len) != 0))
        node = node->next;
    return node;
}

static int grow(struct map *map)
{
    size_t room = map->room ? map->room * 2 : 64;
    struct map_node **slots = calloc(room, sizeof(struct map_node *));

    if (!slots)
        return -1;
    for (size_t i = 0; i < map->room; i++)
        for (struct map_node *node = map->slots[i], *next; node; node = next) {
            next = node->next;
            struct map_node **slot = &slots[node->hash & (room - 1)];
            node->next = *slot;
            *slot = node;
        }
    free(map->slots);
    map->slots = slots;
    map->room = room;
    return 0;
}

int map_add(struct map *map, struct map_node *node, const void *key, size_t len)
{
    if (map->count == map->room && grow(map) != 0)
        return -1;
    node->key = key;
    node->key_len = (uint32_t)len;
    node->hash = hash_of(map, key, len);
    struct map_node **slot = &map->slots[node->hash & (map->room - 1)];
    node->next = *slot;
    *slot = node;
    map->count++;
    map->popped = 0;
    return 0;
}

void map_remove(struct map *map, struct map_node *node)
{
    struct map_node **link = &map->slots[node->hash & (map->room - 1)];

    while (*link && *link != node)
        link = &(*link)->next;
    if (*link) {
        *link = node->next;
        map->count--;
    }
}

struct map_node *map_pop(struct map *map)
{
    for (; map->count && map->popped < map->room; map->popped++)
        if (map->slots[map->popped]) {
            struct map_node *node = map->slots[map->popped];
            map->slots[map->popped] = node->next;
            map->count--;
            return node;
        }
    return NULL;
}

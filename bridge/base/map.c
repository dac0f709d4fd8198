/* SPDX-License-Identifier: MIT */
#include "base/map.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/random.h"

#define MAP_FIRST_CAPACITY 16 /* a power of two, as every capacity */

struct strmap_entry {
    struct strmap_entry *next;
    uint64_t hash;
    void *value;
    char key[];
};

struct idmap_entry {
    uint64_t key; /* 0: the slot is free */
    void *value;
};

static uint64_t rotate(uint64_t value, int bits)
{
    return (value << bits) | (value >> (64 - bits));
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

/* SipHash-1-3: keyed, and as strong as a table whose order nobody sees needs. */
static uint64_t sip_hash(const uint64_t seed[2], const char *text, size_t length)
{
    uint64_t v[4] = {seed[0] ^ 0x736f6d6570736575u, seed[1] ^ 0x646f72616e646f6du,
                     seed[0] ^ 0x6c7967656e657261u, seed[1] ^ 0x7465646279746573u};
    uint64_t word;
    size_t at = 0;

    for (; length - at >= 8; at += 8) {
        memcpy(&word, text + at, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    word = (uint64_t)length << 56;
    for (size_t i = 0; at + i < length; i++)
        word |= (uint64_t)(unsigned char)text[at + i] << (8 * i);
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void free_entry(void *ctx, const char *key, void *value)
{
    (void)value;
    strmap_remove(ctx, key);
}

void strmap_fini(struct strmap *map)
{
    strmap_each(map, free_entry, map);
    free(map->buckets);
    memset(map, 0, sizeof *map);
}

/* Where the entry's pointer is, or where the chain ends. */
static struct strmap_entry **strmap_find(const struct strmap *map, const char *key, uint64_t hash)
{
    struct strmap_entry **at = &map->buckets[hash & (map->capacity - 1)];

    while (*at && ((*at)->hash != hash || strcmp((*at)->key, key) != 0))
        at = &(*at)->next;
    return at;
}

static void strmap_grow(struct strmap *map)
{
    size_t capacity = map->capacity ? map->capacity * 2 : MAP_FIRST_CAPACITY;
    struct strmap_entry **buckets = xcalloc(capacity, sizeof(struct strmap_entry *));

    if (map->capacity == 0)
        random_bytes(map->seed, sizeof map->seed);
    for (size_t i = 0; i < map->capacity; i++) {
        struct strmap_entry *entry = map->buckets[i];

        while (entry) {
            struct strmap_entry *next = entry->next;
            struct strmap_entry **at = &buckets[entry->hash & (capacity - 1)];

            entry->next = *at;
            *at = entry;
            entry = next;
        }
    }
    free(map->buckets);
    map->buckets = buckets;
    map->capacity = capacity;
}

void *strmap_get(const struct strmap *map, const char *key)
{
    struct strmap_entry *entry;

    if (map->count == 0)
        return NULL;
    entry = *strmap_find(map, key, sip_hash(map->seed, key, strlen(key)));
    return entry ? entry->value : NULL;
}

void *strmap_set(struct strmap *map, const char *key, void *value)
{
    size_t length = strlen(key);
    struct strmap_entry **at, *entry;
    uint64_t hash;

    ASSERT(value != NULL);
    if (map->count == map->capacity)
        strmap_grow(map);
    hash = sip_hash(map->seed, key, length);
    at = strmap_find(map, key, hash);
    if (*at) {
        void *former = (*at)->value;

        (*at)->value = value;
        return former;
    }
    entry = xmalloc(sizeof *entry + length + 1);
    entry->next = NULL;
    entry->hash = hash;
    entry->value = value;
    memcpy(entry->key, key, length + 1);
    *at = entry;
    map->count++;
    return NULL;
}

void *strmap_remove(struct strmap *map, const char *key)
{
    struct strmap_entry **at, *entry;
    void *former;

    if (map->count == 0)
        return NULL;
    at = strmap_find(map, key, sip_hash(map->seed, key, strlen(key)));
    entry = *at;
    if (!entry)
        return NULL;
    *at = entry->next;
    former = entry->value;
    free(entry);
    map->count--;
    return former;
}

void strmap_each(struct strmap *map, void (*visit)(void *ctx, const char *key, void *value),
                 void *ctx)
{
    for (size_t i = 0; i < map->capacity; i++) {
        struct strmap_entry *entry = map->buckets[i];

        while (entry) {
            struct strmap_entry *next = entry->next;

            visit(ctx, entry->key, entry->value);
            entry = next;
        }
    }
}

void idmap_fini(struct idmap *map)
{
    free(map->entries);
    memset(map, 0, sizeof *map);
}

/* Numbers in sequence are the usual case: spread them. */
static size_t idmap_home(uint64_t key, size_t capacity)
{
    key ^= key >> 32;
    key *= 0x9e3779b97f4a7c15u;
    key ^= key >> 29;
    return (size_t)key & (capacity - 1);
}

/* The key's slot, or the free slot where it would go. */
static struct idmap_entry *idmap_find(struct idmap_entry *entries, size_t capacity, uint64_t key)
{
    size_t slot = idmap_home(key, capacity);

    while (entries[slot].key != 0 && entries[slot].key != key)
        slot = (slot + 1) & (capacity - 1);
    return &entries[slot];
}

static void idmap_grow(struct idmap *map)
{
    size_t capacity = map->capacity ? map->capacity * 2 : MAP_FIRST_CAPACITY;
    struct idmap_entry *entries = xcalloc(capacity, sizeof *entries);

    for (size_t i = 0; i < map->capacity; i++)
        if (map->entries[i].key)
            *idmap_find(entries, capacity, map->entries[i].key) = map->entries[i];
    free(map->entries);
    map->entries = entries;
    map->capacity = capacity;
}

void *idmap_get(const struct idmap *map, uint64_t key)
{
    if (key == 0)
        return map->of_zero;
    return map->capacity ? idmap_find(map->entries, map->capacity, key)->value : NULL;
}

/* Sets or, with NULL, removes the value of the key 0. */
static void *idmap_change_zero(struct idmap *map, void *value)
{
    void *former = map->of_zero;

    if (!former && value)
        map->count++;
    if (former && !value)
        map->count--;
    map->of_zero = value;
    return former;
}

void *idmap_set(struct idmap *map, uint64_t key, void *value)
{
    struct idmap_entry *entry;
    void *former;

    ASSERT(value != NULL);
    if (key == 0)
        return idmap_change_zero(map, value);
    if (map->count + 1 > map->capacity / 4 * 3)
        idmap_grow(map);
    entry = idmap_find(map->entries, map->capacity, key);
    former = entry->value;
    if (entry->key == 0)
        map->count++;
    entry->key = key;
    entry->value = value;
    return former;
}

/* Closes the gap by moving back what a longer probe had pushed behind it: no tombstones. */
static void idmap_close_gap(struct idmap *map, size_t gap)
{
    size_t mask = map->capacity - 1;
    size_t slot = gap;

    for (;;) {
        slot = (slot + 1) & mask;
        if (map->entries[slot].key == 0)
            break;
        if (((slot - idmap_home(map->entries[slot].key, map->capacity)) & mask) >=
            ((slot - gap) & mask)) {
            map->entries[gap] = map->entries[slot];
            gap = slot;
        }
    }
    map->entries[gap].key = 0;
    map->entries[gap].value = NULL;
}

void *idmap_remove(struct idmap *map, uint64_t key)
{
    struct idmap_entry *entry;
    void *former;

    if (key == 0)
        return idmap_change_zero(map, NULL);
    if (map->capacity == 0)
        return NULL;
    entry = idmap_find(map->entries, map->capacity, key);
    if (entry->key == 0)
        return NULL;
    former = entry->value;
    map->count--;
    idmap_close_gap(map, (size_t)(entry - map->entries));
    return former;
}

void idmap_each(struct idmap *map, void (*visit)(void *ctx, uint64_t key, void *value), void *ctx)
{
    size_t mask = map->capacity - 1;
    size_t end = 0;

    if (map->of_zero)
        visit(ctx, 0, map->of_zero);
    if (map->capacity == 0)
        return;
    /*
     * Backwards from a free slot: what a removal moves into the visited slot comes from slots
     * already visited, and no run of entries crosses the starting point.
     */
    while (map->entries[end].key != 0)
        end++;
    for (size_t slot = (end - 1) & mask; slot != end; slot = (slot - 1) & mask)
        if (map->entries[slot].key)
            visit(ctx, map->entries[slot].key, map->entries[slot].value);
}

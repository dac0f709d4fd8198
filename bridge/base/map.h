/* SPDX-License-Identifier: MIT */
/*
 * map - hash tables from text or from 64-bit numbers to pointers
 *
 * The zero-initialised struct is an empty table.  Text keys are copied in.  Text hashing is
 * keyed by a random seed taken once at start (SipHash or as strong), since names come from
 * the network.  Values are the caller's.
 */
#ifndef TOCSIN_BASE_MAP_H
#define TOCSIN_BASE_MAP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct strmap {
    struct strmap_entry **buckets;
    size_t count, capacity;
    uint64_t seed[2];
};

void strmap_fini(struct strmap *map);
void *strmap_get(const struct strmap *map, const char *key); /* NULL when absent */
/* Sets and returns the former value (NULL if there was none).  value is not NULL. */
void *strmap_set(struct strmap *map, const char *key, void *value);
void *strmap_remove(struct strmap *map, const char *key); /* the former value or NULL */
/* Calls visit for each; visit may remove the entry it is shown and no other. */
void strmap_each(struct strmap *map, void (*visit)(void *ctx, const char *key, void *value),
                 void *ctx);

/* Every number is a key, 0 among them: ids come from clients, too. */
struct idmap {
    struct idmap_entry *entries;
    size_t count, capacity;
    void *of_zero; /* the value of the key 0, which is in no slot; NULL: absent */
};

void idmap_fini(struct idmap *map);
void *idmap_get(const struct idmap *map, uint64_t key);
void *idmap_set(struct idmap *map, uint64_t key, void *value);
void *idmap_remove(struct idmap *map, uint64_t key);
void idmap_each(struct idmap *map, void (*visit)(void *ctx, uint64_t key, void *value), void *ctx);

#endif

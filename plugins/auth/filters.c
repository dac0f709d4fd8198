/* SPDX-License-Identifier: MIT */
#include "filters.h"

#include <stdlib.h>
#include <string.h>

enum { ROOM_MIN = 4 };

struct set {
    struct map_node node;
    uint64_t *hashes; /* owned */
    size_t count, room;
    char client_id[];
};

int filters_init(struct filters *filters)
{
    return map_init(&filters->sets);
}

static void set_free(struct set *set)
{
    free(set->hashes);
    free(set);
}

void filters_fini(struct filters *filters)
{
    struct map_node *node;

    while ((node = map_pop(&filters->sets)))
        set_free(MAP_OWNER(node, struct set, node));
    map_fini(&filters->sets);
}

static struct set *find(const struct filters *filters, const char *client_id)
{
    struct map_node *node = map_find(&filters->sets, client_id, strlen(client_id));
    return node ? MAP_OWNER(node, struct set, node) : NULL;
}

/* Where the filter is in the set; the set's count when it is not there. */
static size_t place_of(const struct filters *filters, const struct set *set, const char *filter)
{
    uint64_t hash = map_hash(&filters->sets, filter, strlen(filter));
    size_t at = 0;

    while (at < set->count && set->hashes[at] != hash)
        at++;
    return at;
}

bool filters_has(const struct filters *filters, const char *client_id, const char *filter)
{
    const struct set *set = find(filters, client_id);
    return set && place_of(filters, set, filter) < set->count;
}

size_t filters_count(const struct filters *filters, const char *client_id)
{
    const struct set *set = find(filters, client_id);
    return set ? set->count : 0;
}

/* The client's set, made if need be; NULL when out of memory. */
static struct set *set_of(struct filters *filters, const char *client_id)
{
    struct set *set = find(filters, client_id);
    size_t len = strlen(client_id);

    if (set)
        return set;
    set = calloc(1, sizeof(*set) + len + 1);
    if (!set)
        return NULL;
    memcpy(set->client_id, client_id, len + 1);
    if (map_add(&filters->sets, &set->node, set->client_id, len) == 0)
        return set;
    set_free(set);
    return NULL;
}

static int reserve(struct set *set)
{
    size_t room = set->room ? set->room * 2 : ROOM_MIN;
    uint64_t *hashes;

    if (set->count < set->room)
        return 0;
    hashes = realloc(set->hashes, room * sizeof(*hashes));
    if (!hashes)
        return -1;
    set->hashes = hashes;
    set->room = room;
    return 0;
}

static void drop(struct filters *filters, struct set *set)
{
    map_remove(&filters->sets, &set->node);
    set_free(set);
}

int filters_add(struct filters *filters, const char *client_id, const char *filter)
{
    struct set *set = set_of(filters, client_id);

    if (!set)
        return -1;
    if (reserve(set) == 0) {
        set->hashes[set->count++] = map_hash(&filters->sets, filter, strlen(filter));
        return 0;
    }
    if (set->count == 0)
        drop(filters, set);
    return -1;
}

void filters_remove(struct filters *filters, const char *client_id, const char *filter)
{
    struct set *set = find(filters, client_id);
    size_t at = set ? place_of(filters, set, filter) : 0;

    if (!set || at == set->count)
        return;
    set->hashes[at] = set->hashes[--set->count];
    if (set->count == 0)
        drop(filters, set);
}

void filters_forget(struct filters *filters, const char *client_id)
{
    struct set *set = find(filters, client_id);

    if (set)
        drop(filters, set);
}

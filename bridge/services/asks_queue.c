/* SPDX-License-Identifier: MIT */
#include "services/asks_queue.h"

#include "base/alloc.h"
#include "base/map.h"

#include <stdlib.h>
#include <string.h>

#define KINDS        3
#define WEIGHT_MAX   2000 /* of one kind */
#define WEIGHT_BYTES 8192

/* Running at once: of a kind, and of one caller.  Together as many as STORE_CALL_PLACES. */
static const struct {
    unsigned all, own;
} running_max[KINDS] = {[TOPIC_USER] = {16, 4}, [TOPIC_SERVICE] = {24, 6}, [TOPIC_ADMIN] = {8, 4}};

struct asks_caller {
    struct list_node node; /* in turn, while it has waiting ones and may run one more */
    struct list waiting;
    size_t weight;
    unsigned running;
    enum topic_kind kind;
    char id[];
};

struct crowd {
    struct strmap callers;
    struct list turn;
    size_t weight;
    unsigned running;
};

struct asks_queue {
    struct crowd crowds[KINDS];
    unsigned first; /* the kind that is asked first, next time */
    size_t waiting;
};

struct asks_queue *asks_queue_new(void)
{
    struct asks_queue *queue = xcalloc(1, sizeof(*queue));

    for (int kind = 0; kind < KINDS; kind++)
        list_init(&queue->crowds[kind].turn);
    return queue;
}

static void free_caller(void *ctx, const char *id, void *value)
{
    (void)ctx, (void)id;
    free(value);
}

void asks_queue_free(struct asks_queue *queue)
{
    for (int kind = 0; kind < KINDS; kind++) {
        strmap_each(&queue->crowds[kind].callers, free_caller, NULL);
        strmap_fini(&queue->crowds[kind].callers);
    }
    free(queue);
}

static struct asks_caller *caller_of(struct crowd *crowd, enum topic_kind kind, const char *id)
{
    struct asks_caller *caller = strmap_get(&crowd->callers, id);
    size_t length = strlen(id);

    if (caller)
        return caller;
    caller = xcalloc(1, sizeof(*caller) + length + 1);
    memcpy(caller->id, id, length + 1);
    caller->kind = kind;
    list_init(&caller->waiting);
    strmap_set(&crowd->callers, id, caller);
    return caller;
}

/* In turn exactly while something of it could run. */
static void take_turn(struct crowd *crowd, struct asks_caller *caller)
{
    bool may_run = caller->waiting.count > 0 && caller->running < running_max[caller->kind].own;

    if (may_run && !list_is_linked(&caller->node))
        list_push_back(&crowd->turn, &caller->node);
    else if (!may_run && list_is_linked(&caller->node))
        list_remove(&crowd->turn, &caller->node);
}

int asks_queue_add(struct asks_queue *queue, enum topic_kind kind, const char *id,
                   size_t payload_bytes, struct asks_place *place, bool *is_own)
{
    struct crowd *crowd = &queue->crowds[kind];
    const struct asks_caller *known = strmap_get(&crowd->callers, id);
    size_t weight = 1 + payload_bytes / WEIGHT_BYTES;
    size_t room = crowd->weight < WEIGHT_MAX ? WEIGHT_MAX - crowd->weight : 0;
    struct asks_caller *caller;

    *is_own = known && known->weight + weight > room;
    if (*is_own || weight > room)
        return ERR_FULL;
    caller = caller_of(crowd, kind, id);
    caller->weight += weight;
    crowd->weight += weight;
    queue->waiting++;
    place->weight = weight;
    place->caller = caller;
    list_push_back(&caller->waiting, &place->node);
    take_turn(crowd, caller);
    return 0;
}

static struct asks_place *next_of(struct asks_queue *queue, unsigned kind)
{
    struct crowd *crowd = &queue->crowds[kind];
    struct list_node *node;
    struct asks_caller *caller;

    if (crowd->running >= running_max[kind].all)
        return NULL;
    node = list_pop_front(&crowd->turn);
    if (!node)
        return NULL;
    caller = CONTAINER_OF(node, struct asks_caller, node);
    node = list_pop_front(&caller->waiting);
    queue->waiting--;
    caller->running++;
    crowd->running++;
    take_turn(crowd, caller);
    return CONTAINER_OF(node, struct asks_place, node);
}

struct asks_place *asks_queue_next(struct asks_queue *queue)
{
    queue->first = (queue->first + 1) % KINDS;
    for (unsigned i = 0; i < KINDS; i++) {
        struct asks_place *place = next_of(queue, (queue->first + i) % KINDS);

        if (place)
            return place;
    }
    return NULL;
}

void asks_queue_end(struct asks_queue *queue, struct asks_place *place)
{
    struct asks_caller *caller = place->caller;
    struct crowd *crowd;

    if (!caller)
        return;
    crowd = &queue->crowds[caller->kind];
    place->caller = NULL;
    caller->weight -= place->weight;
    crowd->weight -= place->weight;
    caller->running--;
    crowd->running--;
    take_turn(crowd, caller);
    if (caller->weight == 0)
        free(strmap_remove(&crowd->callers, caller->id));
}

struct asks_place *asks_queue_drop(struct asks_queue *queue)
{
    struct asks_place *place;

    for (unsigned kind = 0; kind < KINDS; kind++) {
        struct list_node *node = list_first(&queue->crowds[kind].turn);

        /* A caller with as much running as it may is in no turn: that has been answered by now. */
        if (!node)
            continue;
        queue->crowds[kind].running = 0;
        place = next_of(queue, kind);
        asks_queue_end(queue, place);
        return place;
    }
    return NULL;
}

size_t asks_queue_waiting(const struct asks_queue *queue)
{
    return queue->waiting;
}

size_t asks_queue_running(const struct asks_queue *queue)
{
    size_t running = 0;

    for (int kind = 0; kind < KINDS; kind++)
        running += queue->crowds[kind].running;
    return running;
}

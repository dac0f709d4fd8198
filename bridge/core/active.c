/* SPDX-License-Identifier: MIT */
#include "core/active.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/map.h"
#include "base/panic.h"

/* One service's entries of one priority; it takes its turn among the services while it has any. */
struct active_lane {
    struct list_node turn; /* in the queue's turns of this priority */
    struct list entries;
    struct active_flow *flow;
};

/* One service; lives while it has an entry here. */
struct active_flow {
    struct active_lane lanes[PRIORITY_COUNT];
    size_t count;
    char service[];
};

struct active_queue {
    struct list turns[PRIORITY_COUNT];
    unsigned credit[PRIORITY_COUNT]; /* what is left of each weight in this round */
    size_t counts[PRIORITY_COUNT];
    size_t count;
    struct strmap flows;
};

static const unsigned weights[PRIORITY_COUNT] = {
    [PRIORITY_URGENT] = 8, [PRIORITY_HIGH] = 4, [PRIORITY_NORMAL] = 2, [PRIORITY_LOW] = 1};

struct active_queue *active_queue_new(void)
{
    struct active_queue *queue = xcalloc(1, sizeof *queue);

    for (size_t i = 0; i < PRIORITY_COUNT; i++) {
        list_init(&queue->turns[i]);
        queue->credit[i] = weights[i];
    }
    return queue;
}

void active_queue_free(struct active_queue *queue)
{
    if (!queue)
        return;
    ASSERT(queue->count == 0);
    strmap_fini(&queue->flows);
    free(queue);
}

static struct active_flow *flow_of(struct active_queue *queue, const char *service)
{
    struct active_flow *flow = strmap_get(&queue->flows, service);
    size_t bytes = strlen(service) + 1;

    if (flow)
        return flow;
    flow = xcalloc(1, sizeof *flow + bytes);
    memcpy(flow->service, service, bytes);
    for (size_t i = 0; i < PRIORITY_COUNT; i++) {
        list_init(&flow->lanes[i].entries);
        flow->lanes[i].flow = flow;
    }
    (void)strmap_set(&queue->flows, service, flow);
    return flow;
}

static void add(struct active_queue *queue, struct active_entry *entry, enum priority priority,
                const char *service, bool is_first)
{
    struct active_flow *flow = flow_of(queue, service);
    struct active_lane *lane = &flow->lanes[priority];

    ASSERT((unsigned)priority < PRIORITY_COUNT && !list_is_linked(&entry->node));
    if (lane->entries.count == 0)
        list_push_back(&queue->turns[priority], &lane->turn);
    if (is_first)
        list_push_front(&lane->entries, &entry->node);
    else
        list_push_back(&lane->entries, &entry->node);
    entry->flow = lane;
    flow->count++;
    queue->counts[priority]++;
    queue->count++;
}

void active_push(struct active_queue *queue, struct active_entry *entry, enum priority priority,
                 const char *service)
{
    add(queue, entry, priority, service, false);
}

void active_return(struct active_queue *queue, struct active_entry *entry, enum priority priority,
                   const char *service)
{
    add(queue, entry, priority, service, true);
}

void active_remove(struct active_queue *queue, struct active_entry *entry)
{
    struct active_lane *lane = entry->flow;
    struct active_flow *flow = lane->flow;
    size_t priority = (size_t)(lane - flow->lanes);

    list_remove(&lane->entries, &entry->node);
    entry->flow = NULL;
    queue->counts[priority]--;
    queue->count--;
    if (lane->entries.count == 0)
        list_remove(&queue->turns[priority], &lane->turn);
    if (--flow->count == 0) {
        (void)strmap_remove(&queue->flows, flow->service);
        free(flow);
    }
}

/* The highest priority that has entries and credit; a new round when those that wait have none. */
static size_t next_priority(struct active_queue *queue)
{
    for (;;) {
        for (size_t i = 0; i < PRIORITY_COUNT; i++)
            if (queue->counts[i] > 0 && queue->credit[i] > 0)
                return i;
        for (size_t i = 0; i < PRIORITY_COUNT; i++)
            queue->credit[i] = weights[i];
    }
}

struct active_entry *active_pop(struct active_queue *queue)
{
    struct active_entry *entry;
    struct active_lane *lane;
    size_t priority;

    if (queue->count == 0)
        return NULL;
    priority = next_priority(queue);
    queue->credit[priority]--;
    lane = CONTAINER_OF(list_pop_front(&queue->turns[priority]), struct active_lane, turn);
    list_push_back(&queue->turns[priority], &lane->turn);
    entry = CONTAINER_OF(list_first(&lane->entries), struct active_entry, node);
    active_remove(queue, entry);
    return entry;
}

size_t active_count(const struct active_queue *queue)
{
    return queue->count;
}

size_t active_count_of(const struct active_queue *queue, enum priority priority)
{
    return queue->counts[priority];
}

size_t active_count_by(const struct active_queue *queue, const char *service)
{
    const struct active_flow *flow = strmap_get(&queue->flows, service);

    return flow ? flow->count : 0;
}

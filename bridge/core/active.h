/* SPDX-License-Identifier: MIT */
/*
 * active - the bounded active set: what this bridge holds leased and not yet under way
 *
 * As in a mail system's queue manager the database has everything and memory has a bounded
 * part.  One queue per destination; in it one lane per priority, served by weight 8:4:2:1 so
 * that low never starves; in each lane one list per service, served in turn (deficit round
 * robin by deliveries), so that one service's flood delays only itself.
 *
 * Purity:    no I/O, no clock.
 * Ownership: entries are the caller's, linked in while queued.
 */
#ifndef TOCSIN_CORE_ACTIVE_H
#define TOCSIN_CORE_ACTIVE_H
#include "base/list.h"
#include "core/channel.h"
#include <stddef.h>

struct active_entry {
    struct list_node node;
    void *flow; /* active's */
};

struct active_queue;

struct active_queue *active_queue_new(void);
void active_queue_free(struct active_queue *queue); /* must be empty */
void active_push(struct active_queue *queue, struct active_entry *entry, enum priority priority,
                 const char *service);
/* Back to the head of its service's entries: the last that was popped is returned first. */
void active_return(struct active_queue *queue, struct active_entry *entry, enum priority priority,
                   const char *service);
/* The next by weight and turn; NULL when empty. */
struct active_entry *active_pop(struct active_queue *queue);
void active_remove(struct active_queue *queue, struct active_entry *entry);
size_t active_count(const struct active_queue *queue);
size_t active_count_of(const struct active_queue *queue, enum priority priority);
/* Of one service, all priorities. */
size_t active_count_by(const struct active_queue *queue, const char *service);

#endif

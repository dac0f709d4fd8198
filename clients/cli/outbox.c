/* SPDX-License-Identifier: MIT */
#include "outbox.h"

#include <stdlib.h>
#include <string.h>

#define SEEN_SLOTS_MIN 8

struct outbox {
    size_t window, live, slots; /* slots: a power of two */
    size_t counts[ENTRY_STATES];
    struct entry heads[ENTRY_STATES]; /* list heads: only prev and next are used */
    struct entry **table;
};

struct outbox *outbox_new(size_t window)
{
    struct outbox *box = xcalloc(1, sizeof(*box));

    box->window = window;
    for (box->slots = 64; box->slots < 2 * window;)
        box->slots *= 2;
    box->table = xcalloc(box->slots, sizeof(struct entry *));
    for (size_t i = 0; i < ENTRY_STATES; i++)
        box->heads[i].prev = box->heads[i].next = &box->heads[i];
    return box;
}

void outbox_free(struct outbox *box)
{
    if (!box)
        return;
    for (size_t i = 0; i < ENTRY_STATES; i++)
        while (box->heads[i].next != &box->heads[i])
            outbox_remove(box, box->heads[i].next);
    free(box->table);
    free(box);
}

bool outbox_has_room(const struct outbox *box)
{
    return box->live < box->window;
}

size_t outbox_count(const struct outbox *box, enum entry_state state)
{
    return box->counts[state];
}

size_t outbox_live(const struct outbox *box)
{
    return box->live;
}

/* FNV-1a: ids are our own or our caller's, there is no one to attack the table but oneself. */
static size_t slot_of(const struct outbox *box, const char *id)
{
    uint64_t h = 14695981039346656037u;

    for (; *id; id++)
        h = (h ^ (unsigned char)*id) * 1099511628211u;
    return (size_t)(h ^ h >> 32) & (box->slots - 1);
}

static void unlink_entry(struct outbox *box, struct entry *entry)
{
    entry->prev->next = entry->next;
    entry->next->prev = entry->prev;
    box->counts[entry->state]--;
}

/* Links behind `after`, a member or the head of the state's list. */
static void link_entry(struct outbox *box, struct entry *entry, struct entry *after,
                       enum entry_state state)
{
    entry->prev = after;
    entry->next = after->next;
    after->next->prev = entry;
    after->next = entry;
    entry->state = state;
    box->counts[state]++;
}

struct entry *outbox_add(struct outbox *box, struct request *req)
{
    struct entry *entry = xcalloc(1, sizeof(*entry));
    size_t slot = slot_of(box, req->id);

    entry->req = *req;
    *req = (struct request){0};
    entry->chain = box->table[slot];
    box->table[slot] = entry;
    link_entry(box, entry, box->heads[ENTRY_QUEUED].prev, ENTRY_QUEUED);
    box->live++;
    return entry;
}

struct entry *outbox_find(const struct outbox *box, const char *id)
{
    struct entry *entry = box->table[slot_of(box, id)];

    while (entry && strcmp(entry->req.id, id) != 0)
        entry = entry->chain;
    return entry;
}

struct entry *outbox_first(const struct outbox *box, enum entry_state state)
{
    return box->counts[state] ? box->heads[state].next : NULL;
}

struct entry *outbox_next(const struct outbox *box, const struct entry *entry)
{
    return entry->next == &box->heads[entry->state] ? NULL : entry->next;
}

void outbox_move(struct outbox *box, struct entry *entry, enum entry_state state)
{
    unlink_entry(box, entry);
    link_entry(box, entry, box->heads[state].prev, state);
}

void outbox_requeue(struct outbox *box)
{
    struct entry *head = &box->heads[ENTRY_PUBLISHED];

    while (head->prev != head) {
        struct entry *entry = head->prev;

        unlink_entry(box, entry);
        link_entry(box, entry, &box->heads[ENTRY_QUEUED], ENTRY_QUEUED);
    }
}

void outbox_remove(struct outbox *box, struct entry *entry)
{
    struct entry **at = &box->table[slot_of(box, entry->req.id)];

    while (*at != entry)
        at = &(*at)->chain;
    *at = entry->chain;
    unlink_entry(box, entry);
    box->live--;
    request_fini(&entry->req);
    free(entry->seen);
    free(entry->after);
    json_decref(entry->reached);
    free(entry);
}

/* Where a hash is, or the free slot that is its place. */
static uint64_t *seen_slot(const struct entry *entry, uint64_t hash)
{
    size_t i = hash & (entry->seen_slots - 1);

    while (entry->seen[i] && entry->seen[i] != hash)
        i = (i + 1) & (entry->seen_slots - 1);
    return &entry->seen[i];
}

static void grow_seen(struct entry *entry)
{
    uint64_t *old = entry->seen;
    size_t old_slots = entry->seen_slots;

    entry->seen_slots = old_slots ? old_slots * 2 : SEEN_SLOTS_MIN;
    entry->seen = xcalloc(entry->seen_slots, sizeof(*entry->seen));
    for (size_t i = 0; i < old_slots; i++)
        if (old[i])
            *seen_slot(entry, old[i]) = old[i];
    free(old);
}

bool entry_has_seen(const struct entry *entry, uint64_t hash)
{
    return entry->seen_slots && *seen_slot(entry, hash ? hash : 1);
}

bool entry_see(struct entry *entry, uint64_t hash)
{
    hash = hash ? hash : 1;
    if (entry_has_seen(entry, hash))
        return false;
    if (entry->seen_count * 2 >= entry->seen_slots)
        grow_seen(entry);
    *seen_slot(entry, hash) = hash;
    entry->seen_count++;
    return true;
}

/* SPDX-License-Identifier: MIT */
/*
 * outbox - the requests of this run that are not finished
 *
 * An entry is queued (to be published), published (no receipt yet) or
 * accepted (with --wait final: its deliveries have not all ended). It is in
 * exactly one list by state, and in a table by id. The window bounds how many
 * there are, and with it the memory of a run over input of any size.
 *
 * Purity:    no I/O, no clock.
 * Ownership: entries belong to the outbox until outbox_remove().
 */
#ifndef CLI_OUTBOX_H
#define CLI_OUTBOX_H
#include "request.h"

#include <stdbool.h>
#include <stdint.h>

enum entry_state { ENTRY_QUEUED, ENTRY_PUBLISHED, ENTRY_ACCEPTED, ENTRY_STATES };

struct spool_batch;

struct entry {
    struct entry *prev, *next; /* in its state's list, oldest first */
    struct entry *chain;       /* in the table */
    enum entry_state state;
    struct request req;
    struct spool_batch *spooled; /* borrowed; NULL: not in the spool */
    unsigned spool_index;
    unsigned long line; /* of the input; 0 when it has none */
    uint64_t tag;       /* of the publication, or of the status call under way */
    unsigned tries;     /* publications, or status calls, so far */
    int64_t due_ms;     /* when to publish again, or to ask for the status */

    /* --wait final only */
    uint64_t *seen; /* receipts by hash, to drop repeats: a table, 0 is a free slot */
    size_t seen_count, seen_slots;
    unsigned ended;       /* final receipts */
    unsigned empty_looks; /* statuses without a single delivery */
    int64_t sent_ms;      /* when a receipt last said `sent`; 0 for never */
    bool is_asking;       /* a status call is under way */
    char *after;          /* all deliveries up to this one have ended; NULL: none is known to */
    size_t passed;        /* how many those are */
    json_t *reached;      /* route first: by recipient, whether a channel reached them */
    bool ended_badly;
};

struct outbox;

struct outbox *outbox_new(size_t window) NODISCARD;
void outbox_free(struct outbox *box);
bool outbox_has_room(const struct outbox *box);
size_t outbox_count(const struct outbox *box, enum entry_state state);
size_t outbox_live(const struct outbox *box);
/* Takes *req. The id must not be in the outbox. Borrowed. */
struct entry *outbox_add(struct outbox *box, struct request *req);
/* Borrowed, or NULL. */
struct entry *outbox_find(const struct outbox *box, const char *id);
struct entry *outbox_first(const struct outbox *box, enum entry_state state);
struct entry *outbox_next(const struct outbox *box, const struct entry *entry);
/* To the end of another state's list. */
void outbox_move(struct outbox *box, struct entry *entry, enum entry_state state);
/* Everything published is queued again, before what was queued already, in order. */
void outbox_requeue(struct outbox *box);
void outbox_remove(struct outbox *box, struct entry *entry);
/* Remembers a hash. False when it was there already. */
bool entry_see(struct entry *entry, uint64_t hash);
bool entry_has_seen(const struct entry *entry, uint64_t hash);
#endif

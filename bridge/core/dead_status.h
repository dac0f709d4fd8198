/* SPDX-License-Identifier: MIT */
/*
 * dead_status - what the desk says of a dead letter, and which moves are legal
 *
 *   pending_review -> retrying, resolved, ignored      an admin; resolved also by age
 *   ignored        -> retrying, resolved
 *   resolved       -> retrying, ignored                where its delivery is still dead
 *   retrying       -> resolved, ignored                called back before it was put into the queue
 *   retrying       -> pending_review                   dead again
 *   retrying       -> resolved                         its retry ended otherwise
 *
 * Purity: data only.
 */
#ifndef TOCSIN_CORE_DEAD_STATUS_H
#define TOCSIN_CORE_DEAD_STATUS_H
#include "base/err.h"
#include <stdbool.h>

/* Stored in the database: never renumber. */
enum dead_status {
    DEAD_PENDING_REVIEW = 0,
    DEAD_RETRYING = 1,
    DEAD_RESOLVED = 2,
    DEAD_IGNORED = 3,
    DEAD_STATUS_COUNT = 4
};
const char *dead_status_name(enum dead_status status);
NODISCARD int dead_status_parse(const char *name, enum dead_status *status);
/* Whether an admin may move a dead letter whose delivery is dead. */
bool dead_status_can_move(enum dead_status from, enum dead_status to);
/* All from which it may: a bit set. */
unsigned dead_status_sources(enum dead_status to);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * id - 64-bit ids that sort by time: milliseconds << 22 | node << 12 | sequence
 *
 * Made by the bridge, so that an insert needs no round trip and goes to the right-hand edge of
 * its index, and the id itself is the partition key.  A notification's deliveries take the ids
 * right after its own, so that they are found by a range (in which another node's ids may lie
 * too, when it is longer than one millisecond's 4,096).  The source runs ahead of the clock when
 * more than 4,096 are taken in a millisecond; it never goes back.
 *
 * Purity: no clock; the caller passes wall milliseconds.
 * Limits: positive as a signed bigint until 7 September 2039, not before 1970; outside of these
 *         id_take() makes none.
 */
#ifndef TOCSIN_CORE_ID_H
#define TOCSIN_CORE_ID_H
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ID_NODE_MAX   1023
#define ID_TEXT_BYTES 17
#define ID_RUN_MAX    1000000 /* ids in one id_take() */

struct id_source {
    uint64_t last;
    unsigned node;
};

void id_source_init(struct id_source *source, unsigned node);
/*
 * Reserves count ids in a row and returns the first.  The others follow by id_next(), which is
 * +1 throughout in a run of up to 4,096.  0, which is no id: the clock is outside the limits.
 */
uint64_t id_take(struct id_source *source, int64_t wall_ms, size_t count);
/* Whether id_take() can make ids at this time, and for an hour to come. */
bool id_can_take(int64_t wall_ms);
/* What is taken from now on is later than all ids of that millisecond. */
void id_start_after(struct id_source *source, int64_t wall_ms);
uint64_t id_next(uint64_t id);
int64_t id_wall_ms(uint64_t id);
uint64_t id_first_of(int64_t wall_ms); /* lower bound of a time; for partitions */
/* 16 lower-case hex digits. */
char *id_format(uint64_t id, char out[ID_TEXT_BYTES]);
NODISCARD int id_parse(const char *text, uint64_t *id);

#endif

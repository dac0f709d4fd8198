/* SPDX-License-Identifier: MIT */
/*
 * sink_keys - a set of strings by their 64-bit fingerprints
 *
 * Millions of ids must be told apart without keeping them.  Two different
 * strings look equal once in some 10^19 pairs; for counting that is never.
 * Not thread-safe.
 */
#ifndef TOCSIN_BENCH_SINK_KEYS_H
#define TOCSIN_BENCH_SINK_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Open addressing, at most half full; 0 is an empty slot.  Start with {0}. */
struct sink_keys {
    uint64_t *slot;
    size_t size;
    size_t count;
};

/* True when the string was not in the set. */
bool sink_keys_add(struct sink_keys *keys, const char *data, size_t len);
void sink_keys_clear(struct sink_keys *keys);

/* The pointer itself; ends the program when there is no memory. */
void *sink_must(void *memory);

#endif

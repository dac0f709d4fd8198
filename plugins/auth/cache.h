/* SPDX-License-Identifier: MIT */
/*
 * cache - tokens that were verified before
 *
 * Saves the signature, never the judgement: an entry is found only by the
 * whole SHA-256 of the whole token, only accepted tokens enter, time and
 * revocation are checked anew on every use, and a reload of the keys empties
 * it.  The token itself is not kept.
 *
 * Ownership: the cache owns its entries; what comes out is a copy.
 */
#ifndef TOCSIN_AUTH_CACHE_H
#define TOCSIN_AUTH_CACHE_H

#include "token.h"

struct cache_entry;

struct cache {
    struct cache_entry **slots;
    size_t room; /* 0: no cache */
    uint64_t hits, misses;
};

NODISCARD int cache_init(struct cache *cache, size_t entries);
void cache_fini(struct cache *cache);
void cache_clear(struct cache *cache);
/* token_verify() with a memory. */
NODISCARD enum refusal cache_verify(struct cache *cache, const struct keys *keys, const char *text,
                                    size_t len, size_t max_len, int64_t now_s, struct token *out);

#endif

/* SPDX-License-Identifier: MIT */
#include "cache.h"

#include <openssl/sha.h>

#include <stdlib.h>
#include <string.h>

struct cache_entry {
    unsigned char hash[SHA256_DIGEST_LENGTH];
    int64_t issued_s, valid_from_s, expires_s, ends_s, max_ahead_s;
    uint64_t key_print;
    size_t name_len;
    char text[]; /* name and jti, both terminated */
};

enum { WAYS = 4 }; /* places one token may have */

int cache_init(struct cache *cache, size_t entries)
{
    memset(cache, 0, sizeof(*cache));
    if (entries == 0)
        return 0;
    entries = (entries + WAYS - 1) / WAYS * WAYS;
    cache->slots = calloc(entries, sizeof(struct cache_entry *));
    cache->room = cache->slots ? entries : 0;
    return cache->slots ? 0 : -1;
}

void cache_clear(struct cache *cache)
{
    for (size_t i = 0; i < cache->room; i++) {
        free(cache->slots[i]);
        cache->slots[i] = NULL;
    }
}

void cache_fini(struct cache *cache)
{
    cache_clear(cache);
    free(cache->slots);
    memset(cache, 0, sizeof(*cache));
}

static void take_out(const struct cache_entry *entry, struct token *out)
{
    memcpy(out->name, entry->text, entry->name_len + 1);
    memcpy(out->jti, entry->text + entry->name_len + 1,
           strlen(entry->text + entry->name_len + 1) + 1);
    out->issued_s = entry->issued_s;
    out->valid_from_s = entry->valid_from_s;
    out->expires_s = entry->expires_s;
    out->ends_s = entry->ends_s;
    out->max_ahead_s = entry->max_ahead_s;
    out->key_print = entry->key_print;
    out->roles_left_out = 0;
}

/* Out of memory is no harm: then it is verified again next time. */
static void put_in(struct cache_entry **set, const unsigned char *hash, const struct token *tok)
{
    size_t name_len = strlen(tok->name), jti_len = strlen(tok->jti);
    struct cache_entry *entry = malloc(sizeof(*entry) + name_len + jti_len + 2);

    if (!entry)
        return;
    memcpy(entry->hash, hash, sizeof(entry->hash));
    entry->issued_s = tok->issued_s;
    entry->valid_from_s = tok->valid_from_s;
    entry->expires_s = tok->expires_s;
    entry->ends_s = tok->ends_s;
    entry->max_ahead_s = tok->max_ahead_s;
    entry->key_print = tok->key_print;
    entry->name_len = name_len;
    memcpy(entry->text, tok->name, name_len + 1);
    memcpy(entry->text + name_len + 1, tok->jti, jti_len + 1);
    free(set[WAYS - 1]);
    memmove(set + 1, set, (WAYS - 1) * sizeof(*set));
    set[0] = entry;
}

/* The places that a token may have, the one used last in front. */
static struct cache_entry **set_of(struct cache *cache, const unsigned char *hash)
{
    uint64_t word;

    memcpy(&word, hash, sizeof(word));
    return &cache->slots[word % (cache->room / WAYS) * WAYS];
}

/* Brings the n-th to the front. */
static void use(struct cache_entry **set, unsigned n)
{
    struct cache_entry *entry = set[n];

    memmove(set + 1, set, n * sizeof(*set));
    set[0] = entry;
}

static bool find(struct cache_entry **set, const unsigned char *hash)
{
    for (unsigned i = 0; i < WAYS; i++)
        if (set[i] && memcmp(set[i]->hash, hash, sizeof(set[i]->hash)) == 0) {
            use(set, i);
            return true;
        }
    return false;
}

enum refusal cache_verify(struct cache *cache, const struct keys *keys, const char *text,
                          size_t len, size_t max_len, int64_t now_s, struct token *out)
{
    unsigned char hash[SHA256_DIGEST_LENGTH];

    if (cache->room == 0 || len > max_len || !SHA256((const unsigned char *)text, len, hash))
        return token_verify(keys, text, len, max_len, now_s, out);
    struct cache_entry **set = set_of(cache, hash);
    if (find(set, hash)) {
        cache->hits++;
        take_out(set[0], out);
        return token_check_time(out, now_s);
    }
    cache->misses++;
    enum refusal why = token_verify(keys, text, len, max_len, now_s, out);
    if (!why)
        put_in(set, hash, out);
    return why;
}

/* SPDX-License-Identifier: MIT */
#include "sink_keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS_START = 1 << 16 };

void *sink_must(void *memory)
{
    if (memory == NULL) {
        fputs("sink: out of memory\n", stderr);
        abort();
    }
    return memory;
}

/* Eight bytes at a time, mixed by multiplication: distinct inputs must differ,
 * nothing more. */
static uint64_t fingerprint(const char *data, size_t len)
{
    uint64_t h = 0x9e3779b97f4a7c15u ^ (len * 0xff51afd7ed558ccdu);

    while (len > 0) {
        uint64_t word = 0;
        size_t part = len < sizeof(word) ? len : sizeof(word);

        memcpy(&word, data, part);
        h = (h ^ word) * 0xc4ceb9fe1a85ec53u;
        h ^= h >> 29;
        data += part;
        len -= part;
    }
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 32;
    return h ? h : 1;
}

static bool keys_place(struct sink_keys *keys, uint64_t key)
{
    size_t i = (size_t)key & (keys->size - 1);

    while (keys->slot[i] != 0) {
        if (keys->slot[i] == key)
            return false;
        i = (i + 1) & (keys->size - 1);
    }
    keys->slot[i] = key;
    keys->count++;
    return true;
}

bool sink_keys_add(struct sink_keys *keys, const char *data, size_t len)
{
    if (keys->count * 2 >= keys->size) {
        struct sink_keys bigger = {.size = keys->size ? keys->size * 2 : KEYS_START};

        bigger.slot = sink_must(calloc(bigger.size, sizeof(*bigger.slot)));
        for (size_t i = 0; i < keys->size; i++)
            if (keys->slot[i] != 0)
                keys_place(&bigger, keys->slot[i]);
        free(keys->slot);
        *keys = bigger;
    }
    return keys_place(keys, fingerprint(data, len));
}

void sink_keys_clear(struct sink_keys *keys)
{
    free(keys->slot);
    *keys = (struct sink_keys){0};
}

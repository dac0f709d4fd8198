/* SPDX-License-Identifier: MIT */
#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

#define ARENA_ALIGN       alignof(max_align_t)
#define ARENA_FIRST_BYTES 1024
#define ARENA_BLOCK_MAX   (64 * 1024) /* blocks double up to this */

struct arena_block {
    struct arena_block *next;
    size_t capacity, used;
    alignas(max_align_t) unsigned char bytes[];
};

/* The arena lives in its own first block, so that a short-lived one costs one allocation. */
struct arena {
    struct arena_block *current; /* newest ordinary block, head of the list */
    struct arena_block *first;   /* holds this struct; last of the list */
    size_t first_used;           /* what of first is the arena's own */
    size_t held;
};

static size_t round_up(size_t size)
{
    if (size > SIZE_MAX / 2)
        fatal("memory.exhausted", "an arena was asked for more than an address space");
    return (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
}

static struct arena_block *block_new(size_t capacity)
{
    struct arena_block *block = xmalloc(sizeof *block + capacity);

    block->next = NULL;
    block->capacity = capacity;
    block->used = 0;
    return block;
}

struct arena *arena_new(size_t first_bytes)
{
    size_t own = round_up(sizeof(struct arena));
    struct arena_block *block;
    struct arena *arena;

    if (first_bytes == 0)
        first_bytes = ARENA_FIRST_BYTES;
    block = block_new(own + round_up(first_bytes));
    block->used = own;
    arena = (struct arena *)(void *)block->bytes;
    arena->current = arena->first = block;
    arena->first_used = own;
    arena->held = sizeof *block + block->capacity;
    return arena;
}

static void free_all_but_first(struct arena *arena)
{
    struct arena_block *block = arena->current;

    while (block != arena->first) {
        struct arena_block *next = block->next;

        free(block);
        block = next;
    }
}

void arena_free(struct arena *arena)
{
    if (!arena)
        return;
    free_all_but_first(arena);
    free(arena->first); /* takes the arena with it */
}

void arena_reset(struct arena *arena)
{
    free_all_but_first(arena);
    arena->current = arena->first;
    arena->first->used = arena->first_used;
    arena->held = sizeof *arena->first + arena->first->capacity;
}

static void *alloc_slow(struct arena *arena, size_t size)
{
    size_t capacity = arena->current->capacity * 2;
    struct arena_block *block;

    if (capacity > ARENA_BLOCK_MAX)
        capacity = ARENA_BLOCK_MAX;
    if (size > capacity / 2) {
        /* A large one gets its own block behind the current one, which stays in use. */
        block = block_new(size);
        block->used = size;
        arena->held += sizeof *block + size;
        if (arena->current == arena->first) {
            block->next = arena->first;
            arena->current = block;
        } else {
            block->next = arena->current->next;
            arena->current->next = block;
        }
        return block->bytes;
    }
    block = block_new(capacity);
    block->used = size;
    block->next = arena->current;
    arena->current = block;
    arena->held += sizeof *block + capacity;
    return block->bytes;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    struct arena_block *block = arena->current;
    void *ptr;

    size = round_up(size ? size : 1);
    if (size > block->capacity - block->used)
        return alloc_slow(arena, size);
    ptr = block->bytes + block->used;
    block->used += size;
    return ptr;
}

void *arena_zalloc(struct arena *arena, size_t size)
{
    void *ptr = arena_alloc(arena, size);

    memset(ptr, 0, size);
    return ptr;
}

char *arena_strdup(struct arena *arena, const char *text)
{
    return arena_copy(arena, text, strlen(text));
}

char *arena_copy(struct arena *arena, const void *bytes, size_t length)
{
    char *copy = arena_alloc(arena, length + 1);

    if (length)
        memcpy(copy, bytes, length);
    copy[length] = '\0';
    return copy;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args;
    char *text;
    int length;

    va_start(args, format);
    length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    ASSERT(length >= 0);
    text = arena_alloc(arena, (size_t)length + 1);
    va_start(args, format);
    vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    return text;
}

size_t arena_bytes(const struct arena *arena)
{
    return arena->held;
}

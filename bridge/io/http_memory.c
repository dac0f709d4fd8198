/* SPDX-License-Identifier: MIT */
/*
 * http_memory - where libcurl keeps what it uploads
 *
 * With HTTP/2 each request under way holds a buffer of 16 KB, the least that libcurl takes, and
 * fills some hundred bytes of it.  On the heap all of them would be resident, for what others
 * have left there before.  Here each is made of pages of its own, and those that nobody writes to
 * cost nothing.
 *
 * Thread:  libcurl's resolver allocates too, in threads of its own, but no such buffers.
 */
#include "io/http_client_private.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SLOTS 2048 /* 32 MB of addresses; what is beyond goes to the heap */
#define BYTES ((size_t)SLOTS * HTTP_UPLOAD_BYTES)

/* libcurl's allocator is one for the whole process, and its functions have no context. */
static struct {
    char *base; /* NULL: there are none */
    size_t free_count;
    uint16_t free[SLOTS];
} slots;

static bool is_slot(const void *block)
{
    uintptr_t at = (uintptr_t)block, base = (uintptr_t)slots.base;

    return base && at >= base && at < base + BYTES;
}

void *http_memory_take(size_t bytes)
{
    if (bytes != HTTP_UPLOAD_BYTES || !slots.free_count)
        return malloc(bytes);
    return slots.base + (size_t)slots.free[--slots.free_count] * HTTP_UPLOAD_BYTES;
}

void http_memory_give(void *block)
{
    if (is_slot(block))
        slots.free[slots.free_count++] =
            (uint16_t)((size_t)((char *)block - slots.base) / HTTP_UPLOAD_BYTES);
    else
        free(block);
}

void *http_memory_resize(void *block, size_t bytes)
{
    void *moved;

    if (!is_slot(block))
        return realloc(block, bytes);
    moved = malloc(bytes);
    if (!moved)
        return NULL;
    memcpy(moved, block, bytes < HTTP_UPLOAD_BYTES ? bytes : HTTP_UPLOAD_BYTES);
    http_memory_give(block);
    return moved;
}

CURLcode http_memory_init(void)
{
    void *base = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (base != MAP_FAILED) {
        slots.base = base;
        for (slots.free_count = 0; slots.free_count < SLOTS; slots.free_count++)
            slots.free[slots.free_count] = (uint16_t)(SLOTS - 1 - slots.free_count);
    }
    return curl_global_init_mem(CURL_GLOBAL_DEFAULT, http_memory_take, http_memory_give,
                                http_memory_resize, strdup, calloc);
}

void http_memory_fini(void)
{
    if (slots.base)
        munmap(slots.base, BYTES);
    slots.base = NULL;
    slots.free_count = 0;
}

void http_memory_give_back(void)
{
    if (slots.base && slots.free_count == SLOTS)
        (void)madvise(slots.base, BYTES, MADV_DONTNEED);
}

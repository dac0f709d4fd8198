/* SPDX-License-Identifier: MIT */
/*
 * arena - many small allocations with one death
 *
 * Ownership: everything handed out dies in arena_free() or arena_reset().
 * Errors:    none; out of memory is fatal.
 */
#ifndef TOCSIN_BASE_ARENA_H
#define TOCSIN_BASE_ARENA_H
#include <stddef.h>

struct arena;

/* A new arena whose first block holds first_bytes (a hint; 0 takes the default of 1 KiB). */
struct arena *arena_new(size_t first_bytes);
void arena_free(struct arena *arena); /* NULL is allowed */
/* Forgets everything but keeps one block for reuse. */
void arena_reset(struct arena *arena);
/* Aligned for any type; not cleared. */
void *arena_alloc(struct arena *arena, size_t size);
void *arena_zalloc(struct arena *arena, size_t size);
char *arena_strdup(struct arena *arena, const char *text);
/* All `length` bytes, NULs among them, and a NUL behind: `bytes` must have that many. */
char *arena_copy(struct arena *arena, const void *bytes, size_t length);
char *arena_printf(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
size_t arena_bytes(const struct arena *arena); /* held from the heap */

#endif

/* SPDX-License-Identifier: MIT */
/*
 * alloc - memory that is there or the process is not
 *
 * Running out of memory is fatal(): all that matters is in Postgres, and being
 * killed is a tested case.  Hence none of these returns NULL.  Free with free().
 */
#ifndef TOCSIN_BASE_ALLOC_H
#define TOCSIN_BASE_ALLOC_H
#include <stddef.h>

void *xmalloc(size_t size);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *ptr, size_t size);
char *xstrdup(const char *text);
char *xstrndup(const char *text, size_t length);

#endif

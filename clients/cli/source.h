/* SPDX-License-Identifier: MIT */
/*
 * source - requests from a file or from stdin, one at a time
 *
 * Input is JSON lines: on each line a request, or an array of requests. A
 * regular file of up to 16 MiB that is one JSON document as a whole (pretty
 * printed, say) is taken as that document. A line that cannot be read is
 * reported with its number and does not harm its neighbours.
 *
 * Bounded: one line of at most SOURCE_LINE_MAX bytes is held at a time.
 * Ownership: items are the caller's.
 */
#ifndef CLI_SOURCE_H
#define CLI_SOURCE_H
#include "mem.h"

#include <jansson.h>
#include <stdbool.h>

#define SOURCE_LINE_MAX     (4u << 20)
#define SOURCE_DOCUMENT_MAX (16u << 20)

enum source_result {
    SOURCE_ITEM,  /* *item is a new object */
    SOURCE_BAD,   /* *error says what is wrong with where it is */
    SOURCE_AGAIN, /* nothing complete yet: source_fill() when readable */
    SOURCE_END
};

struct source_item {
    json_t *object;     /* SOURCE_ITEM: new */
    unsigned long line; /* 1 is the first; 0 for a whole document */
    size_t index;       /* place in an array, from 1; 0 when not in one */
    char *error;        /* SOURCE_BAD: new */
};

struct source;

/* "-" is stdin. New, or NULL after saying why. */
struct source *source_open(const char *path) NODISCARD;
/* A source of one request that was built from options. Takes `object`. */
struct source *source_of(json_t *object) NODISCARD;
enum source_result source_next(struct source *src, struct source_item *item) NODISCARD;
/* To poll before source_fill(); -1 when there is nothing more to read. */
int source_fd(const struct source *src);
/* Reads once; blocks when nothing is there. */
void source_fill(struct source *src);
void source_close(struct source *src);
#endif

/* SPDX-License-Identifier: MIT */
/*
 * sink_api - the providers' APIs as the sink knows them: paths, answers, counts
 *
 * Knows no sockets and no time.  The table of kinds is the whole knowledge;
 * nothing is checked.  Not thread-safe.
 */
#ifndef TOCSIN_BENCH_SINK_API_H
#define TOCSIN_BENCH_SINK_API_H

#include "sink_keys.h"

enum { SINK_KINDS = 17, SINK_PART_MAX = 256, SINK_ANSWER_MAX = 1024 };

struct sink_kind; /* one API */

struct sink_tally {
    uint64_t requests;
    uint64_t repeats;        /* of a key seen before */
    struct sink_keys keys;   /* webhook-id, idempotency key, or target */
    struct sink_keys bodies; /* whole bodies */
};

struct sink_api {
    uint64_t serial;
    struct sink_tally tallies[SINK_KINDS];
};

/* Never NULL: what is nothing else is a generic webhook. */
const struct sink_kind *sink_api_kind(const char *path, size_t len);

/* Count a request. `key` is its idempotency key, or NULL when it has none. */
void sink_api_count(struct sink_api *api, const struct sink_kind *kind, const char *path,
                    size_t path_len, const char *key, size_t key_len, const char *body,
                    size_t body_len);

/* One answer in parts, with an id that no other has. */
struct sink_reply {
    int status;
    const char *header;        /* name, lower case; NULL for none */
    char value[SINK_PART_MAX]; /* of that header */
    char body[SINK_PART_MAX];
};

void sink_api_reply(struct sink_api *api, const struct sink_kind *kind, struct sink_reply *reply);

/* Write a complete HTTP/1.1 answer with an id that no other has; returns its
 * length. */
size_t sink_api_answer(struct sink_api *api, const struct sink_kind *kind,
                       char text[SINK_ANSWER_MAX]);

/* Append `"distinct":...,"kinds":{...}` to a JSON object; returns the length
 * written. */
size_t sink_api_stats(const struct sink_api *api, char *text, size_t size);
void sink_api_reset(struct sink_api *api);

#endif

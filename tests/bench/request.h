/* SPDX-License-Identifier: MIT */
/*
 * request - the requests of a run, and the numbers found again in the answers
 *
 * All requests of a run have one length: a template with fields written in
 * place.  The id is a UUIDv7 whose tail carries the run and the number of the
 * request; `data.n` carries the same through to the inbox, and the beginning
 * of the body to a provider.  Messages of other runs do not match and are
 * told apart.
 *
 * Purity:     no I/O.
 * Ownership:  request_init() allocates one template, request_fini() frees it.
 */
#ifndef BENCH_REQUEST_H
#define BENCH_REQUEST_H

#include "json_scan.h"
#include "options.h"

#define REQUEST_ID_LEN 36

struct request_template {
    char *text;
    size_t len;
    size_t id_at, target_at, n_at, body_n_at; /* offsets; 0: none */
    uint32_t run;
};

int request_init(struct request_template *t, const struct load_options *o, uint32_t run);
void request_fini(struct request_template *t);
/* Writes t->len bytes: request number n, for user number `user`. */
void request_write(const struct request_template *t, char *out, uint32_t n, unsigned user,
                   uint64_t unix_ms);
/* The number in a receipt's id or in an inbox message's data.n; false when it
 * is not one of this run's. */
bool request_of_id(const struct request_template *t, struct json_slice id, uint32_t *n);
bool request_of_data(const struct request_template *t, struct json_slice n_field, uint32_t *n);

#endif

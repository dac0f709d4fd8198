/* SPDX-License-Identifier: MIT */
/*
 * sigv4 - AWS Signature Version 4, as an Authorization header
 *
 * Paths are taken as they are but for percent-encoding: no dot segments, no double slashes.
 *
 * Purity: no I/O; the caller passes the time.
 */
#ifndef TOCSIN_CHANNELS_SIGV4_H
#define TOCSIN_CHANNELS_SIGV4_H
#include "base/buf.h"
#include "base/secret.h"
#include "io/http_client.h"
#include <stddef.h>
#include <stdint.h>

#define SIGV4_TIME_BYTES 17 /* "20150830T123600Z" and its NUL */

struct sigv4_account {
    const char *access_key, *region, *service;
    const struct secret *secret_key;
};

struct sigv4_request {
    const char *method, *path, *query; /* query: raw, "" when none */
    /* Everything to be signed, host and x-amz-date included. */
    const struct http_header *headers;
    size_t header_count;
    const void *body;
    size_t body_bytes;
};

char *sigv4_time(int64_t unix_seconds, char out[SIGV4_TIME_BYTES]);
/* Appends the value of the Authorization header; time is that of x-amz-date. */
void sigv4_authorize(struct buf *out, const struct sigv4_account *account,
                     const struct sigv4_request *request, const char *time);

#endif

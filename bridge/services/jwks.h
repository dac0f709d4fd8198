/* SPDX-License-Identifier: MIT */
/*
 * jwks - keeps copies of identity providers' key sets in files
 *
 * The broker's plugin reads keys from a file and watches it: it must not touch the network.  So
 * the bridge fetches the set (RFC 7517) now and then, asks only for what is new (ETag), looks at
 * it before it believes it, and puts it in place in one step.  A set is good when one key in it can
 * be used, whatever stands beside it.  Whatever goes wrong, the last good set stays; failures are
 * tried again with backoff.
 */
#ifndef TOCSIN_SERVICES_JWKS_H
#define TOCSIN_SERVICES_JWKS_H
#include "base/metrics.h"
#include "io/http_client.h"

#define JWKS_MAX 32 /* issuers, as many as the plugin knows */

struct jwks;
struct jwks_config {
    const char *url, *file; /* lists of as many words each; of one URL the file may have blanks */
    const char *ca_file;    /* borrowed, may be NULL */
    int64_t every_ms;
};
struct jwks *jwks_open(struct loop *loop, const struct jwks_config *config,
                       struct http_client *http, struct metrics *metrics);
/* The words of a list. */
size_t jwks_count(const char *list);
/* Before http_client_close(): nothing is asked any more. */
void jwks_close(struct jwks *jwks);
/* After loop_free(), which waits for a file being written. */
void jwks_free(struct jwks *jwks);

#endif

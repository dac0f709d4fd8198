/* SPDX-License-Identifier: MIT */
/*
 * callback_url - the spellings of one URL, for signatures that cover it
 *
 * A provider signs the URL as it was configured and requests it as its HTTP client writes it: an
 * apostrophe goes out as %27, a blank as + or %20, %2f as %2F.  RFC 3986 calls these one URL, and a
 * signature over any of them proves the request.
 *
 * Strategy:  the URL as it came; then as the encoders of the usual languages write it; then each
 *            kind of character that may stand in a query either way as it came, written out and
 *            percent-encoded, in combinations.  The characters that divide a query (& = + # %)
 *            keep their form, so that every spelling names the same parameters with the same
 *            values: what is believed is what is then read.
 * Limits:    anybody may send a callback, and nothing is proved before the spellings are tried: so
 *            they cost no more than CALLBACK_SPELLED_BYTES_MAX bytes of hashing together, and are
 *            CALLBACK_SPELLINGS_MAX at most.  A URL of more than CALLBACK_SPELLED_URL_MAX bytes is
 *            tried as it came only: a configured one is not so long.
 * Purity:    no I/O.
 */
#ifndef TOCSIN_CHANNELS_CALLBACK_URL_H
#define TOCSIN_CHANNELS_CALLBACK_URL_H
#include "base/arena.h"
#include <stdbool.h>
#include <stddef.h>

#define CALLBACK_SPELLINGS_MAX     64
#define CALLBACK_SPELLED_URL_MAX   768
#define CALLBACK_SPELLED_BYTES_MAX 65536

/*
 * Whether fits() is true for a spelling of the URL; beside is how many bytes fits() hashes besides
 * the URL, each time.  The URL as it came is tried in any case.
 */
bool callback_url_fits(const char *url, size_t beside, bool (*fits)(void *ctx, const char *url),
                       void *ctx);

#endif

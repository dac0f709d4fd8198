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
 *            percent-encoded, in all combinations up to CALLBACK_SPELLINGS_MAX.  The characters
 * that divide a query (& = + # %) keep their form, so that every spelling names the same parameters
 * with the same values: what is believed is what is then read. Purity:    no I/O.
 */
#ifndef TOCSIN_CHANNELS_CALLBACK_URL_H
#define TOCSIN_CHANNELS_CALLBACK_URL_H
#include "base/arena.h"
#include <stdbool.h>
#include <stddef.h>

#define CALLBACK_SPELLINGS_MAX 200

/* Whether fits() is true for a spelling of the URL; most is how many may be tried, at least one. */
bool callback_url_fits(const char *url, size_t most, bool (*fits)(void *ctx, const char *url),
                       void *ctx);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * tracker - the links by which a mail says that it was opened or clicked, or asks to be the last
 *
 *   {public_url}/t/o/{token}          an image of one pixel
 *   {public_url}/t/c/{token}/{url}    a link's own URL in base64url, to which we redirect
 *   {public_url}/t/u/{sealed}         one-click unsubscription (RFC 8058)
 *
 * A token is the delivery's id and an HMAC over it, the kind and the URL: nobody can make a link
 * that we would redirect elsewhere.  What an unsubscription needs - the address and the type it
 * is for - travels in the link itself, encrypted and authenticated (AES-256-GCM), so that it
 * works for as long as the key is kept and nothing personal can be read from it.
 *
 * Keys:   from a file.  The key before it still verifies, so that a key can be changed without
 *         breaking the links of mails that are out.
 * Errors: what cannot be verified is ERR_REFUSED, without saying why.
 */
#ifndef TOCSIN_CHANNELS_TRACKER_H
#define TOCSIN_CHANNELS_TRACKER_H
#include "base/arena.h"
#include "base/err.h"
#include "channels/adapter.h"
#include <stdint.h>

#define TRACKER_PATH "/t/"

struct tracker;
struct tracker_config {
    const char *public_url;                 /* a slash at its end does not matter */
    const char *key_file, *former_key_file; /* NULL: none */
};

/* A tracker without a key makes no links and verifies none. */
struct tracker *tracker_new(void);
void tracker_free(struct tracker *tracker);
/* Reads the files; on error (why names the file) everything stays as it was. */
NODISCARD int tracker_load(struct tracker *tracker, const struct tracker_config *config, char *why,
                           size_t why_bytes);

/* ---- making: NULL when there is no key, or the job's type does not want it ---- */

/* The HTML with its links and an image as the job's type wants them; else html itself. */
const char *tracker_html(const struct tracker *tracker, struct arena *arena, const struct job *job,
                         const char *html);
/* The link that unsubscribes the job's target from its type. */
const char *tracker_unsubscribe_url(const struct tracker *tracker, struct arena *arena,
                                    const struct job *job);

/* ---- reading: what stands behind TRACKER_PATH ---- */

enum tracker_kind { TRACKER_OPEN, TRACKER_CLICK, TRACKER_UNSUBSCRIBE };
struct tracker_link {
    enum tracker_kind kind;
    uint64_t delivery;
    const char *url;            /* CLICK: where to redirect; ASCII without blanks */
    const char *address, *type; /* UNSUBSCRIBE */
    enum channel channel;       /* UNSUBSCRIBE */
};
/* Its texts live in the arena. */
NODISCARD int tracker_read(const struct tracker *tracker, struct arena *arena, const char *path,
                           struct tracker_link *link);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * spool - requests on disk until the bridge has accepted them
 *
 * Requests are put in batches, however many there are at the moment, one when
 * it is one: DIR/<key>.jsonl, written under a temporary name, synced, renamed,
 * and the directory synced, before any of them may be published. After
 * spool_sync() a crash of the machine loses nothing, and thousands of requests
 * a second need only a few syncs. A file is removed when all in it are
 * accepted. Whatever is in a file at a crash is sent again under the same ids,
 * also what was accepted meanwhile, which has no second effect.
 *
 * Why not the MQTT library's own persistence: it forgets a message at PUBACK.
 * But a broker may acknowledge and then die with the message unsaved; only
 * the `accepted` receipt says that the request is committed. It is also
 * bound to a client id and to packet ids, whereas these files can be looked
 * at, copied, and sent by any later run.
 *
 * A spool belongs to one service (DIR/owner): requests spooled by one must
 * never go out under another's token. Several runs may use one spool at once;
 * only the one that holds the lock sends what earlier runs left, so that
 * nothing is sent by everybody. Rejected requests go to DIR/rejected/.
 *
 * Units:     keys are microseconds since 1970, made unique; they sort by age.
 * Ownership: batches belong to the spool.
 * Errors:    -1 after saying why; a spool that cannot be written to is fatal
 *            to the caller, since its promise could not be kept.
 */
#ifndef CLI_SPOOL_H
#define CLI_SPOOL_H
#include "principal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct spool;
struct spool_batch; /* a file, while requests from it are not finished */

struct spool_item {
    const char *text; /* borrowed until the next call of spool_next() */
    size_t len;
    struct spool_batch *batch; /* to give back, with spool_done() or spool_reject() */
    unsigned index;            /* line of the file, from 1 */
};

/* Makes DIR when it is missing. New, or NULL after saying why. */
struct spool *spool_open(const char *dir, const struct principal *owner) NODISCARD;
/* Takes one request in; neither safe nor to be had back before spool_sync(). */
int spool_put(struct spool *spool, const char *json, size_t len) NODISCARD;
/* Makes everything put so far survive a crash. */
int spool_sync(struct spool *spool) NODISCARD;
/* The next request, oldest first: of earlier runs, if we hold the lock, and then ours. */
bool spool_next(struct spool *spool, struct spool_item *item) NODISCARD;
/* Whether spool_next() may have more. */
bool spool_has_more(const struct spool *spool);
/* How many it would give. Reads the files. */
size_t spool_count(const struct spool *spool);
/* Accepted: the last one of a batch removes its file. */
void spool_done(struct spool *spool, struct spool_batch *batch);
/* Rejected or damaged: done, and kept as DIR/rejected/<key>-<index>.json. */
void spool_reject(struct spool *spool, struct spool_batch *batch, unsigned index, const char *text,
                  size_t len);
void spool_close(struct spool *spool);
#endif

/* SPDX-License-Identifier: MIT */
/*
 * spool - requests on disk until the bridge has accepted them
 *
 * One file per request, DIR/<key>.json, written under a temporary name,
 * synced, renamed, and the directory synced before the request may be
 * published: after spool_sync() a crash of the machine loses nothing. The
 * file is removed when `accepted` arrives; if that removal is lost in a
 * crash, the request is sent once more under the same id, which has no
 * second effect.
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
 * nothing is sent by everybody.
 *
 * Rejected requests are moved to DIR/rejected/.
 *
 * Units:  keys are microseconds since 1970, made unique; they sort by age.
 * Errors: -1 after saying why; a spool that cannot be written to is fatal to
 *         the caller, since its promise could not be kept.
 */
#ifndef CLI_SPOOL_H
#define CLI_SPOOL_H
#include "principal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct spool;

/* Makes DIR when it is missing. New, or NULL after saying why. */
struct spool *spool_open(const char *dir, const struct principal *owner) NODISCARD;
/* Stores one request; not safe before spool_sync(). */
int spool_put(struct spool *spool, const char *json, size_t len, uint64_t *key) NODISCARD;
/* Makes everything put so far survive a crash. */
int spool_sync(struct spool *spool) NODISCARD;
/* The oldest key not yet taken, of earlier runs (if we hold the lock) or put by us; 0 if none. */
uint64_t spool_take(struct spool *spool);
/* How many spool_take() would give. */
size_t spool_waiting(const struct spool *spool);
/* New: the request's text, or NULL when it is gone or unreadable. */
char *spool_read(struct spool *spool, uint64_t key, size_t *len) NODISCARD;
/* Accepted: forgets it. A file already gone is fine. */
void spool_remove(struct spool *spool, uint64_t key);
/* Rejected or damaged: moves it out of the way, to DIR/rejected/. */
void spool_reject(struct spool *spool, uint64_t key);
void spool_close(struct spool *spool);
#endif

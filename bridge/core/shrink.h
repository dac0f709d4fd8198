/* SPDX-License-Identifier: MIT */
/*
 * shrink - what can be said of a message that is larger than the broker takes
 *
 * By topic:  receipts in an array are divided among several messages; one receipt that is too large
 *            by itself loses its `detail`.  A reply becomes the error `too_large` of the same rpc.
 *            A dead letter loses its `content`, which dlq.get still has.
 *            Nothing else can be made smaller.
 *
 * Purity:    no I/O.
 * Errors:    none: what cannot be read, or is still too large, is left out.
 * Order:     receipts keep theirs.
 */
#ifndef TOCSIN_CORE_SHRINK_H
#define TOCSIN_CORE_SHRINK_H
#include <stddef.h>

typedef void shrink_emit_fn(void *ctx, const char *payload, size_t bytes);

/*
 * Calls emit for each message in place of the one given, each at most limit bytes long and shorter
 * than it.  Returns how many; 0: there is nothing to say.  The payload is borrowed for the call.
 */
size_t shrink_message(const char *topic, const char *payload, size_t bytes, size_t limit,
                      shrink_emit_fn *emit, void *ctx);

#endif

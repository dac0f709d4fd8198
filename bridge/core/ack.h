/* SPDX-License-Identifier: MIT */
/*
 * ack - what a user's devices tell about notifications (topics.md section 4)
 *
 *   ack                                   {ids}
 *   read unread archive delete seen       {ids} or {all: true, before?}
 *   click                                 {ids, url}
 *
 * ids are those of the inbox, 1 to ACK_IDS_MAX of them; repeats in the list are harmless and
 * kept.  before is an RFC 3339 time: all that were created earlier.
 *
 * Purity:    no I/O, no clock.
 * Ownership: what is decoded lives in the arena given.
 */
#ifndef TOCSIN_CORE_ACK_H
#define TOCSIN_CORE_ACK_H
#include "base/arena.h"
#include "core/request.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACK_IDS_MAX 500

enum ack_kind {
    ACK_ACK,
    ACK_READ,
    ACK_UNREAD,
    ACK_ARCHIVE,
    ACK_DELETE,
    ACK_CLICK,
    ACK_SEEN,
    ACK_KIND_COUNT
};

struct ack {
    enum ack_kind kind;
    uint64_t *ids;
    size_t id_count; /* 0 when is_all */
    bool is_all;
    int64_t before_ms; /* wall; INT64_MAX when absent */
    const char *url;   /* click; else NULL */
};

const char *ack_kind_name(enum ack_kind kind);
/* By the topic's last level; ERR_NOT_FOUND when it is no such event. */
NODISCARD int ack_kind_parse(const char *event, enum ack_kind *kind);
/* ERR_INVALID with the rejection filled when the payload is not what the kind takes. */
NODISCARD int ack_decode(enum ack_kind kind, const char *payload, size_t bytes, struct arena *arena,
                         struct ack *ack, struct rejection *rejection);

#endif

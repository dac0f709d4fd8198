/* SPDX-License-Identifier: MIT */
/* Any event of a user: the first byte chooses the kind, the rest is the payload. */
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/panic.h"
#include "core/ack.h"
#include "core/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rejection rejection;
    struct arena *arena;
    struct ack ack;

    if (size == 0)
        return 0;
    arena = arena_new(0);
    if (ack_decode((enum ack_kind)(data[0] % ACK_KIND_COUNT), (const char *)data + 1, size - 1,
                   arena, &ack, &rejection) == 0) {
        ASSERT(ack.is_all ? ack.id_count == 0 : ack.id_count >= 1 && ack.id_count <= ACK_IDS_MAX);
        ASSERT((ack.url != NULL) == (ack.kind == ACK_CLICK));
        ASSERT(ack.kind != ACK_ACK || !ack.is_all);
    } else {
        ASSERT(rejection.reason != REJECT_NONE && rejection.detail[0] != '\0');
        ASSERT(utf8_is_valid(rejection.pointer, strlen(rejection.pointer)));
    }
    arena_free(arena);
    return 0;
}

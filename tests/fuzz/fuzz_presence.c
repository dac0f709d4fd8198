/* SPDX-License-Identifier: MIT */
/* What the broker's plugin tells of a user. */
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/panic.h"
#include "core/presence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct presence_told told;
    struct arena *arena = arena_new(0);

    if (presence_read("notify/v1/presence/alice", (const char *)data, size, arena, &told) == 0) {
        ASSERT(told.connections >= 0 && told.connections <= PRESENCE_CONNECTIONS_MAX);
        ASSERT(strcmp(told.user, "alice") == 0);
        ASSERT(size > 0 || told.connections == 0);
    }
    arena_free(arena);
    return 0;
}

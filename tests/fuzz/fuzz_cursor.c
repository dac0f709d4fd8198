/* SPDX-License-Identifier: MIT */
/* Any cursor that a client may send back. */
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/panic.h"
#include "core/cursor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *arena = arena_new(0);
    const char *text = arena_copy(arena, (const char *)data, size);
    struct cursor cursor, again;
    char written[CURSOR_BYTES];

    if (cursor_read(text, &cursor) == 0) {
        ASSERT(cursor.seq >= 0);
        ASSERT(cursor_read(cursor_write(&cursor, written), &again) == 0);
        ASSERT(again.is_rising == cursor.is_rising && again.seq == cursor.seq &&
               again.shared == cursor.shared);
    }
    arena_free(arena);
    return 0;
}

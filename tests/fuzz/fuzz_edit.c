/* SPDX-License-Identifier: MIT */
/* Whatever an admin edits: what is accepted is content that is accepted again as it is. */
#include <stdint.h>
#include <string.h>

#include "base/panic.h"
#include "core/edit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *arena = arena_new(0);
    struct json_doc doc;
    struct edit edit, again;

    if (size <= REQUEST_BYTES_MAX && json_read((const char *)data, size, 14, arena, &doc) == 0 &&
        !doc.troubles) {
        if (edit_read(doc.root, arena, &edit)) {
            ASSERT(edit.rejection.reason != REJECT_NONE && edit.rejection.pointer);
        } else {
            ASSERT(json_read(edit.content, edit.content_bytes, 14, arena, &doc) == 0);
            ASSERT(edit_read(doc.root, arena, &again) == 0);
            ASSERT(strcmp(edit.content, again.content) == 0 &&
                   edit.fits_in_app == again.fits_in_app);
        }
    }
    arena_free(arena);
    return 0;
}

/* SPDX-License-Identifier: MIT */
/* What of a request is stored and handed to adapters. */
#include "core/request_draft.h"

static const char *const names[KEPT_COUNT] = {
    [KEPT_TYPE] = "{\"type\":",         [KEPT_PRIORITY] = ",\"priority\":",
    [KEPT_TITLE] = ",\"title\":",       [KEPT_BODY] = ",\"body\":",
    [KEPT_TEMPLATE] = ",\"template\":", [KEPT_LOCALE] = ",\"locale\":",
    [KEPT_DATA] = ",\"data\":",         [KEPT_CONTENT] = ",\"content\":",
    [KEPT_GROUP] = ",\"group\":",       [KEPT_SCHEDULE] = ",\"schedule\":",
    [KEPT_CAMPAIGN] = ",\"campaign\":",
};

void request_write_content(struct request_draft *draft, struct arena *arena)
{
    struct buf out = {0};
    size_t room = 32;

    for (size_t i = 0; i < KEPT_COUNT; i++)
        if (draft->kept[i])
            room += draft->kept[i]->raw_length + 16;
    buf_reserve(&out, room);
    for (size_t i = 0; i < KEPT_COUNT; i++) {
        if (draft->kept[i]) {
            buf_add_text(&out, names[i]);
            json_write(draft->kept[i], &out);
        } else if (i == KEPT_PRIORITY) {
            buf_printf(&out, "%s\"%s\"", names[i], priority_name(draft->request->priority));
        }
    }
    buf_add_char(&out, '}');
    draft->request->content = arena_copy(arena, out.data, out.length);
    draft->request->content_bytes = out.length;
    buf_fini(&out);
}

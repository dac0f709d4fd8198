/* SPDX-License-Identifier: MIT */
#include "channels/push.h"
#include <string.h>

int64_t push_ttl_s(const struct call *call)
{
    int64_t ttl_s = call->content.ttl_ms >= 0 ? call->content.ttl_ms / 1000 : -1;

    if (call->job->expires_ms > 0) {
        int64_t left_s = (call->job->expires_ms - call->endpoint->env.wall_ms()) / 1000;

        left_s = left_s < 0 ? 0 : left_s;
        ttl_s = ttl_s < 0 || left_s < ttl_s ? left_s : ttl_s;
    }
    return ttl_s;
}

void push_member(struct buf *out, bool *is_first, const char *name, const char *value)
{
    if (!value)
        return;
    buf_printf(out, "%s\"%s\":", *is_first ? "" : ",", name);
    buf_add_json(out, value);
    *is_first = false;
}

static bool is_taken(const struct content *content, bool is_apple, const char *key)
{
    return strcmp(key, "tocsin_id") == 0 || (content->url && strcmp(key, "url") == 0) ||
           (is_apple && (strcmp(key, "aps") == 0 || (content->image && strcmp(key, "image") == 0)));
}

void push_add_data(struct buf *out, const struct content *content, bool is_apple)
{
    for (size_t i = 0; i < content->data_count; i++) {
        if (is_taken(content, is_apple, content->data[i].key))
            continue;
        buf_add_char(out, ',');
        buf_add_json(out, content->data[i].key);
        buf_add_char(out, ':');
        buf_add_json(out, content->data[i].value);
    }
}

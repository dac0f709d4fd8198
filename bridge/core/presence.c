/* SPDX-License-Identifier: MIT */
#include "core/presence.h"

#include "base/timefmt.h"
#include "core/json.h"
#include "core/topic.h"

#include <string.h>

#define BYTES_MAX 4096
#define DEPTH_MAX 8

static int read_payload(const char *payload, size_t bytes, struct arena *scratch,
                        struct presence_told *told)
{
    const struct json *connections, *at;
    struct json_doc doc;

    if (bytes > BYTES_MAX || json_read(payload, bytes, DEPTH_MAX, scratch, &doc) || doc.troubles ||
        doc.root->kind != JSON_KIND_OBJECT)
        return ERR_INVALID;
    connections = json_member(doc.root, "connections");
    at = json_member(doc.root, "at");
    if (!connections || connections->kind != JSON_KIND_INTEGER || connections->value.integer < 0 ||
        connections->value.integer > PRESENCE_CONNECTIONS_MAX)
        return ERR_INVALID;
    told->connections = (int)connections->value.integer;
    if (at && (at->kind != JSON_KIND_STRING || timefmt_parse_wall(at->text, &told->at_ms)))
        return ERR_INVALID;
    return 0;
}

int presence_read(const char *topic, const char *payload, size_t bytes, struct arena *scratch,
                  struct presence_told *told)
{
    static const size_t prefix = sizeof(PRESENCE_FILTER) - 2;

    if (strncmp(topic, PRESENCE_FILTER, prefix) != 0 ||
        !topic_is_encoded_id(topic + prefix, strlen(topic + prefix)))
        return ERR_INVALID;
    *told = (struct presence_told){.user = topic + prefix};
    return bytes ? read_payload(payload, bytes, scratch, told) : 0;
}

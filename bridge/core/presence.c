/* SPDX-License-Identifier: MIT */
#include "core/presence.h"

#include "base/timefmt.h"
#include "core/json.h"
#include "core/topic.h"

#include <string.h>

#define BYTES_MAX 4096
#define DEPTH_MAX 8

/* As topics have them: what is anything else is nobody's role. */
static int read_roles(const struct json *value, struct arena *scratch, struct presence_told *told)
{
    if (value->kind != JSON_KIND_ARRAY)
        return ERR_INVALID;
    for (const struct json *at = value->first; at; at = at->next) {
        if (at->kind != JSON_KIND_STRING || !topic_is_encoded_id(at->text, at->length))
            return ERR_INVALID;
        told->roles =
            arena_printf(scratch, "%s%s%s", told->roles, told->roles[0] ? "," : "", at->text);
    }
    return 0;
}

static int read_payload(const char *payload, size_t bytes, struct arena *scratch,
                        struct presence_told *told)
{
    const struct json *connections, *at, *roles;
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
    roles = json_member(doc.root, "roles");
    return roles ? read_roles(roles, scratch, told) : 0;
}

int presence_read(const char *topic, const char *payload, size_t bytes, struct arena *scratch,
                  struct presence_told *told)
{
    static const size_t prefix = sizeof(PRESENCE_FILTER) - 2;

    if (strncmp(topic, PRESENCE_FILTER, prefix) != 0 ||
        !topic_is_encoded_id(topic + prefix, strlen(topic + prefix)))
        return ERR_INVALID;
    *told = (struct presence_told){.user = topic + prefix, .roles = ""};
    return bytes ? read_payload(payload, bytes, scratch, told) : 0;
}

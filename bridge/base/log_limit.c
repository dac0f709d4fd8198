/* SPDX-License-Identifier: MIT */
#include "base/log_limit.h"

#include <stddef.h>
#include <string.h>

#define PROBES 16

static uint64_t add_text(uint64_t hash, const char *text)
{
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211); /* FNV-1a */
    return (hash ^ 0xff) * UINT64_C(1099511628211);
}

/* Fields whose values come from the configuration or from our own constants. */
static bool is_ours(const char *name)
{
    static const char *const ours[] = {"destination", "alert", "lane",  "job",
                                       "name",        "file",  "client"};

    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (strcmp(name, ours[i]) == 0)
            return true;
    return false;
}

static uint64_t key_of(const char *event, const struct log_field *fields, unsigned count)
{
    uint64_t key = add_text(UINT64_C(14695981039346656037), event);

    for (unsigned i = 0; i < count; i++)
        if (fields[i].kind == LOG_KIND_STR && fields[i].value.text && is_ours(fields[i].name))
            key = add_text(key, fields[i].value.text);
    return key ? key : 1;
}

static struct log_limit_slot *find(struct log_limit *limit, uint64_t key, int64_t now_s)
{
    struct log_limit_slot *room = NULL;

    for (unsigned i = 0; i < PROBES; i++) {
        struct log_limit_slot *slot = &limit->slots[(key + i) % LOG_LIMIT_KEYS];

        if (slot->key == key)
            return slot;
        if (!room && (slot->key == 0 || (slot->second != now_s && !slot->suppressed)))
            room = slot;
    }
    if (!room)
        return &limit->slots[LOG_LIMIT_KEYS];
    *room = (struct log_limit_slot){.key = key, .second = now_s};
    return room;
}

bool log_limit_take(struct log_limit *limit, enum log_level level, const char *event,
                    const struct log_field *fields, unsigned count, int64_t now_s)
{
    struct log_limit_slot *slot = find(limit, key_of(event, fields, count), now_s);

    slot->event = event;
    if (slot->second != now_s) {
        slot->second = now_s;
        slot->count = 0;
    }
    if (slot->count < LOG_LIMIT_LINES) {
        slot->count++;
        return true;
    }
    slot->level = level;
    slot->suppressed++;
    limit->suppressed++;
    return false;
}

const struct log_limit_slot *log_limit_report(struct log_limit *limit, int64_t now_s,
                                              uint64_t *suppressed)
{
    if (!limit->suppressed || limit->reported_s == now_s)
        return NULL;
    for (unsigned i = 0; i <= LOG_LIMIT_KEYS; i++) {
        struct log_limit_slot *slot = &limit->slots[i];

        if (!slot->suppressed || slot->second == now_s)
            continue;
        *suppressed = slot->suppressed;
        limit->suppressed -= slot->suppressed;
        slot->suppressed = 0;
        return slot;
    }
    limit->reported_s = now_s; /* nothing more in this second */
    return NULL;
}

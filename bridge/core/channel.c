/* SPDX-License-Identifier: MIT */
#include "core/channel.h"

#include <stddef.h>
#include <string.h>

static const char *const channel_names[CHANNEL_COUNT] = {
    [CHANNEL_IN_APP] = "in_app", [CHANNEL_PUSH] = "push", [CHANNEL_SMS] = "sms",
    [CHANNEL_EMAIL] = "email",   [CHANNEL_CHAT] = "chat", [CHANNEL_WEBHOOK] = "webhook",
};

static const char *const priority_names[PRIORITY_COUNT] = {
    [PRIORITY_URGENT] = "urgent",
    [PRIORITY_HIGH] = "high",
    [PRIORITY_NORMAL] = "normal",
    [PRIORITY_LOW] = "low",
};

const char *channel_name(enum channel channel)
{
    return (unsigned)channel < CHANNEL_COUNT ? channel_names[channel] : "unknown";
}

int channel_parse(const char *name, enum channel *channel)
{
    for (unsigned i = 0; i < CHANNEL_COUNT; i++)
        if (strcmp(name, channel_names[i]) == 0) {
            *channel = (enum channel)i;
            return 0;
        }
    return ERR_NOT_FOUND;
}

const char *priority_name(enum priority priority)
{
    return (unsigned)priority < PRIORITY_COUNT ? priority_names[priority] : "unknown";
}

int priority_parse(const char *name, enum priority *priority)
{
    for (unsigned i = 0; i < PRIORITY_COUNT; i++)
        if (strcmp(name, priority_names[i]) == 0) {
            *priority = (enum priority)i;
            return 0;
        }
    return ERR_NOT_FOUND;
}

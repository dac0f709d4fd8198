/* SPDX-License-Identifier: MIT */
#include "core/channel.h"

#include <stddef.h>
#include <string.h>

#include "base/panic.h"

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
    ASSERT((unsigned)channel < CHANNEL_COUNT);
    return channel_names[channel];
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
    ASSERT((unsigned)priority < PRIORITY_COUNT);
    return priority_names[priority];
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

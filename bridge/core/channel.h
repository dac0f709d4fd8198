/* SPDX-License-Identifier: MIT */
/*
 * channel - the media a delivery can take, and how a set of them is written
 */
#ifndef TOCSIN_CORE_CHANNEL_H
#define TOCSIN_CORE_CHANNEL_H
#include "base/err.h"

/* The numbers are stored in the database: never renumber. */
enum channel {
    CHANNEL_IN_APP = 0,
    CHANNEL_PUSH = 1,
    CHANNEL_SMS = 2,
    CHANNEL_EMAIL = 3,
    CHANNEL_CHAT = 4,
    CHANNEL_WEBHOOK = 5,
    CHANNEL_COUNT = 6
};

const char *channel_name(enum channel channel);
/* ERR_NOT_FOUND when there is no such channel. */
NODISCARD int channel_parse(const char *name, enum channel *channel);

enum priority {
    PRIORITY_URGENT = 0,
    PRIORITY_HIGH = 1,
    PRIORITY_NORMAL = 2,
    PRIORITY_LOW = 3,
    PRIORITY_COUNT = 4
};
const char *priority_name(enum priority priority);
NODISCARD int priority_parse(const char *name, enum priority *priority);

#endif

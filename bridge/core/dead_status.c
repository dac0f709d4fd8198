/* SPDX-License-Identifier: MIT */
#include "core/dead_status.h"

#include <string.h>

static const char *const names[DEAD_STATUS_COUNT] = {
    [DEAD_PENDING_REVIEW] = "pending_review",
    [DEAD_RETRYING] = "retrying",
    [DEAD_RESOLVED] = "resolved",
    [DEAD_IGNORED] = "ignored",
};

static const bool moves[DEAD_STATUS_COUNT][DEAD_STATUS_COUNT] = {
    [DEAD_PENDING_REVIEW] = {[DEAD_RETRYING] = true, [DEAD_RESOLVED] = true, [DEAD_IGNORED] = true},
    [DEAD_RETRYING] = {[DEAD_RESOLVED] = true, [DEAD_IGNORED] = true},
    [DEAD_RESOLVED] = {[DEAD_RETRYING] = true, [DEAD_IGNORED] = true},
    [DEAD_IGNORED] = {[DEAD_RETRYING] = true, [DEAD_RESOLVED] = true},
};

const char *dead_status_name(enum dead_status status)
{
    return (unsigned)status < DEAD_STATUS_COUNT ? names[status] : "";
}

int dead_status_parse(const char *name, enum dead_status *status)
{
    for (int i = 0; i < DEAD_STATUS_COUNT; i++)
        if (strcmp(names[i], name) == 0) {
            *status = (enum dead_status)i;
            return 0;
        }
    return ERR_NOT_FOUND;
}

bool dead_status_can_move(enum dead_status from, enum dead_status to)
{
    return moves[from][to];
}

unsigned dead_status_sources(enum dead_status to)
{
    unsigned sources = 0;

    for (int from = 0; from < DEAD_STATUS_COUNT; from++)
        if (moves[from][to])
            sources |= 1u << from;
    return sources;
}

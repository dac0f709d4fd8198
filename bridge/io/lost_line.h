/* SPDX-License-Identifier: MIT */
/*
 * lost_line - when a connection that keeps failing is worth another line in the log
 *
 * The first failure of an outage, each failure with another reason than the one before, and one a
 * minute while nothing changes.
 */
#ifndef TOCSIN_IO_LOST_LINE_H
#define TOCSIN_IO_LOST_LINE_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define LOST_LINE_EVERY_MS 60000

struct lost_line {
    int64_t said_ms;
    char why[120]; /* of the last line */
};

/* failures: in a row, 1 for the first; now_ms: any clock that only runs forward. */
static inline bool lost_line_is_due(struct lost_line *line, unsigned failures, const char *why,
                                    int64_t now_ms)
{
    char cut[sizeof(line->why)] = "";

    memcpy(cut, why, strnlen(why, sizeof(cut) - 1));
    if (failures > 1 && strcmp(cut, line->why) == 0 && now_ms - line->said_ms < LOST_LINE_EVERY_MS)
        return false;
    line->said_ms = now_ms;
    memcpy(line->why, cut, sizeof(cut));
    return true;
}

#endif

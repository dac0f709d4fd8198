/* SPDX-License-Identifier: MIT */
/*
 * timefmt - times and durations as text
 *
 * Times are RFC 3339 with an offset; durations are ISO 8601 ("PT30S", "P1DT2H"; no years or
 * months, whose length is not fixed) or a number with a unit ("500ms" "30s" "5m" "2h" "7d").
 */
#ifndef TOCSIN_BASE_TIMEFMT_H
#define TOCSIN_BASE_TIMEFMT_H
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

#define TIMEFMT_BYTES 32 /* "2026-11-20T12:34:56.789Z" and its NUL */

/* UTC with milliseconds; writes and returns out. */
char *timefmt_wall(int64_t wall_ms, char out[TIMEFMT_BYTES]);
NODISCARD int timefmt_parse_wall(const char *text, int64_t *wall_ms);
NODISCARD int timefmt_parse_duration(const char *text, int64_t *ms);
/* The shortest exact form ("1500ms", "2m"); for messages and --print-config. */
char *timefmt_duration(int64_t ms, char out[TIMEFMT_BYTES]);

#endif

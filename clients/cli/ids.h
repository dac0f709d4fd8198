/* SPDX-License-Identifier: MIT */
/*
 * ids - time, randomness and identifiers
 *
 * Units: now_ms() is monotonic milliseconds, wall_ms() milliseconds since 1970.
 */
#ifndef CLI_IDS_H
#define CLI_IDS_H
#include "mem.h"

#include <stdint.h>

#define UUID_TEXT 37 /* with its NUL */

int64_t now_ms(void);
int64_t wall_ms(void);
/* Uniform in [0, bound); bound > 0. From the kernel's generator. */
uint32_t random_below(uint32_t bound);
void random_bytes(void *to, size_t len);
/*
 * A version 7 UUID (RFC 9562): 48 bits of milliseconds, then random bits, so
 * that ids sort by the time of their making, to the millisecond.
 */
void uuid7(char out[UUID_TEXT]);
/* What to wait before attempt `n` (0, 1, ..): between half and all of base * 2^n, at most cap. */
int64_t backoff_ms(unsigned n, int64_t base_ms, int64_t cap_ms);
/* "500ms" "30s" "5m" "2h" "7d" or bare seconds; 0 or -1 when it is none of these. */
int parse_duration(const char *text, int64_t *out_ms) NODISCARD;
#endif

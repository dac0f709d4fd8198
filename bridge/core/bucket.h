/* SPDX-License-Identifier: MIT */
/*
 * bucket - token buckets: at most so many per second, minute, hour and day
 *
 * Each of the four refills evenly and holds 20 ms' worth (at least one), so that 50/s is 50 in
 * every second, not 50 in its first moment and 50 more in the rest of it.  What any second,
 * minute, hour or day sees, wherever it begins, never exceeds the number given: what a bucket
 * holds above one is taken off its flow, which costs 2 % of a high rate per second.
 *
 * Purity: the caller passes the time (monotonic ms).
 */
#ifndef TOCSIN_CORE_BUCKET_H
#define TOCSIN_CORE_BUCKET_H
#include <stdbool.h>
#include <stdint.h>

struct bucket_config {
    uint32_t per_second, per_minute, per_hour, per_day; /* 0: no limit */
};

struct bucket {
    const struct bucket_config *config; /* borrowed */
    double tokens[4];
    int64_t filled_ms;
};

void bucket_init(struct bucket *bucket, const struct bucket_config *config, int64_t now_ms);
/* How many may go now, at most want. */
unsigned bucket_room(struct bucket *bucket, unsigned want, int64_t now_ms);
bool bucket_take(struct bucket *bucket, int64_t now_ms);
/* When one more token will be there; now_ms when there is one. */
int64_t bucket_next_ms(struct bucket *bucket, int64_t now_ms);

#endif

/* SPDX-License-Identifier: MIT */
#include "core/bucket.h"

#include <math.h>
#include <stddef.h>

#define BUCKETS 4
/* Sums of thousandths never quite reach a whole: this much is a token all the same. */
#define NEARLY 1e-6

/*
 * What is sent in any period is at most what the bucket held plus what flowed in.  A token on top
 * of the first one is therefore taken off the flow: burst - 1 + flow * period = allowance.
 */
struct rate {
    double allowance, burst, per_ms;
};

static struct rate rate_of(const struct bucket_config *config, size_t i)
{
    static const double period_ms[BUCKETS] = {1e3, 6e4, 3.6e6, 8.64e7};
    /* 20 ms' worth: more than a turn of the loop, so that no token runs over. */
    static const double burst_ms = 20;
    const uint32_t allowances[BUCKETS] = {config->per_second, config->per_minute, config->per_hour,
                                          config->per_day};
    struct rate rate = {.allowance = allowances[i]};

    rate.burst = fmax(1, rate.allowance * burst_ms / period_ms[i]);
    rate.per_ms = (rate.allowance - (rate.burst - 1)) / period_ms[i];
    return rate;
}

void bucket_init(struct bucket *bucket, const struct bucket_config *config, int64_t now_ms)
{
    bucket->config = config;
    bucket->filled_ms = now_ms;
    for (size_t i = 0; i < BUCKETS; i++)
        bucket->tokens[i] = rate_of(config, i).burst;
}

static void fill(struct bucket *bucket, int64_t now_ms)
{
    int64_t passed_ms = now_ms - bucket->filled_ms;

    if (passed_ms <= 0)
        return;
    for (size_t i = 0; i < BUCKETS; i++) {
        struct rate rate = rate_of(bucket->config, i);

        bucket->tokens[i] = fmin(rate.burst, bucket->tokens[i] + (double)passed_ms * rate.per_ms);
    }
    bucket->filled_ms = now_ms;
}

unsigned bucket_room(struct bucket *bucket, unsigned want, int64_t now_ms)
{
    fill(bucket, now_ms);
    for (size_t i = 0; i < BUCKETS; i++)
        if (rate_of(bucket->config, i).allowance > 0 && bucket->tokens[i] + NEARLY < want)
            want = (unsigned)fmax(0, floor(bucket->tokens[i] + NEARLY));
    return want;
}

bool bucket_take(struct bucket *bucket, int64_t now_ms)
{
    if (bucket_room(bucket, 1, now_ms) == 0)
        return false;
    for (size_t i = 0; i < BUCKETS; i++)
        if (rate_of(bucket->config, i).allowance > 0)
            bucket->tokens[i] -= 1;
    return true;
}

int64_t bucket_next_ms(struct bucket *bucket, int64_t now_ms)
{
    double wait_ms = 0;

    fill(bucket, now_ms);
    for (size_t i = 0; i < BUCKETS; i++) {
        struct rate rate = rate_of(bucket->config, i);

        if (rate.allowance > 0 && bucket->tokens[i] + NEARLY < 1)
            wait_ms = fmax(wait_ms, ceil((1 - NEARLY - bucket->tokens[i]) / rate.per_ms));
    }
    return now_ms + (int64_t)wait_ms;
}

/* SPDX-License-Identifier: MIT */
#include "bucket.h"

void bucket_init(struct bucket *b, int64_t burst, int64_t now_ms)
{
    b->level_milli = burst * 1000;
    b->filled_ms = now_ms;
}

static void fill(struct bucket *b, int64_t rate, int64_t burst, int64_t now_ms)
{
    int64_t passed_ms = now_ms - b->filled_ms;

    if (passed_ms <= 0)
        return;
    b->filled_ms = now_ms;
    /* rate per second is rate thousandths per millisecond */
    if (passed_ms > burst * 1000 / rate)
        b->level_milli = burst * 1000;
    else
        b->level_milli += passed_ms * rate;
    if (b->level_milli > burst * 1000)
        b->level_milli = burst * 1000;
}

bool bucket_take(struct bucket *b, int64_t rate, int64_t burst, int64_t amount, int64_t now_ms)
{
    if (rate == 0)
        return true;
    fill(b, rate, burst, now_ms);
    if (b->level_milli < amount * 1000)
        return false;
    b->level_milli -= amount * 1000;
    return true;
}

bool bucket_has(struct bucket *b, int64_t rate, int64_t burst, int64_t now_ms)
{
    if (rate == 0)
        return true;
    fill(b, rate, burst, now_ms);
    return b->level_milli >= 1000;
}

bool bucket_is_full(struct bucket *b, int64_t rate, int64_t burst, int64_t now_ms)
{
    if (rate == 0)
        return true;
    fill(b, rate, burst, now_ms);
    return b->level_milli >= burst * 1000;
}

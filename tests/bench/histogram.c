/* SPDX-License-Identifier: MIT */
#include "histogram.h"

static unsigned bucket_of(uint64_t us)
{
    if (us < HISTOGRAM_SUB)
        return (unsigned)us;
    unsigned log = 63u - (unsigned)__builtin_clzll(us); /* >= 6 */
    unsigned shift = log - 6;
    unsigned index = (shift + 1) * HISTOGRAM_SUB + (unsigned)((us >> shift) - HISTOGRAM_SUB);

    return index < HISTOGRAM_BUCKETS ? index : HISTOGRAM_BUCKETS - 1;
}

static uint64_t upper_edge_us(unsigned index)
{
    if (index < HISTOGRAM_SUB)
        return index + 1;
    unsigned shift = index / HISTOGRAM_SUB - 1;

    return ((uint64_t)(index % HISTOGRAM_SUB) + HISTOGRAM_SUB + 1) << shift;
}

void histogram_add(struct histogram *h, int64_t ns)
{
    if (ns < 0)
        ns = 0;
    h->bucket[bucket_of((uint64_t)ns / 1000)]++;
    h->count++;
    if (ns > h->max_ns)
        h->max_ns = ns;
}

double histogram_quantile_ms(const struct histogram *h, double q)
{
    uint64_t rank = (uint64_t)(q * (double)h->count + 0.999999), seen = 0;

    if (!h->count)
        return 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen >= rank && seen) {
            double edge = (double)upper_edge_us(i) / 1000, max = histogram_max_ms(h);

            return edge < max ? edge : max;
        }
    }
    return histogram_max_ms(h);
}

double histogram_max_ms(const struct histogram *h)
{
    return (double)h->max_ns / 1e6;
}

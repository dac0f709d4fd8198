/* SPDX-License-Identifier: MIT */
/*
 * histogram - latencies in buckets of at most 1.6 % width
 *
 * Log-linear: 64 buckets for each doubling, from 1 us to over an hour, in a
 * fixed 16 KB.  Quantiles answer the upper edge of the bucket, so a figure is
 * never flattered.
 *
 * Purity: no I/O, no allocation, no clock.
 * Units:  nanoseconds in, milliseconds out.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB     64
#define HISTOGRAM_BUCKETS (HISTOGRAM_SUB * 34)

struct histogram {
    uint64_t bucket[HISTOGRAM_BUCKETS];
    uint64_t count;
    int64_t max_ns;
};

void histogram_add(struct histogram *h, int64_t ns);
/* The latency that the fraction q (0..1) does not exceed; 0 when empty. */
double histogram_quantile_ms(const struct histogram *h, double q);
double histogram_max_ms(const struct histogram *h);

#endif

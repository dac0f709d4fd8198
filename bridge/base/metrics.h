/* SPDX-License-Identifier: MIT */
/*
 * metrics - counters, gauges and histograms, written in the Prometheus text format 0.0.4
 *
 * A registry owns its families; a metric (one set of label values) is looked up once and kept
 * by its user, so that the hot path is an addition.  Labels come from configuration and
 * constant tables only, never from the network: their number is bounded.
 */
#ifndef TOCSIN_BASE_METRICS_H
#define TOCSIN_BASE_METRICS_H
#include "base/buf.h"
#include <stdint.h>

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric {
    double value; /* counter and gauge */
    /* histogram: cumulative only when written */
    uint64_t *buckets;
    uint64_t count;
    double sum;
    const struct metric_family *family;
};

struct metrics;
struct metrics *metrics_new(void);
void metrics_free(struct metrics *metrics);
/*
 * Finds or makes the metric.  labels is the inside of the braces, already escaped
 * ("channel=\"sms\",outcome=\"retry\""), or NULL.  name and help are borrowed for ever;
 * counters end in _total, histograms are in seconds.  Borrowed result, stable.
 */
struct metric *metrics_get(struct metrics *metrics, enum metric_kind kind, const char *name,
                           const char *help, const char *labels);
void metrics_write(const struct metrics *metrics, struct buf *out);

static inline void metric_add(struct metric *metric, double delta)
{
    metric->value += delta;
}
static inline void metric_set(struct metric *metric, double value)
{
    metric->value = value;
}
void metric_observe(struct metric *metric, double seconds);

/*
 * Of a queue inside the process: how much waits in it (tocsin_queue_depth), and how much has left
 * it (tocsin_queue_taken_total).  Depth above 0 while nothing leaves means that it stands.
 */
struct queue_metrics {
    struct metric *depth, *taken;
};
/* labels: "queue=\"name\"". */
struct queue_metrics metrics_get_queue(struct metrics *metrics, const char *labels);

#endif

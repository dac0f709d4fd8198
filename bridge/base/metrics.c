/* SPDX-License-Identifier: MIT */
#include "base/metrics.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"

/* Upper bounds in seconds, from a loop turn to a provider's slowest answer. */
static const double bounds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                0.5,    1,     2.5,    5,     10,   30,    60,   300};
#define BOUND_COUNT (sizeof bounds / sizeof *bounds)

struct metric_node {
    struct list_node node; /* in family->metrics */
    struct metric metric;
    char labels[];
};

struct metric_family {
    struct list_node node; /* in metrics->families */
    struct list metrics;
    struct strmap by_labels; /* of struct metric_node */
    enum metric_kind kind;
    const char *name, *help;
};

struct metrics {
    struct list families;
    struct strmap by_name; /* of struct metric_family */
};

struct metrics *metrics_new(void)
{
    struct metrics *metrics = xcalloc(1, sizeof *metrics);

    list_init(&metrics->families);
    return metrics;
}

void metrics_free(struct metrics *metrics)
{
    struct list_node *node, *inner;

    if (!metrics)
        return;
    while ((node = list_pop_front(&metrics->families))) {
        struct metric_family *family = CONTAINER_OF(node, struct metric_family, node);

        while ((inner = list_pop_front(&family->metrics))) {
            struct metric_node *metric = CONTAINER_OF(inner, struct metric_node, node);

            free(metric->metric.buckets);
            free(metric);
        }
        strmap_fini(&family->by_labels);
        free(family);
    }
    strmap_fini(&metrics->by_name);
    free(metrics);
}

static struct metric_family *family_get(struct metrics *metrics, enum metric_kind kind,
                                        const char *name, const char *help)
{
    struct metric_family *family = strmap_get(&metrics->by_name, name);

    if (family) {
        ASSERT(family->kind == kind);
        return family;
    }
    family = xcalloc(1, sizeof *family);
    family->kind = kind;
    family->name = name;
    family->help = help;
    list_init(&family->metrics);
    strmap_set(&metrics->by_name, name, family);
    list_push_back(&metrics->families, &family->node);
    return family;
}

struct metric *metrics_get(struct metrics *metrics, enum metric_kind kind, const char *name,
                           const char *help, const char *labels)
{
    struct metric_family *family = family_get(metrics, kind, name, help);
    struct metric_node *node;
    size_t length;

    if (!labels)
        labels = "";
    node = strmap_get(&family->by_labels, labels);
    if (node)
        return &node->metric;
    length = strlen(labels);
    node = xcalloc(1, sizeof *node + length + 1);
    memcpy(node->labels, labels, length + 1);
    node->metric.family = family;
    if (kind == METRIC_HISTOGRAM)
        node->metric.buckets = xcalloc(BOUND_COUNT, sizeof *node->metric.buckets);
    strmap_set(&family->by_labels, labels, node);
    list_push_back(&family->metrics, &node->node);
    return &node->metric;
}

struct queue_metrics metrics_get_queue(struct metrics *metrics, const char *labels)
{
    return (struct queue_metrics){metrics_get(metrics, METRIC_GAUGE, "tocsin_queue_depth",
                                              "What waits in a queue of the process.", labels),
                                  metrics_get(metrics, METRIC_COUNTER, "tocsin_queue_taken_total",
                                              "What has left a queue of the process.", labels)};
}

void metric_observe(struct metric *metric, double seconds)
{
    size_t low = 0, high = BOUND_COUNT;

    ASSERT(metric->buckets != NULL);
    while (low < high) {
        size_t middle = (low + high) / 2;

        if (seconds <= bounds[middle])
            high = middle;
        else
            low = middle + 1;
    }
    if (low < BOUND_COUNT)
        metric->buckets[low]++;
    metric->count++;
    metric->sum += seconds;
}

static void add_number(struct buf *out, double value)
{
    if (isnan(value))
        buf_add_text(out, "NaN");
    else if (isinf(value))
        buf_add_text(out, value > 0 ? "+Inf" : "-Inf");
    else if (value > -9e15 && value < 9e15 && value == (double)(int64_t)value)
        buf_add_i64(out, (int64_t)value);
    else
        buf_printf(out, "%.15g", value);
}

static void add_sample(struct buf *out, const struct metric_node *node, const char *suffix,
                       double value)
{
    buf_add_text(out, node->metric.family->name);
    buf_add_text(out, suffix);
    if (node->labels[0])
        buf_printf(out, "{%s}", node->labels);
    buf_add_char(out, ' ');
    add_number(out, value);
    buf_add_char(out, '\n');
}

static void add_bucket(struct buf *out, const struct metric_node *node, double bound,
                       uint64_t count)
{
    buf_printf(out, "%s_bucket{%s%sle=\"", node->metric.family->name, node->labels,
               node->labels[0] ? "," : "");
    if (isinf(bound))
        buf_add_text(out, "+Inf");
    else
        buf_printf(out, "%g", bound);
    buf_printf(out, "\"} %" PRIu64 "\n", count);
}

static void add_histogram(struct buf *out, const struct metric_node *node)
{
    uint64_t cumulative = 0;

    for (size_t i = 0; i < BOUND_COUNT; i++) {
        cumulative += node->metric.buckets[i];
        add_bucket(out, node, bounds[i], cumulative);
    }
    add_bucket(out, node, (double)INFINITY, node->metric.count);
    add_sample(out, node, "_sum", node->metric.sum);
    add_sample(out, node, "_count", (double)node->metric.count);
}

static void add_help(struct buf *out, const char *help)
{
    for (; *help; help++) {
        if (*help == '\\')
            buf_add_text(out, "\\\\");
        else if (*help == '\n')
            buf_add_text(out, "\\n");
        else
            buf_add_char(out, *help);
    }
}

void metrics_write(const struct metrics *metrics, struct buf *out)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    const struct list_node *end = &metrics->families.head;

    for (const struct list_node *at = end->next; at != end; at = at->next) {
        const struct metric_family *family = CONTAINER_OF(at, struct metric_family, node);
        const struct list_node *last = &family->metrics.head;

        buf_printf(out, "# HELP %s ", family->name);
        add_help(out, family->help);
        buf_printf(out, "\n# TYPE %s %s\n", family->name, kinds[family->kind]);
        for (const struct list_node *in = last->next; in != last; in = in->next) {
            const struct metric_node *node = CONTAINER_OF(in, struct metric_node, node);

            if (family->kind == METRIC_HISTOGRAM)
                add_histogram(out, node);
            else
                add_sample(out, node, "", node->metric.value);
        }
    }
}

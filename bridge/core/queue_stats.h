/* SPDX-License-Identifier: MIT */
/*
 * queue_stats - what waits, what is under way and what became of the rest, by destination
 *
 * Two kinds of numbers.  *Counts* are rows that are there now; *flows* are what happened within a
 * span, as the bridges have told the database.  Both are of all bridges together.
 *
 * Purity: no I/O, no clock.
 */
#ifndef TOCSIN_CORE_QUEUE_STATS_H
#define TOCSIN_CORE_QUEUE_STATS_H
#include "base/buf.h"
#include "core/channel.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Deliveries that are not over, and the open dead letters. */
struct queue_counts {
    int64_t waiting;   /* may be claimed now */
    int64_t active;    /* a bridge that lives has them */
    int64_t scheduled; /* later: a retry's wait, quiet hours, a time that was asked for */
    int64_t stalled;   /* a bridge had them whose lease is over */
    int64_t dead;      /* dead letters that nobody has looked at */
    int64_t oldest_ms; /* wall: since when the oldest of waiting and active is due; 0: none */
};

/* What happened within a span. */
struct queue_flow {
    int64_t completed; /* ended well: sent or delivered */
    int64_t failed;    /* died */
    int64_t other;     /* ended without either: expired, suppressed, cancelled */
    int64_t retried;   /* attempts that failed and are to be made again */
    int64_t attempts;  /* all that were made */
    int64_t tries;     /* attempts that the completed and the failed had needed */
};

struct queue_line {
    int32_t id;
    const char *name; /* borrowed */
    enum channel channel;
    bool is_paused;
    int open_breakers; /* bridges at which its breaker is not closed */
    struct queue_counts counts;
    struct queue_flow hour, recent; /* recent: five minutes */
    int64_t ended_minute;           /* deliveries that ended within a minute */
};

struct queue_moment {
    int64_t now_ms, counted_ms; /* wall; the flows' and the counts' */
    int bridges;
};

/* One JSON object: the whole, each channel, each line.  Lines of one channel stand together. */
void queue_stats_write(const struct queue_line *lines, size_t count,
                       const struct queue_moment *moment, struct buf *out);
/* The sum; name and id are those of the first, the oldest is the oldest of all. */
struct queue_line queue_stats_sum(const struct queue_line *lines, size_t count);

#endif

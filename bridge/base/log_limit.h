/* SPDX-License-Identifier: MIT */
/*
 * log_limit - how many lines a second one event may write
 *
 * Purpose:  nobody outside can fill the disk or hide other lines by making one thing happen very
 *           often.  log_write() asks for every line above `debug`, so no call site can be missed.
 * Strategy: a fixed window.  A key writes LOG_LIMIT_LINES lines in a second; the rest are counted,
 *           and the count is written once the second is over.  The key is the event and, where the
 *           line has one, the field that names an object of the configuration (destination, alert,
 *           lane, job, ...): their number is bounded, and the lines about one do not hide another.
 *           Fields that a sender fills (service, topic, user, request) are not part of the key.
 * Limits:   LOG_LIMIT_KEYS keys; those beyond share one.
 * Ownership: event names are borrowed for ever: they are constants.
 */
#ifndef TOCSIN_BASE_LOG_LIMIT_H
#define TOCSIN_BASE_LOG_LIMIT_H
#include "base/log.h"
#include <stdbool.h>

#define LOG_LIMIT_LINES 10
#define LOG_LIMIT_KEYS  512

struct log_limit_slot {
    uint64_t key; /* 0: free */
    const char *event;
    enum log_level level; /* of the last line that was suppressed */
    int64_t second;
    unsigned count;
    uint64_t suppressed; /* since that was last reported */
};

struct log_limit {
    struct log_limit_slot slots[LOG_LIMIT_KEYS + 1]; /* the last one is the shared one */
    uint64_t suppressed;                             /* the sum over all slots */
    int64_t reported_s;
};

/* false: the line is suppressed, and counted. */
bool log_limit_take(struct log_limit *limit, enum log_level level, const char *event,
                    const struct log_field *fields, unsigned count, int64_t now_s);
/*
 * The next suppressed count whose second is over, taken out of the table; NULL when there is none.
 * The result is valid until the next call.
 */
const struct log_limit_slot *log_limit_report(struct log_limit *limit, int64_t now_s,
                                              uint64_t *suppressed);

#endif

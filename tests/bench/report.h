/* SPDX-License-Identifier: MIT */
/*
 * report - the ledger as one JSON object
 *
 * Purity: writes to the given stream and does nothing else.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "ledger.h"
#include "options.h"

#include <stdio.h>

struct report_extra {
    uint64_t acks;             /* ack messages that users published */
    uint64_t receipt_messages; /* messages that carried the receipts */
    uint64_t refused;          /* publishes that the broker refused */
    uint64_t recvs, sends;     /* our own system calls */
    double measured_s;
    const char *fault; /* empty when the connections held */
};

void report_ledger(FILE *out, const struct load_options *o, const struct ledger *l,
                   const struct report_extra *x);
/* User and system CPU seconds of this process so far. */
double report_cpu_s(void);

#endif

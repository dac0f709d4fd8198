/* SPDX-License-Identifier: MIT */
/*
 * ledger - what became of every notification that was asked for
 *
 * One entry per notification from the moment it was due to be sent until its
 * final receipt.  Anything that does not add up in the end is lost or
 * doubled, and the run says so.  It does no I/O of MQTT.
 *
 * Units:      CLOCK_MONOTONIC nanoseconds; an entry is known by its number,
 *             0 for the first.
 * Errors:     entries out of range are counted as strangers, not believed.
 */
#ifndef BENCH_LEDGER_H
#define BENCH_LEDGER_H

#include "histogram.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ledger_final { LEDGER_SETTLED, LEDGER_DEAD, LEDGER_REJECTED, LEDGER_OTHER, LEDGER_FINALS };

struct ledger_entry {
    int64_t sent_ns;  /* when it was to be sent */
    uint8_t accepted; /* receipts and arrivals seen, saturating */
    uint8_t arrived;
    uint8_t final;
};

struct ledger {
    struct ledger_entry *entries;
    uint32_t count, cap;
    int64_t from_ns, to_ns; /* the measured part; later than warm-up */
    bool expects_inbox;     /* in-app: it must also arrive */
    uint64_t accepted, arrived, finals[LEDGER_FINALS], open;
    uint64_t settled_inside; /* settled between from and to */
    uint64_t duplicates;     /* inbox messages beyond the first of each */
    uint64_t again;          /* accepted or final receipts beyond the first */
    uint64_t strangers;      /* messages about nothing that we sent */
    uint64_t unarrived;      /* set by ledger_close: settled and never arrived */
    int64_t last_final_ns;
    char first_reason[96]; /* of the first final state that is not settled */
    struct histogram to_accepted, to_inbox, to_settled;
};

void ledger_init(struct ledger *l, bool expects_inbox);
void ledger_fini(struct ledger *l);
/* Opens the next entry and returns its number. */
uint32_t ledger_send(struct ledger *l, int64_t due_ns);
void ledger_accepted(struct ledger *l, uint32_t n, int64_t now_ns);
void ledger_arrived(struct ledger *l, uint32_t n, int64_t now_ns);
/* True when this was the first final word on entry n. */
bool ledger_final(struct ledger *l, uint32_t n, enum ledger_final f, int64_t now_ns);
/* Entries without a final state; also settles `unarrived`. */
uint64_t ledger_close(struct ledger *l);

#endif

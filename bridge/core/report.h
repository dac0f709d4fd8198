/* SPDX-License-Identifier: MIT */
/*
 * report - what a provider says later of a message that it took, and how that is folded
 *
 * Reports come late, repeated and out of order, so that the order of arrival means nothing.
 * Each kind has a rank, and only a higher one moves: the state is the highest rank heard, which
 * is the same for every order of arrival.  A proof outranks a failure (somebody read it), and
 * what a person or mailbox said against us outranks all: a complaint implies a delivery.
 *
 * Purity: data only.
 */
#ifndef TOCSIN_CORE_REPORT_H
#define TOCSIN_CORE_REPORT_H
#include "base/err.h"
#include "core/delivery.h"
#include <stdbool.h>

/* The numbers are the ranks, and stored in the database: never renumber. */
enum report {
    REPORT_SENT = 10,      /* on its way: also queued, deferred, tried again */
    REPORT_FAILED = 20,    /* the provider gave up */
    REPORT_DELIVERED = 30, /* handset or mailbox has it */
    REPORT_READ = 40,
    REPORT_CLICKED = 45,    /* and so read, too */
    REPORT_BOUNCED = 50,    /* the address does not exist; may come after "delivered" */
    REPORT_OPTED_OUT = 60,  /* the recipient wants no more */
    REPORT_COMPLAINED = 70, /* the recipient called it spam */
};

/* False for a number that is none of the above. */
bool report_is_known(int number);
/* "sent", "failed", ...: as shown by request.status. */
const char *report_name(enum report report);
/* What it makes of the delivery: sent, delivered, dead or suppressed. */
enum delivery_state report_delivery_state(enum report report);
/* The status of the receipt; "read" where the delivery's state says only delivered. */
const char *report_receipt_status(enum report report);
/* The fold: whether hearing `to` changes what is known. */
bool report_moves(enum report from, enum report to);

#endif

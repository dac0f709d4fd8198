/* SPDX-License-Identifier: MIT */
/*
 * traffic - services that ask and users that acknowledge
 *
 * Every notification is followed from the moment it was due (open loop) or
 * sent (closed loop) through its accepted receipt, its arrival in a user's
 * inbox, and its final receipt.  A user acknowledges what one read brought
 * with one message, as a phone does.
 *
 * Ownership:  traffic_run() owns all it opens and frees it.
 * Errors:     LOAD_BROKEN when a connection failed (then the figures mean
 *             nothing), LOAD_LOST when a notification did not settle.
 */
#ifndef BENCH_TRAFFIC_H
#define BENCH_TRAFFIC_H

#include "options.h"

enum load_result { LOAD_OK = 0, LOAD_LOST = 1, LOAD_BROKEN = 3 };

/* Runs and prints one JSON object on stdout. */
enum load_result traffic_run(const struct load_options *o);

#endif

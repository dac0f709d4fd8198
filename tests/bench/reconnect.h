/* SPDX-License-Identifier: MIT */
/*
 * reconnect - users who come all at once, and what has waited for them
 *
 * Connects --users as fast as the broker takes them, acknowledges all that
 * they get, and ends when --count different notifications have come.
 */
#ifndef BENCH_RECONNECT_H
#define BENCH_RECONNECT_H

#include "options.h"
#include "traffic.h"

/* Runs and prints one JSON object on stdout. */
enum load_result reconnect_run(const struct load_options *o);

#endif

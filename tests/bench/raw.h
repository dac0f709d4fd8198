/* SPDX-License-Identifier: MIT */
/*
 * raw - what the machine can do without Tocsin
 *
 * The same client code and payload sizes, so that the figures of a run have
 * their own yardstick: QoS 1 messages through the broker to all the users,
 * and batched inserts with updates into Postgres.
 */
#ifndef BENCH_RAW_H
#define BENCH_RAW_H

#include "options.h"
#include "traffic.h"

/* Each runs and prints one JSON object on stdout. */
enum load_result raw_mqtt_run(const struct load_options *o);
enum load_result raw_pg_run(const struct load_options *o);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * options - what the load generator was asked to do
 *
 * Ownership:  strings point into argv.
 * Errors:     -1, after a line on stderr and the usage.
 */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

enum load_mode { LOAD_NOTIFY, LOAD_RECONNECT, LOAD_RAW_MQTT, LOAD_RAW_PG };

struct load_options {
    enum load_mode mode;
    const char *url;         /* broker */
    const char *user_url;    /* the same for users; NULL: url */
    const char *postgres;    /* for raw-pg */
    const char *secret_file; /* NULL: connect without a password */
    const char *channel;     /* in_app, sms, webhook, email or push */
    const char *target;      /* direct target with %u for the user's number */
    const char *prefix;      /* of the ids of our users and services */
    const char *settled;     /* comma list of the statuses that settle a request */
    const char *receipts;    /* final or all */
    unsigned users, services, body_bytes, batch;
    unsigned window;      /* closed loop: unsettled requests; open loop: 0 */
    unsigned connections; /* for raw-pg */
    unsigned rows;        /* for raw-pg: rows per statement */
    unsigned gather_us;   /* nap before each wait, to handle more at once */
    int user_level, ack_qos;
    double rate; /* open loop: requests per second; 0: closed loop */
    double warmup_s, seconds, drain_s;
    uint32_t count;   /* stop after so many requests; 0: by time */
    unsigned ahead_s; /* of the machine's clock: the dates in the ids */
    bool flood;       /* publish `count` without waiting for any receipt */
    bool progress;    /* events and one line per second, as JSON, on stderr */
};

int options_parse(struct load_options *o, int argc, char **argv);

#endif

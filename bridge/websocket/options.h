/* SPDX-License-Identifier: MIT */
/*
 * options - the command line: every setting there is, with its bounds
 */
#ifndef TOCSIN_WEBSOCKET_OPTIONS_H
#define TOCSIN_WEBSOCKET_OPTIONS_H
#include "base/buf.h"
#include "base/log.h"
#include "websocket/edge.h"

#define OPTIONS_ORIGINS_MAX 64
#define OPTIONS_PATHS_MAX   16

enum options_mode { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_VERSION };

struct options {
    enum options_mode mode;
    struct edge_config edge;
    const char *origins[OPTIONS_ORIGINS_MAX];
    const char *paths[OPTIONS_PATHS_MAX];
    const char *http; /* where health and metrics are; NULL: nowhere */
    int64_t drain_ms, dead_ms, connections_max, per_address_max;
    enum log_level log_level;
    enum log_format log_format;
};

/*
 * Reads argv, which it borrows, and resolves the addresses.  ERR_INVALID: why says what is wrong
 * and what would be right.
 */
NODISCARD int options_read(int argc, char **argv, struct options *out, char *why, size_t why_bytes);
/*
 * Allows this process the descriptors that its connections need, two each; without
 * --max-connections, settles for as many connections as the limit allows.
 */
NODISCARD int options_take_descriptors(struct options *options, char *why, size_t why_bytes);
void options_help(struct buf *out);

#endif

/* SPDX-License-Identifier: MIT */
#include "websocket/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "websocket/address.h"

/* Descriptors for everything that is not a connection. */
#define DESCRIPTORS_SPARE 64
#define CONNECTIONS_MOST  1000000

enum kind {
    KIND_LISTEN,
    KIND_BROKER,
    KIND_TEXT,
    KIND_ORIGIN,
    KIND_PATH,
    KIND_COUNT,
    KIND_TIME,
    KIND_LEVEL,
    KIND_FORMAT
};

struct row {
    const char *name, *value, *standard, *help;
    enum kind kind;
    size_t offset; /* of what a text, a count or a time is stored in */
    int64_t min, max;
};

#define AT(member) offsetof(struct options, member)

static const struct row rows[] = {
    {"listen", "ADDRESS:PORT", NULL, "where clients come in", KIND_LISTEN, 0, 0, 0},
    {"broker", "ADDRESS:PORT|/PATH", NULL,
     "the broker's TCP listener, or its Unix socket, which has no end of ports", KIND_BROKER, 0, 0,
     0},
    {"path", "/PATH", NULL,
     "a path that is served; may be repeated; without any, every path is, as with Mosquitto's own "
     "listener",
     KIND_PATH, 0, 0, 0},
    {"origin", "URL", NULL,
     "browsers' pages that may connect, as https://app.example.org; may be repeated; without any, "
     "all may: the token is in the CONNECT, so a foreign page has nothing to ride on",
     KIND_ORIGIN, 0, 0, 0},
    {"max-connections", "N", NULL,
     "at so many nobody more is accepted; as many as there are descriptors for (two each), unless "
     "given",
     KIND_COUNT, AT(connections_max), 1, CONNECTIONS_MOST},
    {"max-per-address", "N", "0",
     "connections of one IPv4 address or one /64; 0: no limit, as behind a proxy", KIND_COUNT,
     AT(per_address_max), 0, CONNECTIONS_MOST},
    {"handshake-timeout", "TIME", "10s", "how long a request may take to arrive", KIND_TIME,
     AT(edge.relay.handshake_ms), 100, 600000},
    {"connect-timeout", "TIME", "10s", "how long the broker may take to accept", KIND_TIME,
     AT(edge.relay.connect_ms), 100, 600000},
    {"stall-timeout", "TIME", "30s",
     "how long a client may take nothing while something waits for it; twice that at most",
     KIND_TIME, AT(edge.relay.stall_ms), 100, 3600000},
    {"close-timeout", "TIME", "5s", "how long an orderly end may take", KIND_TIME,
     AT(edge.relay.close_ms), 100, 60000},
    {"dead-after", "TIME", "2m",
     "how long a client's machine may leave probes unanswered; who is silent but alive stays",
     KIND_TIME, AT(dead_ms), 8000, 7200000},
    {"drain", "TIME", "5s", "how long the end may take after SIGTERM", KIND_TIME, AT(drain_ms), 0,
     600000},
    {"http", "ADDRESS:PORT", NULL,
     "where /healthz, /readyz and /metrics are; nowhere, unless given", KIND_TEXT, AT(http), 0, 0},
    {"log-level", "LEVEL", "info",
     "debug, info, warn or error; debug has a line for each connection and for its end", KIND_LEVEL,
     0, 0, 0},
    {"log-format", "FORMAT", "text", "text or json", KIND_FORMAT, 0, 0, 0},
};

enum { ROW_COUNT = sizeof(rows) / sizeof(rows[0]), OPTION_HELP = ROW_COUNT, OPTION_VERSION };

/* ---- values ---- */

static int read_number(const struct row *row, const char *text, int64_t scale, int64_t *out,
                       const char **rest)
{
    char *end;
    long long number;

    errno = 0;
    number = strtoll(text, &end, 10);
    *rest = end;
    if (end == text || errno || number < 0 || number > INT64_MAX / scale)
        return ERR_INVALID;
    *out = number * scale;
    return *out >= row->min && *out <= row->max ? 0 : ERR_TOO_LARGE;
}

static int read_time(const struct row *row, const char *text, int64_t *out, char *why,
                     size_t why_bytes)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    const char *rest = text + strspn(text, "0123456789");

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        int rc;

        if (rest == text || strcmp(rest, units[i].unit) != 0)
            continue;
        rc = read_number(row, text, units[i].ms, out, &rest);
        if (rc)
            snprintf(why, why_bytes, "--%s %s: it has to be from %lldms to %lldms", row->name, text,
                     (long long)row->min, (long long)row->max);
        return rc;
    }
    snprintf(why, why_bytes, "--%s \"%s\": give a number with its unit, as 500ms, 30s or 2m",
             row->name, text);
    return ERR_INVALID;
}

static int read_count(const struct row *row, const char *text, int64_t *out, char *why,
                      size_t why_bytes)
{
    const char *rest = text;
    int rc = read_number(row, text, 1, out, &rest);

    if (!rc && *rest == '\0')
        return 0;
    snprintf(why, why_bytes, "--%s \"%s\": give a number from %lld to %lld", row->name, text,
             (long long)row->min, (long long)row->max);
    return ERR_INVALID;
}

static int add_origin(struct options *options, const char *text, char *why, size_t why_bytes)
{
    const char *host = strstr(text, "://");

    if (!host || host[3] == '\0' || strpbrk(host + 3, "/*?# ")) {
        snprintf(why, why_bytes,
                 "--origin \"%s\": give a scheme and a host as browsers do, without a path, as "
                 "https://app.example.org",
                 text);
        return ERR_INVALID;
    }
    if (options->edge.relay.rules.origin_count == OPTIONS_ORIGINS_MAX) {
        snprintf(why, why_bytes, "--origin: there may be %d at most", OPTIONS_ORIGINS_MAX);
        return ERR_INVALID;
    }
    options->origins[options->edge.relay.rules.origin_count++] = text;
    return 0;
}

static int add_path(struct options *options, const char *text, char *why, size_t why_bytes)
{
    if (text[0] != '/' || strpbrk(text, " ?#\r\n")) {
        snprintf(why, why_bytes, "--path \"%s\": it begins with / and has no query", text);
        return ERR_INVALID;
    }
    if (options->edge.relay.rules.path_count == OPTIONS_PATHS_MAX) {
        snprintf(why, why_bytes, "--path: there may be %d at most", OPTIONS_PATHS_MAX);
        return ERR_INVALID;
    }
    options->paths[options->edge.relay.rules.path_count++] = text;
    return 0;
}

static int read_address(const struct row *row, const char *text, struct sockaddr_storage *out,
                        socklen_t *length, char *why, size_t why_bytes)
{
    char reason[256];
    int rc = address_find(text, out, length, reason, sizeof(reason));

    if (!rc && row->kind == KIND_LISTEN && out->ss_family == AF_UNIX) {
        snprintf(reason, sizeof(reason), "clients come over TCP: give an address with a port");
        rc = ERR_INVALID;
    }
    if (rc)
        snprintf(why, why_bytes, "--%s: %s", row->name, reason);
    return rc;
}

static int read_format(struct options *options, const char *text)
{
    options->log_format = strcmp(text, "json") == 0 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT;
    return strcmp(text, "json") == 0 || strcmp(text, "text") == 0 ? 0 : ERR_INVALID;
}

static int read_value(const struct row *row, const char *text, struct options *options, char *why,
                      size_t why_bytes)
{
    struct edge_config *edge = &options->edge;
    char *place = (char *)options + row->offset;
    int rc = 0;

    switch (row->kind) {
    case KIND_LISTEN:
        return read_address(row, text, &edge->listen, &edge->listen_length, why, why_bytes);
    case KIND_BROKER:
        return read_address(row, text, &edge->relay.broker, &edge->relay.broker_length, why,
                            why_bytes);
    case KIND_TEXT:
        memcpy(place, &text, sizeof(text));
        return 0;
    case KIND_ORIGIN:
        return add_origin(options, text, why, why_bytes);
    case KIND_PATH:
        return add_path(options, text, why, why_bytes);
    case KIND_COUNT:
        return read_count(row, text, (int64_t *)(void *)place, why, why_bytes);
    case KIND_TIME:
        return read_time(row, text, (int64_t *)(void *)place, why, why_bytes);
    case KIND_LEVEL:
        rc = log_level_parse(text, &options->log_level);
        break;
    case KIND_FORMAT:
        rc = read_format(options, text);
        break;
    }
    if (rc)
        snprintf(why, why_bytes, "--%s \"%s\": it is %s", row->name, text, row->help);
    return rc;
}

/* ---- the whole ---- */

static int check(const struct options *options, char *why, size_t why_bytes)
{
    if (!options->edge.listen_length || !options->edge.relay.broker_length) {
        snprintf(why, why_bytes,
                 "--listen and --broker are needed, as --listen 127.0.0.1:9001 --broker "
                 "/run/mosquitto/wsd.sock");
        return ERR_INVALID;
    }
    return 0;
}

static void set_names(struct option names[ROW_COUNT + 3])
{
    memset(names, 0, sizeof(struct option) * (ROW_COUNT + 3));
    for (int i = 0; i < ROW_COUNT; i++)
        names[i] = (struct option){rows[i].name, required_argument, NULL, i};
    names[ROW_COUNT] = (struct option){"help", no_argument, NULL, OPTION_HELP};
    names[ROW_COUNT + 1] = (struct option){"version", no_argument, NULL, OPTION_VERSION};
}

int options_read(int argc, char **argv, struct options *out, char *why, size_t why_bytes)
{
    struct option names[ROW_COUNT + 3];
    int option, rc = 0;

    memset(out, 0, sizeof(*out));
    for (int i = 0; i < ROW_COUNT && !rc; i++)
        rc = rows[i].standard ? read_value(&rows[i], rows[i].standard, out, why, why_bytes) : 0;
    set_names(names);
    optind = 1;
    opterr = 0;
    while (!rc && (option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (option == OPTION_HELP || option == OPTION_VERSION) {
            out->mode = option == OPTION_HELP ? OPTIONS_HELP : OPTIONS_VERSION;
            return 0;
        }
        if (option == '?' || option < 0 || option >= ROW_COUNT) {
            snprintf(why, why_bytes, "\"%s\" is not an option, or lacks its value; see --help",
                     argv[optind - 1]);
            return ERR_INVALID;
        }
        rc = read_value(&rows[option], optarg, out, why, why_bytes);
    }
    if (!rc && optind < argc) {
        snprintf(why, why_bytes, "\"%s\" is not an option; see --help", argv[optind]);
        return ERR_INVALID;
    }
    if (!rc)
        rc = check(out, why, why_bytes);
    out->edge.relay.rules.origins = out->origins;
    out->edge.relay.rules.paths = out->paths;
    out->edge.relay.dead_s = (unsigned)(out->dead_ms / 1000);
    out->edge.connections_max = (size_t)out->connections_max;
    out->edge.per_address_max = (size_t)out->per_address_max;
    return rc;
}

int options_take_descriptors(struct options *options, char *why, size_t why_bytes)
{
    size_t wanted = options->edge.connections_max * 2 + DESCRIPTORS_SPARE;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit))
        return ERR_IO;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && options->edge.connections_max == 0) {
        size_t there = limit.rlim_max > DESCRIPTORS_SPARE + 2
                           ? ((size_t)limit.rlim_max - DESCRIPTORS_SPARE) / 2
                           : 1;

        options->edge.connections_max = there < CONNECTIONS_MOST ? there : CONNECTIONS_MOST;
        return 0;
    }
    if (wanted <= limit.rlim_cur)
        return 0;
    snprintf(why, why_bytes,
             "--max-connections %zu needs %zu descriptors and %llu are allowed: raise LimitNOFILE "
             "(ulimit -Hn), or ask for fewer",
             options->edge.connections_max, wanted, (unsigned long long)limit.rlim_cur);
    return ERR_INVALID;
}

void options_help(struct buf *out)
{
    buf_add_text(out, "usage: tocsin-wsd --listen ADDRESS:PORT --broker ADDRESS:PORT|/PATH "
                      "[OPTION ...]\n"
                      "MQTT over WebSocket for a broker that listens on TCP or a Unix socket.\n\n");
    for (int i = 0; i < ROW_COUNT; i++) {
        buf_printf(out, "  --%s %s\n      %s", rows[i].name, rows[i].value, rows[i].help);
        if (rows[i].standard)
            buf_printf(out, " (%s)", rows[i].standard);
        buf_add_char(out, '\n');
    }
    buf_add_text(out, "  --version\n  --help\n");
}

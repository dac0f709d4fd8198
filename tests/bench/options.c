/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { KIND_TEXT, KIND_UINT, KIND_INT, KIND_REAL, KIND_FLAG };

struct row {
    const char *name;
    enum kind kind;
    size_t offset;
    const char *help;
};

#define ROW(name, kind, field, help)                           \
    {                                                          \
        name, kind, offsetof(struct load_options, field), help \
    }

static const struct row rows[] = {
    ROW("url", KIND_TEXT, url, "broker: mqtt://host:port or unix:/path"),
    ROW("user-url", KIND_TEXT, user_url, "the users' broker, if another: ws://host:port too"),
    ROW("postgres", KIND_TEXT, postgres, "raw-pg: connection string"),
    ROW("secret-file", KIND_TEXT, secret_file, "HS256 secret; without it no password is sent"),
    ROW("channel", KIND_TEXT, channel, "in_app sms webhook email push (in_app)"),
    ROW("target", KIND_TEXT, target, "direct target, # stands for the user's number"),
    ROW("prefix", KIND_TEXT, prefix, "of user and service ids (bench)"),
    ROW("settled", KIND_TEXT, settled, "statuses that settle a request (delivered)"),
    ROW("receipts", KIND_TEXT, receipts, "receipts asked for: final or all (final)"),
    ROW("users", KIND_UINT, users, "connected users (1000)"),
    ROW("services", KIND_UINT, services, "publishing services (4)"),
    ROW("body", KIND_UINT, body_bytes, "bytes of the body (300)"),
    ROW("batch", KIND_UINT, batch, "requests per publish (1)"),
    ROW("window", KIND_UINT, window, "closed loop: requests unsettled at once (2000)"),
    ROW("connections", KIND_UINT, connections, "raw-pg: connections (2)"),
    ROW("rows", KIND_UINT, rows, "raw-pg: rows per statement (500)"),
    ROW("gather", KIND_UINT, gather_us, "microseconds to nap before each wait (0)"),
    ROW("user-level", KIND_INT, user_level, "MQTT protocol level of users, 4 or 5 (5)"),
    ROW("ack-qos", KIND_INT, ack_qos, "QoS of the users' acks (1)"),
    ROW("rate", KIND_REAL, rate, "open loop: requests per second"),
    ROW("warmup", KIND_REAL, warmup_s, "seconds before measuring (3)"),
    ROW("seconds", KIND_REAL, seconds, "seconds measured (10)"),
    ROW("drain", KIND_REAL, drain_s, "seconds without progress that end the drain (20)"),
    ROW("count", KIND_UINT, count, "stop after so many requests, whatever the time"),
    ROW("ahead", KIND_UINT, ahead_s, "seconds by which the dates in ids are ahead (0)"),
    ROW("flood", KIND_FLAG, flood, "publish --count requests without waiting for receipts"),
    ROW("progress", KIND_FLAG, progress, "events and one line per second, as JSON, on stderr"),
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static void usage(void)
{
    fputs("usage: load notify|reconnect|raw-mqtt|raw-pg [--option value ...]\n", stderr);
    for (size_t i = 0; i < ROWS; i++)
        fprintf(stderr, "  --%-12s %s\n", rows[i].name, rows[i].help);
}

static int set(struct load_options *o, const struct row *row, const char *value)
{
    void *field = (char *)o + row->offset;
    char *end = NULL;
    double number = 0;

    if (row->kind == KIND_TEXT) {
        *(const char **)field = value;
        return 0;
    }
    if (row->kind == KIND_FLAG) {
        *(bool *)field = true;
        return 0;
    }
    number = strtod(value, &end);
    if (*end || end == value || number < 0 || number > 4e9) {
        fprintf(stderr, "load: --%s wants a number\n", row->name);
        return -1;
    }
    if (row->kind == KIND_UINT)
        *(unsigned *)field = (unsigned)number;
    else if (row->kind == KIND_INT)
        *(int *)field = (int)number;
    else
        *(double *)field = number;
    return 0;
}

static int check(const struct load_options *o)
{
    const char *wrong = NULL;

    if (o->mode == LOAD_RAW_PG ? !o->postgres : !o->url)
        wrong = "--url or --postgres is missing";
    else if (!o->users || !o->services || !o->batch || !o->window || !o->connections || !o->rows)
        wrong = "users, services, batch, window, connections and rows are at least 1";
    else if (o->users > 65535 || o->batch > 100 || o->body_bytes > 8192 || o->services > 64)
        wrong = "at most 65535 users, 64 services, 100 requests per publish, 8192 bytes";
    else if (o->user_level != 4 && o->user_level != 5)
        wrong = "--user-level is 4 or 5";
    else if (o->ack_qos != 0 && o->ack_qos != 1)
        wrong = "--ack-qos is 0 or 1";
    else if (strcmp(o->channel, "in_app") != 0 && !o->target)
        wrong = "--channel other than in_app wants --target";
    else if (o->flood && !o->count)
        wrong = "--flood wants --count";
    if (!wrong)
        return 0;
    fprintf(stderr, "load: %s\n", wrong);
    return -1;
}

static int parse_mode(struct load_options *o, const char *word)
{
    static const char *const names[] = {"notify", "reconnect", "raw-mqtt", "raw-pg"};

    for (int i = 0; i < 4; i++) {
        if (strcmp(word, names[i]) == 0) {
            o->mode = (enum load_mode)i;
            return 0;
        }
    }
    return -1;
}

int options_parse(struct load_options *o, int argc, char **argv)
{
    struct option longs[ROWS + 1];
    int at = 0;

    *o = (struct load_options){.channel = "in_app",
                               .prefix = "bench",
                               .settled = "delivered",
                               .receipts = "final",
                               .users = 1000,
                               .services = 4,
                               .body_bytes = 300,
                               .batch = 1,
                               .window = 2000,
                               .connections = 2,
                               .rows = 500,
                               .user_level = 5,
                               .ack_qos = 1,
                               .warmup_s = 3,
                               .seconds = 10,
                               .drain_s = 20};
    memset(longs, 0, sizeof(longs));
    for (size_t i = 0; i < ROWS; i++) {
        longs[i].name = rows[i].name;
        longs[i].has_arg = rows[i].kind == KIND_FLAG ? no_argument : required_argument;
    }
    if (argc < 2 || parse_mode(o, argv[1])) {
        usage();
        return -1;
    }
    optind = 2;
    for (int c; (c = getopt_long(argc, argv, "", longs, &at)) != -1;) {
        if (c == '?' || set(o, &rows[at], optarg)) {
            usage();
            return -1;
        }
    }
    return check(o);
}

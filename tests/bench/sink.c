/* SPDX-License-Identifier: MIT */
/*
 * sink - answers the providers' HTTP APIs after a fixed time, and counts
 *
 *   sink [--port N] [--delay-ms N] [--slow-path-prefix P --slow-delay-ms N]
 *        [--tls-port N --cert FILE --key FILE] [--smtp-port N]
 *
 * Prints its port (then its TLS port and its SMTP port, where it has them, each on a line) and
 * runs until SIGTERM.
 * It checks nothing: the strict provider server is tests/providers; this one
 * exists because a benchmark's provider must cost next to nothing.  HTTP/1.1
 * on the port, HTTP/2 on the TLS port, mail on the SMTP port; one thread.
 */
#include "sink_http1.h"
#include "sink_http2.h"
#include "sink_smtp.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

enum { NS_PER_MS = 1000000 };

struct options {
    uint16_t port;
    uint16_t tls_port;
    uint16_t smtp_port;
    bool is_smtp;
    const char *cert_file;
    const char *key_file;
};

static int usage(void)
{
    fputs("usage: sink [--port N] [--delay-ms N] [--slow-path-prefix P "
          "--slow-delay-ms N]\n"
          "            [--tls-port N --cert FILE --key FILE] [--smtp-port N]\n",
          stderr);
    return 2;
}

static int read_options(struct options *o, struct sink *sink, int argc, char **argv)
{
    static const struct option LONG[] = {{"port", required_argument, NULL, 'p'},
                                         {"delay-ms", required_argument, NULL, 'd'},
                                         {"slow-path-prefix", required_argument, NULL, 's'},
                                         {"slow-delay-ms", required_argument, NULL, 'D'},
                                         {"tls-port", required_argument, NULL, 't'},
                                         {"smtp-port", required_argument, NULL, 'm'},
                                         {"cert", required_argument, NULL, 'c'},
                                         {"key", required_argument, NULL, 'k'},
                                         {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "", LONG, NULL)) != -1) {
        if (option == 'p')
            o->port = (uint16_t)strtoul(optarg, NULL, 10);
        else if (option == 'd')
            sink->queues[0].delay_ns = (uint64_t)(strtod(optarg, NULL) * NS_PER_MS);
        else if (option == 's')
            sink->slow_prefix = optarg;
        else if (option == 'D')
            sink->queues[1].delay_ns = (uint64_t)(strtod(optarg, NULL) * NS_PER_MS);
        else if (option == 't')
            o->tls_port = (uint16_t)strtoul(optarg, NULL, 10);
        else if (option == 'm') {
            o->smtp_port = (uint16_t)strtoul(optarg, NULL, 10);
            o->is_smtp = true;
        } else if (option == 'c')
            o->cert_file = optarg;
        else if (option == 'k')
            o->key_file = optarg;
        else
            return -1;
    }
    return optind == argc && !o->cert_file == !o->key_file ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct sink sink = {0};
    struct options o = {0};

    if (read_options(&o, &sink, argc, argv))
        return usage();
    if (sink_init(&sink) || sink_http1_open(&sink, &o.port)) {
        perror("sink");
        return 1;
    }
    if (o.cert_file != NULL && sink_http2_open(&sink, &o.tls_port, o.cert_file, o.key_file))
        return 1;
    if (o.is_smtp && sink_smtp_open(&sink, &o.smtp_port)) {
        perror("sink");
        return 1;
    }
    printf("%u\n", (unsigned)o.port);
    if (o.cert_file != NULL)
        printf("%u\n", (unsigned)o.tls_port);
    if (o.is_smtp)
        printf("%u\n", (unsigned)o.smtp_port);
    fflush(stdout);
    sink_run(&sink);
    sink_fini(&sink);
    return 0;
}

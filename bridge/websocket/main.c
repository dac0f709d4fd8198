/* SPDX-License-Identifier: MIT */
/*
 * main - tocsin-wsd: start, signals, health, the end; nothing else
 */
#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/secret.h"
#include "io/http_server.h"
#include "io/loop.h"
#include "io/service_manager.h"
#include "websocket/edge.h"
#include "websocket/options.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct daemon {
    struct loop *loop;
    struct edge *edge;
    struct options *options;
    struct metrics *metrics;
    struct http_server *http; /* NULL unless it is asked for */
    struct loop_timer watchdog_timer;
    int64_t watchdog_ms;
    bool is_stopping;
};

static void on_http(void *ctx, struct http_exchange *exchange,
                    const struct http_server_request *request)
{
    struct daemon *daemon = ctx;
    bool is_away = edge_is_broker_away(daemon->edge);
    struct buf body = {0};
    int status = 200;

    if (strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0) {
        status = 405;
        buf_add_text(&body, "only GET\n");
    } else if (strcmp(request->path, "/healthz") == 0) {
        buf_add_text(&body, "ok\n");
    } else if (strcmp(request->path, "/readyz") == 0) {
        status = daemon->is_stopping || is_away ? 503 : 200;
        buf_add_text(&body, daemon->is_stopping ? "stopping\n"
                            : is_away           ? "the broker is away\n"
                                                : "ready\n");
    } else if (strcmp(request->path, "/metrics") == 0) {
        edge_measure(daemon->edge, daemon->metrics);
        metrics_write(daemon->metrics, &body);
    } else {
        status = 404;
        buf_add_text(&body, "there is /healthz, /readyz and /metrics\n");
    }
    http_answer(exchange, status, "text/plain; version=0.0.4; charset=utf-8", buf_text(&body),
                body.length);
    buf_fini(&body);
}

static void on_stopped(void *ctx)
{
    struct daemon *daemon = ctx;

    loop_stop(daemon->loop);
}

static void on_terminate(void *ctx, int signo)
{
    struct daemon *daemon = ctx;

    if (daemon->is_stopping)
        return;
    daemon->is_stopping = true;
    log_info("edge.stopping", LOG_INT("signal", signo),
             LOG_U64("connections", edge_connections(daemon->edge)));
    service_manager_tell("STOPPING=1");
    edge_stop(daemon->edge, daemon->options->drain_ms, on_stopped, daemon);
}

static void on_watchdog(void *ctx)
{
    struct daemon *daemon = ctx;

    service_manager_tell("WATCHDOG=1");
    loop_timer_start(daemon->loop, &daemon->watchdog_timer, daemon->watchdog_ms, on_watchdog,
                     daemon);
}

static void open_http(struct daemon *daemon)
{
    struct http_server_config config = {
        .listen = daemon->options->http, .body_max = 1024, .connections_max = 16, .timeout_s = 10};
    char why[256];

    if (config.listen &&
        http_server_open(daemon->loop, &config, on_http, daemon, &daemon->http, why, sizeof(why)))
        fatal("http.unopened", why);
}

static int run(struct options *options)
{
    struct daemon daemon = {.options = options};
    char why[256];

    secret_guard_process(); /* tokens pass through */
    log_init(options->log_level, options->log_format);
    log_crashes();
    daemon.loop = loop_new();
    daemon.metrics = metrics_new();
    if (edge_open(daemon.loop, &options->edge, &daemon.edge, why, sizeof(why)))
        fatal("edge.unopened", why);
    open_http(&daemon);
    loop_on_signal(daemon.loop, SIGTERM, on_terminate, &daemon);
    loop_on_signal(daemon.loop, SIGINT, on_terminate, &daemon);
    daemon.watchdog_ms = service_manager_watchdog_ms();
    if (daemon.watchdog_ms)
        on_watchdog(&daemon);
    service_manager_tell("READY=1");
    log_info("edge.started", LOG_STR("version", TOCSIN_VERSION),
             LOG_INT("port", edge_port(daemon.edge)),
             LOG_INT("http_port", daemon.http ? http_server_port(daemon.http) : 0),
             LOG_U64("connections_max", options->edge.connections_max));
    loop_run(daemon.loop, NULL, NULL);
    log_info("edge.stopped", LOG_INT("pid", getpid()));
    loop_timer_stop(&daemon.watchdog_timer);
    if (daemon.http)
        http_server_close(daemon.http);
    edge_free(daemon.edge);
    loop_free(daemon.loop);
    metrics_free(daemon.metrics);
    return 0;
}

static int help(void)
{
    struct buf text = {0};

    options_help(&text);
    fputs(buf_text(&text), stdout);
    buf_fini(&text);
    return 0;
}

int main(int argc, char **argv)
{
    struct options options;
    char why[512] = "";

    if (options_read(argc, argv, &options, why, sizeof(why)) ||
        (options.mode == OPTIONS_RUN && options_take_descriptors(&options, why, sizeof(why)))) {
        fprintf(stderr, "tocsin-wsd: %s\n", why);
        return 2;
    }
    if (options.mode == OPTIONS_HELP)
        return help();
    if (options.mode == OPTIONS_VERSION) {
        puts("tocsin-wsd " TOCSIN_VERSION);
        return 0;
    }
    return run(&options);
}

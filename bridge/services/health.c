/* SPDX-License-Identifier: MIT */
#include "services/health.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

struct health {
    struct http_server *server;
    struct metrics *metrics;
    struct health_ops ops;
};

static void on_request(void *ctx, struct http_exchange *exchange,
                       const struct http_server_request *request)
{
    struct health *health = ctx;
    struct buf body = {0};
    int status = 200;
    const char *type = "text/plain; charset=utf-8";

    if (strncmp(request->path, "/callbacks/", 11) == 0) {
        health->ops.on_callback(health->ops.ctx, exchange, request);
        return;
    }
    if (strncmp(request->path, "/t/", 3) == 0) {
        health->ops.on_tracking(health->ops.ctx, exchange, request);
        return;
    }
    if (strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0) {
        status = 405;
        buf_add_text(&body, "only GET\n");
    } else if (strcmp(request->path, "/healthz") == 0) {
        buf_add_text(&body, "ok\n");
    } else if (strcmp(request->path, "/readyz") == 0) {
        status = health->ops.is_ready(health->ops.ctx, &body) ? 200 : 503;
        if (status == 200)
            buf_add_text(&body, "ready\n");
    } else if (strcmp(request->path, "/metrics") == 0) {
        type = "text/plain; version=0.0.4; charset=utf-8";
        health->ops.refresh(health->ops.ctx);
        metrics_write(health->metrics, &body);
    } else {
        status = 404;
        buf_add_text(&body, "there is /healthz, /readyz and /metrics\n");
    }
    http_answer(exchange, status, type, buf_text(&body), body.length);
    buf_fini(&body);
}

int health_open(struct loop *loop, const struct health_config *config, struct metrics *metrics,
                const struct health_ops *ops, struct health **out, char *why, size_t why_bytes)
{
    struct http_server_config server = {
        .listen = config->listen, .body_max = 1 << 20, .connections_max = 256, .timeout_s = 30};
    struct health *health = xcalloc(1, sizeof(*health));
    int err;

    health->metrics = metrics;
    health->ops = *ops;
    err = http_server_open(loop, &server, on_request, health, &health->server, why, why_bytes);
    if (err) {
        free(health);
        return err;
    }
    *out = health;
    return 0;
}

void health_close(struct health *health)
{
    http_server_close(health->server);
    free(health);
}

uint16_t health_port(const struct health *health)
{
    return http_server_port(health->server);
}

/* SPDX-License-Identifier: MIT */
#include "services/health.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

#define SMALL_BODY    (64u << 10)
#define CALLBACK_BODY (1u << 20)
#define BODIES        (16u << 20)

/* What one listener serves. */
struct door {
    struct http_server *server;
    struct health *health;
    bool has_health, has_outside; /* healthz, readyz and metrics; callbacks and tracking */
};

struct health {
    struct metrics *metrics;
    struct health_ops ops;
    struct door doors[2]; /* http.listen, http.health_listen */
};

static bool is_below(const char *path, const char *top)
{
    return strncmp(path, top, strlen(top)) == 0;
}

static bool is_health(const char *path)
{
    return strcmp(path, "/healthz") == 0 || strcmp(path, "/readyz") == 0 ||
           strcmp(path, "/metrics") == 0;
}

/* Before the body: whether there is anything at this path, and how much it may be sent. */
static int on_head(void *ctx, const struct http_server_request *head,
                   struct http_server_verdict *verdict)
{
    struct door *door = ctx;
    const struct health *health = door->health;
    bool is_get = strcmp(head->method, "GET") == 0 || strcmp(head->method, "HEAD") == 0;
    bool is_post = strcmp(head->method, "POST") == 0;

    if (door->has_outside && is_below(head->path, "/callbacks/")) {
        verdict->text = "no callbacks are configured for a destination of this name\n";
        verdict->allow = "GET, POST";
        verdict->body_max = CALLBACK_BODY;
        if (!health->ops.has_callbacks(health->ops.ctx, head->path))
            return 404;
        return is_get || is_post ? 0 : 405;
    }
    if (door->has_outside && is_below(head->path, "/t/")) {
        verdict->allow = "GET, HEAD, POST";
        return is_get || is_post ? 0 : 405;
    }
    if (!door->has_health || !is_health(head->path)) {
        verdict->text = door->has_health ? "there is /healthz, /readyz and /metrics\n"
                                         : "there is nothing at this path\n";
        return 404;
    }
    verdict->text = "only GET\n";
    verdict->allow = "GET, HEAD";
    return is_get ? 0 : 405;
}

static void on_request(void *ctx, struct http_exchange *exchange,
                       const struct http_server_request *request)
{
    struct door *door = ctx;
    struct health *health = door->health;
    struct buf body = {0};
    int status = 200;
    const char *type = "text/plain; charset=utf-8";

    if (is_below(request->path, "/callbacks/")) {
        health->ops.on_callback(health->ops.ctx, exchange, request);
        return;
    }
    if (is_below(request->path, "/t/")) {
        health->ops.on_tracking(health->ops.ctx, exchange, request);
        return;
    }
    if (strcmp(request->path, "/healthz") == 0) {
        buf_add_text(&body, "ok\n");
    } else if (strcmp(request->path, "/readyz") == 0) {
        status = health->ops.is_ready(health->ops.ctx, &body) ? 200 : 503;
        if (status == 200)
            buf_add_text(&body, "ready\n");
    } else {
        type = "text/plain; version=0.0.4; charset=utf-8";
        health->ops.refresh(health->ops.ctx);
        metrics_write(health->metrics, &body);
    }
    http_answer(exchange, status, type, buf_text(&body), body.length);
    buf_fini(&body);
}

static int open_door(struct loop *loop, struct door *door, const char *listen, char *why,
                     size_t why_bytes)
{
    struct http_server_config server = {.listen = listen,
                                        .body_max = SMALL_BODY,
                                        .bodies_max = BODIES,
                                        .connections_max = HEALTH_CONNECTIONS,
                                        .head_s = 5,
                                        .timeout_s = 30,
                                        .on_head = on_head};

    return http_server_open(loop, &server, on_request, door, &door->server, why, why_bytes);
}

int health_open(struct loop *loop, const struct health_config *config, struct metrics *metrics,
                const struct health_ops *ops, struct health **out, char *why, size_t why_bytes)
{
    struct health *health = xcalloc(1, sizeof(*health));
    bool is_apart = config->health_listen != NULL;
    int err;

    health->metrics = metrics;
    health->ops = *ops;
    health->doors[0] = (struct door){NULL, health, !is_apart, true};
    health->doors[1] = (struct door){NULL, health, true, false};
    err = open_door(loop, &health->doors[0], config->listen, why, why_bytes);
    if (!err && is_apart)
        err = open_door(loop, &health->doors[1], config->health_listen, why, why_bytes);
    if (err) {
        health_close(health);
        return err;
    }
    *out = health;
    return 0;
}

void health_close(struct health *health)
{
    http_server_close(health->doors[0].server);
    http_server_close(health->doors[1].server);
    free(health);
}

uint16_t health_port(const struct health *health)
{
    return http_server_port(health->doors[0].server);
}

uint16_t health_own_port(const struct health *health)
{
    return health->doors[1].server ? http_server_port(health->doors[1].server) : 0;
}

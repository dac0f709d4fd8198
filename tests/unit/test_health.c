/* SPDX-License-Identifier: MIT */
#include "services/health.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "server_fixture.h"

struct scene {
    struct loop *loop;
    struct metrics *metrics;
    struct health *health;
    int64_t until_ms;
    int callbacks, links;
};

static bool is_ready(void *ctx, struct buf *missing)
{
    (void)ctx;
    buf_add_text(missing, "postgres: away\n");
    return false;
}

static void refresh(void *ctx)
{
    (void)ctx;
}

static bool has_callbacks(void *ctx, const char *path)
{
    (void)ctx;
    return strcmp(path, "/callbacks/known") == 0;
}

static void on_callback(void *ctx, struct http_exchange *exchange,
                        const struct http_server_request *request)
{
    struct scene *scene = ctx;

    (void)request;
    scene->callbacks++;
    http_answer(exchange, 200, NULL, "", 0);
}

static void on_tracking(void *ctx, struct http_exchange *exchange,
                        const struct http_server_request *request)
{
    struct scene *scene = ctx;

    (void)request;
    scene->links++;
    http_answer(exchange, 200, NULL, "", 0);
}

static int64_t turn(void *ctx)
{
    struct scene *scene = ctx;

    if (clock_boot_ms() > scene->until_ms)
        loop_stop(scene->loop);
    return 5;
}

static void run_for(struct scene *scene, int64_t ms)
{
    scene->until_ms = clock_boot_ms() + ms;
    loop_run(scene->loop, turn, scene);
}

static void scene_open(struct scene *scene, const char *health_listen)
{
    struct health_config config = {"127.0.0.1:0", health_listen};
    struct health_ops ops = {is_ready, refresh, has_callbacks, on_callback, on_tracking, scene};
    char why[200] = "";

    memset(scene, 0, sizeof(*scene));
    scene->loop = loop_new();
    scene->metrics = metrics_new();
    assert_int_equal(
        health_open(scene->loop, &config, scene->metrics, &ops, &scene->health, why, sizeof(why)),
        0);
}

static void scene_close(struct scene *scene)
{
    health_close(scene->health);
    metrics_free(scene->metrics);
    loop_free(scene->loop);
}

/* The status of the answer to a request of which only the head is sent; 100 asks for the body. */
static int status_of(struct scene *scene, uint16_t port, const char *line, size_t body_bytes)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    char text[4000] = "", head[300];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ssize_t got = -1;

    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    snprintf(head, sizeof(head), "%s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n", line,
             body_bytes ? "Expect: 100-continue\r\n" : "", body_bytes);
    assert_int_equal(send(fd, head, strlen(head), MSG_NOSIGNAL), strlen(head));
    for (int i = 0; i < 400 && got <= 0; i++) {
        run_for(scene, 5);
        got = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
    }
    close(fd);
    run_for(scene, 5);
    assert_true(got > 0);
    return atoi(text + strlen("HTTP/1.1 "));
}

static void only_what_is_served_gets_to_send_a_body(void **state)
{
    static const struct {
        const char *line;
        size_t body;
        int status;
    } cases[] = {
        {"POST /callbacks/nobody", 1000000, 404},
        {"POST /callbacks/", 1000000, 404},
        {"POST /callbacks/known/more", 10, 404},
        {"PUT /callbacks/known", 10, 405},
        {"POST /callbacks/known", 1 << 20, 100},
        {"POST /callbacks/known", (1 << 20) + 1, 413},
        {"POST /nothing", 1000000, 404},
        {"POST /metrics", 1000000, 405},
        {"DELETE /healthz", 10, 405},
        {"POST /t/u/x", 65536, 100},
        {"POST /t/u/x", 65537, 413},
        {"PUT /t/u/x", 10, 405},
        {"GET /healthz", 65537, 413},
        {"POST /", 1, 404},
    };
    struct scene scene = {0};

    (void)state;
    scene_open(&scene, NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int found = status_of(&scene, health_port(scene.health), cases[i].line, cases[i].body);

        if (found != cases[i].status)
            fail_msg("%s of %zu bytes: %d, not %d", cases[i].line, cases[i].body, found,
                     cases[i].status);
    }
    assert_int_equal(scene.callbacks + scene.links, 0);
    scene_close(&scene);
}

static void health_can_have_a_listener_of_its_own(void **state)
{
    static const struct {
        const char *line;
        int common, own;
    } cases[] = {
        {"GET /healthz", 404, 200}, {"HEAD /readyz", 404, 503},          {"GET /metrics", 404, 200},
        {"GET /t/o/x", 200, 404},   {"POST /callbacks/known", 200, 404}, {"GET /", 404, 404},
    };
    struct scene scene = {0};

    (void)state;
    scene_open(&scene, "127.0.0.1:0");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(status_of(&scene, health_port(scene.health), cases[i].line, 0),
                         cases[i].common);
        assert_int_equal(status_of(&scene, health_own_port(scene.health), cases[i].line, 0),
                         cases[i].own);
    }
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_is_served_gets_to_send_a_body),
        cmocka_unit_test(health_can_have_a_listener_of_its_own),
    };

    log_init(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

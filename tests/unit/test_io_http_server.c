/* SPDX-License-Identifier: MIT */
#include "io/http_client.h"
#include "io/http_server.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server_fixture.h"

struct scene {
    struct loop *loop;
    struct http_server *server;
    struct http_client *client;
    struct loop_timer later;
    struct http_exchange *parked[64];
    size_t parked_count, asked, answered, largest_parked;
    int statuses[64];
    char last_body[256], last_type[64];
    size_t last_bytes;
    int64_t until_ms;
    size_t want;
};

static void answer_parked(void *ctx)
{
    struct scene *scene = ctx;

    while (scene->parked_count)
        http_answer(scene->parked[--scene->parked_count], 202, "text/plain", "late", 4);
}

static void on_request(void *ctx, struct http_exchange *exchange,
                       const struct http_server_request *request)
{
    struct scene *scene = ctx;
    const char *said = http_request_header(exchange, "x-said");
    char text[200];
    int length;

    scene->asked++;
    if (strcmp(request->path, "/late") == 0) {
        scene->parked[scene->parked_count++] = exchange;
        if (scene->parked_count > scene->largest_parked)
            scene->largest_parked = scene->parked_count;
        loop_timer_start(scene->loop, &scene->later, 30, answer_parked, scene);
        return;
    }
    if (strcmp(request->path, "/never") == 0) {
        scene->parked[0] = exchange;
        return;
    }
    length = snprintf(text, sizeof text, "%s %s ?%s said=%s bytes=%zu", request->method,
                      request->path, request->query, said ? said : "nothing", request->body_bytes);
    http_answer(exchange, 200, "text/x-echo", text, (size_t)length);
}

static void on_response(void *ctx, const struct http_response *response)
{
    struct scene *scene = ctx;
    const char *type = http_response_header(response, "content-TYPE");

    scene->statuses[scene->answered++ % 64] =
        response->fail ? -(int)response->fail : response->status;
    snprintf(scene->last_body, sizeof scene->last_body, "%s", response->body);
    snprintf(scene->last_type, sizeof scene->last_type, "%s", type ? type : "");
}

static int64_t turn(void *ctx)
{
    struct scene *scene = ctx;

    if (scene->answered >= scene->want || clock_boot_ms() > scene->until_ms)
        loop_stop(scene->loop);
    return 50;
}

static void run_until_answered(struct scene *scene, size_t want)
{
    scene->want = want;
    scene->until_ms = clock_boot_ms() + 10000;
    loop_run(scene->loop, turn, scene);
    assert_int_equal(scene->answered, want);
}

static void run_for(struct scene *scene, int64_t ms)
{
    scene->want = SIZE_MAX;
    scene->until_ms = clock_boot_ms() + ms;
    loop_run(scene->loop, turn, scene);
}

static void scene_open(struct scene *scene, unsigned timeout_s)
{
    struct http_server_config config = {
        .listen = "127.0.0.1:0", .body_max = 10000, .connections_max = 20, .timeout_s = timeout_s};
    struct http_client_config client = {.max_inflight = 64, .max_connections = 10};
    char why[200] = "";

    memset(scene, 0, sizeof *scene);
    scene->loop = loop_new();
    assert_int_equal(
        http_server_open(scene->loop, &config, on_request, scene, &scene->server, why, sizeof why),
        0);
    scene->client = http_client_open(scene->loop, &client);
}

static void scene_close(struct scene *scene)
{
    http_client_close(scene->client);
    http_server_close(scene->server);
    loop_timer_stop(&scene->later);
    loop_free(scene->loop);
}

static void send_to(struct scene *scene, const char *method, const char *target, size_t body_bytes)
{
    struct http_header header = {"X-Said", "hello"};
    char *body = xcalloc(1, body_bytes + 1);
    char url[128];
    struct http_request request = {.method = method,
                                   .url = url,
                                   .headers = &header,
                                   .header_count = 1,
                                   .body = body,
                                   .body_bytes = body_bytes,
                                   .connect_ms = 2000,
                                   .timeout_ms = 5000};

    memset(body, 'b', body_bytes);
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", http_server_port(scene->server), target);
    assert_int_equal(http_send(scene->client, &request, on_response, scene), 0);
    free(body);
}

static void requests_are_shown_as_they_were_sent(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene, 5);
    send_to(&scene, "GET", "/a%20b/c?x=1%262&y", 0);
    run_until_answered(&scene, 1);
    assert_int_equal(scene.statuses[0], 200);
    assert_string_equal(scene.last_body, "GET /a%20b/c ?x=1%262&y said=hello bytes=0");
    assert_string_equal(scene.last_type, "text/x-echo");
    send_to(&scene, "POST", "/in", 9999);
    run_until_answered(&scene, 2);
    assert_string_equal(scene.last_body, "POST /in ? said=hello bytes=9999");
    send_to(&scene, "DELETE", "/gone", 0);
    run_until_answered(&scene, 3);
    assert_string_equal(scene.last_body, "DELETE /gone ? said=hello bytes=0");
    scene_close(&scene);
}

static void late_answers_arrive(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene, 5);
    for (int i = 0; i < 30; i++)
        send_to(&scene, "POST", "/late", 10);
    run_until_answered(&scene, 30);
    for (int i = 0; i < 30; i++)
        assert_int_equal(scene.statuses[i], 202);
    assert_in_range(scene.largest_parked, 2, 10); /* as many as the client has connections */
    scene_close(&scene);
}

static void bodies_are_bounded(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene, 5);
    send_to(&scene, "POST", "/in", 10001);
    run_until_answered(&scene, 1);
    assert_int_equal(scene.statuses[0], 413);
    assert_int_equal(scene.asked, 0);
    send_to(&scene, "POST", "/in", 10000);
    run_until_answered(&scene, 2);
    assert_int_equal(scene.statuses[1], 200);
    scene_close(&scene);
}

static int connect_to(const struct scene *scene)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons(http_server_port(scene->server))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* Whether the server has closed it; what it sent first goes into text. */
static bool is_closed(int fd, char *text, size_t bytes)
{
    size_t length = 0;
    ssize_t got = -1;

    while (length + 1 < bytes &&
           (got = recv(fd, text + length, bytes - 1 - length, MSG_DONTWAIT)) > 0)
        length += (size_t)got;
    text[length] = '\0';
    return length + 1 < bytes && got == 0;
}

static void slow_clients_are_cut_off(void **state)
{
    struct scene scene;
    char text[100];
    int64_t start_ms;
    int fd;

    (void)state;
    scene_open(&scene, 1);
    fd = connect_to(&scene);
    start_ms = clock_boot_ms();
    /* A byte now and then keeps an idle time-out from ever coming. */
    while (!is_closed(fd, text, sizeof text) && clock_boot_ms() - start_ms < 5000) {
        (void)!send(fd, "G", 1, MSG_NOSIGNAL);
        run_for(&scene, 100);
    }
    assert_in_range(clock_boot_ms() - start_ms, 500, 3000);
    close(fd);
    scene_close(&scene);
}

static void chunked_floods_are_cut_off(void **state)
{
    static const char head[] = "POST /in HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    struct scene scene;
    char chunk[4200] = "1000\r\n", text[400];
    int fd;

    (void)state;
    scene_open(&scene, 5);
    memset(chunk + 6, 'c', 4096);
    fd = connect_to(&scene);
    assert_true(send(fd, head, sizeof head - 1, 0) > 0);
    for (int i = 0; i < 20 && !is_closed(fd, text, sizeof text); i++) {
        (void)!send(fd, chunk, 6 + 4096, MSG_NOSIGNAL);
        (void)!send(fd, "\r\n", 2, MSG_NOSIGNAL);
        run_for(&scene, 10);
    }
    assert_int_equal(scene.asked, 0);
    close(fd);
    scene_close(&scene);
}

static void garbage_and_silence_leave_nothing_behind(void **state)
{
    static const char *const lines[] = {"\x16\x03\x01 hello\r\n\r\n",
                                        "GET\r\n\r\n",
                                        "GET /half HTTP/1.1\r\nHost: x\r\n",
                                        "POST / HTTP/9.9\r\n\r\n",
                                        "GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
                                        ""};
    struct scene scene;

    (void)state;
    scene_open(&scene, 5);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        int fd = connect_to(&scene);

        (void)!send(fd, lines[i], strlen(lines[i]), MSG_NOSIGNAL);
        run_for(&scene, 20);
        close(fd);
        run_for(&scene, 20);
    }
    scene_close(&scene); /* the sanitizer counts */
}

static void closing_ends_what_was_never_answered(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene, 5);
    send_to(&scene, "GET", "/never", 0);
    run_for(&scene, 100);
    assert_non_null(scene.parked[0]);
    scene_close(&scene);
    assert_int_equal(scene.answered, 1); /* by http_client_close() */
}

static void addresses_are_checked(void **state)
{
    static const char *const bad[] = {
        "", "8080", "127.0.0.1:", "no-such-host.invalid:80", "192.0.2.1:80", "127.0.0.1:http-what"};
    struct loop *loop = loop_new();

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct http_server_config config = {
            .listen = bad[i], .body_max = 10, .connections_max = 10, .timeout_s = 5};
        struct http_server *server = NULL;
        char why[200] = "";

        assert_int_equal(
            http_server_open(loop, &config, on_request, NULL, &server, why, sizeof why), ERR_IO);
        assert_true(strlen(why) > 10);
    }
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_shown_as_they_were_sent),
        cmocka_unit_test(late_answers_arrive),
        cmocka_unit_test(bodies_are_bounded),
        cmocka_unit_test(slow_clients_are_cut_off),
        cmocka_unit_test(chunked_floods_are_cut_off),
        cmocka_unit_test(garbage_and_silence_leave_nothing_behind),
        cmocka_unit_test(closing_ends_what_was_never_answered),
        cmocka_unit_test(addresses_are_checked),
    };
    int failed;

    http_library_init();
    log_init(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    http_library_fini();
    return failed;
}

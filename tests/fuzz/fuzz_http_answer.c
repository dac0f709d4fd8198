/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a server's answer, through the engine and a real connection: exactly one
 * callback, nothing beyond the bounds, a Retry-After that makes sense.
 *
 * The peer is a pool thread that takes one connection, reads the request's head, writes the
 * input and closes.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/panic.h"
#include "io/http_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define BODY "{}"
enum { BODY_BYTES = 2, BODY_MAX = 2000, TIMEOUT_MS = 2000 };

static struct {
    struct loop *loop;
    struct http_client *client;
    int listener;
    char url[64];
    const uint8_t *answer;
    size_t answer_bytes;
    unsigned callbacks;
    bool is_served;
} scene;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const struct http_client_config config = {.max_inflight = 4, .max_connections = 2};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;

    (void)argc, (void)argv;
    log_init(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    http_library_init();
    scene.loop = loop_new();
    scene.client = http_client_open(scene.loop, &config);
    scene.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT(bind(scene.listener, (struct sockaddr *)&address, sizeof address) == 0);
    ASSERT(listen(scene.listener, 8) == 0);
    ASSERT(getsockname(scene.listener, (struct sockaddr *)&address, &length) == 0);
    snprintf(scene.url, sizeof scene.url, "http://127.0.0.1:%d/", ntohs(address.sin_port));
    return 0;
}

/* Reads all of the request, so that closing at once sends an end and no reset. */
static void serve(void *ctx)
{
    char request[4096];
    size_t length = 0;
    int fd = accept4(scene.listener, NULL, NULL, SOCK_CLOEXEC);

    (void)ctx;
    ASSERT(fd >= 0);
    while (length < sizeof request && !memmem(request, length, "\r\n\r\n" BODY, 4 + BODY_BYTES)) {
        ssize_t got = recv(fd, request + length, sizeof request - length, 0);

        if (got <= 0)
            break;
        length += (size_t)got;
    }
    (void)!send(fd, scene.answer, scene.answer_bytes, MSG_NOSIGNAL);
    close(fd);
}

static void on_served(void *ctx)
{
    (void)ctx;
    scene.is_served = true;
}

static void on_response(void *ctx, const struct http_response *response)
{
    (void)ctx;
    scene.callbacks++;
    ASSERT(response->body && response->body_bytes <= BODY_MAX);
    ASSERT(response->body[response->body_bytes] == '\0');
    ASSERT(response->retry_after_ms >= -1 && response->retry_after_ms <= 10000000000000);
    ASSERT(response->status == 0 || (response->status >= 100 && response->status <= 999));
    ASSERT(response->status || response->fail != HTTP_FAIL_NONE);
    ASSERT(response->is_sent && response->is_fully_sent); /* the peer had read all of it */
    ASSERT(response->fail != HTTP_FAIL_RESOLVE && response->fail != HTTP_FAIL_CONNECT);
    (void)http_response_header(response, "X-Request-Id");
}

static int64_t turn(void *ctx)
{
    (void)ctx;
    if (scene.callbacks > 0 && scene.is_served)
        loop_stop(scene.loop);
    return 50;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_request request = {.method = "POST",
                                   .url = scene.url,
                                   .body = BODY,
                                   .body_bytes = BODY_BYTES,
                                   .version = HTTP_VERSION_1_1,
                                   .connect_ms = TIMEOUT_MS,
                                   .timeout_ms = TIMEOUT_MS,
                                   .response_max = BODY_MAX};

    scene.answer = data;
    scene.answer_bytes = size;
    scene.callbacks = 0;
    scene.is_served = false;
    loop_work(scene.loop, serve, on_served, NULL);
    ASSERT(http_send(scene.client, &request, on_response, NULL) == 0);
    loop_run(scene.loop, turn, NULL);
    ASSERT(scene.callbacks == 1 && http_client_inflight(scene.client) == 0);
    return 0;
}

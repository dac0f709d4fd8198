/* SPDX-License-Identifier: MIT */
/*
 * Any bytes at the bridge's HTTP port, through a real connection: what is handed up is whole and
 * within its bounds, and each exchange is answered once.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/panic.h"
#include "io/http_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { BODY_MAX = 500 };

static struct {
    struct loop *loop;
    struct http_server *server;
    const uint8_t *input;
    size_t input_bytes;
    bool is_done;
} scene;

static void on_request(void *ctx, struct http_exchange *exchange,
                       const struct http_server_request *request)
{
    const char *kind = http_request_header(exchange, "content-type");

    (void)ctx;
    ASSERT(request->method && request->method[0] != '\0' && request->path && request->query);
    ASSERT(request->body_bytes <= BODY_MAX);
    ASSERT(!kind || !strpbrk(kind, "\r\n"));
    http_answer(exchange, 200, "text/plain", request->path, strlen(request->path));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const struct http_server_config config = {
        .listen = "127.0.0.1:0", .body_max = BODY_MAX, .connections_max = 64, .timeout_s = 2};
    char why[256];

    (void)argc, (void)argv;
    log_init(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    scene.loop = loop_new();
    if (http_server_open(scene.loop, &config, on_request, NULL, &scene.server, why, sizeof why))
        fatal("fuzz.failed", why);
    return 0;
}

/* On a pool thread: writes all, reads until the server is silent, and is gone. */
static void ask(void *ctx)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(http_server_port(scene.server)),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    static const struct timeval silence = {.tv_usec = 2000};
    static const struct linger at_once = {.l_onoff = 1};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char answer[4096];

    (void)ctx;
    ASSERT(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    ASSERT(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence) == 0);
    ASSERT(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    (void)!send(fd, scene.input, scene.input_bytes, MSG_NOSIGNAL);
    while (recv(fd, answer, sizeof answer, 0) > 0)
        ;
    close(fd);
}

static void on_asked(void *ctx)
{
    (void)ctx;
    scene.is_done = true;
}

static int64_t turn(void *ctx)
{
    (void)ctx;
    if (scene.is_done)
        loop_stop(scene.loop);
    return 50;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scene.input = data;
    scene.input_bytes = size;
    scene.is_done = false;
    loop_work(scene.loop, ask, on_asked, NULL);
    loop_run(scene.loop, turn, NULL);
    return 0;
}

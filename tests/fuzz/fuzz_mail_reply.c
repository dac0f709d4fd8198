/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a mail server's replies, through the engine and a real connection: exactly one
 * callback for each mail, nothing beyond the bounds, no status but a reply's.
 *
 * The peer is a pool thread that takes one connection, greets as a server does, and then answers
 * whatever it reads with the next piece of the input (they end with a NUL); after the last it
 * closes, and takes no more.  Two mails go one after the other, so that what a session keeps is
 * tried too.
 */
#include <arpa/inet.h>
#include <poll.h>
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

enum { MAILS = 2, LINE_BYTES = 8192, TIMEOUT_MS = 100 };

static struct {
    struct loop *loop;
    struct http_client *client;
    int listener;
    uint16_t port;
    const uint8_t *replies;
    size_t reply_bytes;
    unsigned callbacks;
    bool is_served, is_over; /* is_over: all mails have ended; set for the thread */
} scene;

static const char message[] = "Subject: s\r\n\r\n.\r\nb\r\n";

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const struct http_client_config config = {.max_inflight = 4, .max_connections = 1};
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
    scene.port = ntohs(address.sin_port);
    return 0;
}

/* A session that rests once all mails have ended says nothing more. */
static bool hear(int fd)
{
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    char bytes[4096];

    while (poll(&waiting, 1, 2) == 0)
        if (__atomic_load_n(&scene.is_over, __ATOMIC_ACQUIRE))
            return false;
    return recv(fd, bytes, sizeof bytes, 0) > 0;
}

static void say(int fd, const void *bytes, size_t length)
{
    (void)!send(fd, bytes, length, MSG_NOSIGNAL);
}

/* A mail that finds its session gone opens another, which is of no use. */
static void refuse_others(void)
{
    struct pollfd waiting = {.fd = scene.listener, .events = POLLIN};

    while (!__atomic_load_n(&scene.is_over, __ATOMIC_ACQUIRE)) {
        if (poll(&waiting, 1, 2) > 0)
            close(accept4(scene.listener, NULL, NULL, SOCK_CLOEXEC));
    }
}

static void serve(void *ctx)
{
    const uint8_t *at = scene.replies, *end = at + scene.reply_bytes;
    int fd = accept4(scene.listener, NULL, NULL, SOCK_CLOEXEC);

    (void)ctx;
    ASSERT(fd >= 0);
    say(fd, "220 peer\r\n", 10);
    if (hear(fd))
        say(fd, "250 peer\r\n", 10);
    while (at < end && hear(fd)) {
        const uint8_t *stop = memchr(at, 0, (size_t)(end - at));

        if (!stop)
            stop = end;
        say(fd, at, (size_t)(stop - at));
        at = stop < end ? stop + 1 : end;
    }
    close(fd);
    refuse_others();
}

static void on_served(void *ctx)
{
    (void)ctx;
    scene.is_served = true;
}

static void on_response(void *ctx, const struct http_response *response)
{
    (void)ctx;
    if (++scene.callbacks == MAILS)
        __atomic_store_n(&scene.is_over, true, __ATOMIC_RELEASE);
    ASSERT(response->body && response->body_bytes <= LINE_BYTES);
    ASSERT(response->body[response->body_bytes] == '\0');
    ASSERT(response->status == 0 || (response->status >= 200 && response->status <= 599));
    ASSERT(response->status || response->fail != HTTP_FAIL_NONE);
    ASSERT(!response->is_fully_sent || response->is_sent);
    /* Nothing is delivered that was not sent. */
    ASSERT(response->status < 200 || response->status > 299 || response->is_fully_sent);
}

static int64_t turn(void *ctx)
{
    (void)ctx;
    if (scene.callbacks == MAILS && scene.is_served)
        loop_stop(scene.loop);
    return 50;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const recipients[] = {"a@example.org", "b@example.org", NULL};
    static const struct http_client_config config = {.max_inflight = 4, .max_connections = 1};
    struct http_mail mail = {.host = "127.0.0.1",
                             .port = scene.port,
                             .tls = HTTP_MAIL_PLAIN,
                             .from = "c@example.org",
                             .recipients = recipients,
                             .message = message,
                             .message_bytes = sizeof message - 1,
                             .connect_ms = TIMEOUT_MS,
                             .timeout_ms = TIMEOUT_MS};

    scene.replies = data;
    scene.reply_bytes = size;
    scene.callbacks = 0;
    scene.is_served = scene.is_over = false;
    loop_work(scene.loop, serve, on_served, NULL);
    for (int i = 0; i < MAILS; i++)
        ASSERT(http_send_mail(scene.client, &mail, on_response, NULL) == 0);
    loop_run(scene.loop, turn, NULL);
    ASSERT(scene.callbacks == MAILS && http_client_inflight(scene.client) == 0);
    /* A session of this input must not carry the next one's mail. */
    http_client_close(scene.client);
    scene.client = http_client_open(scene.loop, &config);
    return 0;
}

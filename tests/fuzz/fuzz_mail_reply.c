/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a mail server's replies, through the engine: exactly one callback for each mail,
 * nothing beyond the bounds, no status but a reply's.
 *
 * libcurl, which opens sessions and carries bytes, is played here, so that an input costs no
 * connection: the first session opens at once, and each time that something was said in it the
 * server answers with the next piece of the input (they end with a NUL); where we wait in vain it
 * speaks unasked.  After the last it closes, and no other session can be opened.  Two mails go one
 * after the other, so that what a session keeps is tried too.
 */
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/panic.h"
#include "io/http_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt

enum { MAILS = 2, LINE_BYTES = 8192, TIMEOUT_MS = 5000, PATIENCE = 2 };

/* What libcurl keeps of a handle, as far as anybody asks here. */
struct easy {
    void *private, *close_data;
    curl_closesocket_callback on_close;
    int fd; /* readable and writable at all times; -1: no connection */
};

static struct {
    struct loop *loop;
    struct http_client *client;
    const uint8_t *at, *end; /* what is left of the input */
    unsigned callbacks, opened, unheard;
    curl_multi_timer_callback on_timer;
    void *timer_data;
    struct easy *adding; /* until it is told of */
    CURLMsg message;
} scene;

static const char text[] = "Subject: s\r\n\r\n.\r\nb\r\n";

/* ---- libcurl ---- */

CURL *curl_easy_init(void)
{
    struct easy *easy = xcalloc(1, sizeof *easy);

    easy->fd = -1;
    return easy;
}

static void disconnect(struct easy *easy)
{
    int fd = easy->fd;

    easy->fd = -1;
    if (fd >= 0)
        ASSERT(easy->on_close(easy->close_data, fd) == 0);
}

void curl_easy_cleanup(CURL *handle)
{
    if (handle) /* the library does nothing then, either */
        disconnect(handle);
    free(handle);
}

void curl_easy_reset(CURL *handle)
{
    struct easy *easy = handle;

    disconnect(easy);
    easy->private = NULL;
}

CURLcode curl_easy_setopt(CURL *handle, CURLoption option, ...)
{
    struct easy *easy = handle;
    va_list args;

    va_start(args, option);
    if (option == CURLOPT_PRIVATE)
        easy->private = va_arg(args, void *);
    else if (option == CURLOPT_CLOSESOCKETDATA)
        easy->close_data = va_arg(args, void *);
    else if (option == CURLOPT_CLOSESOCKETFUNCTION)
        easy->on_close = va_arg(args, curl_closesocket_callback);
    va_end(args);
    return CURLE_OK;
}

CURLcode curl_easy_getinfo(CURL *handle, CURLINFO info, ...)
{
    const struct easy *easy = handle;
    va_list args;
    void *out;

    va_start(args, info);
    out = va_arg(args, void *);
    va_end(args);
    if (info == CURLINFO_PRIVATE)
        *(void **)out = easy->private;
    else if (info == CURLINFO_ACTIVESOCKET)
        *(curl_socket_t *)out = easy->fd;
    else
        memset(out, 0, sizeof(long)); /* numbers, all of this size */
    return CURLE_OK;
}

CURLM *curl_multi_init(void)
{
    return &scene;
}

CURLMcode curl_multi_cleanup(CURLM *multi)
{
    (void)multi;
    return CURLM_OK;
}

CURLMcode curl_multi_setopt(CURLM *multi, CURLMoption option, ...)
{
    va_list args;

    (void)multi;
    va_start(args, option);
    if (option == CURLMOPT_TIMERFUNCTION)
        scene.on_timer = va_arg(args, curl_multi_timer_callback);
    else if (option == CURLMOPT_TIMERDATA && !scene.timer_data)
        scene.timer_data = va_arg(args, void *); /* of the first engine, which mails go by */
    va_end(args);
    return CURLM_OK;
}

CURLMcode curl_multi_add_handle(CURLM *multi, CURL *handle)
{
    struct easy *easy = handle;

    ASSERT(!scene.adding);
    scene.adding = easy;
    if (scene.opened++ == 0)
        easy->fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    scene.on_timer(multi, 0, scene.timer_data);
    return CURLM_OK;
}

CURLMcode curl_multi_remove_handle(CURLM *multi, CURL *handle)
{
    (void)multi;
    if (scene.adding == handle)
        scene.adding = NULL;
    disconnect(handle);
    return CURLM_OK;
}

CURLMcode curl_multi_socket_action(CURLM *multi, curl_socket_t fd, int events, int *running)
{
    (void)multi, (void)fd, (void)events;
    *running = scene.adding != NULL;
    return CURLM_OK;
}

CURLMsg *curl_multi_info_read(CURLM *multi, int *left)
{
    struct easy *easy = scene.adding;

    (void)multi;
    *left = 0;
    if (!easy)
        return NULL;
    scene.adding = NULL;
    scene.message = (CURLMsg){.msg = CURLMSG_DONE, .easy_handle = easy};
    scene.message.data.result = easy->fd < 0 ? CURLE_COULDNT_CONNECT : CURLE_OK;
    return &scene.message;
}

/* ---- the server ---- */

CURLcode curl_easy_send(CURL *handle, const void *bytes, size_t length, size_t *sent)
{
    const struct easy *easy = handle;

    (void)bytes;
    ASSERT(easy->fd >= 0);
    scene.unheard = PATIENCE;
    *sent = length;
    return CURLE_OK;
}

CURLcode curl_easy_recv(CURL *handle, void *bytes, size_t capacity, size_t *got)
{
    const struct easy *easy = handle;
    const uint8_t *stop;

    ASSERT(easy->fd >= 0);
    *got = 0;
    if (scene.unheard++ < PATIENCE)
        return CURLE_AGAIN;
    scene.unheard = 0;
    if (scene.at == scene.end)
        return CURLE_OK; /* closed */
    stop = memchr(scene.at, 0, (size_t)(scene.end - scene.at));
    stop = stop ? stop : scene.end;
    *got = (size_t)(stop - scene.at) < capacity ? (size_t)(stop - scene.at) : capacity;
    memcpy(bytes, scene.at, *got);
    scene.at += *got;
    if (scene.at == stop && stop < scene.end)
        scene.at++;
    return *got ? CURLE_OK : CURLE_AGAIN;
}

/* ---- one input ---- */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    log_init(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    scene.loop = loop_new();
    return 0;
}

static void on_response(void *ctx, const struct http_response *response)
{
    (void)ctx;
    scene.callbacks++;
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
    if (scene.callbacks == MAILS)
        loop_stop(scene.loop);
    return 50;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const recipients[] = {"a@example.org", "b@example.org", NULL};
    static const struct http_client_config config = {.max_inflight = 4, .max_connections = 1};
    struct http_mail mail = {.host = "mail.example",
                             .port = 25,
                             .tls = HTTP_MAIL_PLAIN,
                             .from = "c@example.org",
                             .recipients = recipients,
                             .message = text,
                             .message_bytes = sizeof text - 1,
                             .connect_ms = TIMEOUT_MS,
                             .timeout_ms = TIMEOUT_MS};

    scene.at = data;
    scene.end = data + size;
    scene.callbacks = scene.opened = scene.unheard = 0;
    scene.timer_data = NULL;
    scene.client = http_client_open(scene.loop, &config);
    for (int i = 0; i < MAILS; i++)
        ASSERT(http_send_mail(scene.client, &mail, on_response, NULL) == 0);
    loop_run(scene.loop, turn, NULL);
    ASSERT(scene.callbacks == MAILS && http_client_inflight(scene.client) == 0);
    http_client_close(scene.client);
    return 0;
}

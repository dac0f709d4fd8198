/* SPDX-License-Identifier: MIT */
#include "io/http_client.h"
#include "io/http_client_private.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/memory.h"

#define RESTING_MAX      256   /* idle calls kept for reuse */
#define LOOK_MS          10000 /* at how many of them were needed */
#define STREAMS_MAX      1000L /* of one connection: what APNs allows; most servers less */
#define FEW_MAX          8
#define DEADLINE_LATE_MS 100 /* libcurl's own time-out first: it knows more */

void http_library_init(void)
{
    if (http_memory_init() != CURLE_OK)
        fatal("http.broken", "curl_global_init_mem() failed");
    http_reset_init();
}

void http_library_fini(void)
{
    curl_global_cleanup();
    http_memory_fini();
}

/* ---- calls ---- */

static CURL *new_handle(void)
{
    CURL *easy = curl_easy_init();

    if (!easy)
        fatal("memory.exhausted", "curl_easy_init() returned nothing");
    return easy;
}

struct http_call *http_call_take(struct http_client *client)
{
    struct list_node *node = list_pop_front(&client->resting);
    struct http_call *call;

    if (node) {
        call = CONTAINER_OF(node, struct http_call, node);
    } else {
        call = xcalloc(1, sizeof *call);
        call->client = client;
    }
    if (!call->easy)
        call->easy = new_handle();
    return call;
}

static void call_free(struct http_call *call)
{
    curl_easy_cleanup(call->easy);
    buf_fini(&call->sent);
    buf_fini(&call->received);
    free(call);
}

/*
 * libcurl before 8.1 keeps a pointer to the last header of the answer before, which it has
 * freed, and writes there when the first header line of the next one begins with a blank: any
 * server could do that to us (curl's issue 11101).
 */
static bool handles_dangle(void)
{
    return curl_version_info(CURLVERSION_NOW)->version_num < 0x080200;
}

void http_call_rest(struct http_call *call)
{
    struct http_client *client = call->client;
    struct http_call fresh = {.client = client};

    if (call->is_mail && !call->is_carrier) {
        /* Its session's handle did the work. */
    } else if (client->renews_handles) {
        curl_easy_cleanup(call->easy);
        call->easy = NULL;
    } else {
        curl_easy_reset(call->easy);
    }
    fresh.easy = call->easy;
    curl_slist_free_all(call->headers);
    curl_slist_free_all(call->recipients);
    http_mail_server_free(call->server);
    free(call->from);
    if (call->sent.data)
        explicit_bzero(call->sent.data, call->sent.length); /* OAuth requests carry secrets */
    if (client->is_closed || client->resting.count >= RESTING_MAX) {
        call_free(call);
        return;
    }
    if (call->sent.capacity + call->received.capacity <= 65536) {
        fresh.sent = call->sent;
        fresh.received = call->received;
        buf_clear(&fresh.sent);
        buf_clear(&fresh.received);
    } else {
        buf_fini(&call->sent);
        buf_fini(&call->received);
    }
    *call = fresh;
    list_push_front(&client->resting, &call->node);
}

/*
 * As many calls rest as were under way at once since the last look: once a burst is over they go,
 * with what they hold, and the heap shrinks.  Nobody looks any more when none is left.
 */
static void on_look(void *ctx)
{
    struct http_client *client = ctx;
    size_t before = client->resting.count;

    while (client->resting.count > client->peak)
        call_free(CONTAINER_OF(list_pop_front(&client->resting), struct http_call, node));
    if (client->resting.count < before) {
        http_memory_give_back();
        memory_give_back();
    }
    client->peak = client->calls.count;
    client->is_looking = client->peak > 0 || client->resting.count > 0;
    if (client->is_looking)
        loop_timer_start(client->loop, &client->look, client->look_ms, on_look, client);
}

static void note_peak(struct http_client *client)
{
    if (client->calls.count > client->peak)
        client->peak = client->calls.count;
    if (!client->is_looking)
        loop_timer_start(client->loop, &client->look, client->look_ms, on_look, client);
    client->is_looking = true;
}

static void call_detach(struct http_call *call)
{
    list_remove(&call->client->calls, &call->node);
    loop_timer_stop(&call->deadline);
    if (call->is_mail)
        http_mail_detach(call);
    http_call_remove(call);
}

static void call_end(struct http_call *call, CURLcode code, enum http_fail closed)
{
    struct http_response response;

    call_detach(call);
    http_call_result(call, code, &response);
    if (closed) {
        response.fail = closed;
        response.status = 0;
    }
    call->on_response(call->ctx, &response);
    http_call_rest(call);
}

void http_call_end(struct http_call *call, CURLcode code)
{
    call_end(call, code, HTTP_FAIL_NONE);
}

void http_client_enter(struct http_client *client)
{
    client->depth++;
}

/* Closes its sockets, each through on_close_socket(). */
static void engine_close(struct http_engine *engine)
{
    curl_multi_cleanup(engine->multi);
    loop_timer_stop(&engine->timer);
}

/* NULL: it is not watched. */
static struct http_socket *socket_find(const struct http_client *client, int fd)
{
    return (size_t)fd < client->socket_slots ? client->sockets[fd] : NULL;
}

static void socket_forget(struct http_client *client, int fd)
{
    loop_watch_stop(&client->sockets[fd]->watch);
    free(client->sockets[fd]);
    client->sockets[fd] = NULL;
}

static void free_client(struct http_client *client)
{
    struct list_node *node;

    loop_timer_stop(&client->look);
    http_mail_close_all(client);
    while ((node = list_pop_front(&client->resting)))
        call_free(CONTAINER_OF(node, struct http_call, node));
    engine_close(&client->many);
    engine_close(&client->few);
    for (size_t i = 0; i < client->socket_slots; i++) {
        if (!client->sockets[i])
            continue;
        socket_forget(client, (int)i);
    }
    free(client->sockets);
    free(client);
}

void http_client_leave(struct http_client *client)
{
    if (--client->depth == 0 && client->is_closed)
        free_client(client);
}

/* ---- libcurl's events ---- */

static void reap(struct http_engine *engine)
{
    struct http_client *client = engine->client;
    CURLMsg *message;
    int left;

    while (!client->is_closed && (message = curl_multi_info_read(engine->multi, &left))) {
        struct http_call *call = NULL;
        CURLcode code = message->data.result;

        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call);
        if (call->is_carrier)
            http_mail_opened(call, code);
        else
            call_end(call, code, HTTP_FAIL_NONE);
    }
}

static void act(struct http_engine *engine, curl_socket_t fd, int events)
{
    struct http_client *client = engine->client;
    int running;

    http_client_enter(client);
    curl_multi_socket_action(engine->multi, fd, events, &running);
    reap(engine);
    http_client_leave(client);
}

static void on_timer(void *ctx)
{
    act(ctx, CURL_SOCKET_TIMEOUT, 0);
}

static void on_deadline(void *ctx)
{
    struct http_call *call = ctx;
    struct http_client *client = call->client;

    http_client_enter(client);
    call_end(call, CURLE_OPERATION_TIMEDOUT, HTTP_FAIL_NONE);
    http_client_leave(client);
}

static void on_ready(void *ctx, int events)
{
    struct http_socket *sock = ctx;
    struct http_engine *engine = sock->engine;
    struct http_client *client = engine->client;
    int fd = sock->fd;

    if (events & LOOP_BROKEN && !sock->on_lent)
        return; /* the deadlines of its calls end them; the next wish watches it again */
    if (sock->on_lent) {
        http_client_enter(client);
        sock->on_lent(sock->lent_ctx, events);
        http_client_leave(client);
        return;
    }
    if (!sock->wanted) {
        /* An idle connection ended or got unasked-for data: libcurl will see when it looks. */
        loop_watch_start(client->loop, &sock->watch, fd, 0, on_ready, sock);
        return;
    }
    http_client_enter(client);
    act(engine, fd,
        (events & LOOP_READ ? CURL_CSELECT_IN : 0) | (events & LOOP_WRITE ? CURL_CSELECT_OUT : 0));
    sock = socket_find(client, fd);
    if (sock && sock->wanted) /* after an error libuv watches no more */
        loop_watch_start(client->loop, &sock->watch, fd, sock->wanted, on_ready, sock);
    http_client_leave(client);
}

/* libcurl's own pairs, which wake it when a name is resolved, are local. */
static bool is_connection(int fd)
{
    int domain = AF_UNIX;
    socklen_t length = sizeof domain;

    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain != AF_UNIX;
}

static struct http_socket *socket_get(struct http_engine *engine, int fd)
{
    struct http_client *client = engine->client;
    size_t slot = (size_t)fd;

    if (slot >= client->socket_slots) {
        size_t slots = client->socket_slots ? client->socket_slots : 64;

        while (slots <= slot)
            slots *= 2;
        client->sockets = xrealloc(client->sockets, slots * sizeof *client->sockets);
        memset(client->sockets + client->socket_slots, 0,
               (slots - client->socket_slots) * sizeof *client->sockets);
        client->socket_slots = slots;
    }
    if (!client->sockets[slot]) {
        client->sockets[slot] = xcalloc(1, sizeof **client->sockets);
        client->sockets[slot]->engine = engine;
        client->sockets[slot]->fd = fd;
        client->sockets[slot]->is_connection = is_connection(fd);
    }
    return client->sockets[slot];
}

void http_socket_lend(struct http_client *client, int fd, int wanted,
                      void (*on_lent)(void *ctx, int events), void *ctx)
{
    struct http_socket *sock = socket_get(&client->many, fd);

    sock->on_lent = on_lent;
    sock->lent_ctx = ctx;
    sock->wanted = wanted;
    loop_watch_start(client->loop, &sock->watch, fd, wanted, on_ready, sock);
}

static int on_socket_wish(CURL *easy, curl_socket_t fd, int what, void *ctx, void *unused)
{
    struct http_engine *engine = ctx;
    struct http_client *client = engine->client;
    struct http_socket *sock;

    (void)easy, (void)unused;
    if (what == CURL_POLL_REMOVE && !socket_find(client, fd))
        return 0; /* closed already */
    sock = socket_get(engine, fd);
    sock->wanted = (what & CURL_POLL_IN ? LOOP_READ : 0) | (what & CURL_POLL_OUT ? LOOP_WRITE : 0);
    sock->was_read |= (sock->wanted & LOOP_READ) != 0;
    if (what != CURL_POLL_REMOVE) {
        loop_watch_start(client->loop, &sock->watch, fd, sock->wanted, on_ready, sock);
    } else if (!sock->is_connection || !sock->was_read) {
        socket_forget(client, fd); /* its number is another's next: a watch would be on that */
    }
    return 0;
}

static int on_close_socket(void *ctx, curl_socket_t fd)
{
    struct http_client *client = ctx;

    if (socket_find(client, fd))
        socket_forget(client, fd);
    return close(fd);
}

static int on_timer_wish(CURLM *multi, long after_ms, void *ctx)
{
    struct http_engine *engine = ctx;

    (void)multi;
    if (after_ms < 0)
        loop_timer_stop(&engine->timer);
    else
        loop_timer_start(engine->client->loop, &engine->timer, after_ms, on_timer, engine);
    return 0;
}

static void engine_open(struct http_engine *engine, struct http_client *client,
                        size_t host_connections)
{
    engine->client = client;
    engine->multi = curl_multi_init();
    if (!engine->multi)
        fatal("memory.exhausted", "curl_multi_init() returned nothing");
    curl_multi_setopt(engine->multi, CURLMOPT_SOCKETFUNCTION, on_socket_wish);
    curl_multi_setopt(engine->multi, CURLMOPT_SOCKETDATA, engine);
    curl_multi_setopt(engine->multi, CURLMOPT_TIMERFUNCTION, on_timer_wish);
    curl_multi_setopt(engine->multi, CURLMOPT_TIMERDATA, engine);
    curl_multi_setopt(engine->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)host_connections);
    curl_multi_setopt(engine->multi, CURLMOPT_MAX_CONCURRENT_STREAMS, STREAMS_MAX);
    curl_multi_setopt(engine->multi, CURLMOPT_MAXCONNECTS, (long)client->config.max_inflight);
}

/* ---- the public face ---- */

struct http_client *http_client_open(struct loop *loop, const struct http_client_config *config)
{
    struct http_client *client = xcalloc(1, sizeof *client);

    client->loop = loop;
    client->config = *config;
    client->renews_handles = handles_dangle();
    client->look_ms = LOOK_MS;
    list_init(&client->calls);
    list_init(&client->resting);
    list_init(&client->sessions);
    list_init(&client->waiting);
    engine_open(&client->many, client, config->max_connections);
    engine_open(&client->few, client,
                config->max_connections < FEW_MAX ? config->max_connections : FEW_MAX);
    return client;
}

void http_client_close(struct http_client *client)
{
    struct list_node *node;

    if (!client)
        return;
    http_client_enter(client);
    client->is_closed = true;
    while ((node = list_first(&client->calls)))
        call_end(CONTAINER_OF(node, struct http_call, node), CURLE_OK, HTTP_FAIL_CLOSED);
    http_client_leave(client);
}

size_t http_client_inflight(const struct http_client *client)
{
    return client->calls.count;
}

void http_call_add(struct http_call *call, struct http_engine *engine)
{
    call->engine = engine;
    curl_easy_setopt(call->easy, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
    curl_easy_setopt(call->easy, CURLOPT_CLOSESOCKETDATA, call->client);
    if (curl_multi_add_handle(engine->multi, call->easy) != CURLM_OK)
        panic("libcurl refused a handle");
}

void http_call_remove(struct http_call *call)
{
    if (call->engine)
        curl_multi_remove_handle(call->engine->multi, call->easy);
    call->engine = NULL;
}

static void call_start(struct http_call *call, int64_t timeout_ms)
{
    struct http_client *client = call->client;

    call->started_us = clock_boot_us();
    list_push_back(&client->calls, &call->node);
    note_peak(client);
    loop_timer_start(client->loop, &call->deadline, timeout_ms + DEADLINE_LATE_MS, on_deadline,
                     call);
    if (call->is_mail)
        http_mail_assign(call);
    else
        http_call_add(call, call->is_few ? &client->few : &client->many);
}

static bool is_full(const struct http_client *client)
{
    return client->is_closed || client->calls.count >= client->config.max_inflight;
}

int http_send(struct http_client *client, const struct http_request *request,
              http_response_fn *on_response, void *ctx)
{
    struct http_call *call;
    int err;

    if (is_full(client))
        return ERR_FULL;
    call = http_call_take(client);
    call->on_response = on_response;
    call->ctx = ctx;
    err = http_call_prepare(call, request);
    if (err)
        http_call_rest(call);
    else
        call_start(call, request->timeout_ms);
    return err;
}

int http_send_mail(struct http_client *client, const struct http_mail *mail,
                   http_response_fn *on_response, void *ctx)
{
    struct http_call *call;
    int err;

    if (is_full(client))
        return ERR_FULL;
    call = http_call_take(client);
    call->on_response = on_response;
    call->ctx = ctx;
    err = http_mail_prepare(call, mail);
    if (err)
        http_call_rest(call);
    else
        call_start(call, mail->timeout_ms);
    return err;
}

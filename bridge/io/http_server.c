/* SPDX-License-Identifier: MIT */
#include "io/http_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/log.h"
#include "io/http_server_guard.h"
#include "io/http_server_listen.h"

/* Places beyond connections_max, for connections that end while new ones have come already. */
#define PLACES_SPARE 64
#define REWATCH_MS   1000 /* after the kernel had no room for a watch */

struct http_server {
    struct loop *loop;
    struct http_server_config config;
    http_request_fn *on_request;
    void *ctx;
    struct MHD_Daemon *daemon;
    struct loop_watch watch;
    struct loop_timer timer, rewatch;
    struct loop_deferred again; /* after an answer from outside: let the daemon see it */
    struct list waiting;        /* exchanges suspended */
    struct list silent;         /* peers without a request under way, the longest so first */
    struct list busy;           /* peers whose request is arriving, or whose answer is leaving */
    size_t connections;
    size_t large_bytes; /* of bodies being read, beyond the small part of each */
    uint16_t port;
};

/* A client's connection.  Its clock runs while we wait for the client, not for ourselves. */
struct peer {
    struct list_node node; /* in list */
    struct list *list;     /* silent, busy, or NULL: the client waits for us, or it ends */
    struct http_server *server;
    struct MHD_Connection *connection;
    struct http_exchange *exchange; /* at most one at a time */
    struct loop_timer clock;
};

enum exchange_state { READING, ASKING, SUSPENDED, ANSWERED };

struct http_exchange {
    struct list_node node; /* in server->waiting while SUSPENDED */
    struct peer *peer;
    enum exchange_state state;
    bool is_known;   /* the access handler has seen it */
    bool is_chunked; /* the connection ends behind it */
    bool is_crowded; /* its body found no room: it is read and dropped, for a 503 */
    char *path;      /* and the query behind it */
    const char *query;
    struct buf body;
    size_t body_max, body_read;
    struct MHD_Response *response;
    unsigned status;
    struct {
        const char *name; /* borrowed */
        char *value;
    } headers[HTTP_ANSWER_HEADERS_MAX];
    unsigned header_count;
};

static struct peer *peer_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info ? info->socket_context : NULL;
}

/* ---- the daemon's turn ---- */

static void run_daemon(void *ctx)
{
    struct http_server *server = ctx;
    MHD_UNSIGNED_LONG_LONG wait_ms;

    MHD_run(server->daemon);
    if (MHD_get_timeout(server->daemon, &wait_ms) == MHD_YES)
        loop_timer_start(server->loop, &server->timer, (int64_t)wait_ms, run_daemon, server);
    else
        loop_timer_stop(&server->timer);
}

static void watch_daemon(void *ctx);

static void on_ready(void *ctx, int events)
{
    struct http_server *server = ctx;

    run_daemon(server);
    if (events & LOOP_BROKEN)
        loop_timer_start(server->loop, &server->rewatch, REWATCH_MS, watch_daemon, server);
}

static void watch_daemon(void *ctx)
{
    struct http_server *server = ctx;

    loop_watch_start(server->loop, &server->watch,
                     MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd,
                     LOOP_READ, on_ready, server);
}

/* ---- connections ---- */

static void place(struct peer *peer, struct list *list)
{
    if (peer->list)
        list_remove(peer->list, &peer->node);
    peer->list = list;
    if (list)
        list_push_back(list, &peer->node);
}

/* The library offers no way to end a connection, but it notices the end of a socket. */
static void on_clock(void *ctx)
{
    struct peer *peer = ctx;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(peer->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    place(peer, NULL);
    if (info)
        shutdown(info->connect_fd, SHUT_RDWR);
}

static void start_clock(struct peer *peer, unsigned seconds)
{
    loop_timer_start(peer->server->loop, &peer->clock, (int64_t)seconds * 1000, on_clock, peer);
}

/* Makes room for a connection beyond the limit. */
static void evict(struct http_server *server)
{
    struct list_node *node = list_first(&server->silent);

    if (!node)
        node = list_first(&server->busy);
    if (node)
        on_clock(CONTAINER_OF(node, struct peer, node));
}

static size_t beyond_small(size_t bytes)
{
    return bytes > HTTP_SERVER_BODY_SMALL ? bytes - HTTP_SERVER_BODY_SMALL : 0;
}

static void drop_body(struct http_exchange *exchange)
{
    exchange->peer->server->large_bytes -= beyond_small(exchange->body.length);
    buf_fini(&exchange->body);
    exchange->body = (struct buf){0};
}

static void exchange_free(struct http_exchange *exchange)
{
    if (!exchange)
        return;
    exchange->peer->exchange = NULL;
    if (exchange->response)
        MHD_destroy_response(exchange->response);
    for (unsigned i = 0; i < exchange->header_count; i++)
        free(exchange->headers[i].value);
    drop_body(exchange);
    free(exchange->path);
    free(exchange);
}

static void on_connection(void *ctx, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct peer *peer;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        peer = xcalloc(1, sizeof *peer);
        peer->server = ctx;
        peer->connection = connection;
        *socket_context = peer;
        start_clock(peer, peer->server->config.head_s);
        if (++peer->server->connections > peer->server->config.connections_max)
            evict(peer->server);
        place(peer, &peer->server->silent);
        return;
    }
    peer = *socket_context;
    *socket_context = NULL;
    peer->server->connections--;
    place(peer, NULL);
    exchange_free(peer->exchange); /* one that never got beyond its first line */
    loop_timer_stop(&peer->clock);
    free(peer);
}

/* ---- requests ---- */

/* The only place where the library shows the target as it was sent. */
static void *on_target(void *ctx, const char *target, struct MHD_Connection *connection)
{
    struct peer *peer = peer_of(connection);
    struct http_exchange *exchange = xcalloc(1, sizeof *exchange);
    char *mark;

    (void)ctx;
    exchange_free(peer->exchange);
    exchange->peer = peer;
    exchange->path = xstrdup(target);
    mark = strchr(exchange->path, '?');
    if (mark)
        *mark = '\0';
    exchange->query = mark ? mark + 1 : "";
    peer->exchange = exchange;
    if (peer->list == &peer->server->silent)
        place(peer, &peer->server->busy);
    return exchange;
}

static void on_completed(void *ctx, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode code)
{
    struct http_exchange *exchange = *request;

    (void)ctx, (void)connection;
    *request = NULL;
    if (!exchange)
        return;
    if (code == MHD_REQUEST_TERMINATED_COMPLETED_OK) { /* for the next request */
        start_clock(exchange->peer, exchange->peer->server->config.timeout_s);
        place(exchange->peer, &exchange->peer->server->silent);
    }
    exchange_free(exchange);
}

static struct MHD_Response *make_response(const char *content_type, const void *body, size_t bytes)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        bytes, (void *)(uintptr_t)(body ? body : ""), MHD_RESPMEM_MUST_COPY);

    if (!response)
        fatal("memory.exhausted", "MHD_create_response_from_buffer() returned nothing");
    if (content_type)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    return response;
}

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned status, const char *text,
                              const char *allow)
{
    struct MHD_Response *response =
        make_response(text ? "text/plain; charset=utf-8" : NULL, text, text ? strlen(text) : 0);
    enum MHD_Result result;

    MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    if (allow)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow);
    result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static bool has_room(const struct http_server *server, size_t more)
{
    size_t small = server->config.connections_max * HTTP_SERVER_BODY_SMALL;
    size_t large = server->config.bodies_max > small ? server->config.bodies_max - small : 0;

    return more <= large && server->large_bytes <= large - more;
}

static struct http_server_request request_of(const struct http_exchange *exchange,
                                             const char *method)
{
    return (struct http_server_request){.method = method,
                                        .path = exchange->path,
                                        .query = exchange->query,
                                        .body = buf_text(&exchange->body),
                                        .body_bytes = exchange->body.length};
}

/* The headers are there, and the body follows. */
static enum MHD_Result judge_head(struct http_exchange *exchange, const char *method,
                                  const char *version)
{
    struct peer *peer = exchange->peer;
    struct http_server *server = peer->server;
    struct http_server_request head = request_of(exchange, method);
    struct http_server_verdict verdict = {.body_max = server->config.body_max};
    struct http_framing framing;
    const char *fault = http_server_guard(peer->connection, method, version, &framing);
    int status = 0;

    exchange->is_known = true;
    exchange->is_chunked = framing.is_chunked;
    start_clock(peer, server->config.timeout_s);
    if (fault)
        return refuse(peer->connection, MHD_HTTP_BAD_REQUEST, fault, NULL);
    if (server->config.on_head)
        status = server->config.on_head(server->ctx, &head, &verdict);
    if (status)
        return refuse(peer->connection, (unsigned)status, verdict.text, verdict.allow);
    if (framing.length > verdict.body_max)
        return refuse(peer->connection, MHD_HTTP_CONTENT_TOO_LARGE, NULL, NULL);
    if (beyond_small(framing.length) && !has_room(server, beyond_small(framing.length)))
        return refuse(peer->connection, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, NULL);
    exchange->body_max = verdict.body_max;
    return MHD_YES;
}

static enum MHD_Result take_body(struct http_exchange *exchange, const char *bytes, size_t length)
{
    struct http_server *server = exchange->peer->server;
    size_t after, more;

    if (length > exchange->body_max - exchange->body_read)
        return MHD_NO; /* sent in chunks, without saying how much: close */
    exchange->body_read += length;
    after = exchange->body.length + length;
    more = beyond_small(after) - beyond_small(exchange->body.length);
    if (!exchange->is_crowded && more && !has_room(server, more)) {
        exchange->is_crowded = true;
        drop_body(exchange);
    }
    if (exchange->is_crowded)
        return MHD_YES;
    buf_add(&exchange->body, bytes, length);
    server->large_bytes += more;
    return MHD_YES;
}

/* It is the client's turn: to take the answer. */
static enum MHD_Result send_answer(struct http_exchange *exchange)
{
    struct peer *peer = exchange->peer;

    start_clock(peer, peer->server->config.timeout_s);
    place(peer, &peer->server->busy);
    return MHD_queue_response(peer->connection, exchange->status, exchange->response);
}

static enum MHD_Result ask(struct http_exchange *exchange, const char *method)
{
    struct http_server *server = exchange->peer->server;
    struct http_server_request request = request_of(exchange, method);

    if (exchange->is_crowded)
        return refuse(exchange->peer->connection, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, NULL);
    loop_timer_stop(&exchange->peer->clock); /* from here on it is we who take time */
    place(exchange->peer, NULL);
    exchange->state = ASKING;
    server->on_request(server->ctx, exchange, &request);
    drop_body(exchange);
    if (exchange->state == ANSWERED)
        return send_answer(exchange);
    exchange->state = SUSPENDED;
    list_push_back(&server->waiting, &exchange->node);
    MHD_suspend_connection(exchange->peer->connection);
    return MHD_YES;
}

static enum MHD_Result on_access(void *ctx, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *upload,
                                 size_t *upload_bytes, void **request)
{
    struct http_exchange *exchange = *request;
    size_t bytes = *upload_bytes;

    (void)ctx, (void)connection, (void)url;
    if (!exchange->is_known)
        return judge_head(exchange, method, version);
    if (exchange->state == ANSWERED) /* resumed */
        return send_answer(exchange);
    if (bytes == 0)
        return ask(exchange, method);
    *upload_bytes = 0;
    return take_body(exchange, upload, bytes);
}

const char *http_request_header(struct http_exchange *exchange, const char *name)
{
    const char *value =
        MHD_lookup_connection_value(exchange->peer->connection, MHD_HEADER_KIND, name);

    /* libmicrohttpd lets a lone CR pass, at which others may end the line. */
    return value && value[strcspn(value, "\r\n")] == '\0' ? value : NULL;
}

void http_answer_header(struct http_exchange *exchange, const char *name, const char *value)
{
    unsigned i = exchange->header_count;

    ASSERT(i < HTTP_ANSWER_HEADERS_MAX);
    ASSERT(exchange->state == ASKING || exchange->state == SUSPENDED);
    if (value[strcspn(value, "\r\n")] != '\0') {
        log_error("http.header", LOG_STR("name", name),
                  LOG_STR("why", "the value is more than one line: the header is left out"));
        return;
    }
    exchange->header_count++;
    exchange->headers[i].name = name;
    exchange->headers[i].value = xstrdup(value);
}

void http_answer(struct http_exchange *exchange, int status, const char *content_type,
                 const void *body, size_t body_bytes)
{
    struct http_server *server = exchange->peer->server;

    ASSERT(exchange->state == ASKING || exchange->state == SUSPENDED);
    ASSERT(status >= 200 && status <= 599);
    exchange->response = make_response(content_type, body, body_bytes);
    /* The library is lax about the lines of chunks: what it takes for the next request may be none.
     */
    if (exchange->is_chunked)
        MHD_add_response_header(exchange->response, MHD_HTTP_HEADER_CONNECTION, "close");
    for (unsigned i = 0; i < exchange->header_count; i++)
        MHD_add_response_header(exchange->response, exchange->headers[i].name,
                                exchange->headers[i].value);
    exchange->status = (unsigned)status;
    if (exchange->state == SUSPENDED) {
        list_remove(&server->waiting, &exchange->node);
        MHD_resume_connection(exchange->peer->connection);
        loop_defer(server->loop, &server->again);
    }
    exchange->state = ANSWERED;
}

/* ---- start and end ---- */

/* The library aborts behind this. */
static void on_library_panic(void *ctx, const char *file, unsigned line, const char *reason)
{
    (void)ctx;
    log_panic(file ? file : "libmicrohttpd", (int)line, reason ? reason : "libmicrohttpd gave up");
}

static struct MHD_Daemon *start_daemon(struct http_server *server, int fd)
{
    MHD_set_panic_func(on_library_panic, NULL);
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC, 0, NULL, NULL, on_access, server,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)server->config.connections_max + PLACES_SPARE, MHD_OPTION_CONNECTION_TIMEOUT,
        server->config.timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)(32 * 1024),
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, server, MHD_OPTION_URI_LOG_CALLBACK, on_target, server, MHD_OPTION_END);
}

int http_server_open(struct loop *loop, const struct http_server_config *config,
                     http_request_fn *on_request, void *ctx, struct http_server **out, char *why,
                     size_t why_bytes)
{
    struct http_server *server;
    int fd = http_server_listen(config->listen, why, why_bytes);

    if (fd < 0)
        return ERR_IO;
    server = xcalloc(1, sizeof *server);
    server->loop = loop;
    server->config = *config;
    server->on_request = on_request;
    server->ctx = ctx;
    server->port = http_server_listen_port(fd);
    server->again.run = run_daemon;
    server->again.ctx = server;
    if (!server->config.head_s)
        server->config.head_s = config->timeout_s;
    list_init(&server->waiting);
    list_init(&server->silent);
    list_init(&server->busy);
    server->daemon = start_daemon(server, fd);
    if (!server->daemon) {
        snprintf(why, why_bytes, "libmicrohttpd would not start on \"%s\"", config->listen);
        close(fd);
        free(server);
        return ERR_IO;
    }
    watch_daemon(server);
    *out = server;
    return 0;
}

void http_server_close(struct http_server *server)
{
    struct list_node *node;

    if (!server)
        return;
    /* The library must not have suspended connections at its end. */
    while ((node = list_first(&server->waiting)))
        http_answer(CONTAINER_OF(node, struct http_exchange, node), MHD_HTTP_SERVICE_UNAVAILABLE,
                    NULL, "", 0);
    MHD_run(server->daemon);
    loop_watch_stop(&server->watch);
    loop_timer_stop(&server->rewatch);
    loop_timer_stop(&server->timer);
    loop_defer_cancel(server->loop, &server->again);
    MHD_stop_daemon(server->daemon); /* closes the listening socket as well */
    free(server);
}

uint16_t http_server_port(const struct http_server *server)
{
    return server->port;
}

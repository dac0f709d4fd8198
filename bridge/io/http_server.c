/* SPDX-License-Identifier: MIT */
#include "io/http_server.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
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

struct http_server {
    struct loop *loop;
    struct http_server_config config;
    http_request_fn *on_request;
    void *ctx;
    struct MHD_Daemon *daemon;
    struct loop_watch watch;
    struct loop_timer timer;
    struct loop_deferred again; /* after an answer from outside: let the daemon see it */
    struct list waiting;        /* exchanges suspended */
    uint16_t port;
};

/* A client's connection.  Its clock runs while we wait for the client, not for ourselves. */
struct peer {
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
    bool is_known; /* the access handler has seen it */
    char *path;    /* and the query behind it */
    const char *query;
    struct buf body;
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

static void on_ready(void *ctx, int events)
{
    (void)events;
    run_daemon(ctx);
}

/* ---- connections ---- */

/* The library offers no way to end a connection, but it notices the end of a socket. */
static void on_clock(void *ctx)
{
    struct peer *peer = ctx;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(peer->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    if (info)
        shutdown(info->connect_fd, SHUT_RDWR);
}

static void start_clock(struct peer *peer)
{
    loop_timer_start(peer->server->loop, &peer->clock,
                     (int64_t)peer->server->config.timeout_s * 1000, on_clock, peer);
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
    buf_fini(&exchange->body);
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
        start_clock(peer);
        return;
    }
    peer = *socket_context;
    *socket_context = NULL;
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
    return exchange;
}

static void on_completed(void *ctx, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode code)
{
    struct http_exchange *exchange = *request;

    (void)ctx, (void)connection, (void)code;
    *request = NULL;
    if (!exchange)
        return;
    start_clock(exchange->peer); /* for the next request */
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

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned status)
{
    struct MHD_Response *response = make_response(NULL, "", 0);
    enum MHD_Result result;

    MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static bool announces_too_much(struct MHD_Connection *connection, size_t body_max)
{
    const char *length =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

    return length && strtoull(length, NULL, 10) > body_max;
}

static enum MHD_Result ask(struct http_exchange *exchange, const char *method)
{
    struct http_server *server = exchange->peer->server;
    struct http_server_request request = {.method = method,
                                          .path = exchange->path,
                                          .query = exchange->query,
                                          .body = buf_text(&exchange->body),
                                          .body_bytes = exchange->body.length};

    loop_timer_stop(&exchange->peer->clock); /* from here on it is we who take time */
    exchange->state = ASKING;
    server->on_request(server->ctx, exchange, &request);
    if (exchange->state == ANSWERED)
        return MHD_queue_response(exchange->peer->connection, exchange->status, exchange->response);
    exchange->state = SUSPENDED;
    list_push_back(&server->waiting, &exchange->node);
    MHD_suspend_connection(exchange->peer->connection);
    return MHD_YES;
}

static enum MHD_Result on_access(void *ctx, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *upload,
                                 size_t *upload_bytes, void **request)
{
    struct http_server *server = ctx;
    struct http_exchange *exchange = *request;

    (void)url, (void)version;
    if (!exchange->is_known) { /* headers only: the body follows */
        exchange->is_known = true;
        return announces_too_much(connection, server->config.body_max)
                   ? refuse(connection, MHD_HTTP_CONTENT_TOO_LARGE)
                   : MHD_YES;
    }
    if (exchange->state == ANSWERED) /* resumed */
        return MHD_queue_response(connection, exchange->status, exchange->response);
    if (*upload_bytes == 0)
        return ask(exchange, method);
    if (*upload_bytes > server->config.body_max - exchange->body.length)
        return MHD_NO; /* sent in chunks, without saying how much: close */
    buf_add(&exchange->body, upload, *upload_bytes);
    *upload_bytes = 0;
    return MHD_YES;
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
    unsigned i = exchange->header_count++;

    ASSERT(i < HTTP_ANSWER_HEADERS_MAX);
    ASSERT(exchange->state == ASKING || exchange->state == SUSPENDED);
    ASSERT(value[strcspn(value, "\r\n")] == '\0');
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

/* "127.0.0.1:8080", "[::1]:8080", "localhost:0", ":8080" (every address). */
static int split_listen(const char *listen_on, char *host, size_t host_bytes, const char **port)
{
    const char *colon = strrchr(listen_on, ':');
    size_t length;

    if (!colon || colon[1] == '\0')
        return ERR_INVALID;
    *port = colon + 1;
    length = (size_t)(colon - listen_on);
    if (length >= 2 && listen_on[0] == '[' && listen_on[length - 1] == ']') {
        listen_on++;
        length -= 2;
    }
    if (length >= host_bytes)
        return ERR_INVALID;
    memcpy(host, listen_on, length);
    host[length] = '\0';
    return 0;
}

static int open_socket(const struct addrinfo *address)
{
    int is_on = 1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &is_on, sizeof is_on);
    if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, 64) != 0) {
        int error = errno;

        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage address = {0};
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    socklen_t length = sizeof address;

    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        return 0;
    memcpy(&in, &address, sizeof in);
    memcpy(&in6, &address, sizeof in6);
    return ntohs(address.ss_family == AF_INET6 ? in6.sin6_port : in.sin_port);
}

/* Resolves a name, which blocks: servers are opened before the loop runs. */
static int listen_on(const char *where, char *why, size_t why_bytes)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    const char *port;
    char host[256];
    int rc, fd = -1;

    if (split_listen(where, host, sizeof host, &port) != 0) {
        snprintf(why, why_bytes, "\"%s\" is not an address and a port", where);
        return -1;
    }
    rc = getaddrinfo(host[0] ? host : NULL, port, &hints, &found);
    if (rc != 0) {
        snprintf(why, why_bytes, "\"%s\": %s", where, gai_strerror(rc));
        return -1;
    }
    for (const struct addrinfo *at = found; at && fd < 0; at = at->ai_next)
        fd = open_socket(at);
    if (fd < 0)
        snprintf(why, why_bytes, "cannot listen on \"%s\": %s", where, strerror(errno));
    freeaddrinfo(found);
    return fd;
}

static struct MHD_Daemon *start_daemon(struct http_server *server, int fd)
{
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC, 0, NULL, NULL, on_access, server,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)server->config.connections_max, MHD_OPTION_CONNECTION_TIMEOUT,
        server->config.timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)(32 * 1024),
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, server, MHD_OPTION_URI_LOG_CALLBACK, on_target, server, MHD_OPTION_END);
}

int http_server_open(struct loop *loop, const struct http_server_config *config,
                     http_request_fn *on_request, void *ctx, struct http_server **out, char *why,
                     size_t why_bytes)
{
    struct http_server *server;
    int fd = listen_on(config->listen, why, why_bytes);

    if (fd < 0)
        return ERR_IO;
    server = xcalloc(1, sizeof *server);
    server->loop = loop;
    server->config = *config;
    server->on_request = on_request;
    server->ctx = ctx;
    server->port = port_of(fd);
    server->again.run = run_daemon;
    server->again.ctx = server;
    list_init(&server->waiting);
    server->daemon = start_daemon(server, fd);
    if (!server->daemon) {
        snprintf(why, why_bytes, "libmicrohttpd would not start on \"%s\"", config->listen);
        close(fd);
        free(server);
        return ERR_IO;
    }
    loop_watch_start(loop, &server->watch,
                     MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd,
                     LOOP_READ, on_ready, server);
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
    loop_timer_stop(&server->timer);
    loop_defer_cancel(server->loop, &server->again);
    MHD_stop_daemon(server->daemon); /* closes the listening socket as well */
    free(server);
}

uint16_t http_server_port(const struct http_server *server)
{
    return server->port;
}

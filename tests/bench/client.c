/* SPDX-License-Identifier: MIT */
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SCRATCH_BYTES ((size_t)512 * 1024)
#define TURN_EVENTS   512
#define KEEPALIVE_S   120

int64_t clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int engine_init(struct engine *e)
{
    *e = (struct engine){.scratch_cap = SCRATCH_BYTES};
    e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    e->scratch = malloc(SCRATCH_BYTES);
    e->now_ns = clock_ns();
    return e->epoll_fd < 0 || !e->scratch ? engine_fail(e, "engine", strerror(errno)) : 0;
}

void engine_fini(struct engine *e)
{
    if (e->epoll_fd >= 0)
        close(e->epoll_fd);
    free(e->scratch);
}

int engine_fail(struct engine *e, const char *who, const char *what)
{
    if (!e->fault[0])
        snprintf(e->fault, sizeof(e->fault), "%s: %s", who, what);
    return -1;
}

static int fail(struct client *c, const char *what)
{
    return engine_fail(c->engine, c->name, what);
}

static void mark_dirty(struct client *c)
{
    if (c->is_dirty)
        return;
    c->is_dirty = true;
    c->next_dirty = c->engine->dirty;
    c->engine->dirty = c;
}

static int watch(struct client *c, bool writing)
{
    struct epoll_event ev = {.events = EPOLLIN | (writing ? (uint32_t)EPOLLOUT : 0), .data.ptr = c};

    c->wants_write = writing;
    return epoll_ctl(c->engine->epoll_fd, EPOLL_CTL_MOD, c->fd, &ev) ? fail(c, "epoll") : 0;
}

/* Moves what is to be sent into one frame behind those that are under way. */
static struct wire_buf *wrap(struct client *c)
{
    struct wire_buf *out = &c->out, *frames = &c->frames;
    size_t n = out->len - out->sent;

    if (!c->is_websocket)
        return out;
    if (n) {
        wire_buf_room(frames, n + WEBSOCKET_HEADER_MAX);
        frames->len += websocket_put_header(frames->data + frames->len, n);
        memcpy(frames->data + frames->len, out->data + out->sent, n);
        frames->len += n;
        out->sent = out->len;
    }
    return frames;
}

static int flush(struct client *c)
{
    struct wire_buf *out;

    if (c->is_websocket && !c->is_upgraded)
        return 0;
    out = wrap(c);
    while (out->sent < out->len) {
        ssize_t n = send(c->fd, out->data + out->sent, out->len - out->sent, MSG_NOSIGNAL);
        c->engine->sends++;
        if (n < 0) {
            if (errno == EAGAIN)
                return c->wants_write ? 0 : watch(c, true);
            return fail(c, strerror(errno));
        }
        out->sent += (size_t)n;
    }
    return c->wants_write ? watch(c, false) : 0;
}

static int flush_dirty(struct engine *e)
{
    int err = 0;

    while (e->dirty) {
        struct client *c = e->dirty;

        e->dirty = c->next_dirty;
        c->is_dirty = false;
        if (flush(c))
            err = -1;
    }
    return err;
}

static int on_connack(struct client *c, const struct wire_packet *p, const char *filter)
{
    struct wire_connack ack;
    char text[64];

    if (wire_parse_connack(p, c->level, &ack))
        return fail(c, "malformed CONNACK");
    if (ack.reason) {
        snprintf(text, sizeof(text), "connection refused with reason 0x%02x", ack.reason);
        return fail(c, text);
    }
    c->receive_maximum = ack.receive_maximum;
    if (!filter[0]) {
        c->state = CLIENT_UP;
        return 0;
    }
    wire_put_subscribe(&c->out, c->level, 1, filter);
    mark_dirty(c);
    c->state = CLIENT_WAIT_SUBACK;
    return 0;
}

static int on_suback(struct client *c, const struct wire_packet *p)
{
    int code = wire_parse_suback(p, c->level);

    if (code < 0 || code >= 0x80)
        return fail(c, "subscription refused");
    c->state = CLIENT_UP;
    return 0;
}

static int on_publish(struct client *c, const struct wire_packet *p)
{
    struct wire_publish m;

    if (wire_parse_publish(p, c->level, &m))
        return fail(c, "malformed PUBLISH");
    if (m.qos) {
        wire_put_puback(&c->out, m.packet_id);
        mark_dirty(c);
    }
    c->events->on_message(c, &m);
    return 0;
}

static int on_puback(struct client *c, const struct wire_packet *p)
{
    uint8_t reason = 0;

    if (wire_parse_puback(p, &reason) < 0 || !c->unacked)
        return fail(c, "malformed or unasked PUBACK");
    c->unacked--;
    if (c->events->on_puback)
        c->events->on_puback(c, reason);
    return 0;
}

static int on_packet(struct client *c, const struct wire_packet *p)
{
    char text[64];

    switch (p->type) {
    case WIRE_CONNACK:
        return on_connack(c, p, c->filter);
    case WIRE_SUBACK:
        return on_suback(c, p);
    case WIRE_PUBLISH:
        return on_publish(c, p);
    case WIRE_PUBACK:
        return on_puback(c, p);
    case WIRE_PINGRESP:
        return 0;
    case WIRE_DISCONNECT:
        snprintf(text, sizeof(text), "disconnected by the broker, reason 0x%02x",
                 p->len ? p->body[0] : 0);
        return fail(c, text);
    default:
        return fail(c, "unexpected packet");
    }
}

/* Handles every whole packet; returns the bytes used, or -1. */
static int64_t on_bytes(struct client *c, const uint8_t *bytes, size_t n)
{
    size_t at = 0;

    while (at < n) {
        struct wire_packet p;
        int64_t used = wire_next(bytes + at, n - at, &p);

        if (used == 0)
            break;
        if (used < 0)
            return fail(c, "this is not MQTT");
        if (on_packet(c, &p))
            return -1;
        at += (size_t)used;
    }
    return (int64_t)at;
}

static int keep_rest(struct client *c, const uint8_t *rest, size_t n)
{
    if (n > c->partial_cap) {
        uint8_t *grown = realloc(c->partial, n);

        if (!grown)
            return fail(c, "out of memory");
        c->partial = grown;
        c->partial_cap = n;
    }
    if (n)
        memcpy(c->partial, rest, n);
    c->partial_len = n;
    return 0;
}

/* The broker sends nothing behind its answer before it has heard CONNECT. */
static int on_answer(struct client *c, size_t have)
{
    int64_t head = websocket_answer(c->engine->scratch, have);

    if (head < 0 || (head && (size_t)head != have))
        return fail(c, "no WebSocket here");
    c->is_upgraded = head > 0;
    if (c->is_upgraded)
        mark_dirty(c);
    return keep_rest(c, c->engine->scratch, head ? 0 : have);
}

static int on_readable(struct client *c)
{
    struct engine *e = c->engine;
    size_t have = c->partial_len;

    if (have > e->scratch_cap / 2)
        return fail(c, "packet too large");
    if (have)
        memcpy(e->scratch, c->partial, have);
    ssize_t n = recv(c->fd, e->scratch + have, e->scratch_cap - have, 0);
    e->recvs++;
    if (n == 0)
        return fail(c, "connection closed by the broker");
    if (n < 0)
        return errno == EAGAIN ? 0 : fail(c, strerror(errno));
    e->now_ns = clock_ns();
    if (c->is_websocket && !c->is_upgraded)
        return on_answer(c, have + (size_t)n);
    if (c->is_websocket)
        n = (ssize_t)websocket_unwrap(&c->websocket, e->scratch + have, (size_t)n);
    if (n < 0)
        return fail(c, "WebSocket closed by the broker");
    have += (size_t)n;
    int64_t used = on_bytes(c, e->scratch, have);
    if (used < 0 || keep_rest(c, e->scratch + used, have - (size_t)used))
        return -1;
    if (c->events->on_drained)
        c->events->on_drained(c);
    return 0;
}

int engine_turn(struct engine *e, int64_t wait_ns)
{
    struct epoll_event events[TURN_EVENTS];

    if (flush_dirty(e))
        return -1;
    if (e->gather_ns) {
        struct timespec nap = {.tv_nsec = (long)e->gather_ns};
        nanosleep(&nap, NULL);
    }
    if (wait_ns < 0)
        wait_ns = 0;
    struct timespec wait = {.tv_sec = wait_ns / 1000000000, .tv_nsec = wait_ns % 1000000000};
    int n = epoll_pwait2(e->epoll_fd, events, TURN_EVENTS, &wait, NULL);
    e->now_ns = clock_ns();
    if (n < 0)
        return errno == EINTR ? 0 : engine_fail(e, "epoll", strerror(errno));
    for (int i = 0; i < n; i++) {
        struct client *c = events[i].data.ptr;

        if (events[i].events & EPOLLOUT)
            mark_dirty(c);
        if (events[i].events & ~(uint32_t)EPOLLOUT && on_readable(c))
            return -1;
    }
    return flush_dirty(e);
}

static int dial_unix(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(addr.sun_path))
        return -1;
    memcpy(addr.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
        close(fd);
        return -1;
    }
    return fd;
}

static int dial_tcp(const char *where)
{
    char host[128];
    const char *colon = strrchr(where, ':');
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int fd = -1, one = 1;

    if (!colon || (size_t)(colon - where) >= sizeof(host))
        return -1;
    memcpy(host, where, (size_t)(colon - where));
    host[colon - where] = 0;
    if (getaddrinfo(host, colon + 1, &hints, &found))
        return -1;
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen)) {
        close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    if (fd >= 0)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

int client_open(struct client *c, struct engine *e, const struct client_config *conf)
{
    const char *url = conf->url;
    struct wire_connect hello = {.client_id = conf->client_id,
                                 .user = conf->user,
                                 .password = conf->password,
                                 .keepalive_s = KEEPALIVE_S};

    *c = (struct client){
        .engine = e, .events = conf->events, .owner = conf->owner, .level = conf->level, .fd = -1};
    snprintf(c->name, sizeof(c->name), "%s", conf->client_id);
    snprintf(c->filter, sizeof(c->filter), "%s", conf->filter ? conf->filter : "");
    if (strncmp(url, "unix:", 5) == 0)
        c->fd = dial_unix(url + 5);
    else if (strncmp(url, "ws://", 5) == 0)
        c->is_websocket = (c->fd = dial_tcp(url + 5)) >= 0;
    else
        c->fd = dial_tcp(strncmp(url, "mqtt://", 7) == 0 ? url + 7 : url);
    if (c->fd < 0 || (c->is_websocket && websocket_ask(c->fd, url + 5)))
        return fail(c, "cannot connect to the broker");
    fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) | O_NONBLOCK);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, c->fd, &ev))
        return fail(c, strerror(errno));
    c->state = CLIENT_WAIT_CONNACK;
    wire_put_connect(&c->out, c->level, &hello);
    mark_dirty(c);
    return 0;
}

void client_close(struct client *c)
{
    if (c->state == CLIENT_CLOSED)
        return;
    if (c->fd >= 0) {
        struct wire_buf *out;

        wire_put_disconnect(&c->out);
        out = wrap(c);
        (void)!send(c->fd, out->data + out->sent, out->len - out->sent,
                    MSG_NOSIGNAL | MSG_DONTWAIT);
        close(c->fd);
    }
    wire_buf_fini(&c->out);
    wire_buf_fini(&c->frames);
    free(c->partial);
    c->partial = NULL;
    c->state = CLIENT_CLOSED;
}

bool client_is_up(const struct client *c)
{
    return c->state == CLIENT_UP;
}

bool client_may_publish(const struct client *c)
{
    return c->unacked < c->receive_maximum;
}

uint8_t *client_publish(struct client *c, int qos, const char *topic, size_t topic_len,
                        size_t payload_len)
{
    uint16_t id = 0;

    if (qos) {
        id = c->next_id = c->next_id == 65535 ? 1 : (uint16_t)(c->next_id + 1);
        c->unacked++;
    }
    mark_dirty(c);
    return wire_put_publish(&c->out, c->level, id, topic, topic_len, payload_len);
}

void client_ping(struct client *c)
{
    wire_put_ping(&c->out);
    mark_dirty(c);
}

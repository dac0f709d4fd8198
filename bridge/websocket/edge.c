/* SPDX-License-Identifier: MIT */
#include "websocket/edge.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/map.h"
#include "websocket/address.h"

#define BACKLOG    1024
#define ACCEPT_MAX 64 /* in one turn */
/* Descriptors may come back without one of ours going: others use them too. */
#define PAUSE_MS 500

struct edge {
    struct loop *loop;
    const struct edge_config *config;
    struct relay_home home;
    struct loop_watch watch;
    struct loop_timer timer; /* the end of a pause; later, of the drain */
    struct list relays;
    struct strmap holders; /* address to how many; empty unless that is limited */
    int fd;                /* -1 once we stop */
    int spare;             /* a socket for who is accepted next, or -1 */
    uint64_t opened;
    bool is_paused;
    bool is_short, is_full; /* of descriptors; of connections: told once, until there is room */
    void (*on_stopped)(void *ctx);
    void *ctx;
};

static void on_ready(void *ctx, int events);

/* ---- who comes too often ---- */

static size_t holder_count(struct edge *edge, const struct sockaddr *peer, int change)
{
    char name[ADDRESS_TEXT];
    size_t count;

    if (!edge->config->per_address_max)
        return 0;
    address_holder(peer, name);
    count = (size_t)(uintptr_t)strmap_get(&edge->holders, name);
    count = change < 0 ? count - 1 : count + (size_t)change;
    if (change && count)
        strmap_set(&edge->holders, name, (void *)(uintptr_t)count);
    else if (change)
        strmap_remove(&edge->holders, name);
    return count;
}

/* ---- accepting, and not ---- */

static void resume(struct edge *edge)
{
    if (!edge->is_paused || edge->fd < 0 || edge->relays.count >= edge->config->connections_max)
        return;
    edge->is_paused = false;
    loop_timer_stop(&edge->timer);
    loop_watch_start(edge->loop, &edge->watch, edge->fd, LOOP_READ, on_ready, edge);
}

static void on_pause_over(void *ctx)
{
    resume(ctx);
}

static void pause_accepting(struct edge *edge)
{
    edge->is_paused = true;
    loop_watch_start(edge->loop, &edge->watch, edge->fd, 0, on_ready, edge);
}

static void on_end(void *ctx, struct relay *relay)
{
    struct edge *edge = ctx;

    list_remove(&edge->relays, relay_node(relay));
    if (edge->relays.count < edge->config->connections_max - edge->config->connections_max / 10)
        edge->is_full = false;
    holder_count(edge, relay_peer(relay), -1);
    resume(edge);
    if (edge->on_stopped && edge->relays.count == 0) {
        void (*on_stopped)(void *ctx) = edge->on_stopped;

        edge->on_stopped = NULL;
        loop_timer_stop(&edge->timer);
        on_stopped(edge->ctx);
    }
}

static void admit(struct edge *edge, int fd, const struct sockaddr *peer)
{
    static const struct handshake too_many = {.status = 429,
                                              .why = "too many connections from your address"};
    size_t limit = edge->config->per_address_max;
    bool is_refused = limit && holder_count(edge, peer, 0) >= limit;
    struct relay *relay =
        relay_open(&edge->home, fd, edge->spare, peer, is_refused ? &too_many : NULL);

    edge->spare = -1;
    edge->opened++;
    holder_count(edge, peer, 1);
    list_push_back(&edge->relays, relay_node(relay));
}

/* Both sockets that a client needs, or neither: who is accepted is not let down for want of one. */
static int accept_with_spare(struct edge *edge, struct sockaddr_storage *peer)
{
    socklen_t length = sizeof(*peer);

    if (edge->spare < 0)
        edge->spare = socket(edge->config->relay.broker.ss_family,
                             SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (edge->spare < 0)
        return -1;
    return accept4(edge->fd, (struct sockaddr *)peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* False when there is nobody more to accept for now. */
static bool accept_one(struct edge *edge)
{
    struct sockaddr_storage peer = {0};
    int fd = accept_with_spare(edge, &peer);

    if (fd >= 0) {
        if (edge->is_short)
            log_info("accept.resumed", LOG_U64("connections", edge->relays.count));
        edge->is_short = false;
        admit(edge, fd, (struct sockaddr *)&peer);
        return true;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        if (!edge->is_short)
            log_warn("accept.paused", LOG_STR("why", strerror(errno)),
                     LOG_U64("connections", edge->relays.count));
        edge->is_short = true;
        pause_accepting(edge);
        loop_timer_start(edge->loop, &edge->timer, PAUSE_MS, on_pause_over, edge);
        return false;
    }
    return errno == ECONNABORTED || errno == EINTR || errno == EPROTO;
}

static void on_ready(void *ctx, int events)
{
    struct edge *edge = ctx;

    if (events & LOOP_BROKEN) {
        pause_accepting(edge);
        loop_timer_start(edge->loop, &edge->timer, PAUSE_MS, on_pause_over, edge);
    }
    for (int i = 0; i < ACCEPT_MAX && !edge->is_paused; i++) {
        bool is_full = edge->relays.count >= edge->config->connections_max;

        if (is_full && i > 0)
            break; /* whether there is another to accept is seen next time */
        if (is_full && !relay_evict_silent(&edge->home)) {
            if (!edge->is_full)
                log_warn("accept.paused", LOG_STR("why", "--max-connections are there"),
                         LOG_U64("connections", edge->relays.count));
            edge->is_full = true;
            pause_accepting(edge);
        } else if (!accept_one(edge)) {
            break;
        }
    }
}

/* ---- life ---- */

static int listen_on(const struct edge_config *config, char *why, size_t why_bytes)
{
    int is_on = 1;
    int fd = socket(config->listen.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        snprintf(why, why_bytes, "%s", strerror(errno));
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &is_on, sizeof(is_on));
    if (bind(fd, (const struct sockaddr *)&config->listen, config->listen_length) ||
        listen(fd, BACKLOG)) {
        snprintf(why, why_bytes, "%s", strerror(errno));
        close(fd);
        return -1;
    }
    return fd;
}

int edge_open(struct loop *loop, const struct edge_config *config, struct edge **out, char *why,
              size_t why_bytes)
{
    struct edge *edge;
    int fd = listen_on(config, why, why_bytes);

    if (fd < 0)
        return ERR_IO;
    edge = xcalloc(1, sizeof(*edge));
    edge->loop = loop;
    edge->config = config;
    edge->fd = fd;
    edge->spare = -1;
    edge->home = (struct relay_home){
        .loop = loop,
        .config = &config->relay,
        .scratch = xmalloc(RELAY_CHUNK + FRAME_HEADER_MAX),
        .on_end = on_end,
        .ctx = edge,
    };
    list_init(&edge->relays);
    list_init(&edge->home.silent);
    loop_watch_start(loop, &edge->watch, fd, LOOP_READ, on_ready, edge);
    *out = edge;
    return 0;
}

static void each_relay(struct edge *edge, void (*visit)(struct relay *relay))
{
    struct list_node *node = list_first(&edge->relays);

    while (node) {
        struct list_node *next = list_next(&edge->relays, node);

        visit(relay_of_node(node)); /* it may go, the others stay */
        node = next;
    }
}

static void on_drain_over(void *ctx)
{
    struct edge *edge = ctx;

    log_warn("edge.cut", LOG_U64("connections", edge->relays.count));
    each_relay(edge, relay_abort);
}

static void close_listener(struct edge *edge)
{
    loop_timer_stop(&edge->timer);
    loop_watch_stop(&edge->watch);
    if (edge->fd >= 0)
        close(edge->fd);
    if (edge->spare >= 0)
        close(edge->spare);
    edge->fd = edge->spare = -1;
}

void edge_stop(struct edge *edge, int64_t drain_ms, void (*on_stopped)(void *ctx), void *ctx)
{
    close_listener(edge);
    if (edge->relays.count == 0) {
        on_stopped(ctx);
        return;
    }
    edge->on_stopped = on_stopped;
    edge->ctx = ctx;
    loop_timer_start(edge->loop, &edge->timer, drain_ms, on_drain_over, edge);
    each_relay(edge, relay_stop);
}

void edge_free(struct edge *edge)
{
    close_listener(edge);
    each_relay(edge, relay_abort);
    strmap_fini(&edge->holders);
    free(edge->home.scratch);
    free(edge);
}

size_t edge_connections(const struct edge *edge)
{
    return edge->relays.count;
}

uint16_t edge_port(const struct edge *edge)
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof(address);

    if (getsockname(edge->fd, (struct sockaddr *)&address, &length))
        return 0;
    return address_port((struct sockaddr *)&address);
}

bool edge_is_broker_away(const struct edge *edge)
{
    return edge->home.is_broker_away;
}

static void measure(struct metrics *metrics, enum metric_kind kind, const char *name,
                    const char *help, const char *labels, double value)
{
    metric_set(metrics_get(metrics, kind, name, help, labels), value);
}

void edge_measure(struct edge *edge, struct metrics *metrics)
{
    static const char ended[] = "tocsin_wsd_ended_total", moved[] = "tocsin_wsd_bytes_total";
    const struct relay_home *home = &edge->home;
    size_t held = 0;
    char labels[64];

    for (struct list_node *node = list_first(&edge->relays); node;
         node = list_next(&edge->relays, node))
        held += relay_held(relay_of_node(node));
    measure(metrics, METRIC_GAUGE, "tocsin_wsd_connections", "Connections of clients.", NULL,
            (double)edge->relays.count);
    measure(metrics, METRIC_GAUGE, "tocsin_wsd_held_bytes",
            "Bytes that one side could not take yet.", NULL, (double)held);
    measure(metrics, METRIC_GAUGE, "tocsin_wsd_accepting", "0 while nobody is accepted.", NULL,
            edge->is_paused || edge->fd < 0 ? 0 : 1);
    measure(metrics, METRIC_GAUGE, "tocsin_wsd_broker_away",
            "1 when the last attempt to reach the broker failed.", NULL, home->is_broker_away);
    measure(metrics, METRIC_COUNTER, "tocsin_wsd_opened_total", "Connections accepted.", NULL,
            (double)edge->opened);
    for (int reason = 0; reason < RELAY_REASONS; reason++) {
        snprintf(labels, sizeof(labels), "reason=\"%s\"",
                 relay_reason_name((enum relay_reason)reason));
        measure(metrics, METRIC_COUNTER, ended, "Connections ended, by why.", labels,
                (double)home->ended[reason]);
    }
    measure(metrics, METRIC_COUNTER, moved, "Bytes of MQTT handed on.", "direction=\"up\"",
            (double)home->bytes_up);
    measure(metrics, METRIC_COUNTER, moved, "Bytes of MQTT handed on.", "direction=\"down\"",
            (double)home->bytes_down);
}

/* SPDX-License-Identifier: MIT */
#include "websocket/relay.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "websocket/address.h"
#include "websocket/pipe.h"

/* A full backlog of a Unix socket says so at once, where TCP's would wait by itself. */
#define CONNECT_AGAIN_MS 20
/* What the kernel may hold for a client beyond what is on its way. */
#define UNSENT_MAX (64 * 1024)
/* Reads of one socket in one turn, so that one client does not make the others wait. */
#define READS_MAX 4

enum stage {
    STAGE_HEAD,       /* the request is not whole; up holds it */
    STAGE_CONNECTING, /* to the broker; up holds what came after the head */
    STAGE_OPEN,
    STAGE_CLOSING /* what is held goes out, then both sides are shut and waited for */
};

struct relay {
    struct list_node node;        /* the owner's */
    struct list_node silent_node; /* in home->silent until a request is granted */
    struct relay_home *home;
    struct loop_watch client_watch, broker_watch;
    struct loop_timer timer;
    int client, broker;   /* sockets; broker is -1 once the client was refused */
    struct pipe up, down; /* to the broker, to the client */
    struct frame_reader reader;
    struct sockaddr_in6 peer; /* or an IPv4 one, which is shorter */
    uint16_t broker_port; /* of our end, 0 for a Unix socket: what the broker calls the client */
    char accept[29];
    const char *subprotocol;
    int64_t opened_ms, deadline_ms;
    uint64_t bytes_up, bytes_down;
    enum stage stage;
    enum relay_reason reason;
    bool has_reason, is_over;
    bool has_moved;              /* bytes that were held have gone since the timer looked */
    bool is_dialling;            /* connect() is under way */
    bool is_broker_deaf;         /* it takes no more; what it said before may still be there */
    bool client_eof, broker_eof; /* nothing more comes */
    bool client_shut, broker_shut;
};

const char *relay_reason_name(enum relay_reason reason)
{
    static const char *const names[RELAY_REASONS] = {
        [RELAY_CLIENT_CLOSED] = "client_closed",
        [RELAY_CLIENT_LOST] = "client_lost",
        [RELAY_CLIENT_STALLED] = "client_stalled",
        [RELAY_BROKER_CLOSED] = "broker_closed",
        [RELAY_BROKER_LOST] = "broker_lost",
        [RELAY_BROKER_STALLED] = "broker_stalled",
        [RELAY_BROKER_AWAY] = "broker_away",
        [RELAY_REFUSED] = "refused",
        [RELAY_BROKEN] = "broken",
        [RELAY_LATE] = "late",
        [RELAY_STOPPED] = "stopped",
    };

    return names[reason];
}

static void settle(struct relay *relay);
static int client_events(const struct relay *relay);
static int broker_events(const struct relay *relay);

/* ---- ends ---- */

static void set_reason(struct relay *relay, enum relay_reason reason)
{
    if (!relay->has_reason)
        relay->reason = reason;
    relay->has_reason = true;
}

/* At once; settle() does it, so that nobody on the way there holds what is freed. */
static void end(struct relay *relay, enum relay_reason reason)
{
    set_reason(relay, reason);
    relay->is_over = true;
}

static void on_close_late(void *ctx)
{
    struct relay *relay = ctx;

    relay->is_over = true;
    settle(relay);
}

static void enter_closing(struct relay *relay, enum relay_reason reason)
{
    struct relay_home *home = relay->home;

    set_reason(relay, reason);
    relay->stage = STAGE_CLOSING;
    loop_timer_start(home->loop, &relay->timer, home->config->close_ms, on_close_late, relay);
}

/* Its request has been granted, or the relay ends. */
static void leave_silence(struct relay *relay)
{
    if (list_is_linked(&relay->silent_node))
        list_remove(&relay->home->silent, &relay->silent_node);
}

/* Of an open WebSocket. */
static void begin_close(struct relay *relay, enum relay_reason reason, unsigned code)
{
    uint8_t frame[4];

    if (relay->stage != STAGE_OPEN)
        return;
    pipe_add(&relay->down, frame, frame_close(frame, code));
    enter_closing(relay, reason);
}

/* Instead of the upgrade. */
static void refuse(struct relay *relay, const struct handshake *refusal, enum relay_reason reason)
{
    struct buf answer = {0};
    char peer[ADDRESS_TEXT];

    address_text(relay_peer(relay), peer);
    log_debug("connection.refused", LOG_STR("peer", peer), LOG_INT("status", refusal->status),
              LOG_STR("why", refusal->why));
    loop_watch_stop(&relay->broker_watch);
    close(relay->broker); /* there was no need of it */
    relay->broker = -1;
    handshake_answer(refusal, &answer);
    pipe_drop(&relay->up);
    pipe_add(&relay->down, answer.data, answer.length);
    buf_fini(&answer);
    enter_closing(relay, reason);
}

/*
 * Our end of a socket is shut before it is closed: to close one that has something unread would
 * take from the other side what we wrote last.
 */
static void closing_turn(struct relay *relay)
{
    if (relay->client_eof)
        pipe_drop(&relay->down);
    if (relay->broker_eof || relay->is_broker_deaf)
        pipe_drop(&relay->up);
    if (!relay->client_shut && pipe_held(&relay->down) == 0) {
        relay->client_shut = true;
        shutdown(relay->client, SHUT_WR);
    }
    if (relay->broker >= 0 && !relay->broker_shut && pipe_held(&relay->up) == 0) {
        relay->broker_shut = true;
        shutdown(relay->broker, SHUT_WR);
    }
    if (relay->client_eof && (relay->broker < 0 || relay->broker_eof))
        relay->is_over = true;
}

static void log_end(const struct relay *relay)
{
    char peer[ADDRESS_TEXT];

    address_text(relay_peer(relay), peer);
    log_debug("connection.closed", LOG_STR("peer", peer), LOG_INT("port", relay->broker_port),
              LOG_STR("reason", relay_reason_name(relay->reason)),
              LOG_U64("bytes_up", relay->bytes_up), LOG_U64("bytes_down", relay->bytes_down),
              LOG_MS("after", loop_now_ms(relay->home->loop) - relay->opened_ms));
}

static void relay_free(struct relay *relay)
{
    struct relay_home *home = relay->home;

    leave_silence(relay);
    loop_timer_stop(&relay->timer);
    loop_watch_stop(&relay->client_watch);
    loop_watch_stop(&relay->broker_watch);
    close(relay->client);
    if (relay->broker >= 0)
        close(relay->broker);
    pipe_drop(&relay->up);
    pipe_drop(&relay->down);
    home->ended[relay->reason]++;
    log_end(relay);
    home->on_end(home->ctx, relay);
    free(relay);
}

/* ---- moving bytes ---- */

/* The broker still gets what the client sent before. */
static void client_gone(struct relay *relay)
{
    relay->client_eof = true;
    if (relay->stage == STAGE_OPEN)
        enter_closing(relay, RELAY_CLIENT_LOST);
    else if (relay->stage != STAGE_CLOSING)
        end(relay, RELAY_CLIENT_LOST);
}

static void flush_down(struct relay *relay)
{
    size_t before = pipe_held(&relay->down);

    if (pipe_flush(&relay->down, relay->client))
        client_gone(relay);
    relay->has_moved |= pipe_held(&relay->down) < before;
}

static void flush_up(struct relay *relay)
{
    size_t before = pipe_held(&relay->up);

    if (pipe_flush(&relay->up, relay->broker)) {
        relay->is_broker_deaf = true;
        pipe_drop(&relay->up);
    }
    relay->has_moved |= pipe_held(&relay->up) < before;
}

static void send_up(struct relay *relay, const uint8_t *bytes, size_t length)
{
    relay->bytes_up += length;
    relay->home->bytes_up += length;
    if (!relay->is_broker_deaf && pipe_write(&relay->up, relay->broker, bytes, length))
        relay->is_broker_deaf = true; /* why, and that it is over, reading will tell */
}

static void answer_ping(struct relay *relay)
{
    uint8_t header[FRAME_HEADER_MAX];
    size_t length = frame_header(header, FRAME_OP_PONG, relay->reader.control_length);

    pipe_add(&relay->down, header, length);
    pipe_add(&relay->down, relay->reader.control, relay->reader.control_length);
}

/* Bytes of an open WebSocket. */
static void take_frames(struct relay *relay, uint8_t *bytes, size_t length)
{
    struct frame_input input = {.bytes = bytes, .length = length};
    enum frame_event event;

    while ((event = frame_read(&relay->reader, &input)) == FRAME_PING)
        answer_ping(relay);
    if (input.payload)
        send_up(relay, bytes, input.payload);
    if (event == FRAME_CLOSE)
        begin_close(relay, RELAY_CLIENT_CLOSED, relay->reader.code);
    else if (event == FRAME_BROKEN)
        begin_close(relay, RELAY_BROKEN, relay->reader.code);
    flush_down(relay);
}

static void grant(struct relay *relay)
{
    struct handshake yes = {.status = 101, .subprotocol = relay->subprotocol};
    size_t rest = pipe_held(&relay->up);
    struct buf answer = {0};
    char peer[ADDRESS_TEXT];

    address_text(relay_peer(relay), peer);
    log_debug("connection.opened", LOG_STR("peer", peer), LOG_INT("port", relay->broker_port));
    memcpy(yes.accept, relay->accept, sizeof(yes.accept));
    handshake_answer(&yes, &answer);
    relay->stage = STAGE_OPEN;
    loop_timer_stop(&relay->timer);
    pipe_add(&relay->down, answer.data, answer.length);
    buf_fini(&answer);
    if (rest)
        memcpy(relay->home->scratch, relay->up.held.data + relay->up.at, rest);
    pipe_drop(&relay->up);
    take_frames(relay, relay->home->scratch, rest);
}

/* ---- the broker ---- */

static void broker_is_away(struct relay *relay, int error)
{
    static const struct handshake away = {.status = 503, .why = "the broker is away"};

    if (!relay->home->is_broker_away)
        log_warn("broker.away", LOG_STR("why", strerror(error)));
    relay->home->is_broker_away = true;
    refuse(relay, &away, RELAY_BROKER_AWAY);
}

static void on_connected(struct relay *relay)
{
    struct sockaddr_storage mine = {0};
    socklen_t length = sizeof(mine);
    int is_on = 1;

    if (relay->home->is_broker_away)
        log_info("broker.back", LOG_MS("after", loop_now_ms(relay->home->loop) - relay->opened_ms));
    relay->home->is_broker_away = false;
    if (getsockname(relay->broker, (struct sockaddr *)&mine, &length) == 0)
        relay->broker_port = address_port((struct sockaddr *)&mine);
    if (relay->home->config->broker.ss_family != AF_UNIX)
        setsockopt(relay->broker, IPPROTO_TCP, TCP_NODELAY, &is_on, sizeof(is_on));
    grant(relay);
}

static void try_connect(struct relay *relay);

static void on_connect_due(void *ctx)
{
    struct relay *relay = ctx;

    if (loop_now_ms(relay->home->loop) >= relay->deadline_ms)
        broker_is_away(relay, ETIMEDOUT);
    else
        try_connect(relay);
    settle(relay);
}

static void try_connect(struct relay *relay)
{
    struct relay_home *home = relay->home;
    const struct relay_config *config = home->config;
    int64_t wait_ms = relay->deadline_ms - loop_now_ms(home->loop);

    if (connect(relay->broker, (const struct sockaddr *)&config->broker, config->broker_length) ==
        0) {
        on_connected(relay);
        return;
    }
    relay->is_dialling = errno == EINPROGRESS || errno == EINTR;
    if (!relay->is_dialling && errno != EAGAIN) {
        broker_is_away(relay, errno);
        return;
    }
    if (!relay->is_dialling && wait_ms > CONNECT_AGAIN_MS)
        wait_ms = CONNECT_AGAIN_MS;
    loop_timer_start(home->loop, &relay->timer, wait_ms, on_connect_due, relay);
}

static void connect_broker(struct relay *relay)
{
    const struct relay_config *config = relay->home->config;

    leave_silence(relay);
    relay->stage = STAGE_CONNECTING;
    relay->deadline_ms = loop_now_ms(relay->home->loop) + config->connect_ms;
    try_connect(relay);
}

static void broker_gone(struct relay *relay, enum relay_reason reason, unsigned code)
{
    relay->broker_eof = true;
    begin_close(relay, reason, code);
}

static void read_broker(struct relay *relay)
{
    uint8_t *room = relay->home->scratch + FRAME_HEADER_MAX, header[FRAME_HEADER_MAX];
    ssize_t got = RELAY_CHUNK;

    for (int i = 0; i < READS_MAX && got == RELAY_CHUNK; i++) {
        size_t length;

        if (!(broker_events(relay) & LOOP_READ))
            break;
        got = recv(relay->broker, room, RELAY_CHUNK, 0);
        if (got == 0)
            broker_gone(relay, RELAY_BROKER_CLOSED, FRAME_CODE_NORMAL);
        else if (got < 0 && errno != EAGAIN && errno != EINTR)
            broker_gone(relay, RELAY_BROKER_LOST, FRAME_CODE_INTERNAL);
        if (got <= 0 || relay->stage != STAGE_OPEN)
            break;
        length = frame_header(header, FRAME_OP_BINARY, (size_t)got);
        memcpy(room - length, header, length);
        relay->bytes_down += (uint64_t)got;
        relay->home->bytes_down += (uint64_t)got;
        if (pipe_write(&relay->down, relay->client, room - length, length + (size_t)got)) {
            client_gone(relay);
            break;
        }
    }
}

static void on_broker(void *ctx, int events)
{
    struct relay *relay = ctx;
    int error = 0;
    socklen_t length = sizeof(error);

    if (events & LOOP_BROKEN) {
        end(relay, RELAY_BROKER_LOST);
    } else if (relay->stage == STAGE_CONNECTING) {
        if (getsockopt(relay->broker, SOL_SOCKET, SO_ERROR, &error, &length) || error)
            broker_is_away(relay, error);
        else
            on_connected(relay);
    } else {
        if (events & LOOP_WRITE)
            flush_up(relay);
        if (events & LOOP_READ)
            read_broker(relay);
    }
    settle(relay);
}

/* ---- the client ---- */

static void on_request_late(void *ctx)
{
    static const struct handshake late = {.status = 408, .why = "the request took too long"};
    struct relay *relay = ctx;

    refuse(relay, &late, RELAY_LATE);
    settle(relay);
}

static void take_head(struct relay *relay, const uint8_t *bytes, size_t length)
{
    static const struct handshake too_large = {.status = 431, .why = "the request is too large"};
    struct pipe *up = &relay->up;
    size_t before = pipe_held(up), head;
    struct handshake handshake;

    pipe_add(up, bytes, length);
    head = handshake_head(up->held.data, up->held.length, before);
    if (head > HANDSHAKE_HEAD_MAX || (!head && up->held.length >= HANDSHAKE_HEAD_MAX)) {
        refuse(relay, &too_large, RELAY_REFUSED);
        return;
    }
    if (!head)
        return;
    handshake_judge(&relay->home->config->rules, up->held.data, head, &handshake);
    if (handshake.status != 101) {
        refuse(relay, &handshake, RELAY_REFUSED);
        return;
    }
    memcpy(relay->accept, handshake.accept, sizeof(relay->accept));
    relay->subprotocol = handshake.subprotocol;
    up->at = head;
    connect_broker(relay);
}

static void read_client(struct relay *relay)
{
    uint8_t *scratch = relay->home->scratch;
    ssize_t got = RELAY_CHUNK;

    for (int i = 0; i < READS_MAX && got == RELAY_CHUNK; i++) {
        if (relay->is_over || !(client_events(relay) & LOOP_READ))
            break;
        got = recv(relay->client, scratch, RELAY_CHUNK, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            client_gone(relay);
        else if (got > 0 && relay->stage == STAGE_HEAD)
            take_head(relay, scratch, (size_t)got);
        else if (got > 0 && relay->stage == STAGE_OPEN)
            take_frames(relay, scratch, (size_t)got);
    }
}

static void on_client(void *ctx, int events)
{
    struct relay *relay = ctx;

    if (events & LOOP_BROKEN)
        end(relay, RELAY_CLIENT_LOST);
    else if (events & LOOP_WRITE)
        flush_down(relay);
    if (!relay->is_over && events & LOOP_READ)
        read_client(relay);
    settle(relay);
}

/* ---- after each event: what to wait for ---- */

static int client_events(const struct relay *relay)
{
    int events = pipe_held(&relay->down) ? LOOP_WRITE : 0;

    switch (relay->stage) {
    case STAGE_HEAD:
        return LOOP_READ;
    case STAGE_CONNECTING:
        return 0;
    case STAGE_OPEN:
        if (!pipe_held(&relay->up) && pipe_held(&relay->down) <= RELAY_ANSWERS)
            events |= LOOP_READ;
        return events;
    case STAGE_CLOSING:
        return events | (relay->client_eof ? 0 : LOOP_READ);
    }
    return events;
}

static int broker_events(const struct relay *relay)
{
    int events = pipe_held(&relay->up) ? LOOP_WRITE : 0;

    if (relay->broker < 0 || relay->stage == STAGE_HEAD)
        return 0;
    if (relay->stage == STAGE_CONNECTING)
        return relay->is_dialling ? LOOP_WRITE : 0;
    if (relay->stage == STAGE_OPEN)
        return events | (pipe_held(&relay->down) ? 0 : LOOP_READ);
    return events | (relay->broker_eof ? 0 : LOOP_READ);
}

static void on_stalled(void *ctx)
{
    struct relay *relay = ctx;

    static const struct linger at_once = {.l_onoff = 1};

    if (!relay->has_moved) {
        /* Nor would it take what the kernel holds for it. */
        setsockopt(relay->client, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
        end(relay, pipe_held(&relay->down) ? RELAY_CLIENT_STALLED : RELAY_BROKER_STALLED);
    }
    settle(relay);
}

/* While something is held, something has to go within stall_ms, or twice that at most. */
static void watch_stall(struct relay *relay)
{
    struct relay_home *home = relay->home;

    if (!pipe_held(&relay->up) && !pipe_held(&relay->down)) {
        loop_timer_stop(&relay->timer);
    } else if (!loop_timer_is_armed(&relay->timer)) {
        relay->has_moved = false;
        loop_timer_start(home->loop, &relay->timer, home->config->stall_ms, on_stalled, relay);
    }
}

static void watch(struct relay *relay, struct loop_watch *handle, int fd, int events,
                  void (*on_ready)(void *ctx, int events))
{
    if (events || handle->handle)
        loop_watch_start(relay->home->loop, handle, fd, events, on_ready, relay);
}

/* The last that anything does with a relay: it may be gone afterwards. */
static void settle(struct relay *relay)
{
    if (relay->stage == STAGE_CLOSING && !relay->is_over)
        closing_turn(relay);
    if (relay->is_over) {
        relay_free(relay);
        return;
    }
    if (relay->stage == STAGE_OPEN)
        watch_stall(relay);
    watch(relay, &relay->client_watch, relay->client, client_events(relay), on_client);
    if (relay->broker >= 0)
        watch(relay, &relay->broker_watch, relay->broker, broker_events(relay), on_broker);
}

/* ---- for the owner ---- */

static void set_options(int fd, unsigned dead_s)
{
    int on = 1, unsent = UNSENT_MAX, probes = 4, every = (int)(dead_s / 8 ? dead_s / 8 : 1);
    int idle = (int)dead_s / 2, dead_ms = (int)dead_s * 1000;

    /* What fails here costs comfort: the connection works all the same. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof(every));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof(dead_ms));
}

struct relay *relay_open(struct relay_home *home, int client, int broker,
                         const struct sockaddr *peer, const struct handshake *refusal)
{
    struct relay *relay = xcalloc(1, sizeof(*relay));

    relay->home = home;
    relay->client = client;
    relay->broker = broker;
    memcpy(&relay->peer, peer, sizeof(relay->peer));
    relay->opened_ms = loop_now_ms(home->loop);
    set_options(client, home->config->dead_s);
    list_push_back(&home->silent, &relay->silent_node);
    if (refusal)
        refuse(relay, refusal, RELAY_REFUSED);
    else
        loop_timer_start(home->loop, &relay->timer, home->config->handshake_ms, on_request_late,
                         relay);
    /* Nothing was read or written: it cannot have ended. */
    watch(relay, &relay->client_watch, client, client_events(relay), on_client);
    return relay;
}

void relay_stop(struct relay *relay)
{
    if (relay->stage == STAGE_OPEN)
        begin_close(relay, RELAY_STOPPED, FRAME_CODE_GOING_AWAY);
    else if (relay->stage != STAGE_CLOSING)
        end(relay, RELAY_STOPPED);
    if (!relay->is_over)
        flush_down(relay);
    settle(relay);
}

void relay_abort(struct relay *relay)
{
    end(relay, RELAY_STOPPED);
    settle(relay);
}

bool relay_evict_silent(struct relay_home *home)
{
    struct list_node *node = list_first(&home->silent);

    if (!node)
        return false;
    end(CONTAINER_OF(node, struct relay, silent_node), RELAY_LATE);
    settle(CONTAINER_OF(node, struct relay, silent_node));
    return true;
}

struct list_node *relay_node(struct relay *relay)
{
    return &relay->node;
}

struct relay *relay_of_node(struct list_node *node)
{
    return CONTAINER_OF(node, struct relay, node);
}

const struct sockaddr *relay_peer(const struct relay *relay)
{
    return (const struct sockaddr *)&relay->peer;
}

size_t relay_held(const struct relay *relay)
{
    return pipe_held(&relay->up) + pipe_held(&relay->down);
}

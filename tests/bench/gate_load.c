/* SPDX-License-Identifier: MIT */
/*
 * gate_load - connections by the thousand, for gate.py
 *
 * Reads commands from stdin, one a line, and answers each with one line of
 * JSON.  MQTT 3.1.1 over loopback, one thread, epoll; its own few packets, so
 * that measuring the broker costs little of what is measured.
 *
 *   open FILE WINDOW          connect every "client user token" of the file, WINDOW at a time
 *   subscribe FORMAT          on every connection; %s is its user
 *   control FILE              publish one token a line to $CONTROL, the n-th on the n-th
 *                             connection; until every one was answered on down/reply
 *   publish N TOPIC COUNT SIZE WINDOW EXPECT
 *                             QoS 1 on connection N; until all is acknowledged and EXPECT
 *                             messages have come in over all connections
 *   drop                      close everything at once, without DISCONNECT
 *   reopen WINDOW             connect them all again
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_ = 16384, IN_MAX = 1 << 16, DEADLINE_S = 120 };

struct conn {
    int fd;
    char *client, *user, *token;
    bool is_up;
    size_t have;
    unsigned char in[4096]; /* packets are small here */
};

struct load {
    int epoll, port;
    struct conn *conns;
    size_t count, opened, up, refused, subacks, acks, received;
    double began;
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
    printf("{\"error\":\"%s: %s\"}\n", what, strerror(errno));
    exit(1);
}

static size_t put_length(unsigned char *out, size_t len)
{
    size_t at = 0;

    do {
        out[at] = (unsigned char)(len & 127);
        len >>= 7;
        if (len)
            out[at] |= 128;
        at++;
    } while (len);
    return at;
}

static size_t put_text(unsigned char *out, const char *text)
{
    size_t len = strlen(text);

    out[0] = (unsigned char)(len >> 8);
    out[1] = (unsigned char)len;
    memcpy(out + 2, text, len);
    return len + 2;
}

/* A blocking socket would do as well: the packets fit into the socket's buffer. */
static void send_packet(struct conn *c, unsigned char first, const unsigned char *body, size_t len)
{
    unsigned char head[5];

    head[0] = first;
    size_t head_len = 1 + put_length(head + 1, len);
    unsigned char *all = malloc(head_len + len);
    if (!all)
        die("memory");
    memcpy(all, head, head_len);
    memcpy(all + head_len, body, len);
    for (size_t at = 0; at < head_len + len;) {
        ssize_t n = send(c->fd, all + at, head_len + len - at, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            break; /* the read side notices */
        at += n > 0 ? (size_t)n : 0;
    }
    free(all);
}

static void send_connect(struct conn *c)
{
    static unsigned char body[LINE_MAX_];
    size_t at = put_text(body, "MQTT");

    body[at++] = 4;
    body[at++] = 0xc2;
    body[at++] = 0x0e; /* keep-alive of an hour: nobody pings here */
    body[at++] = 0x10;
    at += put_text(body + at, c->client);
    at += put_text(body + at, c->user);
    at += put_text(body + at, c->token);
    send_packet(c, 0x10, body, at);
}

static void send_publish(struct conn *c, const char *topic, unsigned id, const char *payload,
                         size_t len)
{
    static unsigned char body[IN_MAX];
    size_t at = put_text(body, topic);

    body[at++] = (unsigned char)(id >> 8);
    body[at++] = (unsigned char)id;
    memcpy(body + at, payload, len);
    send_packet(c, 0x32, body, at + len);
}

static void open_one(struct load *load, struct conn *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)load->port)};
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
    int one = 1;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof(to)) != 0)
        die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, c->fd, &ev) != 0)
        die("epoll");
    send_connect(c);
}

static void close_one(struct conn *c)
{
    struct linger hard = {.l_onoff = 1};

    if (c->fd < 0)
        return;
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(c->fd);
    c->fd = -1;
    c->is_up = false;
    c->have = 0;
}

static void take_packet(struct load *load, struct conn *c, const unsigned char *body, size_t len,
                        unsigned char first)
{
    if (first >> 4 == 2) {
        c->is_up = len >= 2 && body[1] == 0;
        *(c->is_up ? &load->up : &load->refused) += 1;
    } else if (first >> 4 == 9) {
        load->subacks += len >= 3 && body[2] < 0x80;
    } else if (first >> 4 == 4) {
        load->acks++;
    } else if (first >> 4 == 3) {
        load->received++;
        if ((first & 6) == 2) { /* the id stands behind the topic */
            size_t topic = (size_t)body[0] << 8 | body[1];
            send_packet(c, 0x40, body + 2 + topic, 2);
        }
    }
}

/* Takes whole packets out of the buffer. */
static void parse(struct load *load, struct conn *c)
{
    size_t at = 0;

    for (;;) {
        size_t len = 0, head = 1;
        unsigned shift = 0;
        bool is_whole = false;
        while (at + head < c->have && !is_whole) {
            len |= (size_t)(c->in[at + head] & 127) << shift;
            shift += 7;
            is_whole = !(c->in[at + head++] & 128);
        }
        if (!is_whole || at + head + len > c->have)
            break;
        take_packet(load, c, c->in + at + head, len, c->in[at]);
        at += head + len;
    }
    memmove(c->in, c->in + at, c->have - at);
    c->have -= at;
}

static void on_readable(struct load *load, struct conn *c)
{
    ssize_t n = recv(c->fd, c->in + c->have, sizeof(c->in) - c->have, MSG_DONTWAIT);

    if (n > 0) {
        c->have += (size_t)n;
        parse(load, c);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        if (!c->is_up)
            load->refused += c->fd >= 0;
        else
            load->up--;
        close_one(c);
    }
}

static void pump(struct load *load)
{
    struct epoll_event events[256];
    int n = epoll_wait(load->epoll, events, 256, 100);

    for (int i = 0; i < n; i++)
        on_readable(load, events[i].data.ptr);
    if (now() - load->began > DEADLINE_S) {
        errno = ETIMEDOUT;
        die("deadline");
    }
}

static double elapsed(const struct load *load)
{
    return now() - load->began;
}

static void open_all(struct load *load, size_t window)
{
    load->opened = load->up = load->refused = 0;
    while (load->up + load->refused < load->count) {
        while (load->opened < load->count && load->opened - load->up - load->refused < window)
            open_one(load, &load->conns[load->opened++]);
        pump(load);
    }
    printf("{\"up\":%zu,\"refused\":%zu,\"seconds\":%.4f}\n", load->up, load->refused,
           elapsed(load));
}

static void read_clients(struct load *load, const char *path)
{
    static char line[LINE_MAX_], client[512], user[512], token[LINE_MAX_];
    FILE *file = fopen(path, "r");
    size_t room = 0;

    if (!file)
        die(path);
    for (size_t i = 0; i < load->count; i++) {
        close_one(&load->conns[i]);
        free(load->conns[i].client);
        free(load->conns[i].user);
        free(load->conns[i].token);
    }
    load->count = 0;
    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "%511s %511s %16383s", client, user, token) != 3)
            continue;
        if (load->count == room) {
            room = room ? room * 2 : 1024;
            load->conns = realloc(load->conns, room * sizeof(*load->conns));
            if (!load->conns)
                die("memory");
        }
        load->conns[load->count++] = (struct conn){
            .fd = -1, .client = strdup(client), .user = strdup(user), .token = strdup(token)};
    }
    fclose(file);
}

static void subscribe_all(struct load *load, const char *format)
{
    static unsigned char body[8192];
    char filter[4096];
    const char *mark = strstr(format, "%s");

    load->subacks = 0;
    for (size_t i = 0; i < load->count; i++) {
        if (mark)
            snprintf(filter, sizeof(filter), "%.*s%s%s", (int)(mark - format), format,
                     load->conns[i].user, mark + 2);
        else
            snprintf(filter, sizeof(filter), "%s", format);
        body[0] = 0;
        body[1] = 1;
        size_t len = 2 + put_text(body + 2, filter);
        body[len++] = 1;
        send_packet(&load->conns[i], 0x82, body, len);
    }
    while (load->subacks < load->count)
        pump(load);
    printf("{\"subscribed\":%zu,\"seconds\":%.4f}\n", load->subacks, elapsed(load));
}

static void control_all(struct load *load, const char *path)
{
    static char line[LINE_MAX_];
    FILE *file = fopen(path, "r");
    size_t sent = 0;

    if (!file)
        die(path);
    load->acks = load->received = 0;
    while (sent < load->count && fgets(line, sizeof(line), file)) {
        size_t len = strcspn(line, "\n");
        send_publish(&load->conns[sent++], "$CONTROL/tocsin/v1", 1, line, len);
        if (sent % 64 == 0)
            pump(load);
    }
    fclose(file);
    while (load->received < sent)
        pump(load);
    printf("{\"answered\":%zu,\"up\":%zu,\"seconds\":%.4f}\n", load->received, load->up,
           elapsed(load));
}

static void publish_many(struct load *load, const char *args)
{
    char topic[512];
    size_t n, count, size, window, expect, sent = 0;
    static char payload[IN_MAX];

    if (sscanf(args, "%zu %511s %zu %zu %zu %zu", &n, topic, &count, &size, &window, &expect) !=
            6 ||
        n >= load->count || size > sizeof(payload) - 1024) {
        errno = EINVAL;
        die(args);
    }
    memset(payload, 'x', size);
    load->acks = load->received = 0;
    while (load->acks < count || load->received < expect) {
        while (sent < count && sent - load->acks < window) {
            send_publish(&load->conns[n], topic, (unsigned)(sent % 60000 + 1), payload, size);
            sent++;
        }
        pump(load);
    }
    printf("{\"acked\":%zu,\"received\":%zu,\"seconds\":%.4f}\n", load->acks, load->received,
           elapsed(load));
}

static void run(struct load *load, char *line)
{
    char path[1024];
    size_t window;

    line[strcspn(line, "\n")] = '\0';
    load->began = now();
    if (sscanf(line, "open %1023s %zu", path, &window) == 2) {
        read_clients(load, path);
        load->began = now();
        open_all(load, window);
    } else if (sscanf(line, "reopen %zu", &window) == 1) {
        open_all(load, window);
    } else if (strncmp(line, "subscribe ", 10) == 0) {
        subscribe_all(load, line + 10);
    } else if (strncmp(line, "control ", 8) == 0) {
        control_all(load, line + 8);
    } else if (strncmp(line, "publish ", 8) == 0) {
        publish_many(load, line + 8);
    } else if (strcmp(line, "drop") == 0) {
        for (size_t i = 0; i < load->count; i++)
            close_one(&load->conns[i]);
        printf("{\"dropped\":%zu,\"seconds\":%.4f}\n", load->count, elapsed(load));
    } else {
        errno = EINVAL;
        die(line);
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct load load = {.epoll = epoll_create1(0)};
    char line[2048];

    if (argc != 2 || load.epoll < 0) {
        fprintf(stderr, "usage: gate_load PORT, then commands on stdin\n");
        return 2;
    }
    load.port = (int)strtol(argv[1], NULL, 10);
    while (fgets(line, sizeof(line), stdin))
        run(&load, line);
    return 0;
}

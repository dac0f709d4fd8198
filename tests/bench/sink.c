/* SPDX-License-Identifier: MIT */
/*
 * sink - answers the providers' HTTP APIs after a fixed time, and counts
 *
 *   sink [--port N] [--delay-ms N] [--slow-path-prefix P --slow-delay-ms N]
 *
 * Prints its port and runs until SIGTERM.  It checks nothing: the strict
 * provider server is tests/providers; this one exists because a benchmark's
 * provider must cost next to nothing.  HTTP/1.1 with keep-alive, one thread.
 *
 *   GET  /_sink/stats   counts as JSON
 *   POST /_sink/reset   counts start again at nothing
 *   any other GET       200
 *
 * Every delay is the same for all requests of its kind, so the answers that
 * are waiting form one queue per delay, in order of their due time, and no
 * timer costs more than a list operation.
 */
#include "sink_api.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    READ_START = 4096,
    READ_MAX = 8 << 20, /* larger requests are refused */
    OUT_START = 512,
    EVENTS = 256,
    DELAYS = 2, /* the usual one, and that of the slow prefix */
    STATS_MAX = 4096,
    NS_PER_MS = 1000000,
};

struct conn {
    int fd;
    const struct sink_kind *kind; /* of the request that waits, else NULL */
    uint64_t due_ns;
    struct conn *next; /* in its delay's queue */
    struct conn *prev;
    struct conn *all_next; /* every open connection, so that the end can free them */
    struct conn *all_prev;
    unsigned delay;
    bool should_close;
    bool is_blocked; /* EPOLLOUT is wanted */
    char *in;
    size_t in_len;
    size_t in_size;
    char *out;
    size_t out_len;
    size_t out_size;
};

struct queue {
    uint64_t delay_ns;
    struct conn *first;
    struct conn *last;
};

struct sink {
    int epoll;
    int listener;
    int timer;
    int signals;
    uint64_t now_ns;
    uint64_t armed_ns; /* when the timer fires, 0 when it is not set */
    const char *slow_prefix;
    struct queue queues[DELAYS];
    struct conn *all;
    struct conn *dead; /* freed after the turn, because its events may still be in the batch */
    uint64_t requests;
    uint64_t answered;
    uint64_t bad;
    uint64_t connections;
    uint64_t open;
    uint64_t in_flight;
    uint64_t peak_in_flight;
    uint64_t first_ns;
    uint64_t last_ns;
    struct sink_api api;
};

/* What was found in one request's head. */
struct head {
    const char *path;
    size_t path_len;
    const char *key; /* webhook-id or Idempotency-Key */
    size_t key_len;
    size_t body_len;
    bool is_post;
    bool should_close;
    bool expects;
    bool is_chunked;
};

static uint64_t clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Connections */

static void out_add(struct conn *conn, const char *data, size_t len)
{
    if (conn->out_len + len > conn->out_size) {
        conn->out_size = (conn->out_len + len) * 2 + OUT_START;
        conn->out = sink_must(realloc(conn->out, conn->out_size));
    }
    memcpy(conn->out + conn->out_len, data, len);
    conn->out_len += len;
}

static void queue_remove(struct sink *sink, struct conn *conn)
{
    struct queue *queue = &sink->queues[conn->delay];

    *(conn->prev ? &conn->prev->next : &queue->first) = conn->next;
    *(conn->next ? &conn->next->prev : &queue->last) = conn->prev;
    conn->next = conn->prev = NULL;
    conn->kind = NULL;
    sink->in_flight--;
}

static void conn_close(struct sink *sink, struct conn *conn)
{
    if (conn->fd < 0)
        return;
    if (conn->kind != NULL)
        queue_remove(sink, conn);
    close(conn->fd);
    conn->fd = -1;
    *(conn->all_prev ? &conn->all_prev->all_next : &sink->all) = conn->all_next;
    if (conn->all_next != NULL)
        conn->all_next->all_prev = conn->all_prev;
    conn->next = sink->dead;
    sink->dead = conn;
    sink->open--;
}

static void bury(struct sink *sink)
{
    while (sink->dead != NULL) {
        struct conn *conn = sink->dead;

        sink->dead = conn->next;
        free(conn->in);
        free(conn->out);
        free(conn);
    }
}

static void want_out(struct sink *sink, struct conn *conn, bool is_blocked)
{
    struct epoll_event event = {.events = EPOLLIN | (is_blocked ? (unsigned)EPOLLOUT : 0u),
                                .data.ptr = conn};

    if (conn->is_blocked == is_blocked)
        return;
    conn->is_blocked = is_blocked;
    epoll_ctl(sink->epoll, EPOLL_CTL_MOD, conn->fd, &event);
}

static void conn_flush(struct sink *sink, struct conn *conn)
{
    size_t sent = 0;

    while (sent < conn->out_len) {
        ssize_t n = send(conn->fd, conn->out + sent, conn->out_len - sent, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN) {
            conn_close(sink, conn);
            return;
        }
        if (n < 0)
            break;
        sent += (size_t)n;
    }
    memmove(conn->out, conn->out + sent, conn->out_len - sent);
    conn->out_len -= sent;
    want_out(sink, conn, conn->out_len > 0);
    if (conn->out_len == 0 && conn->should_close && conn->kind == NULL)
        conn_close(sink, conn);
}

static void out_text(struct conn *conn, int status, const char *reason, const char *body)
{
    char text[STATS_MAX + 128];
    int n = snprintf(text, sizeof(text),
                     "HTTP/1.1 %d %s\r\ncontent-type: application/json\r\n"
                     "content-length: %zu\r\n\r\n%s",
                     status, reason, strlen(body), body);

    out_add(conn, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

static void out_answer(struct sink *sink, struct conn *conn, const struct sink_kind *kind)
{
    char text[SINK_ANSWER_MAX];

    out_add(conn, text, sink_api_answer(&sink->api, kind, text));
    sink->answered++;
    sink->last_ns = sink->now_ns;
}

/* Requests */

static bool name_is(const char *line, size_t len, const char *name)
{
    size_t n = strlen(name);

    return len > n && line[n] == ':' && strncasecmp(line, name, n) == 0;
}

static void head_line(struct head *head, const char *line, size_t len)
{
    const char *value = memchr(line, ':', len);
    size_t value_len;

    if (value == NULL)
        return;
    value++;
    while (value < line + len && *value == ' ')
        value++;
    value_len = (size_t)(line + len - value);
    if (name_is(line, len, "content-length"))
        head->body_len = (size_t)strtoull(value, NULL, 10);
    else if (name_is(line, len, "webhook-id") || name_is(line, len, "idempotency-key")) {
        head->key = value;
        head->key_len = value_len;
    } else if (name_is(line, len, "connection"))
        head->should_close = value_len >= 5 && strncasecmp(value, "close", 5) == 0;
    else if (name_is(line, len, "expect"))
        head->expects = true;
    else if (name_is(line, len, "transfer-encoding"))
        head->is_chunked = true;
}

/* Zero when the bytes up to `end` are a request's head. */
static int head_read(struct head *head, const char *data, const char *end)
{
    const char *space = memchr(data, ' ', (size_t)(end - data));
    const char *line, *next;

    *head = (struct head){0};
    if (space == NULL)
        return -1;
    head->is_post = space - data == 4 && memcmp(data, "POST", 4) == 0;
    head->path = space + 1;
    space = memchr(head->path, ' ', (size_t)(end - head->path));
    if (space == NULL || end - space < 9 || memcmp(space, " HTTP/1.1", 9) != 0)
        return -1;
    head->path_len = (size_t)(space - head->path);
    for (line = space + 9; line < end; line = next) {
        line += 2;
        next = memchr(line, '\r', (size_t)(end - line));
        if (next == NULL)
            next = end;
        head_line(head, line, (size_t)(next - line));
    }
    return head->is_chunked || head->body_len > READ_MAX ? -1 : 0;
}

static bool starts_with(const char *text, size_t len, const char *prefix)
{
    size_t n = strlen(prefix);

    return len >= n && memcmp(text, prefix, n) == 0;
}

/* Queue the answer; the queue stays sorted because its delay is the same for all. */
static void wait_for_it(struct sink *sink, struct conn *conn, const struct sink_kind *kind,
                        unsigned delay)
{
    struct queue *queue = &sink->queues[delay];

    sink->requests++;
    if (sink->first_ns == 0)
        sink->first_ns = sink->now_ns;
    if (queue->delay_ns == 0) {
        out_answer(sink, conn, kind);
        return;
    }
    conn->kind = kind;
    conn->delay = delay;
    conn->due_ns = sink->now_ns + queue->delay_ns;
    conn->prev = queue->last;
    *(queue->last ? &queue->last->next : &queue->first) = conn;
    queue->last = conn;
    if (++sink->in_flight > sink->peak_in_flight)
        sink->peak_in_flight = sink->in_flight;
}

static void out_stats(struct sink *sink, struct conn *conn)
{
    char text[STATS_MAX];
    struct rusage used;
    uint64_t span_ns = sink->last_ns > sink->first_ns ? sink->last_ns - sink->first_ns : 0;
    int at;

    getrusage(RUSAGE_SELF, &used);
    at = snprintf(text, sizeof(text),
                  "{\"requests\":%llu,\"answered\":%llu,\"bad\":%llu,\"connections\":%llu,"
                  "\"open\":%llu,\"in_flight\":%llu,\"peak_in_flight\":%llu,"
                  "\"span_ms\":%.3f,\"cpu_ms\":%ld,",
                  (unsigned long long)sink->requests, (unsigned long long)sink->answered,
                  (unsigned long long)sink->bad, (unsigned long long)sink->connections,
                  (unsigned long long)sink->open, (unsigned long long)sink->in_flight,
                  (unsigned long long)sink->peak_in_flight, (double)span_ns / NS_PER_MS,
                  (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 +
                      (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000);
    at += (int)sink_api_stats(&sink->api, text + at, sizeof(text) - (size_t)at - 2);
    memcpy(text + at, "}\n", 3);
    out_text(conn, 200, "OK", text);
}

static void reset(struct sink *sink)
{
    sink_api_reset(&sink->api);
    sink->requests = sink->answered = sink->bad = sink->first_ns = sink->last_ns = 0;
    sink->peak_in_flight = sink->in_flight;
}

static void serve(struct sink *sink, struct conn *conn, const struct head *head, const char *body)
{
    const char *path = head->path;
    size_t len = head->path_len;
    const struct sink_kind *kind;
    unsigned delay = 0;

    conn->should_close = head->should_close;
    if (starts_with(path, len, "/_sink/stats")) {
        out_stats(sink, conn);
        return;
    }
    if (starts_with(path, len, "/_sink/reset")) {
        reset(sink);
        out_text(conn, 200, "OK", "{}\n");
        return;
    }
    if (!head->is_post) {
        out_text(conn, 200, "OK", "{}\n");
        return;
    }
    if (sink->slow_prefix != NULL && starts_with(path, len, sink->slow_prefix)) {
        path += strlen(sink->slow_prefix);
        len -= strlen(sink->slow_prefix);
        delay = 1;
    }
    kind = sink_api_kind(path, len);
    sink_api_count(&sink->api, kind, path, len, head->key, head->key_len, body, head->body_len);
    wait_for_it(sink, conn, kind, delay);
}

/* Serve what has arrived completely, until one must be waited for. */
static void conn_requests(struct sink *sink, struct conn *conn)
{
    size_t at = 0;

    if (conn->in == NULL)
        return;
    while (conn->fd >= 0 && conn->kind == NULL && !conn->should_close && at < conn->in_len) {
        const char *data = conn->in + at;
        const char *end = memmem(data, conn->in_len - at, "\r\n\r\n", 4);
        struct head head;
        size_t need;

        if (end == NULL)
            break;
        if (head_read(&head, data, end)) {
            sink->bad++;
            out_text(conn, 400, "Bad Request", "{}\n");
            conn->should_close = true;
            break;
        }
        need = (size_t)(end - data) + 4 + head.body_len;
        if (conn->in_len - at < need) {
            if (head.expects && conn->in_len - at == (size_t)(end - data) + 4)
                out_add(conn, "HTTP/1.1 100 Continue\r\n\r\n", 25);
            break;
        }
        serve(sink, conn, &head, end + 4);
        at += need;
    }
    memmove(conn->in, conn->in + at, conn->in_len - at);
    conn->in_len -= at;
    if (conn->out_len > 0 || (conn->should_close && conn->kind == NULL))
        conn_flush(sink, conn);
}

static void conn_readable(struct sink *sink, struct conn *conn)
{
    ssize_t n;

    if (conn->in_len == conn->in_size) {
        if (conn->in_size >= READ_MAX) {
            conn_close(sink, conn);
            return;
        }
        conn->in_size = conn->in_size ? conn->in_size * 2 : READ_START;
        conn->in = sink_must(realloc(conn->in, conn->in_size));
    }
    n = recv(conn->fd, conn->in + conn->in_len, conn->in_size - conn->in_len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        conn_close(sink, conn);
        return;
    }
    conn->in_len += (size_t)n;
    if (conn->kind == NULL)
        conn_requests(sink, conn);
}

static void accept_all(struct sink *sink)
{
    int fd, one = 1;

    while ((fd = accept4(sink->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *conn = sink_must(calloc(1, sizeof(*conn)));
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};

        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        conn->fd = fd;
        conn->all_next = sink->all;
        if (sink->all != NULL)
            sink->all->all_prev = conn;
        sink->all = conn;
        epoll_ctl(sink->epoll, EPOLL_CTL_ADD, fd, &event);
        sink->connections++;
        sink->open++;
    }
}

/* Time */

static void answer_due(struct sink *sink)
{
    for (size_t i = 0; i < DELAYS; i++) {
        struct queue *queue = &sink->queues[i];

        while (queue->first != NULL && queue->first->due_ns <= sink->now_ns) {
            struct conn *conn = queue->first;
            const struct sink_kind *kind = conn->kind;

            queue_remove(sink, conn);
            out_answer(sink, conn, kind);
            conn_flush(sink, conn);
            if (conn->fd >= 0 && conn->in_len > 0)
                conn_requests(sink, conn);
        }
    }
}

/* Milliseconds are too coarse: at 20 ms, one of them is five per cent. */
static void arm(struct sink *sink)
{
    struct itimerspec spec = {0};
    uint64_t due = 0;

    for (size_t i = 0; i < DELAYS; i++)
        if (sink->queues[i].first && (due == 0 || sink->queues[i].first->due_ns < due))
            due = sink->queues[i].first->due_ns;
    if (due == sink->armed_ns)
        return;
    sink->armed_ns = due;
    spec.it_value.tv_sec = (time_t)(due / 1000000000u);
    spec.it_value.tv_nsec = (long)(due % 1000000000u);
    timerfd_settime(sink->timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

/* Start-up */

static int watch(struct sink *sink, int fd, void *what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};

    return epoll_ctl(sink->epoll, EPOLL_CTL_ADD, fd, &event);
}

static int sink_open(struct sink *sink, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct rlimit files;
    socklen_t len = sizeof(address);
    sigset_t stop;
    int one = 1;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    sink->epoll = epoll_create1(EPOLL_CLOEXEC);
    sink->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    sink->signals = signalfd(-1, &stop, SFD_NONBLOCK | SFD_CLOEXEC);
    sink->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (sink->epoll < 0 || sink->timer < 0 || sink->signals < 0 || sink->listener < 0)
        return -1;
    setsockopt(sink->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(sink->listener, (struct sockaddr *)&address, sizeof(address)) ||
        listen(sink->listener, 4096) ||
        getsockname(sink->listener, (struct sockaddr *)&address, &len) ||
        watch(sink, sink->listener, &sink->listener) || watch(sink, sink->timer, &sink->timer) ||
        watch(sink, sink->signals, &sink->signals))
        return -1;
    printf("%u\n", (unsigned)ntohs(address.sin_port));
    fflush(stdout);
    return 0;
}

static void sink_close(struct sink *sink)
{
    while (sink->all != NULL)
        conn_close(sink, sink->all);
    bury(sink);
    sink_api_reset(&sink->api);
    close(sink->listener);
    close(sink->signals);
    close(sink->timer);
    close(sink->epoll);
}

/* False when a signal asks for the end. */
static bool turn(struct sink *sink)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(sink->epoll, events, EVENTS, -1);

    sink->now_ns = clock_ns();
    for (int i = 0; i < n; i++) {
        void *what = events[i].data.ptr;

        if (what == &sink->signals)
            return false;
        if (what == &sink->listener) {
            accept_all(sink);
        } else if (what == &sink->timer) {
            uint64_t fired;

            if (read(sink->timer, &fired, sizeof(fired)) > 0)
                sink->armed_ns = 0;
        } else {
            struct conn *conn = what;

            if (conn->fd >= 0 && (events[i].events & EPOLLOUT))
                conn_flush(sink, conn);
            if (conn->fd >= 0 && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
                conn_readable(sink, conn);
        }
    }
    sink->now_ns = clock_ns();
    answer_due(sink);
    bury(sink);
    arm(sink);
    return true;
}

static int usage(void)
{
    fputs("usage: sink [--port N] [--delay-ms N] [--slow-path-prefix P --slow-delay-ms N]\n",
          stderr);
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option OPTIONS[] = {{"port", required_argument, NULL, 'p'},
                                            {"delay-ms", required_argument, NULL, 'd'},
                                            {"slow-path-prefix", required_argument, NULL, 's'},
                                            {"slow-delay-ms", required_argument, NULL, 'D'},
                                            {NULL, 0, NULL, 0}};
    struct sink sink = {0};
    uint16_t port = 0;
    int option;

    while ((option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
        if (option == 'p')
            port = (uint16_t)strtoul(optarg, NULL, 10);
        else if (option == 'd')
            sink.queues[0].delay_ns = (uint64_t)(strtod(optarg, NULL) * NS_PER_MS);
        else if (option == 's')
            sink.slow_prefix = optarg;
        else if (option == 'D')
            sink.queues[1].delay_ns = (uint64_t)(strtod(optarg, NULL) * NS_PER_MS);
        else
            return usage();
    }
    if (optind != argc)
        return usage();
    if (sink_open(&sink, port)) {
        perror("sink");
        return 1;
    }
    while (turn(&sink))
        ;
    sink_close(&sink);
    return 0;
}

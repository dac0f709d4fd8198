/* SPDX-License-Identifier: MIT */
#include "sink_loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, NS_PER_MS = 1000000, NS_PER_S = 1000000000 };

static uint64_t clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* Descriptors */

int sink_watch_add(struct sink *sink, struct sink_watch *watch, int fd, bool is_connection)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = watch};
    int one = 1;

    watch->fd = fd;
    if (epoll_ctl(sink->epoll, EPOLL_CTL_ADD, fd, &event))
        return -1;
    watch->prev = NULL;
    watch->next = sink->all;
    if (sink->all != NULL)
        sink->all->prev = watch;
    sink->all = watch;
    if (is_connection) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        sink->connections++;
        sink->open++;
    }
    return 0;
}

void sink_want_out(struct sink *sink, struct sink_watch *watch, bool is_wanted)
{
    struct epoll_event event = {.events = EPOLLIN | (is_wanted ? (unsigned)EPOLLOUT : 0u),
                                .data.ptr = watch};

    if (watch->is_blocked == is_wanted)
        return;
    watch->is_blocked = is_wanted;
    epoll_ctl(sink->epoll, EPOLL_CTL_MOD, watch->fd, &event);
}

void sink_close(struct sink *sink, struct sink_watch *watch)
{
    if (watch->fd < 0)
        return;
    close(watch->fd);
    watch->fd = -1;
    *(watch->prev ? &watch->prev->next : &sink->all) = watch->next;
    if (watch->next != NULL)
        watch->next->prev = watch->prev;
    watch->next = sink->dead;
    sink->dead = watch;
    sink->open--;
}

static void bury(struct sink *sink)
{
    while (sink->dead != NULL) {
        struct sink_watch *watch = sink->dead;

        sink->dead = watch->next;
        watch->on_free(watch);
    }
}

int sink_listen(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(*port)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;

    if (fd < 0)
        return -1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 4096) ||
        getsockname(fd, (struct sockaddr *)&address, &len)) {
        close(fd);
        return -1;
    }
    *port = ntohs(address.sin_port);
    return fd;
}

/* Requests */

void sink_forget(struct sink *sink, struct sink_wait *wait)
{
    struct sink_queue *queue = &sink->queues[wait->delay];

    if (wait->kind == NULL)
        return;
    *(wait->prev ? &wait->prev->next : &queue->first) = wait->next;
    *(wait->next ? &wait->next->prev : &queue->last) = wait->prev;
    wait->next = wait->prev = NULL;
    wait->kind = NULL;
    sink->in_flight--;
}

bool sink_take(struct sink *sink, struct sink_wait *wait, const struct sink_request *request)
{
    const char *path = request->path;
    size_t len = request->path_len;
    struct sink_queue *queue;

    wait->delay = 0;
    if (sink->slow_prefix != NULL && len >= strlen(sink->slow_prefix) &&
        memcmp(path, sink->slow_prefix, strlen(sink->slow_prefix)) == 0) {
        path += strlen(sink->slow_prefix);
        len -= strlen(sink->slow_prefix);
        wait->delay = 1;
    }
    wait->kind = sink_api_kind(path, len);
    sink_api_count(&sink->api, wait->kind, path, len, request->key, request->key_len, request->body,
                   request->body_len);
    sink->requests++;
    if (sink->first_ns == 0)
        sink->first_ns = sink->now_ns;
    queue = &sink->queues[wait->delay];
    if (queue->delay_ns == 0)
        return true;
    wait->due_ns = sink->now_ns + queue->delay_ns;
    wait->next = NULL;
    wait->prev = queue->last;
    *(queue->last ? &queue->last->next : &queue->first) = wait;
    queue->last = wait;
    if (++sink->in_flight > sink->peak_in_flight)
        sink->peak_in_flight = sink->in_flight;
    return false;
}

void sink_sent(struct sink *sink)
{
    sink->answered++;
    sink->last_ns = sink->now_ns;
}

static void answer_due(struct sink *sink)
{
    for (size_t i = 0; i < SINK_DELAYS; i++) {
        struct sink_queue *queue = &sink->queues[i];

        while (queue->first != NULL && queue->first->due_ns <= sink->now_ns)
            queue->first->on_due(sink, queue->first);
    }
}

/* Milliseconds are too coarse: at 20 ms, one of them is five per cent. */
static void arm(struct sink *sink)
{
    struct itimerspec spec = {0};
    uint64_t due = 0;

    for (size_t i = 0; i < SINK_DELAYS; i++)
        if (sink->queues[i].first && (due == 0 || sink->queues[i].first->due_ns < due))
            due = sink->queues[i].first->due_ns;
    if (due == sink->armed_ns)
        return;
    sink->armed_ns = due;
    spec.it_value.tv_sec = (time_t)(due / NS_PER_S);
    spec.it_value.tv_nsec = (long)(due % NS_PER_S);
    timerfd_settime(sink->timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

/* Counts */

void sink_stats(struct sink *sink, char text[SINK_STATS_MAX])
{
    struct rusage used;
    uint64_t span_ns = sink->last_ns > sink->first_ns ? sink->last_ns - sink->first_ns : 0;
    size_t at;
    int n;

    getrusage(RUSAGE_SELF, &used);
    n = snprintf(text, SINK_STATS_MAX,
                 "{\"requests\":%llu,\"answered\":%llu,\"bad\":%llu,\"connections\":%llu,"
                 "\"open\":%llu,\"in_flight\":%llu,\"peak_in_flight\":%llu,"
                 "\"span_ms\":%.3f,\"cpu_ms\":%ld,",
                 (unsigned long long)sink->requests, (unsigned long long)sink->answered,
                 (unsigned long long)sink->bad, (unsigned long long)sink->connections,
                 (unsigned long long)sink->open, (unsigned long long)sink->in_flight,
                 (unsigned long long)sink->peak_in_flight, (double)span_ns / NS_PER_MS,
                 (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 +
                     (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000);
    at = n > 0 ? (size_t)n : 0;
    at += sink_api_stats(&sink->api, text + at, SINK_STATS_MAX - at - 2);
    memcpy(text + at, "}\n", 3);
}

void sink_reset(struct sink *sink)
{
    sink_api_reset(&sink->api);
    sink->requests = sink->answered = sink->bad = sink->first_ns = sink->last_ns = 0;
    sink->peak_in_flight = sink->in_flight;
}

/* The loop */

int sink_init(struct sink *sink)
{
    struct epoll_event timer = {.events = EPOLLIN, .data.ptr = &sink->timer};
    struct epoll_event signals = {.events = EPOLLIN, .data.ptr = &sink->signals};
    struct rlimit files;
    sigset_t stop;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    sink->epoll = epoll_create1(EPOLL_CLOEXEC);
    sink->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    sink->signals = signalfd(-1, &stop, SFD_NONBLOCK | SFD_CLOEXEC);
    if (sink->epoll < 0 || sink->timer < 0 || sink->signals < 0 ||
        epoll_ctl(sink->epoll, EPOLL_CTL_ADD, sink->timer, &timer) ||
        epoll_ctl(sink->epoll, EPOLL_CTL_ADD, sink->signals, &signals))
        return -1;
    return 0;
}

void sink_fini(struct sink *sink)
{
    while (sink->all != NULL)
        sink_close(sink, sink->all);
    bury(sink);
    sink_api_reset(&sink->api);
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
        struct sink_watch *watch = what;
        uint64_t fired;

        if (what == &sink->signals)
            return false;
        if (what == &sink->timer) {
            if (read(sink->timer, &fired, sizeof(fired)) > 0)
                sink->armed_ns = 0;
        } else if (watch->fd >= 0) {
            watch->on_event(sink, watch, events[i].events);
        }
    }
    sink->now_ns = clock_ns();
    answer_due(sink);
    bury(sink);
    arm(sink);
    return true;
}

void sink_run(struct sink *sink)
{
    while (turn(sink))
        ;
}

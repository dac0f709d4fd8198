/* SPDX-License-Identifier: MIT */
#include "link.h"

#include "exits.h"
#include "ids.h"
#include "say.h"

#include <MQTTAsync.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define BACKOFF_BASE_MS 250
#define BACKOFF_CAP_MS  15000
#define STABLE_MS       5000 /* a connection that lasted this long resets the backoff */
#define REFUSALS_MAX    3    /* on reconnect, with a token file that may yet be renewed */
#define QUEUE_SOFT_MAX  (8u << 20)
#define QUEUE_WAIT_MS   250
#define SESSION_S       86400
#define GOODBYE_MS      1500
#define THREADS_MS      500
#define SUBACK_MS       15000 /* a broker that answers pings but no SUBSCRIBE is left again */

enum event_kind {
    EV_CONNECTED,
    EV_UNCONNECTED, /* code: MQTT reason when is_connack, else errno or library error */
    EV_LOST,
    EV_KICKED,     /* code: the reason of the broker's DISCONNECT */
    EV_SUBSCRIBED, /* tag: index, code: reason */
    EV_PUBLISHED,  /* pub, code */
    EV_MESSAGE,
    EV_GONE /* our own disconnect is done */
};

/* A publication or subscription under way; the library holds a pointer to it. */
struct op {
    struct op *prev, *next; /* in link->ops: the caller's thread only */
    struct link *link;
    uint64_t tag;
    unsigned generation;
};

struct event {
    struct event *next;
    enum event_kind kind;
    int code;
    bool is_connack, is_retained;
    struct op *op;
    char *topic, *payload;
    size_t len;
};

struct subscription {
    char *filter;
    bool is_optional, is_confirmed;
};

enum link_state { LINK_WAITING, LINK_CONNECTING, LINK_SUBSCRIBING, LINK_UP, LINK_OVER };

struct link {
    struct config *conf; /* borrowed; outlives us */
    struct link_handlers handlers;
    MQTTAsync client;
    size_t threads_before; /* of this process, when there was no client */
    bool is_durable;
    int event_fd;

    pthread_mutex_t mutex; /* guards the next five; nothing else is shared */
    pthread_cond_t drained;
    struct event *first, **last;
    size_t queued_bytes;
    char tls_error[160];

    enum link_state state;
    unsigned generation; /* of the connection: late answers to an older one are dropped */
    unsigned attempts, refusals;
    bool was_up, is_gone, is_patient;
    int64_t opened_ms, up_ms, next_try_ms, subscribed_ms;
    int last_code;
    struct subscription subs[LINK_MAX_SUBSCRIPTIONS];
    size_t sub_count, confirmed;
    struct op ops; /* list head */
};

/* ---- the library's threads: copy, queue, ring ---- */

static void push(struct link *link, struct event *ev)
{
    uint64_t one = 1;

    pthread_mutex_lock(&link->mutex);
    if (link->queued_bytes > QUEUE_SOFT_MAX && ev->kind == EV_MESSAGE) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += QUEUE_WAIT_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&link->drained, &link->mutex, &until);
    }
    *link->last = ev;
    link->last = &ev->next;
    link->queued_bytes += ev->len + sizeof(*ev);
    pthread_mutex_unlock(&link->mutex);
    while (write(link->event_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        continue;
}

static struct event *event_new(enum event_kind kind, int code)
{
    struct event *ev = xcalloc(1, sizeof(*ev));

    ev->kind = kind;
    ev->code = code;
    return ev;
}

static void event_free(struct event *ev)
{
    free(ev->topic);
    free(ev->payload);
    free(ev);
}

static void on_connected(void *ctx, MQTTAsync_successData5 *data)
{
    (void)data;
    push(ctx, event_new(EV_CONNECTED, 0));
}

static void on_unconnected(void *ctx, MQTTAsync_failureData5 *data)
{
    struct event *ev = event_new(EV_UNCONNECTED, data->code);

    /* The library tells an errno from a reason code by this sentence only. */
    ev->is_connack = data->message && strcmp(data->message, "CONNACK return code") == 0;
    push(ctx, ev);
}

static void on_lost(void *ctx, char *cause)
{
    (void)cause;
    push(ctx, event_new(EV_LOST, 0));
}

static void on_kicked(void *ctx, MQTTProperties *props, enum MQTTReasonCodes code)
{
    (void)props;
    push(ctx, event_new(EV_KICKED, (int)code));
}

static int on_arrived(void *ctx, char *topic, int topic_len, MQTTAsync_message *msg)
{
    /* topic_len > 0 means an embedded NUL: no topic of ours. */
    if (topic_len == 0 || strlen(topic) == (size_t)topic_len) {
        struct event *ev = event_new(EV_MESSAGE, 0);

        ev->topic = xstrdup(topic);
        ev->len = (size_t)msg->payloadlen;
        ev->payload = xcalloc(1, ev->len + 1);
        if (ev->len)
            memcpy(ev->payload, msg->payload, ev->len);
        ev->is_retained = msg->retained;
        push(ctx, ev);
    }
    MQTTAsync_freeMessage(&msg);
    MQTTAsync_free(topic);
    return 1;
}

static void op_done(struct op *op, enum event_kind kind, int code)
{
    struct event *ev = event_new(kind, code);

    ev->op = op;
    push(op->link, ev);
}

static void on_subscribed(void *ctx, MQTTAsync_successData5 *data)
{
    op_done(ctx, EV_SUBSCRIBED, (int)data->reasonCode);
}

static void on_unsubscribed(void *ctx, MQTTAsync_failureData5 *data)
{
    op_done(ctx, EV_SUBSCRIBED, data->reasonCode ? (int)data->reasonCode : data->code);
}

static void on_sent(void *ctx, MQTTAsync_successData5 *data)
{
    op_done(ctx, EV_PUBLISHED, (int)data->reasonCode);
}

static void on_unsent(void *ctx, MQTTAsync_failureData5 *data)
{
    op_done(ctx, EV_PUBLISHED, data->reasonCode ? (int)data->reasonCode : data->code);
}

static void on_gone(void *ctx, MQTTAsync_successData5 *data)
{
    (void)data;
    push(ctx, event_new(EV_GONE, 0));
}

static void on_not_gone(void *ctx, MQTTAsync_failureData5 *data)
{
    (void)data;
    push(ctx, event_new(EV_GONE, 0));
}

static int on_tls_error(const char *text, size_t len, void *ctx)
{
    struct link *link = ctx;

    (void)len;
    pthread_mutex_lock(&link->mutex);
    if (!link->tls_error[0])
        snprintf(link->tls_error, sizeof(link->tls_error), "%s", text);
    pthread_mutex_unlock(&link->mutex);
    return 1;
}

/* ---- the caller's thread ---- */

static struct op *op_new(struct link *link, uint64_t tag)
{
    struct op *op = xcalloc(1, sizeof(*op));

    op->link = link;
    op->tag = tag;
    op->generation = link->generation;
    op->next = link->ops.next;
    op->prev = &link->ops;
    op->next->prev = op;
    link->ops.next = op;
    return op;
}

static void op_free(struct op *op)
{
    op->prev->next = op->next;
    op->next->prev = op->prev;
    free(op);
}

const char *link_reason(int code)
{
    const char *text = code >= 0x80 ? MQTTReasonCode_toString((enum MQTTReasonCodes)code) : NULL;

    if (text)
        return text;
    switch (code) {
    case MQTTASYNC_DISCONNECTED:
    case MQTTASYNC_OPERATION_INCOMPLETE:
        return "connection lost";
    case MQTTASYNC_NO_MORE_MSGIDS:
    case MQTTASYNC_MAX_BUFFERED_MESSAGES:
        return "too many publications under way";
    default:
        return code > 0 ? strerror(code) : "connection failed";
    }
}

static void fail(struct link *link, int status)
{
    link->state = LINK_OVER;
    link->handlers.on_failed(link->handlers.ctx, status);
}

static void wait_before_retry(struct link *link)
{
    link->state = LINK_WAITING;
    link->next_try_ms = now_ms() + backoff_ms(link->attempts++, BACKOFF_BASE_MS, BACKOFF_CAP_MS);
}

static void fill_tls(struct link *link, MQTTAsync_SSLOptions *ssl)
{
    ssl->trustStore = link->conf->ca_file;
    ssl->enableServerCertAuth = 1;
    ssl->verify = 1; /* the certificate must be for the host that we asked for */
    ssl->ssl_error_cb = on_tls_error;
    ssl->ssl_error_context = link;
}

static void start_connect(struct link *link)
{
    MQTTAsync_connectOptions opts = MQTTAsync_connectOptions_initializer5;
    MQTTAsync_SSLOptions ssl = MQTTAsync_SSLOptions_initializer;
    MQTTProperties props = MQTTProperties_initializer;
    MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL,
                           .value.integer4 = SESSION_S};

    if (link->generation++ > 0 && config_reload_token(link->conf))
        say_error("logging in with the token as it was");
    opts.keepAliveInterval = (int)link->conf->keepalive_s;
    opts.cleanstart = !link->is_durable;
    opts.connectTimeout = (int)(link->conf->connect_timeout_ms / 1000) + 1;
    opts.binarypwd.data = link->conf->token;
    opts.binarypwd.len = (int)strlen(link->conf->token);
    opts.onSuccess5 = on_connected;
    opts.onFailure5 = on_unconnected;
    opts.context = link;
    if (link->is_durable) {
        MQTTProperties_add(&props, &expiry);
        opts.connectProperties = &props;
    }
    if (link->conf->is_tls) {
        fill_tls(link, &ssl);
        opts.ssl = &ssl;
    }
    link->state = LINK_CONNECTING;
    int rc = MQTTAsync_connect(link->client, &opts);
    MQTTProperties_free(&props);
    if (rc != MQTTASYNC_SUCCESS) {
        link->last_code = rc;
        wait_before_retry(link);
    }
}

static void start_subscribe(struct link *link)
{
    link->state = LINK_SUBSCRIBING;
    link->subscribed_ms = now_ms();
    link->confirmed = 0;
    for (size_t i = 0; i < link->sub_count; i++) {
        MQTTAsync_responseOptions opts = MQTTAsync_responseOptions_initializer;
        struct op *op = op_new(link, i);

        opts.onSuccess5 = on_subscribed;
        opts.onFailure5 = on_unsubscribed;
        opts.context = op;
        link->subs[i].is_confirmed = false;
        if (MQTTAsync_subscribe(link->client, link->subs[i].filter, 1, &opts))
            op_free(op); /* the connection is going; its loss will be reported */
    }
}

static void went_down(struct link *link, const char *why)
{
    bool was_up = link->state == LINK_UP;

    if (was_up && now_ms() - link->up_ms >= STABLE_MS)
        link->attempts = 0;
    if (was_up)
        say_error("connection lost (%s), reconnecting", why);
    wait_before_retry(link);
    if (was_up)
        link->handlers.on_down(link->handlers.ctx);
}

static void came_up(struct link *link)
{
    bool again = link->was_up;

    link->state = LINK_UP;
    link->up_ms = now_ms();
    link->was_up = true;
    link->refusals = 0;
    if (again)
        say_error("connected again");
    link->handlers.on_up(link->handlers.ctx, again);
}

/* Not worth repeating with the same login: everything but a busy or restarting broker. */
static bool is_final_refusal(int code)
{
    return code != MQTTREASONCODE_SERVER_UNAVAILABLE && code != MQTTREASONCODE_SERVER_BUSY &&
           code != MQTTREASONCODE_SERVER_SHUTTING_DOWN && code != MQTTREASONCODE_QUOTA_EXCEEDED &&
           code != MQTTREASONCODE_CONNECTION_RATE_EXCEEDED;
}

static void refused(struct link *link, int code)
{
    int64_t exp = link->conf->principal.expires_at;
    /* MQTT 3.1.1's codes, which an older broker answers with, are 1 to 5. */
    static const char *const old[] = {"",
                                      "unacceptable protocol version (MQTT 5 is needed)",
                                      "client id rejected",
                                      "server unavailable",
                                      "bad user name or password",
                                      "not authorized"};
    const char *reason = code > 0 && code < 6 ? old[code] : link_reason(code);

    if (exp && exp * 1000 < wall_ms())
        say_error("the broker refused the login: %s (the token expired %lld s ago)", reason,
                  (long long)(wall_ms() / 1000 - exp));
    else
        say_error("the broker refused the login: %s", reason);
    if (link->was_up && link->conf->token_file && ++link->refusals < REFUSALS_MAX) {
        wait_before_retry(link);
        return;
    }
    fail(link, CLI_REFUSED);
}

static void on_event_unconnected(struct link *link, const struct event *ev)
{
    char tls_error[sizeof(link->tls_error)];

    pthread_mutex_lock(&link->mutex);
    memcpy(tls_error, link->tls_error, sizeof(tls_error));
    link->tls_error[0] = '\0';
    pthread_mutex_unlock(&link->mutex);
    if (link->state != LINK_CONNECTING)
        return;
    link->last_code = ev->code;
    if (ev->is_connack && is_final_refusal(ev->code)) {
        refused(link, ev->code);
    } else if (strstr(tls_error, "certificate verify failed")) {
        say_error("the broker's certificate is not trusted (see --ca-file)");
        fail(link, CLI_REFUSED);
    } else {
        wait_before_retry(link);
    }
}

static void on_event_subscribed(struct link *link, const struct event *ev)
{
    struct subscription *sub = &link->subs[ev->op->tag];
    bool is_current = ev->op->generation == link->generation && link->state == LINK_SUBSCRIBING;

    op_free(ev->op);
    if (!is_current || ev->code < 0 || sub->is_confirmed)
        return;
    if (ev->code >= 0x80) {
        say_error("the broker refused the subscription to %s: %s", sub->filter,
                  link_reason(ev->code));
        if (!sub->is_optional) {
            fail(link, CLI_REFUSED);
            return;
        }
    }
    sub->is_confirmed = true;
    if (++link->confirmed == link->sub_count)
        came_up(link);
}

static void on_event_published(struct link *link, const struct event *ev)
{
    uint64_t tag = ev->op->tag;
    bool is_current = ev->op->generation == link->generation;

    op_free(ev->op);
    if (is_current)
        link->handlers.on_published(link->handlers.ctx, tag, ev->code);
}

static void on_event_kicked(struct link *link, const struct event *ev)
{
    if (ev->code == MQTTREASONCODE_SESSION_TAKEN_OVER) {
        say_error("another client took this session over");
        fail(link, CLI_REFUSED);
        return;
    }
    went_down(link, link_reason(ev->code));
}

static void handle(struct link *link, const struct event *ev)
{
    switch (ev->kind) {
    case EV_CONNECTED:
        if (link->state == LINK_CONNECTING)
            link->sub_count ? start_subscribe(link) : came_up(link);
        break;
    case EV_UNCONNECTED:
        on_event_unconnected(link, ev);
        break;
    case EV_LOST:
        if (link->state == LINK_UP || link->state == LINK_SUBSCRIBING)
            went_down(link, "no reason given");
        break;
    case EV_KICKED:
        if (link->state == LINK_UP || link->state == LINK_SUBSCRIBING)
            on_event_kicked(link, ev);
        break;
    case EV_SUBSCRIBED:
        on_event_subscribed(link, ev);
        break;
    case EV_PUBLISHED:
        on_event_published(link, ev);
        break;
    case EV_MESSAGE: {
        struct link_message msg = {ev->topic, ev->payload, ev->len, ev->is_retained};
        link->handlers.on_message(link->handlers.ctx, &msg);
        break;
    }
    case EV_GONE:
        break; /* comes after the end only, see link_dispatch() */
    }
}

void link_dispatch(struct link *link)
{
    uint64_t rings;
    struct event *ev;

    while (read(link->event_fd, &rings, sizeof(rings)) < 0 && errno == EINTR)
        continue;
    pthread_mutex_lock(&link->mutex);
    ev = link->first;
    link->first = NULL;
    link->last = &link->first;
    link->queued_bytes = 0;
    pthread_cond_broadcast(&link->drained);
    pthread_mutex_unlock(&link->mutex);
    while (ev) {
        struct event *next = ev->next;

        if (link->state != LINK_OVER)
            handle(link, ev);
        else if (ev->op)
            op_free(ev->op);
        else if (ev->kind == EV_GONE)
            link->is_gone = true;
        event_free(ev);
        ev = next;
    }
}

static void leave(struct link *link)
{
    MQTTAsync_disconnectOptions opts = MQTTAsync_disconnectOptions_initializer5;

    say_error("the broker does not answer the subscription, connecting again");
    if (MQTTAsync_disconnect(link->client, &opts) == MQTTASYNC_SUCCESS)
        wait_before_retry(link);
}

int64_t link_tick(struct link *link)
{
    int64_t now = now_ms();
    int64_t give_up_ms = link->opened_ms + link->conf->connect_timeout_ms;

    if (link->state == LINK_OVER || link->state == LINK_UP)
        return -1;
    bool is_limited = !link->was_up && !link->is_patient;
    if (is_limited && now >= give_up_ms) {
        say_error("cannot reach the broker at %s: %s%s", link->conf->url,
                  link->last_code ? link_reason(link->last_code) : "no answer",
                  link->last_code < 0 && link->conf->is_tls
                      ? " (or its certificate is for another host)"
                      : "");
        fail(link, CLI_TIMEOUT);
        return -1;
    }
    if (link->state == LINK_WAITING && now >= link->next_try_ms)
        start_connect(link);
    if (link->state == LINK_SUBSCRIBING && now - link->subscribed_ms >= SUBACK_MS)
        leave(link);
    int64_t due = link->state == LINK_WAITING ? link->next_try_ms - now : SUBACK_MS;
    if (is_limited && give_up_ms - now < due)
        due = give_up_ms - now;
    return due < 0 ? 0 : due;
}

int link_publish(struct link *link, const char *topic, const void *payload, size_t len,
                 uint64_t tag)
{
    MQTTAsync_responseOptions opts = MQTTAsync_responseOptions_initializer;
    MQTTAsync_message msg = MQTTAsync_message_initializer;

    if (link->state != LINK_UP)
        return -1;
    struct op *op = op_new(link, tag);
    opts.onSuccess5 = on_sent;
    opts.onFailure5 = on_unsent;
    opts.context = op;
    msg.payload = (void *)(uintptr_t)payload; /* copied, though the type does not say so */
    msg.payloadlen = (int)len;
    msg.qos = 1;
    if (MQTTAsync_sendMessage(link->client, topic, &msg, &opts) == MQTTASYNC_SUCCESS)
        return 0;
    op_free(op);
    return -1;
}

static size_t count_threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    size_t count = 0;

    while (dir && readdir(dir))
        count++;
    if (dir)
        closedir(dir);
    return count;
}

/*
 * The library's threads are detached, and it calls them gone a little too
 * early: exit() would take OpenSSL apart while one of them still cleans up
 * its part of it.
 */
static void wait_for_threads(const struct link *link)
{
    struct timespec look = {.tv_nsec = 1000000};
    int64_t until = now_ms() + THREADS_MS;

    while (count_threads() > link->threads_before && now_ms() < until)
        nanosleep(&look, NULL);
}

struct link *link_open(struct config *conf, const char *session,
                       const struct link_handlers *handlers)
{
    MQTTAsync_createOptions opts = MQTTAsync_createOptions_initializer5;
    struct link *link = xcalloc(1, sizeof(*link));
    unsigned char bytes[6];
    char suffix[2 * sizeof(bytes) + 1];

    random_bytes(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(suffix + 2 * i, 3, "%02x", bytes[i]);
    link->conf = conf;
    link->handlers = *handlers;
    link->is_durable = session != NULL;
    link->ops.prev = link->ops.next = &link->ops;
    link->last = &link->first;
    link->opened_ms = link->next_try_ms = now_ms();
    pthread_mutex_init(&link->mutex, NULL);
    pthread_cond_init(&link->drained, NULL);
    link->threads_before = count_threads();
    link->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    opts.maxBufferedMessages = 65535; /* the callers' own windows are the bound */
    char *client_id = principal_client_id(&conf->principal, session ? session : suffix);
    int rc = link->event_fd < 0
                 ? MQTTASYNC_FAILURE
                 : MQTTAsync_createWithOptions(&link->client, conf->url, client_id,
                                               MQTTCLIENT_PERSISTENCE_NONE, NULL, &opts);
    free(client_id);
    if (rc == MQTTASYNC_SUCCESS) {
        MQTTAsync_setCallbacks(link->client, link, on_lost, on_arrived, NULL);
        MQTTAsync_setDisconnected(link->client, link, on_kicked);
        return link;
    }
    say_error("cannot set the connection up (%d)", rc);
    link_close(link);
    return NULL;
}

void link_subscribe(struct link *link, const char *filter, bool is_optional)
{
    if (link->sub_count == LINK_MAX_SUBSCRIPTIONS) {
        say_error("too many subscriptions; not subscribing to %s", filter);
        return;
    }
    link->subs[link->sub_count++] =
        (struct subscription){.filter = xstrdup(filter), .is_optional = is_optional};
}

void link_be_patient(struct link *link, bool is_patient)
{
    link->is_patient = is_patient;
}

int link_fd(const struct link *link)
{
    return link->event_fd;
}

bool link_is_up(const struct link *link)
{
    return link->state == LINK_UP;
}

static void wait_for_event(struct link *link, int64_t until_ms)
{
    struct pollfd pfd = {.fd = link->event_fd, .events = POLLIN};
    int64_t left = until_ms - now_ms();

    poll(&pfd, 1, left > 0 ? (int)left : 0);
    link_dispatch(link);
}

/* What was published last, an acknowledgement say, should reach the broker still. */
static void say_goodbye(struct link *link)
{
    MQTTAsync_disconnectOptions opts = MQTTAsync_disconnectOptions_initializer5;
    int64_t until = now_ms() + GOODBYE_MS;

    link->state = LINK_OVER;
    while (MQTTAsync_isConnected(link->client) && link->ops.next != &link->ops && now_ms() < until)
        wait_for_event(link, until);
    opts.onSuccess5 = on_gone;
    opts.onFailure5 = on_not_gone;
    opts.context = link;
    if (!MQTTAsync_isConnected(link->client) || MQTTAsync_disconnect(link->client, &opts))
        return;
    while (!link->is_gone && now_ms() < until)
        wait_for_event(link, until);
}

void link_close(struct link *link)
{
    if (!link)
        return;
    if (link->client) {
        say_goodbye(link);
        MQTTAsync_destroy(&link->client); /* no callback comes after this */
        wait_for_threads(link);
    }
    for (struct event *ev = link->first, *next; ev; ev = next) {
        next = ev->next;
        event_free(ev);
    }
    while (link->ops.next != &link->ops)
        op_free(link->ops.next);
    for (size_t i = 0; i < link->sub_count; i++)
        free(link->subs[i].filter);
    if (link->event_fd >= 0)
        close(link->event_fd);
    pthread_cond_destroy(&link->drained);
    pthread_mutex_destroy(&link->mutex);
    free(link);
}

/* SPDX-License-Identifier: MIT */
#include "paho.h"

#include "ids.h"
#include "say.h"

#include <MQTTAsync.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define QUEUE_SOFT_MAX (8u << 20) /* bytes */
#define QUEUE_WAIT_MS  250
#define SESSION_S      86400
#define THREADS_MS     500

/* A subscription or publication under way; the library holds a pointer to it. */
struct paho_op {
    struct paho_op *prev, *next; /* in paho->ops: the caller's thread only */
    struct paho *paho;
    uint64_t tag;
    unsigned connects; /* how often we had connected when it began */
};

struct paho {
    MQTTAsync client;
    int event_fd;
    size_t threads_before; /* of this process, when there was no client */

    pthread_mutex_t mutex; /* guards the next five; nothing else is shared */
    pthread_cond_t drained;
    struct paho_event *first, **last;
    size_t queued_bytes;
    char tls_error[PAHO_TLS_ERROR];

    unsigned connects;
    struct paho_op ops; /* list head */
};

/* ---- the library's threads: copy, queue, ring ---- */

/* Under the mutex: lets the reader catch up, for a moment. */
static void hold_back(struct paho *paho)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += QUEUE_WAIT_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_cond_timedwait(&paho->drained, &paho->mutex, &until);
}

static void push(struct paho *paho, struct paho_event *ev)
{
    uint64_t one = 1;

    pthread_mutex_lock(&paho->mutex);
    if (paho->queued_bytes > QUEUE_SOFT_MAX && ev->kind == PAHO_MESSAGE)
        hold_back(paho);
    *paho->last = ev;
    paho->last = &ev->next;
    paho->queued_bytes += ev->len + sizeof(*ev);
    pthread_mutex_unlock(&paho->mutex);
    while (write(paho->event_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        continue;
}

static struct paho_event *event_new(enum paho_kind kind, int code)
{
    struct paho_event *ev = xcalloc(1, sizeof(*ev));

    ev->kind = kind;
    ev->code = code;
    return ev;
}

static void on_connected(void *ctx, MQTTAsync_successData5 *data)
{
    (void)data;
    push(ctx, event_new(PAHO_CONNECTED, 0));
}

static void on_unconnected(void *ctx, MQTTAsync_failureData5 *data)
{
    struct paho_event *ev = event_new(PAHO_UNCONNECTED, data->code);

    /* The library tells an errno from a reason code by this sentence only. */
    ev->is_connack = data->message && strcmp(data->message, "CONNACK return code") == 0;
    push(ctx, ev);
}

static void on_lost(void *ctx, char *cause)
{
    (void)cause;
    push(ctx, event_new(PAHO_LOST, 0));
}

static void on_kicked(void *ctx, MQTTProperties *props, enum MQTTReasonCodes code)
{
    (void)props;
    push(ctx, event_new(PAHO_KICKED, (int)code));
}

static int on_arrived(void *ctx, char *topic, int topic_len, MQTTAsync_message *msg)
{
    /* topic_len > 0 means an embedded NUL: no topic of ours. */
    if (topic_len == 0 || strlen(topic) == (size_t)topic_len) {
        struct paho_event *ev = event_new(PAHO_MESSAGE, 0);

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

static void op_done(struct paho_op *op, enum paho_kind kind, int code)
{
    struct paho_event *ev = event_new(kind, code);

    ev->op = op;
    push(op->paho, ev);
}

static int failure_code(const MQTTAsync_failureData5 *data)
{
    return data->reasonCode ? (int)data->reasonCode : data->code;
}

static void on_subscribed(void *ctx, MQTTAsync_successData5 *data)
{
    op_done(ctx, PAHO_SUBSCRIBED, (int)data->reasonCode);
}

static void on_unsubscribed(void *ctx, MQTTAsync_failureData5 *data)
{
    op_done(ctx, PAHO_SUBSCRIBED, failure_code(data));
}

static void on_sent(void *ctx, MQTTAsync_successData5 *data)
{
    (void)data; /* 1.3.12 does not fill its reason code in */
    op_done(ctx, PAHO_PUBLISHED, 0);
}

static void on_unsent(void *ctx, MQTTAsync_failureData5 *data)
{
    op_done(ctx, PAHO_PUBLISHED, failure_code(data));
}

static void on_gone(void *ctx, MQTTAsync_successData5 *data)
{
    (void)data;
    push(ctx, event_new(PAHO_GONE, 0));
}

static void on_not_gone(void *ctx, MQTTAsync_failureData5 *data)
{
    (void)data;
    push(ctx, event_new(PAHO_GONE, 0));
}

static int on_tls_error(const char *text, size_t len, void *ctx)
{
    struct paho *paho = ctx;

    (void)len;
    pthread_mutex_lock(&paho->mutex);
    if (!paho->tls_error[0])
        snprintf(paho->tls_error, sizeof(paho->tls_error), "%s", text);
    pthread_mutex_unlock(&paho->mutex);
    return 1;
}

/* ---- the caller's thread ---- */

static struct paho_op *op_new(struct paho *paho, uint64_t tag)
{
    struct paho_op *op = xcalloc(1, sizeof(*op));

    op->paho = paho;
    op->tag = tag;
    op->connects = paho->connects;
    op->next = paho->ops.next;
    op->prev = &paho->ops;
    op->next->prev = op;
    paho->ops.next = op;
    return op;
}

static void op_free(struct paho_op *op)
{
    op->prev->next = op->next;
    op->next->prev = op->prev;
    free(op);
}

void paho_event_free(struct paho_event *ev)
{
    free(ev->topic);
    free(ev->payload);
    free(ev);
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
static void wait_for_threads(const struct paho *paho)
{
    struct timespec look = {.tv_nsec = 1000000};
    int64_t until = now_ms() + THREADS_MS;

    while (count_threads() > paho->threads_before && now_ms() < until)
        nanosleep(&look, NULL);
}

struct paho *paho_new(const char *url, const char *client_id)
{
    MQTTAsync_createOptions opts = MQTTAsync_createOptions_initializer5;
    struct paho *paho = xcalloc(1, sizeof(*paho));
    int rc = MQTTASYNC_FAILURE;

    paho->ops.prev = paho->ops.next = &paho->ops;
    paho->last = &paho->first;
    pthread_mutex_init(&paho->mutex, NULL);
    pthread_cond_init(&paho->drained, NULL);
    paho->threads_before = count_threads();
    paho->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    opts.maxBufferedMessages = 65535; /* the callers' own windows are the bound */
    if (paho->event_fd >= 0)
        rc = MQTTAsync_createWithOptions(&paho->client, url, client_id, MQTTCLIENT_PERSISTENCE_NONE,
                                         NULL, &opts);
    if (rc == MQTTASYNC_SUCCESS) {
        MQTTAsync_setCallbacks(paho->client, paho, on_lost, on_arrived, NULL);
        MQTTAsync_setDisconnected(paho->client, paho, on_kicked);
        return paho;
    }
    say_error("cannot set the connection up (%d)", rc);
    paho_free(paho);
    return NULL;
}

int paho_fd(const struct paho *paho)
{
    return paho->event_fd;
}

int paho_connect(struct paho *paho, const struct config *conf, bool is_durable)
{
    MQTTAsync_connectOptions opts = MQTTAsync_connectOptions_initializer5;
    MQTTAsync_SSLOptions ssl = MQTTAsync_SSLOptions_initializer;
    MQTTProperties props = MQTTProperties_initializer;
    MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL,
                           .value.integer4 = SESSION_S};

    paho->connects++;
    opts.keepAliveInterval = (int)conf->keepalive_s;
    opts.cleanstart = !is_durable;
    opts.connectTimeout = (int)(conf->connect_timeout_ms / 1000) + 1;
    opts.binarypwd.data = conf->token;
    opts.binarypwd.len = (int)strlen(conf->token);
    opts.onSuccess5 = on_connected;
    opts.onFailure5 = on_unconnected;
    opts.context = paho;
    if (is_durable) {
        MQTTProperties_add(&props, &expiry);
        opts.connectProperties = &props;
    }
    if (conf->is_tls) {
        ssl.trustStore = conf->ca_file;
        ssl.enableServerCertAuth = 1;
        ssl.verify = 1; /* the certificate must be for the host that we asked for */
        ssl.ssl_error_cb = on_tls_error;
        ssl.ssl_error_context = paho;
        opts.ssl = &ssl;
    }
    int rc = MQTTAsync_connect(paho->client, &opts);
    MQTTProperties_free(&props);
    return rc;
}

int paho_subscribe(struct paho *paho, const char *filter, uint64_t tag)
{
    MQTTAsync_responseOptions opts = MQTTAsync_responseOptions_initializer;
    struct paho_op *op = op_new(paho, tag);

    opts.onSuccess5 = on_subscribed;
    opts.onFailure5 = on_unsubscribed;
    opts.context = op;
    int rc = MQTTAsync_subscribe(paho->client, filter, 1, &opts);
    if (rc)
        op_free(op);
    return rc;
}

int paho_publish(struct paho *paho, const char *topic, const void *payload, size_t len,
                 uint64_t tag)
{
    MQTTAsync_responseOptions opts = MQTTAsync_responseOptions_initializer;
    MQTTAsync_message msg = MQTTAsync_message_initializer;
    struct paho_op *op = op_new(paho, tag);

    opts.onSuccess5 = on_sent;
    opts.onFailure5 = on_unsent;
    opts.context = op;
    msg.payload = (void *)(uintptr_t)payload; /* copied, though the type does not say so */
    msg.payloadlen = (int)len;
    msg.qos = 1;
    int rc = MQTTAsync_sendMessage(paho->client, topic, &msg, &opts);
    if (rc)
        op_free(op);
    return rc;
}

int paho_disconnect(struct paho *paho)
{
    MQTTAsync_disconnectOptions opts = MQTTAsync_disconnectOptions_initializer5;

    opts.onSuccess5 = on_gone;
    opts.onFailure5 = on_not_gone;
    opts.context = paho;
    return MQTTAsync_disconnect(paho->client, &opts);
}

bool paho_is_connected(const struct paho *paho)
{
    return MQTTAsync_isConnected(paho->client);
}

bool paho_has_open(const struct paho *paho)
{
    return paho->ops.next != &paho->ops;
}

struct paho_event *paho_take(struct paho *paho)
{
    struct paho_event *first, **at = &first;
    uint64_t rings;

    while (read(paho->event_fd, &rings, sizeof(rings)) < 0 && errno == EINTR)
        continue;
    pthread_mutex_lock(&paho->mutex);
    first = paho->first;
    paho->first = NULL;
    paho->last = &paho->first;
    paho->queued_bytes = 0;
    pthread_cond_broadcast(&paho->drained);
    pthread_mutex_unlock(&paho->mutex);
    while (*at) {
        struct paho_event *ev = *at;
        bool is_stale = ev->op && ev->op->connects != paho->connects;

        if (ev->op) {
            ev->tag = ev->op->tag;
            op_free(ev->op);
            ev->op = NULL;
        }
        if (is_stale) {
            *at = ev->next;
            paho_event_free(ev);
        } else {
            at = &ev->next;
        }
    }
    return first;
}

void paho_tls_error(struct paho *paho, char out[PAHO_TLS_ERROR])
{
    pthread_mutex_lock(&paho->mutex);
    memcpy(out, paho->tls_error, PAHO_TLS_ERROR);
    paho->tls_error[0] = '\0';
    pthread_mutex_unlock(&paho->mutex);
}

const char *paho_reason(int code)
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

void paho_free(struct paho *paho)
{
    if (!paho)
        return;
    if (paho->client) {
        MQTTAsync_destroy(&paho->client); /* no callback comes after this */
        wait_for_threads(paho);
    }
    for (struct paho_event *ev = paho->first, *next; ev; ev = next) {
        next = ev->next;
        paho_event_free(ev);
    }
    while (paho_has_open(paho))
        op_free(paho->ops.next);
    if (paho->event_fd >= 0)
        close(paho->event_fd);
    pthread_cond_destroy(&paho->drained);
    pthread_mutex_destroy(&paho->mutex);
    free(paho);
}

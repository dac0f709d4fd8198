/* SPDX-License-Identifier: MIT */
#include "sink_http2.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_SIZE = 32 * 1024,
    WRITE_SIZE = 64 * 1024,
    BODY_MAX = 1 << 20,
    PATH_MAX_BYTES = 512,
    KEY_MAX_BYTES = 128,
    STREAMS = 1000,
    WINDOW = 1 << 24,
};

struct peer;

/* One stream, from its HEADERS to its end. */
struct stream {
    struct sink_wait wait;
    struct peer *peer;
    struct stream *next, *prev; /* all of the peer */
    int32_t number;
    char path[PATH_MAX_BYTES];
    size_t path_len;
    char key[KEY_MAX_BYTES];
    size_t key_len;
    char *body;
    size_t body_len;
    struct sink_reply reply;
    size_t reply_sent;
};

struct peer {
    struct sink_watch watch; /* first, so that a watch is its peer */
    struct sink *sink;
    SSL *ssl;
    nghttp2_session *session;
    struct stream *streams;
    unsigned char *out; /* encrypted only as far as the socket takes it */
    size_t out_len;
    size_t out_sent;
};

struct listener {
    struct sink_watch watch; /* first */
    SSL_CTX *tls;
    nghttp2_session_callbacks *callbacks;
};

/* Streams */

static void stream_free(struct stream *stream)
{
    struct peer *peer = stream->peer;

    sink_forget(peer->sink, &stream->wait);
    *(stream->prev ? &stream->prev->next : &peer->streams) = stream->next;
    if (stream->next != NULL)
        stream->next->prev = stream->prev;
    free(stream->body);
    free(stream);
}

static void peer_close(struct peer *peer)
{
    while (peer->streams != NULL)
        stream_free(peer->streams);
    sink_close(peer->sink, &peer->watch);
}

static void peer_free(struct sink_watch *watch)
{
    struct peer *peer = (struct peer *)watch;

    while (peer->streams != NULL)
        stream_free(peer->streams);
    nghttp2_session_del(peer->session);
    SSL_free(peer->ssl);
    free(peer->out);
    free(peer);
}

/* Writing: what the session has to say, through TLS, as far as the socket takes it. */

static size_t gather(struct peer *peer)
{
    const uint8_t *data;
    ssize_t n;

    while (peer->out_len < WRITE_SIZE && (n = nghttp2_session_mem_send(peer->session, &data)) > 0) {
        peer->out = sink_must(realloc(peer->out, peer->out_len + (size_t)n));
        memcpy(peer->out + peer->out_len, data, (size_t)n);
        peer->out_len += (size_t)n;
    }
    return peer->out_len;
}

static void peer_flush(struct peer *peer)
{
    while (peer->watch.fd >= 0 && (peer->out_len > 0 || gather(peer) > 0)) {
        int n =
            SSL_write(peer->ssl, peer->out + peer->out_sent, (int)(peer->out_len - peer->out_sent));

        if (n <= 0) {
            int why = SSL_get_error(peer->ssl, n);

            ERR_clear_error();
            if (why == SSL_ERROR_WANT_WRITE || why == SSL_ERROR_WANT_READ)
                sink_want_out(peer->sink, &peer->watch, why == SSL_ERROR_WANT_WRITE);
            else
                peer_close(peer);
            return;
        }
        peer->out_sent += (size_t)n;
        if (peer->out_sent == peer->out_len)
            peer->out_sent = peer->out_len = 0;
    }
    if (peer->watch.fd < 0)
        return;
    sink_want_out(peer->sink, &peer->watch, false);
    if (!nghttp2_session_want_read(peer->session) && !nghttp2_session_want_write(peer->session))
        peer_close(peer);
}

static ssize_t body_read(nghttp2_session *session, int32_t number, uint8_t *buffer, size_t size,
                         uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct stream *stream = source->ptr;
    size_t left = strlen(stream->reply.body) - stream->reply_sent;
    size_t n = left < size ? left : size;

    (void)session;
    (void)number;
    (void)user;
    memcpy(buffer, stream->reply.body + stream->reply_sent, n);
    stream->reply_sent += n;
    if (n == left)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static nghttp2_nv field(const char *name, const char *value)
{
    nghttp2_nv nv = {(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                     strlen(value), NGHTTP2_NV_FLAG_NONE};

    return nv;
}

static void answer(struct stream *stream, const struct sink_kind *kind)
{
    struct sink *sink = stream->peer->sink;
    nghttp2_data_provider body = {.source.ptr = stream, .read_callback = body_read};
    nghttp2_nv fields[4];
    char status[16], length[32];
    size_t count = 0;
    bool has_body;

    sink_api_reply(&sink->api, kind, &stream->reply);
    has_body = stream->reply.body[0] != '\0';
    snprintf(status, sizeof(status), "%d", stream->reply.status);
    fields[count++] = field(":status", status);
    if (stream->reply.header != NULL)
        fields[count++] = field(stream->reply.header, stream->reply.value);
    if (has_body) {
        snprintf(length, sizeof(length), "%zu", strlen(stream->reply.body));
        fields[count++] = field("content-type", "application/json");
        fields[count++] = field("content-length", length);
    }
    nghttp2_submit_response(stream->peer->session, stream->number, fields, count,
                            has_body ? &body : NULL);
    sink_sent(sink);
}

static void on_due(struct sink *sink, struct sink_wait *wait)
{
    struct stream *stream = (struct stream *)((char *)wait - offsetof(struct stream, wait));
    struct peer *peer = stream->peer;
    const struct sink_kind *kind = wait->kind;

    sink_forget(sink, wait);
    answer(stream, kind);
    peer_flush(peer);
}

/* Reading: the session's callbacks */

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct peer *peer = user;
    struct stream *stream;

    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    stream = sink_must(calloc(1, sizeof(*stream)));
    stream->peer = peer;
    stream->number = frame->hd.stream_id;
    stream->wait.on_due = on_due;
    stream->next = peer->streams;
    if (peer->streams != NULL)
        peer->streams->prev = stream;
    peer->streams = stream;
    nghttp2_session_set_stream_user_data(session, stream->number, stream);
    return 0;
}

static bool is_name(const uint8_t *name, size_t len, const char *wanted)
{
    return len == strlen(wanted) && memcmp(name, wanted, len) == 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user)
{
    struct stream *stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    (void)flags;
    (void)user;
    if (stream == NULL)
        return 0;
    if (is_name(name, name_len, ":path")) {
        stream->path_len = value_len < PATH_MAX_BYTES ? value_len : PATH_MAX_BYTES;
        memcpy(stream->path, value, stream->path_len);
    } else if (is_name(name, name_len, "webhook-id") || is_name(name, name_len, "apns-id") ||
               is_name(name, name_len, "idempotency-key")) {
        stream->key_len = value_len < KEY_MAX_BYTES ? value_len : KEY_MAX_BYTES;
        memcpy(stream->key, value, stream->key_len);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t number, const uint8_t *data,
                   size_t len, void *user)
{
    struct stream *stream = nghttp2_session_get_stream_user_data(session, number);

    (void)flags;
    (void)user;
    if (stream == NULL)
        return 0;
    if (stream->body_len + len > BODY_MAX)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    stream->body = sink_must(realloc(stream->body, stream->body_len + len + 1));
    memcpy(stream->body + stream->body_len, data, len);
    stream->body_len += len;
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct peer *peer = user;
    struct stream *stream;
    struct sink_request request;

    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM) ||
        (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
        return 0;
    stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (stream == NULL)
        return 0;
    request = (struct sink_request){stream->path,
                                    stream->path_len,
                                    stream->key_len > 0 ? stream->key : NULL,
                                    stream->key_len,
                                    stream->body ? stream->body : "",
                                    stream->body_len};
    if (sink_take(peer->sink, &stream->wait, &request)) {
        answer(stream, stream->wait.kind);
        stream->wait.kind = NULL;
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t number, uint32_t code, void *user)
{
    struct stream *stream = nghttp2_session_get_stream_user_data(session, number);

    (void)code;
    (void)user;
    if (stream != NULL)
        stream_free(stream);
    return 0;
}

static void peer_read(struct peer *peer)
{
    unsigned char buffer[READ_SIZE];

    for (;;) {
        int n = SSL_read(peer->ssl, buffer, sizeof(buffer));

        if (n <= 0) {
            int why = SSL_get_error(peer->ssl, n);

            ERR_clear_error();
            if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
                peer_close(peer);
            return;
        }
        if (nghttp2_session_mem_recv(peer->session, buffer, (size_t)n) != n) {
            peer->sink->bad++;
            peer_close(peer);
            return;
        }
    }
}

static void on_peer(struct sink *sink, struct sink_watch *watch, uint32_t events)
{
    struct peer *peer = (struct peer *)watch;

    (void)sink;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        peer_read(peer);
    if (watch->fd >= 0 && SSL_is_init_finished(peer->ssl))
        peer_flush(peer);
}

/* Accepting */

static int peer_start(struct peer *peer, const struct listener *listener, int fd)
{
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS},
                                         {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW}};

    peer->ssl = SSL_new(listener->tls);
    if (peer->ssl == NULL || SSL_set_fd(peer->ssl, fd) != 1 ||
        nghttp2_session_server_new(&peer->session, listener->callbacks, peer))
        return -1;
    SSL_set_accept_state(peer->ssl);
    nghttp2_submit_settings(peer->session, NGHTTP2_FLAG_NONE, settings, 2);
    nghttp2_session_set_local_window_size(peer->session, NGHTTP2_FLAG_NONE, 0, WINDOW);
    return sink_watch_add(peer->sink, &peer->watch, fd, true);
}

static void on_listener(struct sink *sink, struct sink_watch *watch, uint32_t events)
{
    struct listener *listener = (struct listener *)watch;
    int fd;

    (void)events;
    while ((fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct peer *peer = sink_must(calloc(1, sizeof(*peer)));

        peer->sink = sink;
        peer->watch.on_event = on_peer;
        peer->watch.on_free = peer_free;
        if (peer_start(peer, listener, fd)) {
            close(fd);
            peer_free(&peer->watch);
        }
    }
}

static void listener_free(struct sink_watch *watch)
{
    struct listener *listener = (struct listener *)watch;

    SSL_CTX_free(listener->tls);
    nghttp2_session_callbacks_del(listener->callbacks);
    free(listener);
}

static int choose_h2(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                     const unsigned char *in, unsigned in_len, void *user)
{
    (void)ssl;
    (void)user;
    for (unsigned i = 0; i < in_len; i += in[i] + 1u) {
        if (in[i] == 2 && i + 2 < in_len && memcmp(in + i + 1, "h2", 2) == 0) {
            *out = in + i + 1;
            *out_len = 2;
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static SSL_CTX *make_tls(const char *cert_file, const char *key_file)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());

    if (tls == NULL || SSL_CTX_use_certificate_chain_file(tls, cert_file) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, key_file, SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        SSL_CTX_free(tls);
        return NULL;
    }
    SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_alpn_select_cb(tls, choose_h2, NULL);
    return tls;
}

static nghttp2_session_callbacks *make_callbacks(void)
{
    nghttp2_session_callbacks *callbacks;

    if (nghttp2_session_callbacks_new(&callbacks))
        return NULL;
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    return callbacks;
}

int sink_http2_open(struct sink *sink, uint16_t *port, const char *cert_file, const char *key_file)
{
    struct listener *listener = sink_must(calloc(1, sizeof(*listener)));
    int fd = -1;

    listener->watch.on_event = on_listener;
    listener->watch.on_free = listener_free;
    listener->tls = make_tls(cert_file, key_file);
    listener->callbacks = make_callbacks();
    if (listener->tls == NULL || listener->callbacks == NULL || (fd = sink_listen(port)) < 0 ||
        sink_watch_add(sink, &listener->watch, fd, false)) {
        fprintf(stderr, "sink: no TLS port: %s\n", strerror(errno));
        listener_free(&listener->watch);
        return -1;
    }
    return 0;
}

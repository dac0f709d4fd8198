/* SPDX-License-Identifier: MIT */
/*
 * http_client_private - what the files of http_client share and nobody else sees
 *
 * http_client.c has the engine, http_request.c turns a request into libcurl options,
 * http_response.c turns libcurl's results into ours, http_address.c is the SSRF guard,
 * http_memory.c where libcurl's upload buffers are.
 * http_mail.c has mails and the servers they go to, http_session.c the talk with one of them.
 */
#ifndef TOCSIN_IO_HTTP_CLIENT_PRIVATE_H
#define TOCSIN_IO_HTTP_CLIENT_PRIVATE_H
#include "base/buf.h"
#include "base/list.h"
#include "io/http_client.h"
#include <curl/curl.h>
#include <sys/socket.h>

/*
 * One of libcurl's sockets.  Its watch lives as long as the descriptor, since telling epoll
 * costs two system calls each time: after a request libcurl wants nothing, and with the next
 * one on the same connection the same as before.
 */
struct http_socket {
    struct http_engine *engine;
    struct loop_watch watch;
    int fd;
    int wanted; /* LOOP_READ | LOOP_WRITE, or 0 between requests */
    /*
     * These end in on_close_socket(): connections that have been made, of which libcurl wants to
     * read.  It closes by itself the resolver's pairs and sockets that it was still connecting.
     */
    bool is_connection, was_read;
    /* A mail session's: libcurl has made the connection, and looks at it no more. */
    void (*on_lent)(void *ctx, int events);
    void *lent_ctx;
};

/*
 * A multi handle.  Requests to hosts that speak HTTP/2 have one of their own, which makes few
 * connections to each: libcurl would otherwise make another for each request beyond the
 * streams that a server allows on one.
 */
struct http_engine {
    struct http_client *client;
    CURLM *multi;
    struct loop_timer timer; /* libcurl's */
};

struct http_client {
    struct loop *loop;
    struct http_client_config config;
    struct http_engine many, few;
    struct list calls, resting;    /* of struct http_call */
    struct list sessions, waiting; /* of struct mail_session; of mails that have none yet */
    struct http_socket **sockets;  /* by descriptor */
    size_t socket_slots;
    struct loop_timer look; /* at how many resting calls are worth keeping */
    int64_t look_ms;        /* between two looks */
    size_t peak;            /* calls at once since the last look */
    bool is_looking;
    unsigned depth; /* of our functions on the stack; the last one out frees */
    bool is_closed, renews_handles;
};

/* Where a mail goes and as whom: what two mails must have in common to share a session. */
struct mail_server {
    struct http_mail mail; /* host, port, tls, ca_file, username, is_bearer, times: the rest is 0 */
    struct secret password;
    char *route; /* the same text for the same server and login */
};

/* One request under way, or resting with its handle in the pool. */
struct http_call {
    struct list_node node; /* in client->calls or client->resting */
    struct http_client *client;
    struct http_engine *engine; /* whose handle it is under way on; NULL before and after */
    CURL *easy;                 /* NULL while it rests, where handles are renewed */
    struct loop_timer deadline;
    http_response_fn *on_response;
    void *ctx;
    int64_t started_us;

    struct curl_slist *headers, *recipients;
    struct buf sent;      /* body or message: libcurl reads it where it is */
    size_t sent_at;       /* mail: how much has been written; sent is its text with its last dot */
    size_t message_bytes; /* mail: as it was given */
    struct buf received;  /* body, or the last SMTP reply with all its lines, by \n */
    size_t received_max;
    size_t header_bytes;
    unsigned starts; /* times a connection was about to carry the request */
    bool is_mail, is_public_only;
    bool is_few; /* goes by the engine of that name */
    /* Of a mail: where it is; of a session's own call (is_carrier): whose connection this is. */
    struct mail_session *session;
    struct list_node waiting;              /* in client->waiting */
    struct mail_server *server;            /* owned */
    char *from;                            /* the envelope's sender */
    int mail_status;                       /* the reply that decided */
    enum http_stage mail_stage;            /* and what it answered */
    bool has_more_lines;                   /* the last line kept says that another follows */
    bool is_carrier, needs_utf8, has_utf8; /* SMTPUTF8 (RFC 6531): wanted; offered */
    bool has_size;                         /* SIZE (RFC 1870) is offered */
    bool is_forbidden, is_too_large;       /* why we broke it off */
    bool is_refused; /* HTTP/2: the server says that it has not processed the request */
};

/* Fill a call's handle.  ERR_INVALID leaves it unusable for now; the engine cleans up. */
NODISCARD int http_call_prepare(struct http_call *call, const struct http_request *request);
NODISCARD int http_mail_prepare(struct http_call *call, const struct http_mail *mail);
/* What a carrier needs to open a session with the server. */
void http_mail_prepare_carrier(struct http_call *carrier, const struct mail_server *server);
void http_mail_server_free(struct mail_server *server); /* NULL is allowed */
/* What both have in common. */
void http_call_prepare_common(struct http_call *call, const char *ca_file, int64_t connect_ms,
                              int64_t timeout_ms);
/* No CR, LF or NUL can be in it: it goes into a line of a protocol. */
bool http_is_one_line(const char *text);

/* ---- http_client.c ---- */
struct http_call *http_call_take(struct http_client *client);
/* Back into the pool, without a trace of what it carried. */
void http_call_rest(struct http_call *call);
/* Hands the call's handle to libcurl, and takes it back. */
void http_call_add(struct http_call *call, struct http_engine *engine);
void http_call_remove(struct http_call *call);
/* Calls back and lets it rest. */
void http_call_end(struct http_call *call, CURLcode code);
/* While a callback may come, nothing of the client is freed. */
void http_client_enter(struct http_client *client);
void http_client_leave(struct http_client *client);
/* Watches a socket that libcurl has made ready and does not look at any more. */
void http_socket_lend(struct http_client *client, int fd, int wanted,
                      void (*on_lent)(void *ctx, int events), void *ctx);

/* ---- http_mail.c ---- */
/* libcurl has opened the session that this call carries, or has not. */
void http_mail_opened(struct http_call *carrier, CURLcode code);
/* Gives the mail a session, opens one for it, or lets it wait for one.  Never calls back at once.
 */
void http_mail_assign(struct http_call *call);
/* The call ends: it waits no more, and a session in the middle of it goes. */
void http_mail_detach(struct http_call *call);
/* A session is free, or gone: those that wait go on. */
void http_mail_serve(struct http_client *client);
void http_mail_close_all(struct http_client *client);

/* ---- http_session.c ---- */
/* Starts to open one; it takes the call as its first mail. */
void mail_session_open(struct http_call *call);
void mail_session_close(struct mail_session *session);
/* Lets a free session carry the mail, soon. */
void mail_session_give(struct mail_session *session, struct http_call *call);
void mail_session_opened(struct mail_session *session, CURLcode code);
/* The mail that it carries has ended without it. */
void mail_session_abandon(struct mail_session *session);
/* The next free one of this route, or NULL; and how many there are. */
struct mail_session *mail_session_find(struct http_client *client, const char *route,
                                       size_t *count);

/* Fills response from a call that ended with code; valid while the call is. */
void http_call_result(struct http_call *call, CURLcode code, struct http_response *response);

/* http_memory.c: libcurl's global start with an allocator that knows its upload buffers. */
#define HTTP_UPLOAD_BYTES 16384 /* of each request by HTTP/2: the least that libcurl takes */
CURLcode http_memory_init(void);
void http_memory_fini(void); /* after libcurl's */
/* As malloc(), free() and realloc(). */
void *http_memory_take(size_t bytes);
void http_memory_give(void *block);
void *http_memory_resize(void *block, size_t bytes);
/* Drops the pages of the buffers, if none is in use. */
void http_memory_give_back(void);

/* Finds libnghttp2 behind our own functions of its names (http_reset.c says why). */
void http_reset_init(void);

/* Whether an address is on the public Internet: routable, unicast, not ours. */
bool http_address_is_public(const struct sockaddr *address);
bool http_address_text_is_public(const char *text);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * call - one attempt over HTTP or SMTP: what every adapter does between send() and on_outcome
 *
 * An adapter fills a call (URL, headers, body), sends it with a judge, and is done: the judge
 * turns the answer into an outcome.  Failures below HTTP are judged here, the same for all.
 * Nothing of the request is kept once it is on its way.
 *
 * Over HTTP/2 the first request goes alone, and so does the first after a quiet time or a lost
 * connection: a server may allow one stream until it knows us, and libcurl would open a
 * connection for each of the others.  Until its answer the others are refused with ERR_FULL.
 *
 * An attempt may take several requests (a token, attachments, once more after a refusal): they
 * share the destination's timeout, so that all of them end within the delivery's lease.
 *
 * Ownership: a call belongs to whoever holds it until call_send() or call_refuse() takes it; it
 *            dies when its outcome has been handed on.  All its texts live in call->arena,
 *            which dies as soon as the request has been sent.
 * Errors:    call_send() frees the call when it fails, so that an adapter's send() can return
 *            its result as it is.  Once send() has returned (is_late), it never fails.
 */
#ifndef TOCSIN_CHANNELS_CALL_H
#define TOCSIN_CHANNELS_CALL_H
#include "base/arena.h"
#include "base/buf.h"
#include "channels/adapter.h"
#include "channels/content.h"
#include "channels/http_outcome.h"
#include "channels/settings.h"

#define CALL_HEADERS_MAX 24

/* Where a destination's requests go, and on what terms; part of every adapter's state. */
struct endpoint {
    struct adapter_env env;
    char *name;     /* the destination's */
    char *base_url; /* without a slash at the end; NULL when the adapter has none */
    char *ca_file;  /* NULL takes the system's */
    int64_t connect_ms, timeout_ms;
    bool is_public_only;
    bool may_fetch_private; /* attachments by URL */
    bool is_few;            /* the hosts behind the targets speak HTTP/2: few connections to each */
    bool is_target_only;    /* every target is its own server: outcomes are about it alone */
    enum http_version version;
    size_t response_max; /* 0 takes the engine's */
    /* HTTP/2 alone: */
    unsigned under_way;
    int64_t warm_until_ms; /* wall; a connection is there, by the last answer */
};

/* The keys that endpoint_init() reads, for the head of an adapter's table. */
#define ENDPOINT_KEYS(default_url) \
    {"base_url", ADAPTER_URL, false, default_url, "where the provider's API is"}, CA_FILE_KEY
#define CA_FILE_KEY                                                    \
    {                                                                  \
        "ca_file", ADAPTER_FILE, false, NULL,                          \
            "certificate authorities to trust instead of the system's" \
    }

void endpoint_init(struct endpoint *endpoint, const struct adapter_env *env,
                   const struct settings *settings);
void endpoint_fini(struct endpoint *endpoint);
/* base_url and a path, the caller's own; NULL without a base_url. */
char *endpoint_url(const struct endpoint *endpoint, const char *path);

struct call;
/*
 * Turns an answer with a status into an outcome and returns true; or takes the call on (to
 * send it again) and returns false.
 */
typedef bool call_judge_fn(struct call *call, const struct http_response *response,
                           struct outcome *outcome);

struct call {
    struct endpoint *endpoint; /* borrowed */
    const struct job *job;     /* borrowed until on_outcome returns */
    adapter_outcome_fn *on_outcome;
    void *ctx;
    void *state;         /* the adapter's, borrowed */
    struct arena *arena; /* NULL once the request is on its way */
    struct content content;
    struct http_header headers[CALL_HEADERS_MAX];
    unsigned header_count;
    struct buf body;
    call_judge_fn *judge;
    bool is_mail;
    bool is_late;          /* send() has returned 0 already: only an outcome can end this */
    int segments;          /* SMS; 0 when not applicable */
    int64_t deadline_ms;   /* wall; of the attempt */
    int tries;             /* how often it was sent; for judges that send again */
    bool has_own_sender;   /* the request chose it: a sender that is refused is its own fault */
    bool is_shared_target; /* the address is the destination's own, not the recipient's */
    void *extra;           /* the adapter's, for as long as the call lives */
    void (*on_drop)(struct call *call); /* before it dies; may be NULL */
    struct loop_timer timer;
    struct outcome *refusal; /* owned; set while the timer is armed */
};

/*
 * A new call with the content parsed for the channel.  When the content cannot be used it is
 * refused here and NULL is returned: send() then returns 0.
 */
struct call *call_new(struct endpoint *endpoint, enum channel channel, const struct job *job,
                      adapter_outcome_fn *on_outcome, void *ctx);
/* Name and value are borrowed until call_send(); NULL values are skipped. */
void call_header(struct call *call, const char *name, const char *value);
/* POSTs call->body with call->headers. */
NODISCARD int call_send(struct call *call, const char *url, call_judge_fn *judge);
/* The same with more of the request chosen by the adapter; headers and body are the call's. */
NODISCARD int call_send_request(struct call *call, struct http_request *request,
                                call_judge_fn *judge);
/* The judge sees failures below SMTP too. */
NODISCARD int call_send_mail(struct call *call, const struct http_mail *mail, call_judge_fn *judge);
/*
 * Judges an answer by the table, then by the bare status, with what this call knows of its sender
 * and target.  code and text as in http_outcome_of_status().
 */
void call_judge_status(const struct call *call, const struct http_response *response,
                       const struct error_table *table, const char *code, const char *text,
                       struct outcome *outcome);
/* What is left for the next request: at most the destination's timeout, at least a second. */
int64_t call_time_left_ms(const struct call *call);
/* Makes a call that was sent ready to be built and sent again. */
void call_rewind(struct call *call, enum channel channel);
/* Ends the call with an outcome of our own, later, as the contract of send() wants it. */
void call_refuse(struct call *call, enum outcome_kind kind, enum reason reason, const char *detail);
/* The same for a target that can never be an address of this channel: it is taken out of use. */
void call_refuse_target(struct call *call, const char *detail);
/* call_end() ends it at once: only from a callback of the loop. */
void call_end(struct call *call, struct outcome *outcome);
/*
 * A request was refused by the engine: drops the call and returns err for send() to return, or
 * ends a late one with a retry and returns 0.  call_send() and its like do this themselves.
 */
NODISCARD int call_unsent(struct call *call, int err);
/* Frees a call that nobody will hear of again: send() failed. */
void call_drop(struct call *call);

#endif

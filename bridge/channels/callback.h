/* SPDX-License-Identifier: MIT */
/*
 * callback - what a provider tells us by HTTP about messages it took: verified, then understood
 *
 * One reader for each provider, in callback_<provider>.c.  A reader first proves that the
 * provider sent these very bytes (to this URL, where the provider signs that), comparing in
 * constant time, and only then looks inside.  What is believed becomes events; what a provider
 * says that is of no interest (clicked, a message without a keyword) becomes none, and is still
 * answered well.  Providers of SMS also hand on what people answer: that is looked through for
 * STOP and START.
 *
 * Nothing that was proved is thrown away: what is not JSON, has no name or id, or a name that the
 * reader does not know, is in `unread`, as it came, and its readable neighbours are events.
 *
 * Purity:    no I/O, no clock: the time and a fetched certificate are handed in.  What must be
 *            fetched is named in the result, and the reader is asked again.
 * Ownership: everything in a result lives in its arena; an account owns its texts.
 */
#ifndef TOCSIN_CHANNELS_CALLBACK_H
#define TOCSIN_CHANNELS_CALLBACK_H
#include "base/arena.h"
#include "base/err.h"
#include "base/secret.h"
#include "channels/adapter.h"
#include "core/keyword.h"
#include "core/outcome.h"
#include "core/report.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CALLBACK_EVENTS_MAX 5000 /* in one request */

struct callback_request {
    const char *method, *query; /* query as sent, "" when there is none */
    const char *url;            /* the whole, as the provider was told it, query included */
    const char *(*header)(void *ctx, const char *name);
    void *ctx;
    const char *body;
    size_t body_bytes;
    int64_t now_ms;                            /* wall */
    const char *certificate, *certificate_url; /* PEM that was fetched, and whence; or NULL */
};

struct callback_event {
    const char *provider_id; /* of the message, as the adapter's outcome has it, or "" */
    uint64_t delivery;       /* where the provider hands our own id back; else 0 */
    const char *key;         /* the same for a repeat of this event, unlike for any other */
    const char *name;        /* the provider's own word for it */
    const char *code;        /* the provider's error code, or NULL */
    const char *raw;         /* of the body, what is about this event; NULL: all of it */
    enum report report;
    enum reason reason; /* for what is not good */
    int64_t at_ms;      /* 0 when the provider does not say */
};

enum callback_verdict {
    CALLBACK_GOOD,      /* believed; there may be no events */
    CALLBACK_REFUSED,   /* no signature, a wrong one, or one too old */
    CALLBACK_MALFORMED, /* believed, but not what this provider sends */
    CALLBACK_FETCH      /* not known yet: get result.fetch, and ask again with certificate */
};

/* A part of a proved request that no reader understands. */
struct callback_unread {
    const char *key; /* the same for a repeat */
    const char *raw; /* the part; NULL: all of the body, and key is NULL, too */
};

/* Somebody answered by SMS with a keyword. */
struct callback_word {
    enum keyword keyword; /* KEYWORD_NONE: nobody did */
    const char *address;  /* E.164 */
    const char *key;      /* the same for a repeat of this message, unlike for any other */
    int64_t at_ms;        /* 0 when the provider does not say */
};

struct callback_result {
    struct arena *arena; /* the caller's */
    struct callback_event *events;
    size_t count, room;
    struct callback_unread *unread;
    size_t unread_count, unread_room;
    struct callback_word word;
    const char *reply;   /* the body of the answer; NULL: none */
    const char *fetch;   /* FETCH: the certificate's URL */
    const char *confirm; /* GOOD: a URL to GET, to confirm a subscription; NULL: none */
    const char *why;     /* a constant sentence, when the verdict is not GOOD */
};

/* What one destination's callbacks are checked with. */
struct callback_account {
    const struct callback_reader *reader;
    struct secret secret, verify_token;
    char *user, *api_key, *topic, *sns_url, *ca_file; /* NULL when not given; user never */
};

struct callback_reader {
    const char *adapter;
    bool takes_get;         /* besides POST */
    bool is_known_by_topic; /* callback_topic_arn is what it needs, not a secret */
    enum callback_verdict (*read)(const struct callback_account *account,
                                  const struct callback_request *request,
                                  struct callback_result *result);
};

/* By the adapter's name; NULL when its provider sends no callbacks. */
const struct callback_reader *callback_find(const char *adapter);
/* Whether the settings say how a destination's callbacks are verified. */
bool callback_is_configured(const char *adapter, const struct adapter_settings *settings);
/*
 * Opens a destination's callbacks; account->reader stays NULL when its provider sends none or
 * they are not configured.  why gets a sentence naming the key.
 */
NODISCARD int callback_open(struct callback_account *account, const char *adapter,
                            const struct adapter_settings *settings, char *why, size_t why_bytes);
/* The key of an unread part: the same for the same bytes. */
const char *callback_unread_key(struct arena *arena, const void *raw, size_t bytes);
void callback_close(struct callback_account *account);

extern const struct callback_reader callback_twilio, callback_bird, callback_messagebird,
    callback_vonage, callback_sendgrid, callback_mailgun, callback_ses, callback_postmark,
    callback_whatsapp;

#endif

/* SPDX-License-Identifier: MIT */
/*
 * alert - when what is wrong is told, and when it is told to be over
 *
 * A condition that has been bad without a break for `after` fires; one that has been good without
 * a break for `clear` resolves.  Between bad and good lies a band in which nothing begins: what
 * swings around a threshold does not flap.
 *
 * Purity: no I/O, no clock; the caller passes the time.
 */
#ifndef TOCSIN_CORE_ALERT_H
#define TOCSIN_CORE_ALERT_H
#include "base/buf.h"
#include "core/queue_stats.h"
#include <stdbool.h>
#include <stdint.h>

#define ALERT_NAME_BYTES 160
#define ALERT_DAYS_AHEAD 3

enum alert_kind {
    ALERT_DEAD_LETTERS, /* of all channels */
    ALERT_SUCCESS_RATE, /* of a destination, as the two that follow */
    ALERT_QUEUE_AGE,
    ALERT_BREAKER,
    ALERT_DATABASE, /* away */
    ALERT_BROKER,
    ALERT_PARTITIONS, /* made for fewer days ahead than ALERT_DAYS_AHEAD */
    ALERT_KINDS
};
const char *alert_kind_name(enum alert_kind kind);

enum alert_sign { ALERT_GOOD, ALERT_BETWEEN, ALERT_BAD };

struct alert_limits {
    int64_t dead_letters;    /* fires above; 0: never */
    int64_t success_percent; /* fires below; 0: never */
    int64_t queue_age_ms;    /* fires above; 0: never */
    bool wants_breaker;      /* fires while one is not closed */
    int64_t after_ms, clear_ms;
};

struct alert {
    char name[ALERT_NAME_BYTES]; /* one topic level: "breaker.twilio" */
    enum alert_kind kind;
    const char *provider; /* the destination's name; NULL: of none */
    bool is_firing;
    int64_t since_ms;        /* wall: when it began to fire, or resolved; 0: never fired */
    int64_t bad_ms, good_ms; /* wall: since when without a break; 0: it is not */
    double value, threshold; /* as looked at last */
};

/* The name is made of the kind and the provider's name, percent-encoded.  provider is borrowed. */
void alert_init(struct alert *alert, enum alert_kind kind, const char *provider);
/* Takes a look into account; true when it now fires or now is resolved. */
bool alert_look(struct alert *alert, enum alert_sign sign, const struct alert_limits *limits,
                int64_t now_ms);

/* What a line says for one of the kinds that a destination has; fills value and threshold. */
enum alert_sign alert_sign_of(struct alert *alert, const struct alert_limits *limits,
                              const struct queue_line *line, int64_t now_ms);

/* The same of partitions that reach so many days ahead; -1: not known yet. */
enum alert_sign alert_sign_of_days(struct alert *alert, int64_t days_ahead);

/* A sentence for people, without anything secret. */
void alert_write_text(const struct alert *alert, struct buf *out);
/* Whether one of `to` can be told: "user:alice", "email:a@example.org", phone, url, role. */
bool alert_is_recipient(const char *to, size_t to_bytes);
/* The message of alerts/{name}. */
void alert_write(const struct alert *alert, struct buf *out);
/* The request that tells one of them; false when it is none.  One firing has one id. */
bool alert_write_request(const struct alert *alert, const char *to, size_t to_bytes,
                         struct buf *out);

#endif

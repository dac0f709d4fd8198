/* SPDX-License-Identifier: MIT */
/*
 * outcome - what came of one attempt
 *
 * Data, not an error: adapters fill it from their error tables, the retry rule reads it, the
 * attempt row keeps it.  Nothing personal or secret goes into detail.
 */
#ifndef TOCSIN_CORE_OUTCOME_H
#define TOCSIN_CORE_OUTCOME_H
#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

/* Stored in the database: never renumber. */
enum outcome_kind {
    OUTCOME_DELIVERED = 0,         /* final: confirmed by device, mailbox or endpoint */
    OUTCOME_ACCEPTED = 1,          /* the provider has it; a receipt may follow */
    OUTCOME_RETRY = 2,             /* transient */
    OUTCOME_RETRY_AFTER = 3,       /* transient, not before retry_after_ms */
    OUTCOME_THROTTLE = 4,          /* slow the destination down; costs no attempt */
    OUTCOME_PERMANENT = 5,         /* this message can never succeed; the target stays */
    OUTCOME_DEAD_TARGET = 6,       /* stop using the target */
    OUTCOME_AUTH_CONFIG_ERROR = 7, /* destination is misconfigured: trip it, keep the message */
    OUTCOME_UNKNOWN = 8,           /* fully sent, no answer */
    OUTCOME_EXPIRED = 9,           /* not tried: too late */
    OUTCOME_CANCELLED = 10,        /* not tried: called back */
    OUTCOME_SUPPRESSED = 11,       /* not tried: not wanted */
    OUTCOME_REPORTED = 12,         /* no try: what the provider said later of one it took */
    OUTCOME_COUNT = 13
};
const char *outcome_name(enum outcome_kind kind);

/* topics.md section 6; stored: never renumber, only append. */
enum reason {
    REASON_NONE = 0,
    REASON_USER_OFFLINE,
    REASON_ACK_TIMEOUT,
    REASON_NO_TARGET,
    REASON_TARGET_INVALID,
    REASON_TARGET_DEAD,
    REASON_PROVIDER_REJECTED,
    REASON_PROVIDER_AUTH,
    REASON_PROVIDER_UNAVAILABLE,
    REASON_NETWORK_TIMEOUT,
    REASON_CONNECTION_LOST,
    REASON_RATE_LIMITED,
    REASON_CONTENT_INVALID,
    REASON_PAYLOAD_TOO_LARGE,
    REASON_TEMPLATE_ERROR,
    REASON_OUTCOME_UNKNOWN,
    REASON_POISON,
    REASON_INTERNAL,
    /* suppressed */
    REASON_PREFERENCE_OFF,
    REASON_OPTED_OUT,
    REASON_BOUNCED,
    REASON_COMPLAINED,
    REASON_QUIET_HOURS_EXPIRED,
    REASON_FREQUENCY_CAP,
    REASON_COLLAPSED,
    REASON_USER_FORGOTTEN,
    REASON_COUNT
};
const char *reason_name(enum reason reason); /* "" for REASON_NONE */
NODISCARD int reason_parse(const char *name, enum reason *reason);
bool reason_is_suppression(enum reason reason);

struct outcome {
    enum outcome_kind kind;
    enum reason reason;     /* for everything that is not good */
    int64_t retry_after_ms; /* RETRY_AFTER and THROTTLE: the time the provider named; RETRY: the
                               least that its rules ask for; -1: none */
    int64_t dead_since_ms;  /* DEAD_TARGET: wall; registered later, it lives; 0: not told */
    int status;             /* HTTP status, SMTP reply, MQTT reason; 0 when none */
    int segments;           /* SMS parts; 0 when not applicable */
    bool is_connection;     /* the provider was not reached: costs no attempt, is a strike */
    bool is_target_only;    /* about this target alone: neither window, pause nor breaker of the
                               destination is touched */
    bool is_unsure;         /* may be about this target alone: a second one must say the same */
    bool is_before_message; /* the provider failed before any message was offered: nobody's fault */
    bool is_counted;        /* costs an attempt, although it is a rate limit */
    char code[32];          /* the provider's own code, "21610" */
    char provider_id[128];  /* the provider's message id */
    char detail[160];       /* for people; cut, printable */
};

/*
 * Clears and sets kind, reason and detail (NULL is ""; cut at a whole character; what is not
 * UTF-8 or is a control character becomes '?').  retry_after_ms becomes -1.
 */
void outcome_set(struct outcome *outcome, enum outcome_kind kind, enum reason reason,
                 const char *detail);

#endif

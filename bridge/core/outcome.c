/* SPDX-License-Identifier: MIT */
#include "core/outcome.h"

#include <string.h>

#include "core/utf8.h"

static const char *const outcome_names[OUTCOME_COUNT] = {
    [OUTCOME_DELIVERED] = "delivered",
    [OUTCOME_ACCEPTED] = "accepted",
    [OUTCOME_RETRY] = "retry",
    [OUTCOME_RETRY_AFTER] = "retry_after",
    [OUTCOME_THROTTLE] = "throttle",
    [OUTCOME_PERMANENT] = "permanent",
    [OUTCOME_DEAD_TARGET] = "dead_target",
    [OUTCOME_AUTH_CONFIG_ERROR] = "auth_config_error",
    [OUTCOME_UNKNOWN] = "unknown",
    [OUTCOME_EXPIRED] = "expired",
    [OUTCOME_CANCELLED] = "cancelled",
    [OUTCOME_SUPPRESSED] = "suppressed",
    [OUTCOME_REPORTED] = "reported",
};

static const char *const reason_names[REASON_COUNT] = {
    [REASON_NONE] = "",
    [REASON_USER_OFFLINE] = "user_offline",
    [REASON_ACK_TIMEOUT] = "ack_timeout",
    [REASON_NO_TARGET] = "no_target",
    [REASON_TARGET_INVALID] = "target_invalid",
    [REASON_TARGET_DEAD] = "target_dead",
    [REASON_PROVIDER_REJECTED] = "provider_rejected",
    [REASON_PROVIDER_AUTH] = "provider_auth",
    [REASON_PROVIDER_UNAVAILABLE] = "provider_unavailable",
    [REASON_NETWORK_TIMEOUT] = "network_timeout",
    [REASON_CONNECTION_LOST] = "connection_lost",
    [REASON_RATE_LIMITED] = "rate_limited",
    [REASON_CONTENT_INVALID] = "content_invalid",
    [REASON_PAYLOAD_TOO_LARGE] = "payload_too_large",
    [REASON_TEMPLATE_ERROR] = "template_error",
    [REASON_OUTCOME_UNKNOWN] = "outcome_unknown",
    [REASON_POISON] = "poison",
    [REASON_INTERNAL] = "internal",
    [REASON_PREFERENCE_OFF] = "preference_off",
    [REASON_OPTED_OUT] = "opted_out",
    [REASON_BOUNCED] = "bounced",
    [REASON_COMPLAINED] = "complained",
    [REASON_QUIET_HOURS_EXPIRED] = "quiet_hours_expired",
    [REASON_FREQUENCY_CAP] = "frequency_cap",
    [REASON_COLLAPSED] = "collapsed",
    [REASON_USER_FORGOTTEN] = "user_forgotten",
};

const char *outcome_name(enum outcome_kind kind)
{
    return (unsigned)kind < OUTCOME_COUNT ? outcome_names[kind] : "unknown";
}

const char *reason_name(enum reason reason)
{
    return (unsigned)reason < REASON_COUNT ? reason_names[reason] : "unknown";
}

int reason_parse(const char *name, enum reason *reason)
{
    for (unsigned i = REASON_NONE + 1; i < REASON_COUNT; i++)
        if (strcmp(name, reason_names[i]) == 0) {
            *reason = (enum reason)i;
            return 0;
        }
    return ERR_NOT_FOUND;
}

bool reason_is_suppression(enum reason reason)
{
    return reason >= REASON_PREFERENCE_OFF && reason <= REASON_USER_FORGOTTEN;
}

/* A vendor's text may hold anything; what is kept is whole characters that can be shown. */
static void copy_printable(char *out, size_t out_bytes, const char *text)
{
    size_t left = strlen(text), used = 0;

    while (left > 0) {
        size_t size = utf8_char(text, left), step = size ? size : 1;
        unsigned char c = (unsigned char)*text;
        bool is_shown = size > 1 || (size == 1 && c >= 0x20 && c != 0x7F);

        if (size == 2 && c == 0xC2 && (unsigned char)text[1] < 0xA0)
            is_shown = false; /* the C1 controls */
        if (used + (is_shown ? size : 1) >= out_bytes)
            break;
        if (is_shown) {
            memcpy(out + used, text, size);
            used += size;
        } else {
            out[used++] = '?';
        }
        text += step;
        left -= step;
    }
    out[used] = '\0';
}

void outcome_set(struct outcome *outcome, enum outcome_kind kind, enum reason reason,
                 const char *detail)
{
    memset(outcome, 0, sizeof *outcome);
    outcome->kind = kind;
    outcome->reason = reason;
    outcome->retry_after_ms = -1;
    copy_printable(outcome->detail, sizeof outcome->detail, detail ? detail : "");
}

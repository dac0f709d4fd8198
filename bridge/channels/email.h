/* SPDX-License-Identifier: MIT */
/*
 * email - one mail to one recipient, as every mail adapter starts with it
 *
 * Checks addresses, subject and headers once, so that nothing a caller writes can add a header
 * or a recipient.  The Message-ID comes from the delivery's id: the same in every attempt, so
 * that a receiver can drop repeats.  content.email.list_unsubscribe becomes List-Unsubscribe,
 * and with an https URL also List-Unsubscribe-Post (RFC 8058); where the request names none and its
 * type wants it, a link of our own.  Links and image of tracked types: channels/tracker.h.
 *
 * Ownership: everything lives in the call's arena or the destination.
 */
#ifndef TOCSIN_CHANNELS_EMAIL_H
#define TOCSIN_CHANNELS_EMAIL_H
#include "channels/call.h"
#include "channels/mailbox.h"

struct email {
    const struct mailbox *from, *reply_to; /* reply_to NULL when there is none */
    const char *to;
    const char *subject, *text, *html;  /* text or html may be NULL, not both */
    const char *message_id;             /* with its angle brackets */
    const struct content_pair *headers; /* checked; List-Unsubscribe included */
    size_t header_count;
    const struct content_attachment *attachments;
    size_t attachment_count;
    int64_t date_ms;
};

/* What a destination says about mail: the settings common to all mail adapters. */
struct email_rules {
    struct mailbox from, reply_to;
    bool has_reply_to, may_choose_from;
    bool takes_utf8;   /* before the @; set by the adapter, before email_rules_init() */
    unsigned carriers; /* mails under way with attachments that were fetched */
};

#define EMAIL_KEYS                                                                   \
    {"from", ADAPTER_TEXT, true, NULL, "sender: Name <address>"},                    \
        {"reply_to", ADAPTER_TEXT, false, NULL, "where answers go: Name <address>"}, \
        {"allow_from", ADAPTER_BOOL, false, "false",                                 \
         "let a request choose another sender in content.email.from"},               \
    {                                                                                \
        "allow_private", ADAPTER_BOOL, false, "false",                               \
            "fetch attachments also from private addresses"                          \
    }

void email_rules_init(struct email_rules *rules, struct settings *settings);
/*
 * Fills email from the call's content.  When it is not usable the call is refused and a
 * negative err returned: send() then returns 0.
 */
NODISCARD int email_prepare(struct call *call, const struct email_rules *rules,
                            struct email *email);

#endif

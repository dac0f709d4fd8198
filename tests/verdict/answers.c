/* SPDX-License-Identifier: MIT */
#include "verdict.h"

#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Public bounce texts and errors, as servers and providers word them. */
const char *const TEXTS[] = {
    "no such user here",
    "User unknown",
    "Requested action not taken: mailbox unavailable",
    "The email account that you tried to reach does not exist. Please try double-checking",
    "Recipient address rejected: User unknown in virtual mailbox table",
    "sorry, no mailbox here by that name",
    "Utilisateur inconnu",
    "Empf\xc3\xa4nger unbekannt",
    "\xe6\x94\xb6\xe4\xbb\xb6\xe4\xba\xba\xe4\xb8\x8d\xe5\xad\x98\xe5\x9c\xa8",
    "JunkMail rejected - mail.example [192.0.2.7] is in an RBL, see https://rbl.example/q",
    "SPF check failed",
    "sorry, your envelope sender domain is not allowed",
    "High probability of spam",
    "Sender verify failed",
    "Verification failed for <noreply@example.org>",
    "blocked for policy",
    "Message rejected due to DMARC policy",
    "Service unavailable; Client host [192.0.2.7] blocked using zen.spamhaus.org",
    "relaying denied",
    "Relay access denied",
    "Our system has detected that this message is likely unsolicited mail",
    "Too many recipients received this hour",
    "The registration token is odd",
    "Requested entity was not found.",
    "Email address is not verified. The following identities failed the check: x@example.org",
    "The from address does not match a verified Sender Identity",
    "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 404",
    "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 503",
    "VapidPkHashMismatch",
    "the credentials do not correspond to the subscription",
    "Domain mg.example.org is not allowed to send",
    "Sandbox subdomains are for test purposes only. Please add to authorized recipients",
    "Permission to send an SMS has not been enabled for the region",
    "The 'From' number is not a valid phone number",
    "Message failed to send because the recipient is not in the allowed list",
    "Template name does not exist in the translation",
    "Daily message quota exceeded.",
    "Maximum sending rate exceeded.",
    "<html><body><h1>502 Bad Gateway</h1></body></html>",
    "gone",
    "Unregistered",
    "bounced",
    "opted out",
    "550 5.1.1 inside a text",
    "",
};
const size_t TEXT_COUNT = sizeof TEXTS / sizeof TEXTS[0];

#define ANSWER_BYTES 4096

static bool is(const struct made *made, const char *name)
{
    return strcmp(made->provider->name, name) == 0;
}

static bool is_word_of(const char *words, const char *word)
{
    size_t length = strlen(word);

    for (const char *at = words; length && (at = strstr(at, word)); at += length)
        if ((at == words || at[-1] == ' ') && (at[length] == ' ' || !at[length]))
            return true;
    return false;
}

/* The list of proofs, from the providers' documents. */
static bool proves_by_code(const struct made *made)
{
    static const struct {
        const char *name, *codes;
    } PROOFS[] = {
        {"twilio", "21211 21265 21421 21610 21614 21635"},
        {"bird", "SMSInvalidRecipient invalid_destination landline_unreachable recipient_opted_out "
                 "blocked_by_recipient"},
        {"vonage", "1170 1240 1310 1430"},
        {"fcm", "UNREGISTERED"},
        {"apns", "Unregistered ExpiredToken"},
        {"postmark", "406"},
        {"whatsapp", "131050"},
    };

    for (size_t i = 0; i < sizeof PROOFS / sizeof PROOFS[0]; i++)
        if (is(made, PROOFS[i].name))
            return is_word_of(PROOFS[i].codes, made->code);
    return false;
}

static bool proves_by_reply(const struct made *made)
{
    static const char proofs[] = "5.1.1 5.1.10";

    return made->status >= 500 && made->stage == HTTP_STAGE_RCPT &&
           is_word_of(proofs, made->code) &&
           (made->lines < 2 || !made->next_code || is_word_of(proofs, made->next_code));
}

static bool is_known_reason(const struct made *made)
{
    return made->shape != MADE_TYPED && made->shape != MADE_CUT &&
           is_word_of("BadDeviceToken DeviceTokenNotForTopic BadTopic TooManyRequests "
                      "InvalidProviderToken PayloadTooLarge InternalServerError",
                      made->code);
}

bool proves(const struct made *made)
{
    if (is(made, "smtp"))
        return proves_by_reply(made);
    if (is(made, "postmark") && strcmp(made->code, "406") == 0)
        return made->status != 401; /* there the token is refused */
    if (made->status < 300)
        return false;
    if (is(made, "webpush"))
        return made->status == 404 || made->status == 410;
    if (is(made, "apns") && made->status == 410 && !is_known_reason(made))
        return true; /* the status alone, where the reason is not Apple's or cannot be read */
    if (is(made, "teams") || is(made, "webhook"))
        return made->status == 410;
    if (is(made, "messagebird"))
        return strcmp(made->code, "10") == 0 && strcmp(made->parameter, "recipients") == 0 &&
               made->status != 401;
    if (is(made, "slack"))
        return (made->status == 404 &&
                is_word_of("channel_not_found no_service no_team", made->code)) ||
               (made->status == 410 && strcmp(made->code, "channel_is_archived") == 0) ||
               (made->status == 400 && strcmp(made->code, "user_not_found") == 0);
    return proves_by_code(made);
}

/* ---- writing ---- */

static void add_reply(struct buf *out, const struct made *made)
{
    for (int i = 0; i < made->lines; i++) {
        const char *code = i && made->next_code ? made->next_code : made->code;

        buf_printf(out, "%s%d%c%s%s%s", i ? "\n" : "", made->status,
                   i + 1 < made->lines ? '-' : ' ', code, code[0] ? " " : "", made->text);
    }
}

static void add_text_member(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, "\"%s\":", name);
    buf_add_json(out, value);
}

static void add_code(struct buf *out, const struct made *made, const char *name)
{
    bool is_number = made->code[0] && strspn(made->code, "0123456789") == strlen(made->code);

    buf_printf(out, "\"%s\":", name);
    if (made->shape == MADE_TYPED)
        buf_add_text(out, "[1.5]");
    else if (is_number)
        buf_add_text(out, made->code);
    else
        buf_add_json(out, made->code);
}

/* An error in the provider's own form, without its outermost braces. */
static void add_members(struct buf *out, const struct made *made)
{
    const char *name = made->provider->name;

    if (strcmp(name, "bird") == 0) {
        bool is_name = made->code[0] != 'E' || made->code[1] != '0';

        buf_add_text(out, "\"error\":{");
        add_code(out, made, is_name ? "name" : "code");
        buf_add_char(out, ',');
        add_text_member(out, "message", made->text);
        buf_add_char(out, '}');
    } else if (strcmp(name, "messagebird") == 0) {
        buf_add_text(out, "\"errors\":[{");
        add_code(out, made, "code");
        buf_add_char(out, ',');
        add_text_member(out, "parameter", made->parameter);
        buf_add_text(out, "}]");
    } else if (strcmp(name, "vonage") == 0) {
        buf_printf(out, "\"type\":\"https://x.example/errors#%s\",",
                   made->shape == MADE_TYPED ? "" : made->code);
        add_text_member(out, "title", made->text);
    } else if (strcmp(name, "fcm") == 0) {
        buf_add_text(out, "\"error\":{\"status\":\"X\",");
        add_text_member(out, "message", made->text);
        buf_add_text(out, ",\"details\":[{\"@type\":"
                          "\"type.googleapis.com/google.firebase.fcm.v1.FcmError\",");
        add_code(out, made, "errorCode");
        buf_add_text(out, "}]}");
    } else if (strcmp(name, "whatsapp") == 0) {
        buf_add_text(out, "\"error\":{");
        add_code(out, made, "code");
        buf_add_char(out, ',');
        add_text_member(out, "message", made->text);
        buf_add_char(out, '}');
    } else {
        const char *member = strcmp(name, "apns") == 0       ? "reason"
                             : strcmp(name, "postmark") == 0 ? "ErrorCode"
                                                             : "code";

        add_code(out, made, member);
        buf_add_char(out, ',');
        add_text_member(out, "message", made->text);
    }
}

static void add_json(struct buf *out, const struct made *made)
{
    buf_add_char(out, '{');
    if (made->shape == MADE_MORE)
        buf_add_text(out, "\"zz\":[null,{\"a\":1}],\"more\":\"bounced\",");
    add_members(out, made);
    if (made->shape == MADE_DOUBLED) {
        buf_add_char(out, ',');
        add_members(out, made);
    }
    buf_add_char(out, '}');
}

const char *write_answer(const struct made *made)
{
    static char answer[ANSWER_BYTES];
    struct buf out = {0};

    if (is(made, "smtp"))
        add_reply(&out, made);
    else if (is(made, "slack"))
        buf_add_text(&out, made->code[0] ? made->code : made->text);
    else if (is(made, "teams") || is(made, "webhook") || is(made, "webpush"))
        buf_add_text(&out, made->text);
    else
        add_json(&out, made);
    if (made->shape == MADE_CUT && out.length)
        out.length /= 2;
    (void)snprintf(answer, sizeof answer, "%.*s", (int)out.length, buf_text(&out));
    buf_fini(&out);
    return answer;
}

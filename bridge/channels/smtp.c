/* SPDX-License-Identifier: MIT */
/*
 * smtp - mail by submission to any mail server
 *
 * One recipient per transaction, so that each reply is about one delivery.  A connection lost
 * after the mail's last line leaves the outcome unknown; the Message-ID is the same in every
 * attempt, which is what receiving systems drop repeats by.
 *
 * Replies are judged by the enhanced codes (RFC 3463) of all their lines, else by the reply alone.
 * A refusal may be about our address, reputation, settings or content: a mailbox is dead only if
 * the server says so by code, in every line, in answer to RCPT.
 */
#include "base/alloc.h"
#include "channels/adapters.h"
#include "channels/email_call.h"
#include "channels/mime.h"
#include "core/id.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define GREYLIST_MS 300000
#define BUSY_MS     120000 /* RFC 5321 4.5.4.1: a recipient is not tried again within seconds */
#define DAY_S       86400
#define CODE_MAX    11                        /* 5.999.999 and a little more */
#define CODES_MAX   128                       /* of all lines */
#define PROVEN      "every_line:5.1.1/5.1.10" /* a word beside the codes of such a reply */

/* clang-format off */
static const struct error_row ERRORS[] = {
    {.codes = "4.7.28", .trouble = TROUBLE_RATE, .reason = REASON_RATE_LIMITED,
     .note = "over the server's rate"},
    {.status = 454, .says = "throttl", .trouble = TROUBLE_RATE, .reason = REASON_RATE_LIMITED,
     .note = "over the server's rate"},
    {.status = 421, .says = "rate", .trouble = TROUBLE_RATE, .reason = REASON_RATE_LIMITED,
     .note = "over the server's rate"},
    {.status = 454, .stage = HTTP_STAGE_OPEN, .trouble = TROUBLE_UNWELL,
     .reason = REASON_PROVIDER_UNAVAILABLE, .note = "authentication is unavailable for now"},
    {.status = 530, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "authentication or TLS is required"},
    {.status = 534, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "authentication refused"},
    {.status = 535, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "authentication refused"},
    {.status = 538, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "authentication needs TLS"},
    {.codes = "5.7.8,5.7.9,5.7.11", .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "authentication refused"},
    {.status = 4, .stage = HTTP_STAGE_OPEN, .trouble = TROUBLE_UNWELL,
     .reason = REASON_PROVIDER_UNAVAILABLE, .note = "the server does not take us now"},
    {.status = 5, .stage = HTTP_STAGE_OPEN, .trouble = TROUBLE_SETUP,
     .reason = REASON_PROVIDER_AUTH, .note = "the server does not take us"},
    {.codes = "4.2.2", .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_REJECTED,
     .note = "the mailbox is full for now", .wait_ms = BUSY_MS, .is_target_only = true},
    {.status = 4, .says = "greylist", .trouble = TROUBLE_QUOTA, .reason = REASON_PROVIDER_REJECTED,
     .note = "greylisted", .wait_ms = GREYLIST_MS, .is_target_only = true},
    {.status = 4, .says = "graylist", .trouble = TROUBLE_QUOTA, .reason = REASON_PROVIDER_REJECTED,
     .note = "greylisted", .wait_ms = GREYLIST_MS, .is_target_only = true},
    {.status = 4, .says = "grey-list", .trouble = TROUBLE_QUOTA, .reason = REASON_PROVIDER_REJECTED,
     .note = "greylisted", .wait_ms = GREYLIST_MS, .is_target_only = true},
    {.codes = "4.7.1", .says = "relay", .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the server does not relay for us"},
    {.codes = "4.7.1", .trouble = TROUBLE_QUOTA, .reason = REASON_PROVIDER_REJECTED,
     .note = "greylisted", .wait_ms = GREYLIST_MS, .is_target_only = true},
    {.status = 421, .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_UNAVAILABLE,
     .note = "the server is closing"},
    {.status = 452, .codes = "4.3.1,4.5.3", .trouble = TROUBLE_UNWELL,
     .reason = REASON_PROVIDER_UNAVAILABLE, .note = "the server is short of room"},
    {.status = 4, .says = "try again in", .trouble = TROUBLE_QUOTA,
     .reason = REASON_PROVIDER_REJECTED, .note = "not before some time", .wait_ms = GREYLIST_MS,
     .is_target_only = true},
    {.status = 450, .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_REJECTED,
     .note = "not now", .wait_ms = BUSY_MS, .is_target_only = true},
    {.status = 451, .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_REJECTED,
     .note = "not now", .wait_ms = BUSY_MS, .is_target_only = true},
    {.status = 422, .stage = HTTP_STAGE_RCPT, .trouble = TROUBLE_UNWELL,
     .reason = REASON_PROVIDER_REJECTED, .note = "the mailbox is full for now",
     .wait_ms = BUSY_MS, .is_target_only = true},
    {.status = 452, .says = "full", .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_REJECTED,
     .note = "the mailbox is full for now", .wait_ms = BUSY_MS, .is_target_only = true},
    {.status = 452, .says = "quota", .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_REJECTED,
     .note = "the mailbox is full for now", .wait_ms = BUSY_MS, .is_target_only = true},
    {.status = 452, .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_UNAVAILABLE,
     .note = "the server is short of room"},
    {.status = 4, .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_UNAVAILABLE,
     .note = "not now, for a reason not in our table"},
    {.codes = "5.1.7,5.1.8", .trouble = TROUBLE_SENDER, .reason = REASON_PROVIDER_AUTH,
     .note = "the sender's address is refused"},
    {.codes = "5.7.1", .says = "relay", .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the server does not relay for us"},
    {.codes = "5.7.54,5.7.57", .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the server does not relay for us"},
    {.codes = "5.7.60", .trouble = TROUBLE_SENDER, .reason = REASON_PROVIDER_AUTH,
     .note = "we may not send as this sender"},
    {.status = 5, .says = "sender address rejected", .trouble = TROUBLE_SENDER,
     .reason = REASON_PROVIDER_AUTH, .note = "the sender's address is refused"},
    {.codes = PROVEN, .stage = HTTP_STAGE_RCPT, .dead = PROOF_NO_MAILBOX,
     .note = "no such mailbox, by every line of the reply"},
    {.codes = "5.2.2", .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "the mailbox is full", .is_target_only = true},
    {.codes = "5.2.3,5.3.4", .is_refused = FACT_YES, .reason = REASON_PAYLOAD_TOO_LARGE,
     .note = "the mail is too large"},
    {.codes = "5.6.7", .is_refused = FACT_YES, .reason = REASON_TARGET_INVALID,
     .note = "the server takes addresses of ASCII letters only", .is_target_only = true},
    {.codes = "5.6.*", .is_refused = FACT_YES, .reason = REASON_CONTENT_INVALID,
     .note = "the server cannot take this content"},
    {.codes = "5.7.*", .stage = HTTP_STAGE_MAIL, .trouble = TROUBLE_SENDER,
     .reason = REASON_PROVIDER_AUTH, .note = "we may not send as this sender"},
    {.codes = "5.7.*", .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "refused by policy"},
    {.status = 552, .says = "full", .is_refused = FACT_YES,
     .reason = REASON_PROVIDER_REJECTED, .note = "the mailbox is full", .is_target_only = true},
    {.status = 552, .says = "quota", .is_refused = FACT_YES,
     .reason = REASON_PROVIDER_REJECTED, .note = "the mailbox is full", .is_target_only = true},
    {.status = 552, .says = "storage allocation", .is_refused = FACT_YES,
     .reason = REASON_PROVIDER_REJECTED, .note = "the mailbox is full", .is_target_only = true},
    {.status = 552, .stage = HTTP_STAGE_RCPT, .says = "mailbox", .is_refused = FACT_YES,
     .reason = REASON_PROVIDER_REJECTED, .note = "the mailbox is full", .is_target_only = true},
    {.status = 552, .is_refused = FACT_YES, .reason = REASON_PAYLOAD_TOO_LARGE,
     .note = "the mail is too large"},
    {.status = 5, .stage = HTTP_STAGE_MAIL, .trouble = TROUBLE_SENDER,
     .reason = REASON_PROVIDER_AUTH, .note = "the sender's address is refused"},
    {.codes = "5.1.1,5.1.2,5.1.3,5.1.6,5.1.10,5.2.1", .is_refused = FACT_YES,
     .reason = REASON_TARGET_INVALID, .note = "the server takes no mail for this address"},
    {.status = 554, .is_refused = FACT_YES, .reason = REASON_CONTENT_INVALID,
     .note = "the server refuses this mail"},
    {.codes = "5.*", .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "refused, for a reason not in our table"},
    {.status = 5, .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "refused without a code: recipient, sender or content"},
};
/* clang-format on */
ERROR_TABLE(smtp_errors, "smtp", ERRORS);

static const struct adapter_key KEYS[] = {
    {"host", ADAPTER_TEXT, true, NULL, "the mail server"},
    {"port", ADAPTER_NUMBER, false, NULL, "587, or 465 with tls: tls"},
    {"tls", ADAPTER_TEXT, false, "starttls", "starttls, tls (from the first byte) or none"},
    CA_FILE_KEY,
    {"username", ADAPTER_TEXT, false, NULL, "for AUTH; none without it"},
    {"password_file", ADAPTER_FILE, false, NULL, "its password, or OAuth token with auth: xoauth2"},
    {"auth", ADAPTER_TEXT, false, "password", "password (PLAIN or LOGIN) or xoauth2"},
    EMAIL_KEYS,
    {"envelope_from", ADAPTER_TEXT, false, NULL,
     "where bounces go; {id} becomes the delivery's id; the sender's address without it"},
    {0}};

struct smtp {
    struct endpoint endpoint;
    struct email_rules rules;
    struct http_mail mail; /* what is the same for every mail */
    char *host, *username, *envelope_from;
    struct secret password;
};

static void smtp_close(void *state)
{
    struct smtp *smtp = state;

    secret_fini(&smtp->password);
    free(smtp->host);
    free(smtp->username);
    free(smtp->envelope_from);
    endpoint_fini(&smtp->endpoint);
    free(smtp);
}

static void read_server(struct smtp *smtp, struct settings *settings)
{
    const char *tls = settings_text(settings, "tls");
    int64_t port = settings_number(settings, "port", 0);

    smtp->host = xstrdup(settings_text(settings, "host"));
    if (strcmp(tls, "starttls") == 0)
        smtp->mail.tls = HTTP_MAIL_STARTTLS;
    else if (strcmp(tls, "tls") == 0)
        smtp->mail.tls = HTTP_MAIL_TLS;
    else if (strcmp(tls, "none") == 0)
        smtp->mail.tls = HTTP_MAIL_PLAIN;
    else
        settings_fail(settings, "tls must be starttls, tls or none");
    if (port == 0)
        port = smtp->mail.tls == HTTP_MAIL_TLS ? 465 : 587;
    if (port < 1 || port > 65535)
        settings_fail(settings, "port must be between 1 and 65535");
    smtp->mail.host = smtp->host;
    smtp->mail.port = (uint16_t)port;
    smtp->mail.ca_file = smtp->endpoint.ca_file;
    smtp->mail.connect_ms = smtp->endpoint.connect_ms;
}

static void read_auth(struct smtp *smtp, struct settings *settings)
{
    const char *username = settings_text(settings, "username");
    const char *auth = settings_text(settings, "auth");

    smtp->mail.is_bearer = strcmp(auth, "xoauth2") == 0;
    if (!smtp->mail.is_bearer && strcmp(auth, "password") != 0)
        settings_fail(settings, "auth must be password or xoauth2");
    settings_secret(settings, "password_file", &smtp->password);
    if (username) {
        smtp->mail.username = smtp->username = xstrdup(username);
        smtp->mail.password = &smtp->password;
    }
    if (!username != !smtp->password.bytes)
        settings_fail(settings, "username and password_file go together");
    if (username && smtp->mail.tls == HTTP_MAIL_PLAIN && strcmp(smtp->host, "localhost") != 0 &&
        strncmp(smtp->host, "127.", 4) != 0)
        settings_fail(settings, "tls: none would send the password in the clear to another host");
}

static void read_envelope(struct smtp *smtp, struct settings *settings)
{
    const char *from = settings_text(settings, "envelope_from");

    if (!from)
        return;
    /* {id} is not an address, but with its braces it passes as one. */
    if (!mailbox_address_is_valid(from))
        settings_fail(settings, "envelope_from must be an address");
    smtp->envelope_from = xstrdup(from);
}

static int smtp_open(const struct adapter_env *env, const struct adapter_settings *from,
                     void **state, char *why, size_t why_bytes)
{
    struct smtp *smtp = xcalloc(1, sizeof *smtp);
    struct settings settings;

    settings_begin(&settings, KEYS, from, why, why_bytes);
    if (settings.err)
        goto out;
    endpoint_init(&smtp->endpoint, env, &settings);
    smtp->rules.takes_utf8 = true;
    email_rules_init(&smtp->rules, &settings);
    smtp->endpoint.may_fetch_private = settings_bool(&settings, "allow_private");
    read_server(smtp, &settings);
    read_auth(smtp, &settings);
    read_envelope(smtp, &settings);
out:
    if (settings.err)
        smtp_close(smtp);
    else
        *state = smtp;
    return settings.err;
}

/* "5.1.1" from "550 5.1.1 no such user", "550-5.1.1 ..." or "5.1.1 no such user"; 0: none. */
static size_t enhanced_code(const char *line, const char **code)
{
    size_t length;

    if (strspn(line, "0123456789") == 3 && (line[3] == ' ' || line[3] == '-'))
        line += 4;
    *code = line;
    length = strspn(line, "0123456789.");
    if (length < 5 || length > CODE_MAX || line[1] != '.' || !memchr(line + 2, '.', length - 2))
        return 0;
    return length;
}

static bool is_proof(const char *code, size_t length)
{
    return (length == 5 && memcmp(code, "5.1.1", 5) == 0) ||
           (length == 6 && memcmp(code, "5.1.10", 6) == 0);
}

/*
 * The codes of all lines, with blanks between, as many as fit; PROVEN before them when each line
 * has one, and each is that of a dead mailbox.
 */
static void read_codes(const char *reply, char out[CODES_MAX])
{
    size_t used = sizeof PROVEN, lines = 0, proofs = 0;

    memcpy(out, PROVEN " ", sizeof PROVEN);
    while (*reply) {
        size_t line = strcspn(reply, "\n"), length;
        const char *code;

        length = enhanced_code(reply, &code);
        lines++;
        proofs += length && is_proof(code, length);
        if (length && used + length + 1 < CODES_MAX) {
            memcpy(out + used, code, length);
            used += length;
            out[used++] = ' ';
        }
        reply += line + (reply[line] == '\n');
    }
    out[used] = '\0';
    if (lines == 0 || proofs < lines)
        memmove(out, out + sizeof PROVEN, used + 1 - sizeof PROVEN);
}

/* The last word of "250 2.0.0 Ok: queued as ABC": the server's own id, when it looks like one. */
static void queue_id(const char *reply, char *out, size_t out_bytes)
{
    const char *as = strcasestr(reply, "queued as ");
    size_t length;

    if (!as)
        return;
    as += strlen("queued as ");
    length = strspn(as, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_");
    if (length && length < out_bytes)
        (void)snprintf(out, out_bytes, "%.*s", (int)length, as);
}

/* A 354 or a 250 on the way is no answer to the mail. */
static void judge_lost(const struct http_response *response, struct outcome *outcome)
{
    struct http_response lost = *response;

    lost.status = 0;
    if (lost.fail == HTTP_FAIL_NONE)
        lost.fail = HTTP_FAIL_RESET;
    (void)http_outcome_of_failure(&lost, outcome);
}

/* The time that "greylisted, try again in 5 minutes" names; -1: none. */
static int64_t named_wait_ms(const char *text)
{
    static const struct {
        const char *name;
        int64_t seconds;
    } units[] = {{"sec", 1}, {"min", 60}, {"hour", 3600}};

    for (const char *at = text; *at; at++) {
        size_t digits = strspn(at, "0123456789"), blanks;
        int64_t count = digits && digits <= 5 ? strtol(at, NULL, 10) : 0;

        if (digits == 0)
            continue;
        blanks = strspn(at + digits, " ");
        for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
            if (count &&
                strncasecmp(at + digits + blanks, units[i].name, strlen(units[i].name)) == 0)
                return (count < DAY_S / units[i].seconds ? count * units[i].seconds : DAY_S) * 1000;
        at += digits - 1;
    }
    return -1;
}

static void judge_reply(struct call *call, const struct http_response *response,
                        struct outcome *outcome)
{
    struct http_response judged = *response;
    const struct error_row *row;
    const char *own;
    char codes[CODES_MAX];

    read_codes(response->body, codes);
    row = error_find(&smtp_errors, response->stage, response->status, codes[0] ? codes : NULL,
                     response->body);
    if (row && row->is_target_only && row->trouble == TROUBLE_QUOTA)
        judged.retry_after_ms = named_wait_ms(response->body);
    call_judge_status(call, &judged, &smtp_errors, codes[0] ? codes : NULL, response->body,
                      outcome);
    own = strncmp(codes, PROVEN, sizeof PROVEN - 1) == 0 ? codes + sizeof PROVEN : codes;
    outcome_set_code(outcome, own);
    outcome->is_before_message = response->stage == HTTP_STAGE_OPEN;
}

static bool smtp_judge(struct call *call, const struct http_response *response,
                       struct outcome *outcome)
{
    if (response->fail == HTTP_FAIL_TLS) {
        outcome_set(outcome, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH,
                    "TLS or the server's certificate failed");
        outcome->is_before_message = true;
        return true;
    }
    if (http_response_is_good(response) && response->stage == HTTP_STAGE_TEXT) {
        http_outcome_good(outcome, OUTCOME_ACCEPTED, NULL);
        queue_id(response->body, outcome->provider_id, sizeof outcome->provider_id);
        return true;
    }
    if (response->status < 400) {
        judge_lost(response, outcome);
        return true;
    }
    judge_reply(call, response, outcome);
    return true;
}

static const char *envelope_of(const struct smtp *smtp, struct call *call,
                               const struct email *email)
{
    const char *mark = smtp->envelope_from ? strstr(smtp->envelope_from, "{id}") : NULL;
    char id[ID_TEXT_BYTES];

    if (!smtp->envelope_from)
        return email->from->address;
    if (!mark)
        return smtp->envelope_from;
    return arena_printf(call->arena, "%.*s%s%s", (int)(mark - smtp->envelope_from),
                        smtp->envelope_from, id_format(call->job->delivery, id), mark + 4);
}

static int send_email(struct call *call, const struct email *email)
{
    const struct smtp *smtp = call->state;
    const char *recipients[2] = {email->to, NULL};
    struct http_mail mail = smtp->mail;

    /* What the request chose is the From; the envelope may still be ours. */
    call->has_own_sender = call->has_own_sender && !smtp->envelope_from;
    mail.from = envelope_of(smtp, call, email);
    mail.recipients = recipients;
    mime_write(&call->body, email);
    mail.message = call->body.data;
    mail.message_bytes = call->body.length;
    return call_send_mail(call, &mail, smtp_judge);
}

static int smtp_send(void *state, const struct job *job, adapter_outcome_fn *on_outcome, void *ctx)
{
    struct smtp *smtp = state;
    struct call *call = call_new(&smtp->endpoint, CHANNEL_EMAIL, job, on_outcome, ctx);

    if (!call)
        return 0;
    call->state = smtp;
    return email_call(call, &smtp->rules, send_email);
}

const struct adapter adapter_smtp = {
    .name = "smtp",
    .channel = CHANNEL_EMAIL,
    .keys = KEYS,
    .open = smtp_open,
    .close = smtp_close,
    .send = smtp_send,
};

/* SPDX-License-Identifier: MIT */
/*
 * sendgrid - mail by SendGrid's v3 mail/send
 *
 * SendGrid has no idempotency: a repeat after an unknown outcome may arrive twice.  The
 * delivery's id goes along as a custom argument, so that its events can be told apart, and as
 * the Message-ID.
 */
#include "base/alloc.h"
#include "channels/adapters.h"
#include "channels/answer.h"
#include "channels/email_call.h"
#include "channels/encode.h"
#include "core/id.h"
#include <stdlib.h>

/* clang-format off */
static const struct error_row ERRORS[] = {
    {.status = 400, .says = "does not match a verified Sender", .trouble = TROUBLE_SENDER,
     .reason = REASON_PROVIDER_AUTH, .note = "the sender's address is not verified"},
    {.status = 400, .is_refused = FACT_YES, .reason = REASON_CONTENT_INVALID,
     .note = "the mail is not acceptable"},
    {.status = 401, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the API key is refused"},
    {.status = 403, .says = "does not match a verified Sender", .trouble = TROUBLE_SENDER,
     .reason = REASON_PROVIDER_AUTH, .note = "the sender's address is not verified"},
    {.status = 403, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the API key may not send"},
    {.status = 451, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the account belongs to another region"},
    {.status = 413, .is_refused = FACT_YES, .reason = REASON_PAYLOAD_TOO_LARGE,
     .note = "the mail is too large"},
    {.status = 404, .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "no such endpoint"},
    {.status = 405, .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "refused by the endpoint"},
    {.status = 406, .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "refused by the endpoint"},
    {.status = 415, .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "refused by the endpoint"},
    {.status = 429, .trouble = TROUBLE_QUOTA, .reason = REASON_RATE_LIMITED,
     .note = "over the rate limit", .wait_ms = 60000},
};
/* clang-format on */
ERROR_TABLE(sendgrid_errors, "sendgrid", ERRORS);

static const struct adapter_key KEYS[] = {
    ENDPOINT_KEYS("https://api.sendgrid.com"),
    {"api_key_file", ADAPTER_FILE, true, NULL, "API key, SG...., with the right mail.send"},
    EMAIL_KEYS,
    {"asm_group_id", ADAPTER_NUMBER, false, NULL, "unsubscribe group of everything sent here"},
    {"sandbox", ADAPTER_BOOL, false, "false", "SendGrid checks the mail and sends nothing"},
    {"callback_secret_file", ADAPTER_FILE, false, NULL,
     "public key with which the Event Webhook is verified"},
    {0}};

struct sendgrid {
    struct endpoint endpoint;
    struct email_rules rules;
    struct secret authorization; /* the header's whole value */
    int64_t group;               /* 0: none */
    bool is_sandbox;
    char *url;
};

static void sendgrid_close(void *state)
{
    struct sendgrid *sendgrid = state;

    secret_fini(&sendgrid->authorization);
    free(sendgrid->url);
    endpoint_fini(&sendgrid->endpoint);
    free(sendgrid);
}

static int sendgrid_open(const struct adapter_env *env, const struct adapter_settings *from,
                         void **state, char *why, size_t why_bytes)
{
    struct sendgrid *sendgrid = xcalloc(1, sizeof *sendgrid);
    struct settings settings;

    settings_begin(&settings, KEYS, from, why, why_bytes);
    endpoint_init(&sendgrid->endpoint, env, &settings);
    email_rules_init(&sendgrid->rules, &settings);
    sendgrid->endpoint.may_fetch_private = settings_bool(&settings, "allow_private");
    settings_bearer(&settings, "api_key_file", "Bearer ", &sendgrid->authorization);
    sendgrid->group = settings_number(&settings, "asm_group_id", 0);
    sendgrid->is_sandbox = settings_bool(&settings, "sandbox");
    if (settings.err) {
        sendgrid_close(sendgrid);
        return settings.err;
    }
    sendgrid->url = endpoint_url(&sendgrid->endpoint, "/v3/mail/send");
    *state = sendgrid;
    return 0;
}

static void write_mailbox(struct buf *out, const char *member, const struct mailbox *mailbox)
{
    buf_printf(out, ",\"%s\":{\"email\":", member);
    buf_add_json(out, mailbox->address);
    if (mailbox->name[0]) {
        buf_add_text(out, ",\"name\":");
        buf_add_json(out, mailbox->name);
    }
    buf_add_char(out, '}');
}

static void write_part(struct buf *out, bool *is_first, const char *type, const char *text)
{
    if (!text)
        return;
    buf_printf(out, "%s{\"type\":\"%s\",\"value\":", *is_first ? "" : ",", type);
    /* SendGrid refuses an empty part. */
    buf_add_json(out, *text ? text : " ");
    buf_add_char(out, '}');
    *is_first = false;
}

static void write_attachments(struct buf *out, const struct email *email)
{
    buf_add_text(out, ",\"attachments\":[");
    for (size_t i = 0; i < email->attachment_count; i++) {
        const struct content_attachment *attachment = &email->attachments[i];

        buf_add_text(out, i ? ",{\"content\":\"" : "{\"content\":\"");
        encode_base64(out, attachment->bytes, attachment->length);
        buf_add_text(out, "\",\"filename\":");
        buf_add_json(out, attachment->name);
        buf_add_text(out, ",\"type\":");
        buf_add_json(out, attachment->type);
        buf_printf(out, ",\"disposition\":\"%s\"", attachment->id ? "inline" : "attachment");
        if (attachment->id) {
            buf_add_text(out, ",\"content_id\":");
            buf_add_json(out, attachment->id);
        }
        buf_add_char(out, '}');
    }
    buf_add_char(out, ']');
}

static void write_headers(struct buf *out, const struct email *email)
{
    buf_add_text(out, ",\"headers\":{\"Message-ID\":");
    buf_add_json(out, email->message_id);
    for (size_t i = 0; i < email->header_count; i++) {
        buf_add_char(out, ',');
        buf_add_json(out, email->headers[i].key);
        buf_add_char(out, ':');
        buf_add_json(out, email->headers[i].value);
    }
    buf_add_char(out, '}');
}

static void write_body(const struct sendgrid *sendgrid, const struct job *job,
                       const struct email *email, struct buf *out)
{
    char id[ID_TEXT_BYTES];
    bool is_first = true;

    buf_add_text(out, "{\"personalizations\":[{\"to\":[{\"email\":");
    buf_add_json(out, email->to);
    buf_printf(out, "}],\"custom_args\":{\"tocsin_delivery\":\"%s\"}}]",
               id_format(job->delivery, id));
    write_mailbox(out, "from", email->from);
    if (email->reply_to)
        write_mailbox(out, "reply_to", email->reply_to);
    buf_add_text(out, ",\"subject\":");
    buf_add_json(out, email->subject);
    buf_add_text(out, ",\"content\":[");
    write_part(out, &is_first, "text/plain", email->text);
    write_part(out, &is_first, "text/html", email->html);
    buf_add_char(out, ']');
    if (email->attachment_count)
        write_attachments(out, email);
    write_headers(out, email);
    if (sendgrid->group)
        buf_printf(out, ",\"asm\":{\"group_id\":%lld}", (long long)sendgrid->group);
    if (sendgrid->is_sandbox)
        buf_add_text(out, ",\"mail_settings\":{\"sandbox_mode\":{\"enable\":true}}");
    buf_add_char(out, '}');
}

/* SendGrid names the time as seconds since 1970 in a header of its own. */
static void read_reset(const struct call *call, const struct http_response *response,
                       struct outcome *outcome)
{
    const char *reset = http_response_header(response, "X-RateLimit-Reset");
    long long at_s = reset ? strtoll(reset, NULL, 10) : 0;

    if (response->status != 429 || response->retry_after_ms >= 0 || at_s <= 0)
        return;
    outcome->retry_after_ms = at_s * 1000 - call->endpoint->env.wall_ms();
    if (outcome->retry_after_ms < 0)
        outcome->retry_after_ms = 0;
}

/* 202 with an id; in the sandbox 200, with or without one.  There is no body. */
static void judge_good(const struct sendgrid *sendgrid, const struct http_response *response,
                       struct outcome *outcome)
{
    const char *id = http_response_header(response, "X-Message-Id");
    bool is_named = (id && id[0]) || (sendgrid->is_sandbox && response->status == 200);

    if (is_named && response->body_bytes == 0)
        http_outcome_good(outcome, OUTCOME_ACCEPTED, id);
    else
        http_outcome_unrecognised(response, outcome);
}

static bool sendgrid_judge(struct call *call, const struct http_response *response,
                           struct outcome *outcome)
{
    struct answer *answer;

    if (http_response_is_good(response)) {
        judge_good(call->state, response, outcome);
        return true;
    }
    answer = answer_new(response->body, response->body_bytes);
    call_judge_status(call, response, &sendgrid_errors, NULL,
                      answer_text(answer, "errors/0/message"), outcome);
    outcome_set_code(outcome, answer_text(answer, "errors/0/field"));
    read_reset(call, response, outcome);
    answer_free(answer);
    return true;
}

static int send_email(struct call *call, const struct email *email)
{
    struct sendgrid *sendgrid = call->state;

    write_body(sendgrid, call->job, email, &call->body);
    call_header(call, "Authorization", sendgrid->authorization.bytes);
    call_header(call, "Content-Type", "application/json");
    return call_send(call, sendgrid->url, sendgrid_judge);
}

static int sendgrid_send(void *state, const struct job *job, adapter_outcome_fn *on_outcome,
                         void *ctx)
{
    struct sendgrid *sendgrid = state;
    struct call *call = call_new(&sendgrid->endpoint, CHANNEL_EMAIL, job, on_outcome, ctx);

    if (!call)
        return 0;
    call->state = sendgrid;
    return email_call(call, &sendgrid->rules, send_email);
}

const struct adapter adapter_sendgrid = {
    .name = "sendgrid",
    .channel = CHANNEL_EMAIL,
    .keys = KEYS,
    .has_receipts = true,
    .open = sendgrid_open,
    .close = sendgrid_close,
    .send = sendgrid_send,
};

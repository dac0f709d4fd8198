/* SPDX-License-Identifier: MIT */
/*
 * postmark - mail by Postmark
 *
 * No idempotency: a repeat after an unknown outcome may arrive twice.  The delivery's id is
 * metadata, which Postmark hands back with its events.  ErrorCode numbers look like HTTP
 * statuses and are not: the body decides.
 */
#include "base/alloc.h"
#include "channels/adapters.h"
#include "channels/answer.h"
#include "channels/email_call.h"
#include "channels/encode.h"
#include "channels/mime.h"
#include "core/id.h"
#include <stdlib.h>

/* clang-format off */
static const struct error_row ERRORS[] = {
    {.status = 401, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the server token is refused"},
    {.codes = "10", .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the server token is refused"},
    {.codes = "406", .dead = PROOF_LISTED,
     .note = "the address bounced, complained or was suppressed before"},
    {.codes = "400,401", .trouble = TROUBLE_SENDER, .reason = REASON_PROVIDER_AUTH,
     .note = "the sender's signature is not found or not confirmed"},
    {.codes = "412", .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "until its approval the account sends to its own domain only"},
    {.codes = "405,413,1235,1236", .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "account or stream refused"},
    {.codes = "100", .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_UNAVAILABLE,
     .note = "Postmark is under maintenance"},
    {.status = 422, .is_refused = FACT_YES, .reason = REASON_CONTENT_INVALID,
     .note = "the mail is not acceptable"},
    {.status = 429, .trouble = TROUBLE_RATE, .reason = REASON_RATE_LIMITED,
     .note = "too many requests"},
    {.status = 200, .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "refused, by a code that is not in our table"},
    {.status = 413, .is_refused = FACT_YES, .reason = REASON_PAYLOAD_TOO_LARGE,
     .note = "the mail is too large"},
};
/* clang-format on */
ERROR_TABLE(postmark_errors, "postmark", ERRORS);

static const struct adapter_key KEYS[] = {
    ENDPOINT_KEYS("https://api.postmarkapp.com"),
    {"server_token_file", ADAPTER_FILE, true, NULL, "token of the server"},
    {"message_stream", ADAPTER_TEXT, false, "outbound", "outbound, broadcast, ..."},
    EMAIL_KEYS,
    {"callback_user", ADAPTER_TEXT, false, "tocsin", "user name of webhooks (HTTP Basic)"},
    {"callback_secret_file", ADAPTER_FILE, false, NULL, "password of webhooks (HTTP Basic)"},
    {0}};

struct postmark {
    struct endpoint endpoint;
    struct email_rules rules;
    struct secret token;
    char *url, *stream;
};

static void postmark_close(void *state)
{
    struct postmark *postmark = state;

    secret_fini(&postmark->token);
    free(postmark->url);
    free(postmark->stream);
    endpoint_fini(&postmark->endpoint);
    free(postmark);
}

static int postmark_open(const struct adapter_env *env, const struct adapter_settings *from,
                         void **state, char *why, size_t why_bytes)
{
    struct postmark *postmark = xcalloc(1, sizeof *postmark);
    struct settings settings;

    settings_begin(&settings, KEYS, from, why, why_bytes);
    endpoint_init(&postmark->endpoint, env, &settings);
    email_rules_init(&postmark->rules, &settings);
    postmark->endpoint.may_fetch_private = settings_bool(&settings, "allow_private");
    postmark->url = endpoint_url(&postmark->endpoint, "/email");
    postmark->stream = settings_copy(&settings, "message_stream");
    settings_bearer(&settings, "server_token_file", "", &postmark->token);
    if (settings.err)
        postmark_close(postmark);
    else
        *state = postmark;
    return settings.err;
}

static void write_member(struct buf *out, const char *name, const char *value)
{
    if (!value)
        return;
    buf_printf(out, ",\"%s\":", name);
    buf_add_json(out, value);
}

static void write_mailbox(struct buf *out, const char *name, const struct mailbox *mailbox)
{
    struct buf text = {0};

    if (!mailbox)
        return;
    mime_mailbox(&text, mailbox);
    write_member(out, name, buf_text(&text));
    buf_fini(&text);
}

static void write_attachments(struct buf *out, const struct email *email)
{
    if (!email->attachment_count)
        return;
    buf_add_text(out, ",\"Attachments\":[");
    for (size_t i = 0; i < email->attachment_count; i++) {
        const struct content_attachment *attachment = &email->attachments[i];

        buf_add_text(out, i ? ",{\"Content\":\"" : "{\"Content\":\"");
        encode_base64(out, attachment->bytes, attachment->length);
        buf_add_char(out, '"');
        write_member(out, "Name", attachment->name);
        write_member(out, "ContentType", attachment->type);
        if (attachment->id) {
            struct buf cid = {0};

            buf_printf(&cid, "cid:%s", attachment->id);
            write_member(out, "ContentID", buf_text(&cid));
            buf_fini(&cid);
        }
        buf_add_char(out, '}');
    }
    buf_add_char(out, ']');
}

static void write_body(const struct postmark *postmark, const struct job *job,
                       const struct email *email, struct buf *out)
{
    char id[ID_TEXT_BYTES];

    buf_printf(out, "{\"Metadata\":{\"tocsin_delivery\":\"%s\"}", id_format(job->delivery, id));
    write_mailbox(out, "From", email->from);
    write_member(out, "To", email->to);
    write_mailbox(out, "ReplyTo", email->reply_to);
    write_member(out, "Subject", email->subject);
    write_member(out, "TextBody", email->text);
    write_member(out, "HtmlBody", email->html);
    write_member(out, "MessageStream", postmark->stream);
    if (email->header_count) {
        buf_add_text(out, ",\"Headers\":[");
        for (size_t i = 0; i < email->header_count; i++) {
            buf_add_text(out, i ? ",{\"Name\":" : "{\"Name\":");
            buf_add_json(out, email->headers[i].key);
            write_member(out, "Value", email->headers[i].value);
            buf_add_char(out, '}');
        }
        buf_add_char(out, ']');
    }
    write_attachments(out, email);
    buf_add_char(out, '}');
}

static bool postmark_judge(struct call *call, const struct http_response *response,
                           struct outcome *outcome)
{
    struct answer *answer = answer_new(response->body, response->body_bytes);
    const char *code = answer_text(answer, "ErrorCode");

    /* Whatever the status: a code is a refusal. */
    if (http_response_is_good(response) && answer_number(answer, "ErrorCode", -1) == 0)
        http_outcome_named(response, answer_string(answer, "MessageID"), outcome);
    else if (http_status_is_good(response->status) && answer_number(answer, "ErrorCode", 0) == 0)
        http_outcome_unrecognised(response, outcome);
    else
        call_judge_status(call, response, &postmark_errors, code, NULL, outcome);
    answer_free(answer);
    return true;
}

static int send_email(struct call *call, const struct email *email)
{
    struct postmark *postmark = call->state;

    write_body(postmark, call->job, email, &call->body);
    call_header(call, "X-Postmark-Server-Token", postmark->token.bytes);
    call_header(call, "Accept", "application/json");
    call_header(call, "Content-Type", "application/json");
    return call_send(call, postmark->url, postmark_judge);
}

static int postmark_send(void *state, const struct job *job, adapter_outcome_fn *on_outcome,
                         void *ctx)
{
    struct postmark *postmark = state;
    struct call *call = call_new(&postmark->endpoint, CHANNEL_EMAIL, job, on_outcome, ctx);

    if (!call)
        return 0;
    call->state = postmark;
    return email_call(call, &postmark->rules, send_email);
}

const struct adapter adapter_postmark = {
    .name = "postmark",
    .channel = CHANNEL_EMAIL,
    .keys = KEYS,
    .has_receipts = true,
    .open = postmark_open,
    .close = postmark_close,
    .send = postmark_send,
};

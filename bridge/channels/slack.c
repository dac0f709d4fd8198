/* SPDX-License-Identifier: MIT */
/*
 * slack - messages by Slack's incoming webhooks
 *
 * No idempotency, no message id, no receipts: "ok" is all there is, and it is taken as
 * delivered.  The title is set in bold over the body; content.chat.blocks takes their place,
 * with the text as its fallback.
 */
#include "channels/adapters.h"
#include "channels/chat_url.h"
#include <string.h>

/* clang-format off */
static const struct error_row ERRORS[] = {
    {.says = "invalid_payload", .is_refused = FACT_YES, .reason = REASON_CONTENT_INVALID,
     .note = "the message is not acceptable"},
    {.says = "no_text", .is_refused = FACT_YES, .reason = REASON_CONTENT_INVALID,
     .note = "the message is empty"},
    {.says = "too_many_attachments", .is_refused = FACT_YES, .reason = REASON_CONTENT_INVALID,
     .note = "too many attachments"},
    {.status = 400, .codes = "user_not_found", .dead = PROOF_UNREGISTERED,
     .note = "the webhook's user is gone"},
    {.status = 404, .codes = "channel_not_found,no_service,no_service_id,no_team",
     .dead = PROOF_UNREGISTERED, .note = "the webhook or its room is gone"},
    {.status = 404, .is_refused = FACT_YES, .reason = REASON_TARGET_DEAD,
     .note = "not found, by an answer that is not Slack's"},
    {.status = 410, .codes = "channel_is_archived", .dead = PROOF_UNREGISTERED,
     .note = "the room is archived"},
    {.status = 410, .is_refused = FACT_YES, .reason = REASON_TARGET_DEAD,
     .note = "the room is archived"},
    {.status = 403, .is_refused = FACT_YES, .reason = REASON_TARGET_DEAD,
     .note = "the webhook may not post any more"},
    {.status = 429, .trouble = TROUBLE_QUOTA, .reason = REASON_RATE_LIMITED,
     .note = "over a message a second", .wait_ms = 1000},
};
/* clang-format on */
ERROR_TABLE(slack_errors, "slack", ERRORS);

static const struct adapter_key KEYS[] = {CHAT_URL_KEYS, {0}};

static int slack_open(const struct adapter_env *env, const struct adapter_settings *from,
                      void **state, char *why, size_t why_bytes)
{
    return chat_url_open(env, from, KEYS, state, why, why_bytes);
}

/* Slack's three characters that would be markup. */
static void add_escaped(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '&')
            buf_add_text(out, "&amp;");
        else if (*text == '<')
            buf_add_text(out, "&lt;");
        else if (*text == '>')
            buf_add_text(out, "&gt;");
        else
            buf_add_char(out, *text);
    }
}

static void write_body(struct call *call)
{
    const struct content *content = &call->content;
    struct buf text = {0};

    if (content->title) {
        buf_add_char(&text, '*');
        add_escaped(&text, content->title);
        buf_add_char(&text, '*');
    }
    if (content->body) {
        if (text.length)
            buf_add_char(&text, '\n');
        add_escaped(&text, content->body);
    }
    buf_add_text(&call->body, "{\"text\":");
    buf_add_json(&call->body, buf_text(&text));
    if (content->blocks_json)
        buf_printf(&call->body, ",\"blocks\":%s", content->blocks_json);
    buf_add_char(&call->body, '}');
    buf_fini(&text);
}

/* The body is one word, "channel_not_found"; anything longer is not a code. */
static bool slack_judge(struct call *call, const struct http_response *response,
                        struct outcome *outcome)
{
    if (http_response_is_good(response) && response->status == 200 &&
        strcmp(response->body, "ok") == 0) {
        http_outcome_good(outcome, OUTCOME_DELIVERED, NULL);
        return true;
    }
    if (http_status_is_good(response->status) &&
        !error_find(&slack_errors, HTTP_STAGE_NONE, response->status, NULL, response->body)) {
        http_outcome_unrecognised(response, outcome);
        return true;
    }
    call_judge_status(call, response, &slack_errors,
                      response->body_bytes < 40 ? response->body : NULL, response->body, outcome);
    return true;
}

static int slack_send(void *state, const struct job *job, adapter_outcome_fn *on_outcome, void *ctx)
{
    const char *url;
    struct call *call = chat_url_call(state, job, on_outcome, ctx, &url);

    if (!call)
        return 0;
    if (!call->content.title && !call->content.body) {
        call_refuse(call, OUTCOME_PERMANENT, REASON_CONTENT_INVALID,
                    "a chat message needs a title, a body or content.chat.text");
        return 0;
    }
    write_body(call);
    call_header(call, "Content-Type", "application/json");
    return call_send(call, url, slack_judge);
}

const struct adapter adapter_slack = {
    .name = "slack",
    .channel = CHANNEL_CHAT,
    .keys = KEYS,
    .open = slack_open,
    .close = chat_url_close,
    .send = slack_send,
};

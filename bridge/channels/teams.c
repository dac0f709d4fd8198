/* SPDX-License-Identifier: MIT */
/*
 * teams - messages to Microsoft Teams by a Workflows webhook
 *
 * 202 means that the flow has started: posting may still fail where nobody sees it, so it is
 * accepted and no more.  No idempotency.  Title and body become an adaptive card;
 * content.chat.card takes its place.
 */
#include "channels/adapters.h"
#include "channels/chat_url.h"
#include <string.h>

#define MESSAGE_MAX 28672 /* the connector's limit; over it the flow fails after its 202 */

/* clang-format off */
static const struct error_row ERRORS[] = {
    {.status = 200, .says = "HTTP error 429", .trouble = TROUBLE_RATE,
     .reason = REASON_RATE_LIMITED, .note = "over the connector's rate", .wait_ms = 60000},
    {.status = 200, .says = "HTTP error 413", .is_refused = FACT_YES,
     .reason = REASON_PAYLOAD_TOO_LARGE, .note = "the message is too large"},
    {.status = 200, .says = "HTTP error 4", .is_refused = FACT_YES,
     .reason = REASON_PROVIDER_REJECTED, .note = "the connector could not post it: refused"},
    {.status = 200, .says = "HTTP error 5", .trouble = TROUBLE_UNWELL,
     .reason = REASON_PROVIDER_UNAVAILABLE, .note = "the connector could not post it now"},
    {.status = 400, .says = "not enabled", .is_refused = FACT_YES, .reason = REASON_TARGET_DEAD,
     .note = "the flow is turned off"},
    {.status = 400, .says = "WorkflowTriggerIsNotEnabled", .is_refused = FACT_YES,
     .reason = REASON_TARGET_DEAD, .note = "the flow is turned off"},
    {.status = 400, .is_refused = FACT_YES, .reason = REASON_CONTENT_INVALID,
     .note = "the message is not acceptable"},
    {.status = 401, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the URL's signature is refused"},
    {.status = 403, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the flow takes calls from its own tenant only"},
    {.status = 404, .is_refused = FACT_YES, .reason = REASON_TARGET_DEAD,
     .note = "the flow is gone"},
    {.status = 410, .dead = PROOF_UNREGISTERED,
     .note = "the flow is gone"},
    {.status = 413, .is_refused = FACT_YES, .reason = REASON_PAYLOAD_TOO_LARGE,
     .note = "the message is too large"},
};
/* clang-format on */
ERROR_TABLE(teams_errors, "teams", ERRORS);

static const struct adapter_key KEYS[] = {CHAT_URL_KEYS, {0}};

static int teams_open(const struct adapter_env *env, const struct adapter_settings *from,
                      void **state, char *why, size_t why_bytes)
{
    return chat_url_open(env, from, KEYS, state, why, why_bytes);
}

static void write_block(struct buf *out, const char *text, bool is_title, bool *is_first)
{
    if (!text)
        return;
    buf_add_text(out, *is_first ? "{\"type\":\"TextBlock\",\"text\":"
                                : ",{\"type\":\"TextBlock\",\"text\":");
    buf_add_json(out, text);
    buf_add_text(out, is_title ? ",\"weight\":\"Bolder\",\"size\":\"Medium\",\"wrap\":true}"
                               : ",\"wrap\":true}");
    *is_first = false;
}

static void write_body(struct call *call)
{
    const struct content *content = &call->content;
    struct buf *out = &call->body;
    bool is_first = true;

    buf_add_text(out, "{\"type\":\"message\",\"attachments\":[{\"contentType\":"
                      "\"application/vnd.microsoft.card.adaptive\",\"contentUrl\":null,"
                      "\"content\":");
    if (content->card_json) {
        buf_add_text(out, content->card_json);
    } else {
        buf_add_text(out, "{\"$schema\":\"http://adaptivecards.io/schemas/adaptive-card.json\","
                          "\"type\":\"AdaptiveCard\",\"version\":\"1.4\",\"body\":[");
        write_block(out, content->title, true, &is_first);
        write_block(out, content->body, false, &is_first);
        buf_add_text(out, "]}");
    }
    buf_add_text(out, "}]}");
}

/* A flow answers 202 and nothing; the older connector answers 200 and "1". */
static bool is_success(const struct http_response *response)
{
    if (response->fail != HTTP_FAIL_NONE)
        return false;
    return (response->status == 202 && response->body_bytes == 0) ||
           (response->status == 200 && strcmp(response->body, "1") == 0);
}

static bool teams_judge(struct call *call, const struct http_response *response,
                        struct outcome *outcome)
{
    if (is_success(response))
        http_outcome_good(outcome, OUTCOME_ACCEPTED, NULL);
    else if (http_status_is_good(response->status) &&
             !error_find(&teams_errors, HTTP_STAGE_NONE, response->status, NULL, response->body))
        http_outcome_unrecognised(response, outcome);
    else
        call_judge_status(call, response, &teams_errors, NULL, response->body, outcome);
    return true;
}

static int teams_send(void *state, const struct job *job, adapter_outcome_fn *on_outcome, void *ctx)
{
    const char *url;
    struct call *call = chat_url_call(state, job, on_outcome, ctx, &url);

    if (!call)
        return 0;
    if (!call->content.title && !call->content.body && !call->content.card_json) {
        call_refuse(call, OUTCOME_PERMANENT, REASON_CONTENT_INVALID,
                    "a chat message needs a title, a body or content.chat.card");
        return 0;
    }
    write_body(call);
    if (call->body.length > MESSAGE_MAX) {
        call_refuse(call, OUTCOME_PERMANENT, REASON_PAYLOAD_TOO_LARGE, "the message is over 28 KB");
        return 0;
    }
    call_header(call, "Content-Type", "application/json");
    return call_send(call, url, teams_judge);
}

const struct adapter adapter_teams = {
    .name = "teams",
    .channel = CHANNEL_CHAT,
    .keys = KEYS,
    .open = teams_open,
    .close = chat_url_close,
    .send = teams_send,
};

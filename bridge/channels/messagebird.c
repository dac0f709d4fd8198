/* SPDX-License-Identifier: MIT */
/*
 * messagebird - SMS by the classic MessageBird REST API
 *
 * No idempotency: a repeat after an unknown outcome may arrive twice.  The delivery's id is the
 * reference, without which there are no status reports.
 */
#include "base/alloc.h"
#include "channels/adapters.h"
#include "channels/answer.h"
#include "channels/sms_call.h"
#include "core/id.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
static const struct error_row ERRORS[] = {
    {.codes = "2", .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the access key is refused"},
    {.status = 401, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the access key is refused"},
    {.codes = "25", .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the balance is used up"},
    {.codes = "originator:*", .trouble = TROUBLE_SENDER, .reason = REASON_PROVIDER_AUTH,
     .note = "the originator is refused"},
    {.codes = "recipients:10,recipient:10", .dead = PROOF_NOT_AN_ADDRESS,
     .note = "not a number that can get SMS"},
    {.codes = "9,10,21", .is_refused = FACT_YES, .reason = REASON_CONTENT_INVALID,
     .note = "the message is not acceptable"},
    {.codes = "20", .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "not found"},
    {.status = 404, .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "not found"},
    {.codes = "98,99", .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_UNAVAILABLE,
     .note = "MessageBird is unwell"},
    {.status = 422, .is_refused = FACT_YES, .reason = REASON_CONTENT_INVALID,
     .note = "the message is not acceptable"},
    {.status = 429, .trouble = TROUBLE_RATE, .reason = REASON_RATE_LIMITED,
     .note = "too many requests"},
};
/* clang-format on */
ERROR_TABLE(messagebird_errors, "messagebird", ERRORS);

static const struct adapter_key KEYS[] = {
    ENDPOINT_KEYS("https://rest.messagebird.com"),
    {"access_key_file", ADAPTER_FILE, true, NULL, "access key of the account"},
    {"from", ADAPTER_TEXT, true, NULL, "originator: number or at most 11 letters and digits"},
    {"report_url", ADAPTER_URL, false, NULL,
     "where MessageBird reports what became of messages, if not at http.public_url"},
    {"validity", ADAPTER_DURATION, false, NULL, "MessageBird drops what waits longer"},
    SMS_KEYS,
    {"callback_secret_file", ADAPTER_FILE, false, NULL, "signing key of status reports"},
    {0}};

struct messagebird {
    struct endpoint endpoint;
    struct sms_rules rules;
    struct secret authorization;
    char *url, *from, *report_url;
    int64_t validity_s;
};

static void messagebird_close(void *state)
{
    struct messagebird *messagebird = state;

    secret_fini(&messagebird->authorization);
    free(messagebird->url);
    free(messagebird->from);
    free(messagebird->report_url);
    endpoint_fini(&messagebird->endpoint);
    free(messagebird);
}

static int messagebird_open(const struct adapter_env *env, const struct adapter_settings *from,
                            void **state, char *why, size_t why_bytes)
{
    struct messagebird *messagebird = xcalloc(1, sizeof *messagebird);
    struct settings settings;

    settings_begin(&settings, KEYS, from, why, why_bytes);
    endpoint_init(&messagebird->endpoint, env, &settings);
    sms_rules_init(&messagebird->rules, &settings);
    messagebird->from = settings_copy(&settings, "from");
    messagebird->report_url = settings_copy(&settings, "report_url");
    messagebird->validity_s = settings_ms(&settings, "validity", 0) / 1000;
    messagebird->url = endpoint_url(&messagebird->endpoint, "/messages");
    settings_bearer(&settings, "access_key_file", "AccessKey ", &messagebird->authorization);
    if (settings.err)
        messagebird_close(messagebird);
    else
        *state = messagebird;
    return settings.err;
}

static bool messagebird_judge(struct call *call, const struct http_response *response,
                              struct outcome *outcome)
{
    struct answer *answer = answer_new(response->body, response->body_bytes);

    if (http_response_is_good(response)) {
        http_outcome_named(response, answer_string(answer, "id"), outcome);
    } else {
        const char *code = answer_text(answer, "errors/0/code");
        const char *parameter = answer_text(answer, "errors/0/parameter");
        char words[96];

        /* "10 recipients:10": the code, then the same with what it is about. */
        (void)snprintf(words, sizeof words, "%s %s:%s", code ? code : "",
                       parameter ? parameter : "", code ? code : "");
        call_judge_status(call, response, &messagebird_errors, words, NULL, outcome);
    }
    answer_free(answer);
    return true;
}

static int messagebird_send(void *state, const struct job *job, adapter_outcome_fn *on_outcome,
                            void *ctx)
{
    struct messagebird *messagebird = state;
    struct sms_text text;
    struct call *call =
        sms_call_new(&messagebird->endpoint, &messagebird->rules, job, on_outcome, ctx, &text);
    char id[ID_TEXT_BYTES];
    struct buf *out;
    int64_t validity_s;

    if (!call)
        return 0;
    out = &call->body;
    buf_add_text(out, "{\"originator\":");
    buf_add_json(out, call->content.from ? call->content.from : messagebird->from);
    buf_add_text(out, ",\"recipients\":[");
    buf_add_json(out, job->target + 1); /* without the plus */
    buf_add_text(out, "],\"body\":");
    buf_add_json(out, text.text);
    buf_printf(out, ",\"datacoding\":\"%s\",\"reference\":\"%s\"",
               text.is_ucs2 ? "unicode" : "plain", id_format(job->delivery, id));
    if (messagebird->report_url) {
        buf_add_text(out, ",\"reportUrl\":");
        buf_add_json(out, messagebird->report_url);
    }
    validity_s = sms_validity_s(call, messagebird->validity_s, 1, INT64_MAX);
    if (validity_s > 0)
        buf_printf(out, ",\"validity\":%lld", (long long)validity_s);
    buf_add_char(out, '}');
    call_header(call, "Authorization", messagebird->authorization.bytes);
    call_header(call, "Content-Type", "application/json");
    return call_send(call, messagebird->url, messagebird_judge);
}

const struct adapter adapter_messagebird = {
    .name = "messagebird",
    .channel = CHANNEL_SMS,
    .keys = KEYS,
    .has_receipts = true,
    .open = messagebird_open,
    .close = messagebird_close,
    .send = messagebird_send,
};

/* SPDX-License-Identifier: MIT */
/*
 * bird - SMS by Bird's v1 platform API (2026)
 *
 * The one SMS provider here with idempotency: the delivery's id is the Idempotency-Key, and the
 * same key answers with the first response for three hours.
 */
#include "base/alloc.h"
#include "channels/adapters.h"
#include "channels/answer.h"
#include "channels/sms_call.h"
#include "core/id.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATE_MS      900000
#define SEGMENTS_MAX 12

/* clang-format off */
static const struct error_row ERRORS[] = {
    {.codes = "E01004", .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_UNAVAILABLE,
     .note = "the same request is under way", .is_target_only = true},
    {.codes = "E01005", .is_refused = FACT_YES, .reason = REASON_INTERNAL,
     .note = "this key was used for another request"},
    {.codes = "E01033", .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_UNAVAILABLE,
     .note = "Bird is unwell; nothing was executed"},
    {.codes = "SMSInvalidRecipient,invalid_destination,landline_unreachable",
     .dead = PROOF_NOT_AN_ADDRESS, .note = "not a number that can get SMS"},
    {.codes = "recipient_opted_out,blocked_by_recipient", .dead = PROOF_OPTED_OUT,
     .note = "the recipient sent STOP"},
    {.codes = "insufficient_balance", .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the balance is used up"},
    {.codes = "SMSNoEligibleSender", .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "the account has no sender for this destination"},
    {.codes = "sender_unregistered", .trouble = TROUBLE_SENDER, .reason = REASON_PROVIDER_AUTH,
     .note = "the sender is not registered"},
    {.codes = "unreachable", .trouble = TROUBLE_UNWELL, .reason = REASON_TARGET_INVALID,
     .note = "handset unreachable", .wait_ms = LATE_MS, .is_target_only = true},
    {.codes = "blocked_by_carrier,content_rejected,unknown", .is_refused = FACT_YES,
     .reason = REASON_PROVIDER_REJECTED, .note = "refused by the carrier"},
    {.codes = "provider_unavailable", .trouble = TROUBLE_UNWELL,
     .reason = REASON_PROVIDER_UNAVAILABLE,
     .note = "the carrier's network is unwell"},
    {.status = 429, .trouble = TROUBLE_QUOTA, .reason = REASON_RATE_LIMITED,
     .note = "over the rate limit", .wait_ms = 1000},
    {.status = 401, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the API key is refused"},
    {.status = 402, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the balance is used up"},
    {.status = 403, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the API key may not send"},
    {.status = 422, .is_refused = FACT_YES, .reason = REASON_CONTENT_INVALID,
     .note = "the message is not acceptable"},
};
/* clang-format on */
ERROR_TABLE(bird_errors, "bird", ERRORS);

static const struct adapter_key KEYS[] = {
    {"base_url", ADAPTER_URL, false, NULL, "where the API is; from the key's region without it"},
    CA_FILE_KEY,
    {"api_key_file", ADAPTER_FILE, true, NULL, "API key, bk_<region>_..."},
    {"from", ADAPTER_TEXT, true, NULL, "sender: number in E.164 or at most 11 characters"},
    {"category", ADAPTER_TEXT, false, "transactional",
     "transactional, marketing, authentication or service"},
    SMS_KEYS,
    {"callback_secret_file", ADAPTER_FILE, false, NULL, "signing secret of webhooks, whsec_..."},
    {0}};

struct bird {
    struct endpoint endpoint;
    struct sms_rules rules;
    struct secret authorization;
    char *url, *from, *category;
};

static void bird_close(void *state)
{
    struct bird *bird = state;

    secret_fini(&bird->authorization);
    free(bird->url);
    free(bird->from);
    free(bird->category);
    endpoint_fini(&bird->endpoint);
    free(bird);
}

/* The region is inside the key: bk_us1_... */
static void make_url(struct bird *bird, struct settings *settings)
{
    static const char start[] = "Bearer bk_";
    const char *key = bird->authorization.bytes, *region = key + sizeof start - 1;
    struct buf url = {0};
    size_t length;

    if (bird->endpoint.base_url) {
        buf_printf(&url, "%s/v1/sms/messages", bird->endpoint.base_url);
        bird->url = url.data;
        return;
    }
    length = strncmp(key, start, sizeof start - 1) == 0
                 ? strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789")
                 : 0;
    if (length == 0 || length > 8 || region[length] != '_') {
        settings_fail(settings, "api_key_file holds no bk_<region>_... key, and base_url is not "
                                "given");
        return;
    }
    buf_printf(&url, "https://%.*s.platform.bird.com/v1/sms/messages", (int)length, region);
    bird->url = url.data;
}

static int bird_open(const struct adapter_env *env, const struct adapter_settings *from,
                     void **state, char *why, size_t why_bytes)
{
    struct bird *bird = xcalloc(1, sizeof *bird);
    struct settings settings;

    settings_begin(&settings, KEYS, from, why, why_bytes);
    endpoint_init(&bird->endpoint, env, &settings);
    sms_rules_init(&bird->rules, &settings);
    if (bird->rules.max_segments == 0 || bird->rules.max_segments > SEGMENTS_MAX)
        bird->rules.max_segments = SEGMENTS_MAX;
    bird->from = settings_copy(&settings, "from");
    bird->category = settings_copy(&settings, "category");
    settings_bearer(&settings, "api_key_file", "Bearer ", &bird->authorization);
    if (!settings.err)
        make_url(bird, &settings);
    if (settings.err)
        bird_close(bird);
    else
        *state = bird;
    return settings.err;
}

static bool bird_judge(struct call *call, const struct http_response *response,
                       struct outcome *outcome)
{
    struct answer *answer = answer_new(response->body, response->body_bytes);

    if (http_response_is_good(response)) {
        http_outcome_named(response, answer_string(answer, "id"), outcome);
        call->segments = (int)answer_number(answer, "segments/count", call->segments);
    } else {
        const char *name = answer_text(answer, "error/name");
        const char *code = answer_text(answer, "error/code");
        char words[96];

        (void)snprintf(words, sizeof words, "%s %s", code ? code : "", name ? name : "");
        call_judge_status(call, response, &bird_errors, words, NULL, outcome);
    }
    answer_free(answer);
    return true;
}

static int bird_send(void *state, const struct job *job, adapter_outcome_fn *on_outcome, void *ctx)
{
    struct bird *bird = state;
    struct sms_text text;
    struct call *call = sms_call_new(&bird->endpoint, &bird->rules, job, on_outcome, ctx, &text);
    const char *from;

    if (!call)
        return 0;
    from = call->content.from ? call->content.from : bird->from;
    buf_add_text(&call->body, "{\"to\":");
    buf_add_json(&call->body, job->target);
    buf_add_text(&call->body, ",\"from\":");
    buf_add_json(&call->body, from);
    buf_add_text(&call->body, ",\"text\":");
    buf_add_json(&call->body, text.text);
    buf_add_text(&call->body, ",\"category\":");
    buf_add_json(&call->body, bird->category);
    buf_add_char(&call->body, '}');
    call_header(call, "Authorization", bird->authorization.bytes);
    call_header(call, "Content-Type", "application/json");
    call_header(call, "Idempotency-Key",
                id_format(job->delivery, arena_alloc(call->arena, ID_TEXT_BYTES)));
    return call_send(call, bird->url, bird_judge);
}

const struct adapter adapter_bird = {
    .name = "bird",
    .channel = CHANNEL_SMS,
    .keys = KEYS,
    .is_idempotent = true,
    .has_receipts = true,
    .open = bird_open,
    .close = bird_close,
    .send = bird_send,
};

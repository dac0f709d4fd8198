/* SPDX-License-Identifier: MIT */
/*
 * whatsapp - messages by Meta's WhatsApp Cloud API
 *
 * Outside 24 hours after the user's last message only templates are delivered:
 * content.chat.template is {"name", "language": "en", "components": [...]} and goes as it is.
 * No idempotency: a repeat after an unknown outcome may arrive twice.
 */
#include "base/alloc.h"
#include "channels/adapters.h"
#include "channels/answer.h"
#include "channels/encode.h"
#include "channels/sms_call.h"
#include "core/id.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 4096

/* clang-format off */
static const struct error_row ERRORS[] = {
    {.codes = "131056", .trouble = TROUBLE_RATE, .reason = REASON_RATE_LIMITED,
     .note = "too many messages to this recipient", .is_target_only = true},
    {.codes = "130429,80007,4,133016", .trouble = TROUBLE_RATE, .reason = REASON_RATE_LIMITED,
     .note = "over the throughput"},
    {.codes = "131048,368,131031", .trouble = TROUBLE_SETUP,
     .reason = REASON_PROVIDER_AUTH, .note = "the sender is restricted or locked"},
    {.codes = "132001,132015,132016,132068,132069", .is_refused = FACT_YES,
     .reason = REASON_TEMPLATE_ERROR, .note = "the template is missing, paused or disabled"},
    {.codes = "131030", .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "a test number sends to listed recipients only"},
    {.codes = "0,3,10,190,200-299,131005,131042,131045,133010,33", .trouble = TROUBLE_SETUP,
     .reason = REASON_PROVIDER_AUTH, .note = "token, number or account refused"},
    {.codes = "1,2,131000,131016", .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_UNAVAILABLE,
     .note = "WhatsApp is unwell"},
    {.codes = "131026", .is_refused = FACT_YES, .reason = REASON_TARGET_INVALID,
     .note = "not on WhatsApp, or does not take this message"},
    {.codes = "131050", .dead = PROOF_OPTED_OUT,
     .note = "the user stopped marketing messages"},
    {.codes = "131049,130472", .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "WhatsApp chose not to deliver it"},
    {.codes = "131047", .is_refused = FACT_YES, .reason = REASON_CONTENT_INVALID,
     .note = "over 24 hours since the user wrote: a template is needed"},
    {.codes = "132000,132005,132007,132012", .is_refused = FACT_YES,
     .reason = REASON_TEMPLATE_ERROR, .note = "the template's parameters do not fit"},
    {.codes = "100,131008,131009,131051,131052,131053", .is_refused = FACT_YES,
     .reason = REASON_CONTENT_INVALID, .note = "the message is not acceptable"},
    {.codes = "transient", .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_UNAVAILABLE,
     .note = "WhatsApp calls it transient"},
};
/* clang-format on */
ERROR_TABLE(whatsapp_errors, "whatsapp", ERRORS);

static const struct adapter_key KEYS[] = {
    ENDPOINT_KEYS("https://graph.facebook.com"),
    {"version", ADAPTER_TEXT, false, "v23.0", "version of the Graph API"},
    {"phone_number_id", ADAPTER_TEXT, true, NULL, "id of the sending number (not the number)"},
    {"access_token_file", ADAPTER_FILE, true, NULL, "token of a system user"},
    {"preview_url", ADAPTER_BOOL, false, "false", "show previews of links"},
    {"callback_secret_file", ADAPTER_FILE, false, NULL,
     "app secret with which webhooks are signed"},
    {"callback_verify_file", ADAPTER_FILE, false, NULL, "verify token of the webhook's handshake"},
    {0}};

struct whatsapp {
    struct endpoint endpoint;
    struct secret authorization;
    bool has_preview;
    char *url;
};

static void whatsapp_close(void *state)
{
    struct whatsapp *whatsapp = state;

    secret_fini(&whatsapp->authorization);
    free(whatsapp->url);
    endpoint_fini(&whatsapp->endpoint);
    free(whatsapp);
}

static int whatsapp_open(const struct adapter_env *env, const struct adapter_settings *from,
                         void **state, char *why, size_t why_bytes)
{
    struct whatsapp *whatsapp = xcalloc(1, sizeof *whatsapp);
    struct settings settings;
    struct buf url = {0};

    settings_begin(&settings, KEYS, from, why, why_bytes);
    endpoint_init(&whatsapp->endpoint, env, &settings);
    whatsapp->has_preview = settings_bool(&settings, "preview_url");
    settings_bearer(&settings, "access_token_file", "Bearer ", &whatsapp->authorization);
    if (settings.err) {
        whatsapp_close(whatsapp);
        return settings.err;
    }
    buf_printf(&url, "%s/", whatsapp->endpoint.base_url);
    encode_percent(&url, settings_text(&settings, "version"));
    buf_add_char(&url, '/');
    encode_percent(&url, settings_text(&settings, "phone_number_id"));
    buf_add_text(&url, "/messages");
    whatsapp->url = url.data;
    *state = whatsapp;
    return 0;
}

/* "language":"en" is written {"code":"en"}, as the API wants it; an object goes as it is. */
static bool write_template(struct buf *out, const char *json)
{
    struct answer *template = answer_new(json, strlen(json));
    const char *name = answer_text(template, "name");
    const char *language = answer_text(template, "language");
    const char *components = answer_json(template, "components");
    bool is_good = name != NULL;

    if (!language)
        language = answer_text(template, "language/code");
    if (is_good) {
        buf_add_text(out, ",\"type\":\"template\",\"template\":{\"name\":");
        buf_add_json(out, name);
        buf_add_text(out, ",\"language\":{\"policy\":\"deterministic\",\"code\":");
        buf_add_json(out, language ? language : "en");
        buf_add_char(out, '}');
        if (components)
            buf_printf(out, ",\"components\":%s", components);
        buf_add_char(out, '}');
    }
    answer_free(template);
    return is_good;
}

static size_t characters(const char *text)
{
    size_t count = 0;

    for (; *text; text++)
        count += ((unsigned char)*text & 0xC0) != 0x80;
    return count;
}

static const char *text_of(struct call *call)
{
    const struct content *content = &call->content;

    if (content->title && content->body)
        return arena_printf(call->arena, "*%s*\n%s", content->title, content->body);
    return content->body ? content->body : content->title;
}

/* NULL when the message is written, else what is wrong with the content. */
static const char *write_body(const struct whatsapp *whatsapp, struct call *call)
{
    struct buf *out = &call->body;
    const char *text = text_of(call);
    char id[ID_TEXT_BYTES];

    buf_add_text(out, "{\"messaging_product\":\"whatsapp\",\"recipient_type\":\"individual\","
                      "\"to\":");
    buf_add_json(out, call->job->target + 1); /* without the plus */
    if (call->content.template_json) {
        if (!write_template(out, call->content.template_json))
            return "content.chat.template needs a name";
    } else {
        if (!text || !*text)
            return "a chat message needs a title, a body or content.chat.template";
        if (characters(text) > TEXT_MAX)
            return "the text is over 4096 characters";
        buf_add_text(out, ",\"type\":\"text\",\"text\":{\"body\":");
        buf_add_json(out, text);
        buf_printf(out, ",\"preview_url\":%s}", whatsapp->has_preview ? "true" : "false");
    }
    buf_printf(out, ",\"biz_opaque_callback_data\":\"%s\"}", id_format(call->job->delivery, id));
    return NULL;
}

static bool whatsapp_judge(struct call *call, const struct http_response *response,
                           struct outcome *outcome)
{
    struct answer *answer = answer_new(response->body, response->body_bytes);

    if (http_response_is_good(response)) {
        http_outcome_named(response, answer_string(answer, "messages/0/id"), outcome);
    } else {
        const char *code = answer_text(answer, "error/code");
        const char *transient = answer_text(answer, "error/is_transient");
        char words[64] = "";

        /* The code decides; where no row knows it, what Meta says of it. */
        if (code)
            (void)snprintf(words, sizeof words, "%s%s", code,
                           transient && strcmp(transient, "true") == 0 ? " transient" : "");
        call_judge_status(call, response, &whatsapp_errors, code ? words : NULL, NULL, outcome);
    }
    answer_free(answer);
    return true;
}

static int whatsapp_send(void *state, const struct job *job, adapter_outcome_fn *on_outcome,
                         void *ctx)
{
    struct whatsapp *whatsapp = state;
    struct call *call = call_new(&whatsapp->endpoint, CHANNEL_CHAT, job, on_outcome, ctx);
    const char *wrong;

    if (!call)
        return 0;
    if (!sms_number_is_valid(job->target)) {
        call_refuse_target(call, "not an E.164 number");
        return 0;
    }
    wrong = write_body(whatsapp, call);
    if (wrong) {
        call_refuse(call, OUTCOME_PERMANENT, REASON_CONTENT_INVALID, wrong);
        return 0;
    }
    call_header(call, "Authorization", whatsapp->authorization.bytes);
    call_header(call, "Content-Type", "application/json");
    return call_send(call, whatsapp->url, whatsapp_judge);
}

const struct adapter adapter_whatsapp = {
    .name = "whatsapp",
    .channel = CHANNEL_CHAT,
    .keys = KEYS,
    .has_receipts = true,
    .open = whatsapp_open,
    .close = whatsapp_close,
    .send = whatsapp_send,
};

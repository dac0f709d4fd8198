/* SPDX-License-Identifier: MIT */
/*
 * twilio - SMS by Twilio Programmable Messaging
 *
 * Twilio has no idempotency for creating messages: a repeat after an unknown outcome may arrive
 * twice.  Its codes are not a stable contract; what the table does not know falls to the rows
 * by range and then to the HTTP status.
 */
#include "base/alloc.h"
#include "channels/adapters.h"
#include "channels/answer.h"
#include "channels/encode.h"
#include "channels/sms_call.h"
#include <stdlib.h>

#define DAY_MS  86400000
#define LATE_MS 900000
/* ValidityPeriod: a number of seconds up to ten hours; that is also the default. */
#define VALIDITY_LEAST_S 6
#define VALIDITY_MOST_S  36000

/* clang-format off */
static const struct error_row ERRORS[] = {
    {.codes = "30023,30027,63038", .trouble = TROUBLE_QUOTA, .reason = REASON_RATE_LIMITED,
     .note = "the daily cap is reached", .wait_ms = DAY_MS},
    {.codes = "20429", .trouble = TROUBLE_RATE, .reason = REASON_RATE_LIMITED,
     .note = "too many requests at once; this one was not processed"},
    {.codes = "21611", .trouble = TROUBLE_RATE, .reason = REASON_RATE_LIMITED,
     .note = "the sender's queue is full"},
    {.status = 429, .trouble = TROUBLE_RATE, .reason = REASON_RATE_LIMITED,
     .note = "too many requests at once; this one was not processed"},
    {.codes = "20409,20500,20503", .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_UNAVAILABLE,
     .note = "Twilio is unwell"},
    {.codes = "20003,20005,20006,20008,20404", .trouble = TROUBLE_SETUP,
     .reason = REASON_PROVIDER_AUTH, .note = "account or credentials refused"},
    {.codes = "21408", .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "the account may not send to this country"},
    {.codes = "21212,21603,21606,21607,21659-21661", .trouble = TROUBLE_SENDER,
     .reason = REASON_PROVIDER_AUTH, .note = "the sender is not usable"},
    {.codes = "21701,21703-21705", .trouble = TROUBLE_SETUP,
     .reason = REASON_PROVIDER_AUTH, .note = "the messaging service is not usable"},
    {.codes = "21608,21219", .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "a trial account sends to verified numbers only"},
    {.codes = "21609", .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "status_callback is not usable"},
    {.codes = "30002", .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the account is suspended"},
    {.codes = "30018,30024,30032-30035", .trouble = TROUBLE_SENDER,
     .reason = REASON_PROVIDER_AUTH, .note = "the sender is not registered"},
    {.codes = "21211,21421,21614,21635,21265", .dead = PROOF_NOT_AN_ADDRESS,
     .note = "not a number that can get SMS"},
    {.codes = "30005,30006,63003,63024", .is_refused = FACT_YES, .reason = REASON_TARGET_INVALID,
     .note = "the carrier does not reach this number"},
    {.codes = "21610", .dead = PROOF_OPTED_OUT,
     .note = "the recipient sent STOP"},
    {.codes = "21602,21604,21617-21620,21623,21624,21654-21656", .is_refused = FACT_YES,
     .reason = REASON_CONTENT_INVALID, .note = "the message is not acceptable"},
    {.codes = "21266,21612,21214", .is_refused = FACT_YES, .reason = REASON_TARGET_INVALID,
     .note = "this sender cannot reach this number"},
    {.codes = "20001,20422,30007,30010-30016,30019,30111,30450,63016,63005,63021",
     .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "refused by Twilio or the carrier"},
    {.codes = "30001,30008,30017,30020,30021,30410,60005", .trouble = TROUBLE_UNWELL,
     .reason = REASON_PROVIDER_UNAVAILABLE, .note = "the carrier's network is unwell"},
    {.codes = "30003,30004", .trouble = TROUBLE_UNWELL, .reason = REASON_TARGET_INVALID,
     .note = "handset unreachable or blocked", .wait_ms = LATE_MS, .is_target_only = true},
    {.codes = "30022,30025,30026,63018", .trouble = TROUBLE_RATE, .reason = REASON_RATE_LIMITED,
     .note = "over the sender's rate, or near its daily cap"},
    {.status = 404, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "no such account"},
    {.status = 400, .codes = "21000-21999,30000-30999", .is_refused = FACT_YES,
     .reason = REASON_PROVIDER_REJECTED, .note = "refused, for a reason not in our table"},
};
/* clang-format on */
ERROR_TABLE(twilio_errors, "twilio", ERRORS);

static const struct adapter_key KEYS[] = {
    ENDPOINT_KEYS("https://api.twilio.com"),
    {"account_sid", ADAPTER_TEXT, true, NULL, "the account, AC..."},
    {"auth_token_file", ADAPTER_FILE, true, NULL,
     "the account's token, or the secret of api_key_sid"},
    {"api_key_sid", ADAPTER_TEXT, false, NULL, "authenticate with this API key, SK..."},
    {"from", ADAPTER_TEXT, false, NULL, "sender: number in E.164, short code or name"},
    {"messaging_service_sid", ADAPTER_TEXT, false, NULL, "instead of from: MG..."},
    {"status_callback", ADAPTER_URL, false, NULL,
     "where Twilio reports what became of messages, if not at http.public_url"},
    {"validity_period", ADAPTER_DURATION, false, NULL, "Twilio drops what waits longer, 1s to 10h"},
    SMS_KEYS,
    {"callback_secret_file", ADAPTER_FILE, false, NULL,
     "what callbacks are signed with, where auth_token_file is not the account's token"},
    {0}};

struct twilio {
    struct endpoint endpoint;
    struct sms_rules rules;
    char *url, *user, *from, *service, *status_callback;
    int64_t validity_s; /* 0: Twilio's own */
    struct secret token;
};

static void twilio_close(void *state)
{
    struct twilio *twilio = state;

    secret_fini(&twilio->token);
    free(twilio->url);
    free(twilio->user);
    free(twilio->from);
    free(twilio->service);
    free(twilio->status_callback);
    endpoint_fini(&twilio->endpoint);
    free(twilio);
}

static void make_url(struct twilio *twilio, const char *account)
{
    struct buf url = {0};

    buf_printf(&url, "%s/2010-04-01/Accounts/", twilio->endpoint.base_url);
    encode_percent(&url, account);
    buf_add_text(&url, "/Messages.json");
    twilio->url = url.data;
}

static int twilio_open(const struct adapter_env *env, const struct adapter_settings *from,
                       void **state, char *why, size_t why_bytes)
{
    struct twilio *twilio = xcalloc(1, sizeof *twilio);
    struct settings settings;

    settings_begin(&settings, KEYS, from, why, why_bytes);
    endpoint_init(&twilio->endpoint, env, &settings);
    sms_rules_init(&twilio->rules, &settings);
    twilio->user = settings_copy(&settings, settings_has(&settings, "api_key_sid") ? "api_key_sid"
                                                                                   : "account_sid");
    twilio->from = settings_copy(&settings, "from");
    twilio->service = settings_copy(&settings, "messaging_service_sid");
    twilio->status_callback = settings_copy(&settings, "status_callback");
    twilio->validity_s = settings_ms(&settings, "validity_period", 0) / 1000;
    if (twilio->validity_s < 0 || twilio->validity_s > VALIDITY_MOST_S)
        settings_fail(&settings, "validity_period must be between 1s and 10h");
    if (!twilio->from && !twilio->service)
        settings_fail(&settings, "from or messaging_service_sid is missing");
    settings_secret(&settings, "auth_token_file", &twilio->token);
    if (settings.err) {
        twilio_close(twilio);
        return settings.err;
    }
    make_url(twilio, settings_text(&settings, "account_sid"));
    *state = twilio;
    return 0;
}

static bool twilio_judge(struct call *call, const struct http_response *response,
                         struct outcome *outcome)
{
    struct answer *answer = answer_new(response->body, response->body_bytes);

    if (http_response_is_good(response))
        http_outcome_named(response, answer_string(answer, "sid"), outcome);
    else
        call_judge_status(call, response, &twilio_errors, answer_text(answer, "code"), NULL,
                          outcome);
    answer_free(answer);
    return true;
}

static int twilio_send(void *state, const struct job *job, adapter_outcome_fn *on_outcome,
                       void *ctx)
{
    struct twilio *twilio = state;
    struct sms_text text;
    struct call *call =
        sms_call_new(&twilio->endpoint, &twilio->rules, job, on_outcome, ctx, &text);
    struct http_request request = {
        .url = twilio->url, .basic_user = twilio->user, .basic_password = &twilio->token};
    int64_t validity_s;

    if (!call)
        return 0;
    encode_form(&call->body, "To", job->target);
    if (call->content.from)
        encode_form(&call->body, "From", call->content.from);
    else if (twilio->service)
        encode_form(&call->body, "MessagingServiceSid", twilio->service);
    else
        encode_form(&call->body, "From", twilio->from);
    encode_form(&call->body, "Body", text.text);
    if (twilio->status_callback)
        encode_form(&call->body, "StatusCallback", twilio->status_callback);
    validity_s = sms_validity_s(call, twilio->validity_s, VALIDITY_LEAST_S, VALIDITY_MOST_S);
    if (validity_s)
        encode_form(&call->body, "ValidityPeriod",
                    arena_printf(call->arena, "%lld", (long long)validity_s));
    call_header(call, "Content-Type", "application/x-www-form-urlencoded");
    call_header(call, "Accept", "application/json");
    return call_send_request(call, &request, twilio_judge);
}

const struct adapter adapter_twilio = {
    .name = "twilio",
    .channel = CHANNEL_SMS,
    .keys = KEYS,
    .has_receipts = true,
    .open = twilio_open,
    .close = twilio_close,
    .send = twilio_send,
};

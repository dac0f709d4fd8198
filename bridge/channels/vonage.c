/* SPDX-License-Identifier: MIT */
/*
 * vonage - SMS by Vonage's Messages API v1
 *
 * With an application's key (a short-lived RS256 JWT, reused for some minutes) or the account's
 * key and secret.  No idempotency: a repeat after an unknown outcome may arrive twice; the
 * delivery's id is the client_ref.
 */
#include "base/alloc.h"
#include "base/random.h"
#include "channels/adapters.h"
#include "channels/answer.h"
#include "channels/jose.h"
#include "channels/sms_call.h"
#include "core/id.h"
#include <stdlib.h>
#include <string.h>

#define JWT_LIFE_S  900
#define JWT_REUSE_S 600
/* Messages API, ttl of an SMS: at least 20 seconds; 72 hours where none is named. */
#define TTL_LEAST_S 20
#define TTL_USUAL_S 259200

/* clang-format off */
static const struct error_row ERRORS[] = {
    {.codes = "1000,1241,1460,1461,1472,throttled", .trouble = TROUBLE_RATE,
     .reason = REASON_RATE_LIMITED, .note = "too many messages"},
    {.status = 429, .trouble = TROUBLE_RATE, .reason = REASON_RATE_LIMITED,
     .note = "too many requests"},
    {.codes = "1030,1100,1180,1220,1230,1331", .trouble = TROUBLE_UNWELL,
     .reason = REASON_PROVIDER_UNAVAILABLE, .note = "Vonage or the carrier is unwell"},
    {.codes = "1120,1420", .trouble = TROUBLE_SENDER, .reason = REASON_PROVIDER_AUTH,
     .note = "the sender is refused"},
    {.codes = "1160,1470,1473-1476,1480-1484", .is_refused = FACT_YES,
     .reason = REASON_PROVIDER_REJECTED,
     .note = "this number, country or text needs a permission or registration"},
    {.codes = "1060,1070,1080,1140,1242", .trouble = TROUBLE_SETUP,
     .reason = REASON_PROVIDER_AUTH, .note = "the account is refused"},
    {.codes = "1170,1430,1310", .dead = PROOF_NOT_AN_ADDRESS,
     .note = "not a number that can get SMS"},
    {.codes = "1050,1190,1300", .is_refused = FACT_YES, .reason = REASON_TARGET_INVALID,
     .note = "the carrier does not reach this number"},
    {.codes = "1240", .dead = PROOF_OPTED_OUT,
     .note = "the recipient sent STOP"},
    {.codes = "1490", .processed = FACT_YES, .reason = REASON_NONE,
     .note = "sent; the carrier's receipt did not come"},
    {.codes = "1010,1020-1022,1040,1090,1130,1150", .is_refused = FACT_YES,
     .reason = REASON_CONTENT_INVALID, .note = "the message is not acceptable"},
    {.codes = "1200,1210,1250,1251,1260,1270,1280,1282,1290,1320,"
              "1330,1340,1360,1380-1382,1400,1410,1440,1450",
     .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "refused by Vonage or the carrier"},
    {.status = 401, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the credentials are refused"},
    {.status = 402, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the balance is used up"},
    {.status = 403, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the account may not send this"},
};
/* clang-format on */
ERROR_TABLE(vonage_errors, "vonage", ERRORS);

static const struct adapter_key KEYS[] = {
    ENDPOINT_KEYS("https://api.nexmo.com"),
    {"application_id", ADAPTER_TEXT, false, NULL, "the application; with private_key_file"},
    {"private_key_file", ADAPTER_FILE, false, NULL, "the application's RSA key in PEM"},
    {"api_key", ADAPTER_TEXT, false, NULL, "instead of an application: the account's key"},
    {"api_secret_file", ADAPTER_FILE, false, NULL, "the secret of api_key"},
    {"from", ADAPTER_TEXT, true, NULL, "sender: digits or at most 11 characters"},
    {"status_callback", ADAPTER_URL, false, NULL,
     "where Vonage reports what became of messages, if not at http.public_url"},
    SMS_KEYS,
    {"callback_secret_file", ADAPTER_FILE, false, NULL,
     "signature secret of the account, for status callbacks"},
    {0}};

struct vonage {
    struct endpoint endpoint;
    struct sms_rules rules;
    char *url, *from, *status_callback, *application, *api_key;
    struct secret api_secret;
    struct jose_key *key; /* NULL: Basic */
    struct secret bearer; /* the header's value; made anew after reuse_until_s */
    int64_t reuse_until_s;
};

static void vonage_close(void *state)
{
    struct vonage *vonage = state;

    secret_fini(&vonage->api_secret);
    secret_fini(&vonage->bearer);
    jose_key_free(vonage->key);
    free(vonage->url);
    free(vonage->from);
    free(vonage->status_callback);
    free(vonage->application);
    free(vonage->api_key);
    endpoint_fini(&vonage->endpoint);
    free(vonage);
}

static void read_credentials(struct vonage *vonage, struct settings *settings)
{
    struct secret pem = {0};

    vonage->application = settings_copy(settings, "application_id");
    vonage->api_key = settings_copy(settings, "api_key");
    settings_secret(settings, "private_key_file", &pem);
    settings_secret(settings, "api_secret_file", &vonage->api_secret);
    if (pem.bytes && jose_key_from_pem(JOSE_RS256, pem.bytes, pem.length, &vonage->key) != 0)
        settings_fail(settings, "private_key_file must hold an RSA key of 2048 bits or more");
    if (!vonage->application != !pem.bytes)
        settings_fail(settings, "application_id and private_key_file go together");
    if (!vonage->api_key != !vonage->api_secret.bytes)
        settings_fail(settings, "api_key and api_secret_file go together");
    if (!vonage->application && !vonage->api_key)
        settings_fail(settings, "application_id or api_key is missing");
    secret_fini(&pem);
}

static int vonage_open(const struct adapter_env *env, const struct adapter_settings *from,
                       void **state, char *why, size_t why_bytes)
{
    struct vonage *vonage = xcalloc(1, sizeof *vonage);
    struct settings settings;

    settings_begin(&settings, KEYS, from, why, why_bytes);
    endpoint_init(&vonage->endpoint, env, &settings);
    sms_rules_init(&vonage->rules, &settings);
    vonage->url = endpoint_url(&vonage->endpoint, "/v1/messages");
    vonage->from = settings_copy(&settings, "from");
    vonage->status_callback = settings_copy(&settings, "status_callback");
    read_credentials(vonage, &settings);
    if (settings.err)
        vonage_close(vonage);
    else
        *state = vonage;
    return settings.err;
}

static const char *bearer_of(struct vonage *vonage)
{
    int64_t now_s = vonage->endpoint.env.wall_ms() / 1000, until_s = now_s + JWT_LIFE_S;
    struct buf claims = {0}, header = {0};
    unsigned char r[16];

    if (vonage->bearer.bytes && now_s < vonage->reuse_until_s &&
        now_s > vonage->reuse_until_s - 2 * JWT_REUSE_S)
        return vonage->bearer.bytes;
    random_bytes(r, sizeof r);
    buf_add_text(&claims, "{\"application_id\":");
    buf_add_json(&claims, vonage->application);
    buf_printf(&claims,
               ",\"iat\":%lld,\"exp\":%lld,\"jti\":\"%02x%02x%02x%02x-%02x%02x-4%x%02x-8%x%02x-"
               "%02x%02x%02x%02x%02x%02x\"}",
               (long long)now_s, (long long)until_s, r[0], r[1], r[2], r[3], r[4], r[5], r[6] & 15,
               r[7], r[8] & 15, r[9], r[10], r[11], r[12], r[13], r[14], r[15]);
    buf_add_text(&header, "Bearer ");
    jose_sign(&header, vonage->key, NULL, buf_text(&claims));
    secret_set(&vonage->bearer, header.data, header.length);
    vonage->reuse_until_s = now_s + JWT_REUSE_S;
    explicit_bzero(header.data, header.length);
    buf_fini(&header);
    buf_fini(&claims);
    return vonage->bearer.bytes;
}

static bool vonage_judge(struct call *call, const struct http_response *response,
                         struct outcome *outcome)
{
    struct answer *answer = answer_new(response->body, response->body_bytes);
    const char *type = answer_text(answer, "type");
    const char *code = type ? strrchr(type, '#') : NULL;

    if (http_response_is_good(response))
        http_outcome_named(response, answer_string(answer, "message_uuid"), outcome);
    else
        call_judge_status(call, response, &vonage_errors, code ? code + 1 : NULL, NULL, outcome);
    answer_free(answer);
    return true;
}

static void write_body(const struct vonage *vonage, struct call *call, const struct sms_text *text)
{
    const char *from = call->content.from ? call->content.from : vonage->from;
    int64_t ttl_s = sms_validity_s(call, 0, TTL_LEAST_S, TTL_USUAL_S);
    struct buf *out = &call->body;
    char id[ID_TEXT_BYTES];

    buf_add_text(out, "{\"message_type\":\"text\",\"channel\":\"sms\",\"to\":");
    buf_add_json(out, call->job->target + 1); /* without the plus */
    buf_add_text(out, ",\"from\":");
    buf_add_json(out, from[0] == '+' ? from + 1 : from);
    buf_add_text(out, ",\"text\":");
    buf_add_json(out, text->text);
    buf_printf(out, ",\"client_ref\":\"%s\",\"sms\":{\"encoding_type\":\"%s\"}",
               id_format(call->job->delivery, id), text->is_ucs2 ? "unicode" : "text");
    if (ttl_s)
        buf_printf(out, ",\"ttl\":%lld", (long long)ttl_s);
    if (vonage->status_callback) {
        buf_add_text(out, ",\"webhook_url\":");
        buf_add_json(out, vonage->status_callback);
        buf_add_text(out, ",\"webhook_version\":\"v1\"");
    }
    buf_add_char(out, '}');
}

static int vonage_send(void *state, const struct job *job, adapter_outcome_fn *on_outcome,
                       void *ctx)
{
    struct vonage *vonage = state;
    struct sms_text text;
    struct call *call =
        sms_call_new(&vonage->endpoint, &vonage->rules, job, on_outcome, ctx, &text);
    struct http_request request = {.url = vonage->url};

    if (!call)
        return 0;
    write_body(vonage, call, &text);
    call_header(call, "Content-Type", "application/json");
    call_header(call, "Accept", "application/json");
    if (vonage->key) {
        call_header(call, "Authorization", bearer_of(vonage));
    } else {
        request.basic_user = vonage->api_key;
        request.basic_password = &vonage->api_secret;
    }
    return call_send_request(call, &request, vonage_judge);
}

const struct adapter adapter_vonage = {
    .name = "vonage",
    .channel = CHANNEL_SMS,
    .keys = KEYS,
    .has_receipts = true,
    .open = vonage_open,
    .close = vonage_close,
    .send = vonage_send,
};

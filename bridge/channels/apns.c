/* SPDX-License-Identifier: MIT */
/*
 * apns - push straight to Apple, with a provider token
 *
 * HTTP/2 only.  One provider token serves every connection; it is signed anew after fifty
 * minutes and never sooner than twenty (Apple closes connections that change it more often).
 * No idempotency: apns-id names a message but does not stop a second one; it comes from the
 * delivery's id, and with a collapse key the device shows the newest only.
 */
#include "base/alloc.h"
#include "base/timefmt.h"
#include "channels/adapters.h"
#include "channels/answer.h"
#include "channels/jose.h"
#include "channels/push.h"
#include "core/id.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAYLOAD_MAX   4096
#define COLLAPSE_MAX  64
#define TOKEN_LIFE_MS 3000000 /* fifty minutes */
#define TOKEN_MIN_MS  1200000 /* twenty */
#define UNWELL_MS     900000
#define SINCE_MAX_MS  INT64_C(32503680000000) /* the year 3000: what is later is no time */

/* clang-format off */
static const struct error_row ERRORS[] = {
    {.codes = "Unregistered,ExpiredToken", .dead = PROOF_UNREGISTERED,
     .note = "the app is gone from the device"},
    {.codes = "BadDeviceToken", .is_refused = FACT_YES, .reason = REASON_TARGET_INVALID,
     .note = "not a device token, or base_url is of the other environment"},
    {.codes = "DeviceTokenNotForTopic", .is_refused = FACT_YES, .reason = REASON_TARGET_INVALID,
     .note = "the token belongs to another app, or topic is wrong"},
    {.codes = "PayloadTooLarge", .is_refused = FACT_YES, .reason = REASON_PAYLOAD_TOO_LARGE,
     .note = "the push is too large"},
    {.codes = "BadCollapseId,BadExpirationDate,BadMessageId,BadPriority,DuplicateHeaders,"
              "InvalidPushType,PayloadEmpty,MissingDeviceToken,BadPath,MethodNotAllowed",
     .is_refused = FACT_YES, .reason = REASON_CONTENT_INVALID,
     .note = "the push is not acceptable"},
    {.codes = "BadTopic,MissingTopic,TopicDisallowed", .trouble = TROUBLE_SETUP,
     .reason = REASON_PROVIDER_AUTH, .note = "the topic is refused"},
    {.codes = "ExpiredProviderToken", .trouble = TROUBLE_SETUP,
     .reason = REASON_PROVIDER_AUTH, .note = "the provider token is too old: check the clock"},
    {.codes = "BadCertificate,BadCertificateEnvironment,Forbidden,InvalidProviderToken,"
              "MissingProviderToken,UnrelatedKeyIdInToken,BadEnvironmentKeyIdInToken",
     .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the provider token is refused"},
    {.codes = "TooManyProviderTokenUpdates", .trouble = TROUBLE_RATE,
     .reason = REASON_RATE_LIMITED, .note = "the provider token changed too often"},
    {.codes = "TooManyRequests", .trouble = TROUBLE_RATE, .reason = REASON_RATE_LIMITED,
     .note = "too many pushes to this device", .is_target_only = true},
    {.codes = "InternalServerError,ServiceUnavailable", .trouble = TROUBLE_UNWELL,
     .reason = REASON_PROVIDER_UNAVAILABLE, .note = "Apple is unwell", .wait_ms = UNWELL_MS},
    {.codes = "IdleTimeout,Shutdown", .trouble = TROUBLE_UNWELL,
     .reason = REASON_PROVIDER_UNAVAILABLE,
     .note = "Apple closes the connection"},
    {.status = 410, .dead = PROOF_UNREGISTERED, .note = "the app is gone from the device"},
};
/* clang-format on */
ERROR_TABLE(apns_errors, "apns", ERRORS);

static const struct adapter_key KEYS[] = {
    ENDPOINT_KEYS("https://api.push.apple.com"),
    {"key_file", ADAPTER_FILE, true, NULL, "the signing key, .p8"},
    {"key_id", ADAPTER_TEXT, true, NULL, "its id, ten characters"},
    {"team_id", ADAPTER_TEXT, true, NULL, "the team, ten characters"},
    {"topic", ADAPTER_TEXT, true, NULL, "the app's bundle id"},
    {0}};

struct apns {
    struct endpoint endpoint;
    struct jose_key *key;
    char *key_id, *team, *topic, *path;
    struct secret authorization;
    int64_t signed_ms; /* wall */
};

static void apns_close(void *state)
{
    struct apns *apns = state;

    secret_fini(&apns->authorization);
    jose_key_free(apns->key);
    free(apns->key_id);
    free(apns->team);
    free(apns->topic);
    free(apns->path);
    endpoint_fini(&apns->endpoint);
    free(apns);
}

static int apns_open(const struct adapter_env *env, const struct adapter_settings *from,
                     void **state, char *why, size_t why_bytes)
{
    struct apns *apns = xcalloc(1, sizeof *apns);
    struct settings settings;
    struct secret pem = {0};

    settings_begin(&settings, KEYS, from, why, why_bytes);
    endpoint_init(&apns->endpoint, env, &settings);
    apns->endpoint.version = HTTP_VERSION_2;
    apns->key_id = settings_copy(&settings, "key_id");
    apns->team = settings_copy(&settings, "team_id");
    apns->topic = settings_copy(&settings, "topic");
    apns->path = endpoint_url(&apns->endpoint, "/3/device/");
    settings_secret(&settings, "key_file", &pem);
    if (pem.bytes && jose_key_from_pem(JOSE_ES256, pem.bytes, pem.length, &apns->key) != 0)
        settings_fail(&settings, "key_file must hold a P-256 key in PEM");
    secret_fini(&pem);
    if (settings.err)
        apns_close(apns);
    else
        *state = apns;
    return settings.err;
}

static const char *token_of(struct apns *apns)
{
    int64_t now_ms = apns->endpoint.env.wall_ms(), age_ms = now_ms - apns->signed_ms;
    struct buf claims = {0}, header = {0};

    if (apns->authorization.bytes && age_ms >= 0 && age_ms < TOKEN_LIFE_MS)
        return apns->authorization.bytes;
    buf_add_text(&claims, "{\"iss\":");
    buf_add_json(&claims, apns->team);
    buf_printf(&claims, ",\"iat\":%lld}", (long long)(now_ms / 1000));
    buf_add_text(&header, "bearer ");
    jose_sign(&header, apns->key, apns->key_id, buf_text(&claims));
    secret_set(&apns->authorization, header.data, header.length);
    apns->signed_ms = now_ms;
    explicit_bzero(header.data, header.length);
    buf_fini(&header);
    buf_fini(&claims);
    return apns->authorization.bytes;
}

static void write_aps(struct buf *out, const struct content *content)
{
    bool has_alert = content->title || content->body;

    buf_add_text(out, "{\"aps\":{");
    if (has_alert) {
        bool is_first = true;

        buf_add_text(out, "\"alert\":{");
        push_member(out, &is_first, "title", content->title);
        push_member(out, &is_first, "body", content->body);
        buf_add_char(out, '}');
    } else {
        buf_add_text(out, "\"content-available\":1");
    }
    if (content->badge >= 0)
        buf_printf(out, ",\"badge\":%lld", (long long)content->badge);
    if (content->sound) {
        buf_add_text(out, ",\"sound\":");
        buf_add_json(out, content->sound);
    }
    /* An image is fetched by the app's service extension, which runs only when asked. */
    if (content->image)
        buf_add_text(out, ",\"mutable-content\":1");
    buf_add_char(out, '}');
}

static void write_payload(struct call *call)
{
    const struct content *content = &call->content;
    struct buf *out = &call->body;
    bool is_first = false;
    char id[ID_TEXT_BYTES];

    write_aps(out, content);
    push_member(out, &is_first, "tocsin_id", id_format(call->job->delivery, id));
    push_member(out, &is_first, "url", content->url);
    push_member(out, &is_first, "image", content->image);
    push_add_data(out, content, true);
    buf_add_char(out, '}');
}

static void add_headers(struct apns *apns, struct call *call)
{
    const struct job *job = call->job;
    bool has_alert = call->content.title || call->content.body;
    int64_t ttl_s = push_ttl_s(call);

    call_header(call, "authorization", token_of(apns));
    call_header(call, "apns-topic", apns->topic);
    call_header(call, "apns-push-type", has_alert ? "alert" : "background");
    call_header(call, "apns-priority", has_alert && job->priority <= PRIORITY_NORMAL ? "10" : "5");
    /* A canonical UUID whose first half is the delivery's id. */
    call_header(call, "apns-id",
                arena_printf(call->arena, "%08x-%04x-%04x-8000-746f6373696e",
                             (unsigned)(job->delivery >> 32),
                             (unsigned)(job->delivery >> 16 & 0xffff),
                             (unsigned)(job->delivery & 0xffff)));
    if (ttl_s >= 0)
        call_header(
            call, "apns-expiration",
            arena_printf(call->arena, "%lld",
                         (long long)(ttl_s ? apns->endpoint.env.wall_ms() / 1000 + ttl_s : 0)));
    if (job->collapse_key && strlen(job->collapse_key) <= COLLAPSE_MAX &&
        text_is_clean(job->collapse_key))
        call_header(call, "apns-collapse-id", job->collapse_key);
    call_header(call, "content-type", "application/json");
}

static bool apns_judge(struct call *call, const struct http_response *response,
                       struct outcome *outcome);

static int apns_go(struct call *call)
{
    struct apns *apns = call->state;

    write_payload(call);
    if (call->body.length > PAYLOAD_MAX) {
        call_refuse(call, OUTCOME_PERMANENT, REASON_PAYLOAD_TOO_LARGE,
                    "the push is over 4096 bytes");
        return 0;
    }
    add_headers(apns, call);
    return call_send(call, arena_printf(call->arena, "%s%s", apns->path, call->job->target),
                     apns_judge);
}

/* Since when the token is dead: one that was registered later stays in use. */
static void add_since(struct answer *answer, struct outcome *outcome)
{
    int64_t since_ms = answer_number(answer, "timestamp", 0);
    char when[TIMEFMT_BYTES];

    if (since_ms <= 0 || since_ms > SINCE_MAX_MS)
        return;
    outcome->dead_since_ms = since_ms;
    (void)snprintf(outcome->detail, sizeof outcome->detail,
                   "the app is gone from the device since %s", timefmt_wall(since_ms, when));
}

/* A success is 200 with an empty body. */
static void judge_good(const struct http_response *response, struct outcome *outcome)
{
    if (response->status == 200 && response->body_bytes == 0)
        http_outcome_good(outcome, OUTCOME_ACCEPTED, http_response_header(response, "apns-id"));
    else
        http_outcome_unrecognised(response, outcome);
}

static bool apns_judge(struct call *call, const struct http_response *response,
                       struct outcome *outcome)
{
    struct apns *apns = call->state;
    struct answer *answer;
    const char *reason;
    bool is_resigned = false;

    if (http_response_is_good(response)) {
        judge_good(response, outcome);
        return true;
    }
    answer = answer_new(response->body, response->body_bytes);
    reason = answer_text(answer, "reason");
    call_judge_status(call, response, &apns_errors, reason, NULL, outcome);
    if (outcome->kind == OUTCOME_DEAD_TARGET)
        add_since(answer, outcome);
    if (reason && strcmp(reason, "ExpiredProviderToken") == 0 && call->tries == 1) {
        int64_t now_ms = apns->endpoint.env.wall_ms();

        /* Others may have signed anew already; that one is then used. */
        if (now_ms - apns->signed_ms >= TOKEN_MIN_MS)
            secret_fini(&apns->authorization);
        is_resigned = true;
    }
    answer_free(answer);
    if (!is_resigned)
        return true;
    call->is_late = true;
    call_rewind(call, CHANNEL_PUSH);
    (void)apns_go(call);
    return false;
}

static bool is_device_token(const char *target)
{
    size_t length = strspn(target, "0123456789abcdefABCDEF");

    return length >= 64 && length <= 200 && length % 2 == 0 && target[length] == '\0';
}

static int apns_send(void *state, const struct job *job, adapter_outcome_fn *on_outcome, void *ctx)
{
    struct apns *apns = state;
    struct call *call = call_new(&apns->endpoint, CHANNEL_PUSH, job, on_outcome, ctx);

    if (!call)
        return 0;
    call->state = apns;
    if (!is_device_token(job->target)) {
        call_refuse_target(call, "not a device token");
        return 0;
    }
    if (!push_has_content(&call->content)) {
        call_refuse(call, OUTCOME_PERMANENT, REASON_CONTENT_INVALID,
                    "a push needs a title, a body or data");
        return 0;
    }
    return apns_go(call);
}

const struct adapter adapter_apns = {
    .name = "apns",
    .channel = CHANNEL_PUSH,
    .keys = KEYS,
    .open = apns_open,
    .close = apns_close,
    .send = apns_send,
};

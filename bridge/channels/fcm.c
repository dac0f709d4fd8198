/* SPDX-License-Identifier: MIT */
/*
 * fcm - push by Firebase Cloud Messaging, HTTP v1, with a service account
 *
 * FCM has no idempotency: a repeat after an unknown outcome may show twice.  The delivery's id
 * travels as data.tocsin_id, so that an app can drop repeats; with a collapse key the device
 * replaces the former notification by itself.
 */
#include "base/alloc.h"
#include "channels/adapters.h"
#include "channels/answer.h"
#include "channels/encode.h"
#include "channels/jose.h"
#include "channels/push.h"
#include "channels/token.h"
#include "core/id.h"
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SCOPE         "https://www.googleapis.com/auth/firebase.messaging"
#define GRANT         "urn:ietf:params:oauth:grant-type:jwt-bearer"
#define ASSERTION_S   3600
#define PAYLOAD_MAX   4096
#define TTL_MAX_S     2419200 /* four weeks */
#define QUOTA_WAIT_MS 60000
#define FIRST_WAIT_MS 10000 /* FCM asks for no retry sooner than this */

/* clang-format off */
static const struct error_row ERRORS[] = {
    {.codes = "UNREGISTERED", .dead = PROOF_UNREGISTERED,
     .note = "the app is gone from the device"},
    {.codes = "SENDER_ID_MISMATCH", .is_refused = FACT_YES, .reason = REASON_TARGET_INVALID,
     .note = "the token belongs to another project than this service account"},
    {.status = 400, .codes = "INVALID_ARGUMENT", .says = "not a valid FCM registration token",
     .dead = PROOF_NOT_AN_ADDRESS, .note = "not a registration token"},
    {.status = 400, .codes = "INVALID_ARGUMENT", .says = "registration token",
     .is_refused = FACT_YES, .reason = REASON_TARGET_INVALID,
     .note = "the registration token is not acceptable"},
    {.codes = "THIRD_PARTY_AUTH_ERROR", .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_AUTH,
     .note = "the Firebase app's APNs or web push credentials are refused",
     .is_target_only = true},
    {.codes = "UNAUTHENTICATED", .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the access token is refused, and so was a new one"},
    {.status = 401, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the access token is refused, and so was a new one"},
    {.codes = "PERMISSION_DENIED", .trouble = TROUBLE_SETUP,
     .reason = REASON_PROVIDER_AUTH, .note = "the service account may not send for this project"},
    {.codes = "QUOTA_EXCEEDED,RESOURCE_EXHAUSTED", .trouble = TROUBLE_RATE,
     .reason = REASON_RATE_LIMITED, .note = "over the quota of the project, or of this device",
     .wait_ms = QUOTA_WAIT_MS, .is_unsure = true},
    {.status = 429, .trouble = TROUBLE_RATE, .reason = REASON_RATE_LIMITED,
     .note = "over the quota of the project, or of this device", .wait_ms = QUOTA_WAIT_MS,
     .is_unsure = true},
    {.codes = "UNAVAILABLE,INTERNAL", .trouble = TROUBLE_UNWELL,
     .reason = REASON_PROVIDER_UNAVAILABLE,
     .note = "FCM is unwell", .wait_ms = FIRST_WAIT_MS},
    {.codes = "UNSPECIFIED_ERROR", .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_UNAVAILABLE,
     .note = "FCM does not say what is wrong", .wait_ms = FIRST_WAIT_MS},
    {.status = 500, .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_UNAVAILABLE,
     .note = "FCM is unwell", .wait_ms = FIRST_WAIT_MS},
    {.status = 503, .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_UNAVAILABLE,
     .note = "FCM is unwell", .wait_ms = FIRST_WAIT_MS},
    {.codes = "NOT_FOUND", .is_refused = FACT_YES, .reason = REASON_TARGET_DEAD,
     .note = "FCM does not find the token; or the project, if it finds none"},
    {.status = 404, .is_refused = FACT_YES, .reason = REASON_TARGET_DEAD,
     .note = "FCM does not find the token; or the project, if it finds none"},
    {.status = 400, .is_refused = FACT_YES, .reason = REASON_CONTENT_INVALID,
     .note = "the message is not acceptable"},
};
/* clang-format on */
ERROR_TABLE(fcm_errors, "fcm", ERRORS);

/* clang-format off */
static const struct error_row TOKEN_ERRORS[] = {
    {.codes = "invalid_grant", .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the service account's key is refused, or the clock is wrong"},
    {.status = 400, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the token endpoint refuses the service account"},
    {.status = 404, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "token_uri is wrong"},
};
/* clang-format on */
static ERROR_TABLE(token_errors, "fcm token", TOKEN_ERRORS);

static const struct adapter_key KEYS[] = {
    ENDPOINT_KEYS("https://fcm.googleapis.com"),
    {"service_account_file", ADAPTER_FILE, true, NULL, "the service account's JSON key"},
    {"project_id", ADAPTER_TEXT, false, NULL, "the Firebase project; that of the key without it"},
    {"validate_only", ADAPTER_BOOL, false, "false", "FCM checks the message and sends nothing"},
    {0}};

struct fcm {
    struct endpoint endpoint;
    struct token_source *tokens;
    struct jose_key *key;
    char *key_id, *email, *token_uri, *url;
    bool is_validate_only;
};

/* What one call needs besides; lives in call->extra. */
struct fcm_call {
    struct token_waiter waiter;
    uint64_t generation; /* of the token it was sent with */
};

static void fcm_close(void *state)
{
    struct fcm *fcm = state;

    token_source_free(fcm->tokens);
    jose_key_free(fcm->key);
    free(fcm->key_id);
    free(fcm->email);
    free(fcm->token_uri);
    free(fcm->url);
    endpoint_fini(&fcm->endpoint);
    free(fcm);
}

static void write_token_form(void *ctx, struct buf *out)
{
    struct fcm *fcm = ctx;
    int64_t now_s = fcm->endpoint.env.wall_ms() / 1000, until_s = now_s + ASSERTION_S;
    struct buf claims = {0}, assertion = {0};

    buf_add_text(&claims, "{\"iss\":");
    buf_add_json(&claims, fcm->email);
    buf_add_text(&claims, ",\"scope\":\"" SCOPE "\",\"aud\":");
    buf_add_json(&claims, fcm->token_uri);
    buf_printf(&claims, ",\"iat\":%lld,\"exp\":%lld}", (long long)now_s, (long long)until_s);
    jose_sign(&assertion, fcm->key, fcm->key_id, buf_text(&claims));
    encode_form(out, "grant_type", GRANT);
    encode_form(out, "assertion", buf_text(&assertion));
    OPENSSL_cleanse(assertion.data, assertion.length);
    buf_fini(&assertion);
    buf_fini(&claims);
}

static void read_account(struct fcm *fcm, struct settings *settings)
{
    const char *project = settings_text(settings, "project_id");
    struct secret file = {0};
    struct answer *account;
    const char *email, *pem, *token_uri, *key_id;

    settings_secret(settings, "service_account_file", &file);
    if (settings->err)
        return;
    account = answer_new(file.bytes, file.length);
    email = answer_text(account, "client_email");
    pem = answer_text(account, "private_key");
    token_uri = answer_text(account, "token_uri");
    key_id = answer_text(account, "private_key_id");
    if (!project)
        project = answer_text(account, "project_id");
    if (!email || !pem || !project)
        settings_fail(settings, "service_account_file must be a service account's JSON key with "
                                "client_email, private_key and project_id");
    else if (jose_key_from_pem(JOSE_RS256, pem, strlen(pem), &fcm->key) != 0)
        settings_fail(settings, "service_account_file: private_key is not an RSA key in PEM");
    else {
        struct buf url = {0};

        buf_printf(&url, "%s/v1/projects/", fcm->endpoint.base_url);
        encode_percent(&url, project);
        buf_add_text(&url, "/messages:send");
        fcm->url = url.data;
        fcm->email = xstrdup(email);
        fcm->token_uri = xstrdup(token_uri ? token_uri : "https://oauth2.googleapis.com/token");
        fcm->key_id = key_id ? xstrdup(key_id) : NULL;
    }
    answer_free(account);
    secret_fini(&file);
}

static int fcm_open(const struct adapter_env *env, const struct adapter_settings *from,
                    void **state, char *why, size_t why_bytes)
{
    struct fcm *fcm = xcalloc(1, sizeof *fcm);
    struct settings settings;

    settings_begin(&settings, KEYS, from, why, why_bytes);
    endpoint_init(&fcm->endpoint, env, &settings);
    if (fcm->endpoint.base_url && strncmp(fcm->endpoint.base_url, "https:", 6) == 0)
        fcm->endpoint.version = HTTP_VERSION_2;
    fcm->is_validate_only = settings_bool(&settings, "validate_only");
    read_account(fcm, &settings);
    if (settings.err) {
        fcm_close(fcm);
        return settings.err;
    }
    fcm->tokens = token_source_new(&(struct token_config){.endpoint = &fcm->endpoint,
                                                          .url = fcm->token_uri,
                                                          .errors = &token_errors,
                                                          .write_form = write_token_form,
                                                          .ctx = fcm});
    *state = fcm;
    return 0;
}

/* Keys that FCM keeps for itself, in any case of letters. */
static bool is_reserved_key(const char *key)
{
    return strcasecmp(key, "from") == 0 || strcasecmp(key, "message_type") == 0 ||
           strncasecmp(key, "google.", 7) == 0 || strncasecmp(key, "gcm.", 4) == 0;
}

/* NULL when the content is fit, else what is wrong with it. */
static const char *check_content(const struct content *content, enum reason *reason)
{
    size_t bytes =
        (content->title ? strlen(content->title) : 0) + (content->body ? strlen(content->body) : 0);

    *reason = REASON_CONTENT_INVALID;
    if (!push_has_content(content))
        return "a push needs a title, a body or data";
    for (size_t i = 0; i < content->data_count; i++) {
        if (is_reserved_key(content->data[i].key))
            return "data has a key that FCM reserves";
        bytes += strlen(content->data[i].key) + strlen(content->data[i].value);
    }
    *reason = REASON_PAYLOAD_TOO_LARGE;
    return bytes > PAYLOAD_MAX ? "the push is over 4096 bytes" : NULL;
}

static void write_notification(struct buf *out, const struct content *content)
{
    bool is_first = true;

    if (!content->title && !content->body)
        return;
    buf_add_text(out, ",\"notification\":{");
    push_member(out, &is_first, "title", content->title);
    push_member(out, &is_first, "body", content->body);
    push_member(out, &is_first, "image", content->image);
    buf_add_char(out, '}');
}

static void write_data(struct buf *out, const struct call *call)
{
    const struct content *content = &call->content;
    char id[ID_TEXT_BYTES];

    buf_printf(out, ",\"data\":{\"tocsin_id\":\"%s\"", id_format(call->job->delivery, id));
    push_add_data(out, content, false);
    if (content->url) {
        buf_add_text(out, ",\"url\":");
        buf_add_json(out, content->url);
    }
    buf_add_char(out, '}');
}

/* Seconds that FCM may keep it; -1 for its own default. */
static int64_t ttl_of(const struct call *call)
{
    int64_t ttl_s = push_ttl_s(call);

    return ttl_s > TTL_MAX_S ? TTL_MAX_S : ttl_s;
}

static void write_android(struct buf *out, const struct call *call)
{
    const struct content *content = &call->content;
    int64_t ttl_s = ttl_of(call);
    bool is_first = true;

    buf_printf(out, ",\"android\":{\"priority\":\"%s\"",
               call->job->priority <= PRIORITY_HIGH ? "high" : "normal");
    if (call->job->collapse_key) {
        buf_add_text(out, ",\"collapse_key\":");
        buf_add_json(out, call->job->collapse_key);
    }
    if (ttl_s >= 0)
        buf_printf(out, ",\"ttl\":\"%llds\"", (long long)ttl_s);
    if (content->channel_id || content->sound || call->job->collapse_key) {
        buf_add_text(out, ",\"notification\":{");
        push_member(out, &is_first, "channel_id", content->channel_id);
        push_member(out, &is_first, "sound", content->sound);
        push_member(out, &is_first, "tag", call->job->collapse_key);
        buf_add_char(out, '}');
    }
    buf_add_char(out, '}');
}

static void write_apns(struct buf *out, const struct call *call)
{
    const struct content *content = &call->content;
    int64_t ttl_s = ttl_of(call);
    bool is_first = true;

    buf_printf(out, ",\"apns\":{\"headers\":{\"apns-priority\":\"%s\"",
               call->job->priority <= PRIORITY_NORMAL ? "10" : "5");
    if (ttl_s >= 0)
        buf_printf(out, ",\"apns-expiration\":\"%lld\"",
                   (long long)(ttl_s ? call->endpoint->env.wall_ms() / 1000 + ttl_s : 0));
    if (call->job->collapse_key && strlen(call->job->collapse_key) <= 64) {
        buf_add_text(out, ",\"apns-collapse-id\":");
        buf_add_json(out, call->job->collapse_key);
    }
    buf_add_char(out, '}');
    if (content->sound || content->badge >= 0) {
        buf_add_text(out, ",\"payload\":{\"aps\":{");
        push_member(out, &is_first, "sound", content->sound);
        if (content->badge >= 0)
            buf_printf(out, "%s\"badge\":%lld", is_first ? "" : ",", (long long)content->badge);
        buf_add_text(out, "}}");
    }
    buf_add_char(out, '}');
}

static void write_message(const struct fcm *fcm, struct call *call)
{
    struct buf *out = &call->body;

    buf_add_text(out, fcm->is_validate_only ? "{\"validate_only\":true," : "{");
    buf_add_text(out, "\"message\":{\"token\":");
    buf_add_json(out, call->job->target);
    write_notification(out, &call->content);
    write_data(out, call);
    write_android(out, call);
    write_apns(out, call);
    buf_add_text(out, "}}");
}

static bool fcm_judge(struct call *call, const struct http_response *response,
                      struct outcome *outcome);

/* There is a token: build and go. */
static int fcm_go(struct call *call, const char *token)
{
    struct fcm *fcm = call->state;
    struct fcm_call *extra = call->extra;

    extra->generation = token_generation(fcm->tokens);
    write_message(fcm, call);
    call_header(call, "Authorization", arena_printf(call->arena, "Bearer %s", token));
    call_header(call, "Content-Type", "application/json");
    return call_send(call, fcm->url, fcm_judge);
}

static void on_token(void *ctx, const struct outcome *why)
{
    struct call *call = ctx;
    struct fcm *fcm = call->state;
    const char *token = why ? NULL : token_current(fcm->tokens);
    struct outcome outcome;

    call->is_late = true;
    if (token) {
        (void)fcm_go(call, token); /* late: it ends in an outcome whatever happens */
        return;
    }
    if (why)
        outcome = *why;
    else
        outcome_set(&outcome, OUTCOME_RETRY, REASON_PROVIDER_AUTH, "the token did not last");
    call_end(call, &outcome);
}

static int wait_for_token(struct call *call)
{
    struct fcm *fcm = call->state;
    struct fcm_call *extra = call->extra;
    int err;

    extra->waiter.on_token = on_token;
    extra->waiter.ctx = call;
    err = token_wait(fcm->tokens, &extra->waiter);
    return err ? call_unsent(call, err) : 0;
}

/* FcmError's code where there is one: it is more exact than the status beside it. */
static const char *code_of(struct answer *answer, bool *is_bad_request)
{
    const char *status = answer_text(answer, "error/status");
    size_t count = answer_count(answer, "error/details");

    *is_bad_request = false;
    for (size_t i = 0; i < count && i < 8; i++) {
        char path[64];
        const char *type, *code;

        (void)snprintf(path, sizeof path, "error/details/%zu/@type", i);
        type = answer_text(answer, path);
        (void)snprintf(path, sizeof path, "error/details/%zu/errorCode", i);
        code = answer_text(answer, path);
        if (type && strstr(type, "google.rpc.BadRequest"))
            *is_bad_request = true;
        if (type && strstr(type, "FcmError") && code)
            status = code;
    }
    return status;
}

static bool fcm_judge(struct call *call, const struct http_response *response,
                      struct outcome *outcome)
{
    struct fcm *fcm = call->state;
    struct fcm_call *extra = call->extra;
    struct answer *answer = answer_new(response->body, response->body_bytes);
    bool is_bad_request, is_stale = false;
    const char *token;

    if (http_response_is_good(response)) {
        http_outcome_named(response, answer_string(answer, "name"), outcome);
    } else {
        const char *code = code_of(answer, &is_bad_request);
        const char *says = is_bad_request ? NULL : answer_text(answer, "error/message");

        /* Our own access token, not the app's credentials with Apple: worth one new one. */
        is_stale = response->status == 401 && call->tries == 1 &&
                   !(code && strcmp(code, "THIRD_PARTY_AUTH_ERROR") == 0);
        call_judge_status(call, response, &fcm_errors, code, says, outcome);
        http_outcome_prefer_wait(response, outcome);
    }
    answer_free(answer);
    if (!is_stale)
        return true;
    token_refused(fcm->tokens, extra->generation);
    call->is_late = true;
    call_rewind(call, CHANNEL_PUSH);
    /* Somebody else may have fetched a new one meanwhile. */
    token = token_current(fcm->tokens);
    (void)(token ? fcm_go(call, token) : wait_for_token(call));
    return false;
}

static int fcm_send(void *state, const struct job *job, adapter_outcome_fn *on_outcome, void *ctx)
{
    struct fcm *fcm = state;
    struct call *call = call_new(&fcm->endpoint, CHANNEL_PUSH, job, on_outcome, ctx);
    const char *token, *wrong;
    enum reason reason;

    if (!call)
        return 0;
    call->state = fcm;
    call->extra = xcalloc(1, sizeof(struct fcm_call));
    wrong = check_content(&call->content, &reason);
    if (wrong || !text_is_clean(job->target)) {
        if (wrong)
            call_refuse(call, OUTCOME_PERMANENT, reason, wrong);
        else
            call_refuse_target(call, "not a registration token");
        return 0;
    }
    token = token_current(fcm->tokens);
    return token ? fcm_go(call, token) : wait_for_token(call);
}

const struct adapter adapter_fcm = {
    .name = "fcm",
    .channel = CHANNEL_PUSH,
    .keys = KEYS,
    .open = fcm_open,
    .close = fcm_close,
    .send = fcm_send,
};

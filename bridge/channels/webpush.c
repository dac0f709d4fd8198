/* SPDX-License-Identifier: MIT */
/*
 * webpush - push to browsers (RFC 8030), encrypted (RFC 8291), identified by VAPID (RFC 8292)
 *
 * The target is the subscription as the browser gives it:
 * {"endpoint":"https://...","keys":{"p256dh":"...","auth":"..."}}.  The body is a JSON object
 * {tocsin_id, title, body, url, image, data} for the site's service worker.
 *
 * No idempotency: a repeat after an unknown outcome may show twice unless the worker looks at
 * tocsin_id; with a collapse key the push service replaces what it has not delivered yet.
 */
#include "base/alloc.h"
#include "base/map.h"
#include "channels/adapters.h"
#include "channels/answer.h"
#include "channels/jose.h"
#include "channels/push.h"
#include "channels/sign.h"
#include "channels/webpush_seal.h"
#include "core/id.h"
#include <stdlib.h>
#include <string.h>

#define TTL_DEFAULT_S 2419200 /* four weeks */
#define TOKEN_LIFE_S  43200   /* RFC 8292 allows 24 h at most */
#define TOKEN_REUSE_S 39600
#define ORIGINS_MAX   64 /* browsers know a handful of push services */
#define TOPIC_BYTES   24 /* 32 characters of base64url */

/* clang-format off */
static const struct error_row ERRORS[] = {
    {.status = 404, .dead = PROOF_UNREGISTERED,
     .note = "the subscription is gone"},
    {.status = 410, .dead = PROOF_UNREGISTERED,
     .note = "the subscription is gone"},
    {.says = "VapidPkHashMismatch", .is_refused = FACT_YES, .reason = REASON_TARGET_INVALID,
     .note = "the subscription was made with another VAPID key"},
    {.says = "VAPID public key mismatch", .is_refused = FACT_YES, .reason = REASON_TARGET_INVALID,
     .note = "the subscription was made with another VAPID key"},
    {.says = "does not correspond", .is_refused = FACT_YES, .reason = REASON_TARGET_INVALID,
     .note = "the subscription was made with another VAPID key"},
    {.says = "do not correspond", .is_refused = FACT_YES, .reason = REASON_TARGET_INVALID,
     .note = "the subscription was made with another VAPID key"},
    {.status = 401, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "our VAPID identity is refused"},
    {.status = 403, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "our VAPID identity is refused"},
    {.status = 413, .is_refused = FACT_YES, .reason = REASON_PAYLOAD_TOO_LARGE,
     .note = "the push is too large"},
    {.status = 301, .is_refused = FACT_YES, .reason = REASON_TARGET_INVALID,
     .note = "the endpoint has moved"},
    {.status = 307, .is_refused = FACT_YES, .reason = REASON_TARGET_INVALID,
     .note = "the endpoint has moved"},
    {.status = 308, .is_refused = FACT_YES, .reason = REASON_TARGET_INVALID,
     .note = "the endpoint has moved"},
    {.status = 400, .is_refused = FACT_YES, .reason = REASON_CONTENT_INVALID,
     .note = "the push is not acceptable"},
    {.status = 405, .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "refused by the push service"},
    {.status = 415, .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "refused by the push service"},
    {.status = 429, .trouble = TROUBLE_RATE, .reason = REASON_RATE_LIMITED,
     .note = "too many pushes"},
};
/* clang-format on */
ERROR_TABLE(webpush_errors, "webpush", ERRORS);

static const struct adapter_key KEYS[] = {
    {"vapid_private_key_file", ADAPTER_FILE, true, NULL,
     "the site's P-256 key: PEM, or 32 bytes in base64url"},
    {"vapid_subject", ADAPTER_TEXT, true, NULL,
     "whom a push service may write to: mailto: or https:"},
    {"ttl", ADAPTER_DURATION, false, NULL,
     "how long push services keep a push; 28 days without it"},
    {"allow_private", ADAPTER_BOOL, false, "false",
     "also push to loopback, private and link-local addresses"},
    CA_FILE_KEY,
    {0}};

struct identity { /* one origin's VAPID header */
    struct secret header;
    int64_t reuse_until_s;
};

struct webpush {
    struct endpoint endpoint;
    struct jose_key *key;
    char *subject;
    int64_t ttl_s;
    struct strmap identities; /* by origin, at most ORIGINS_MAX */
};

static void free_identity(void *ctx, const char *origin, void *value)
{
    struct identity *identity = value;

    (void)ctx, (void)origin;
    secret_fini(&identity->header);
    free(identity);
}

static void forget_identities(struct webpush *webpush)
{
    strmap_each(&webpush->identities, free_identity, NULL);
    strmap_fini(&webpush->identities);
    webpush->identities = (struct strmap){0};
}

static void webpush_close(void *state)
{
    struct webpush *webpush = state;

    forget_identities(webpush);
    jose_key_free(webpush->key);
    free(webpush->subject);
    endpoint_fini(&webpush->endpoint);
    free(webpush);
}

static void read_key(struct webpush *webpush, struct settings *settings)
{
    struct secret text = {0};
    struct buf scalar = {0};
    int err = ERR_INVALID;

    settings_secret(settings, "vapid_private_key_file", &text);
    if (!text.bytes)
        return;
    if (strstr(text.bytes, "-----BEGIN"))
        err = jose_key_from_pem(JOSE_ES256, text.bytes, text.length, &webpush->key);
    else if (decode_base64(&scalar, text.bytes, text.length) == 0 && scalar.data)
        err =
            jose_key_from_scalar((const unsigned char *)scalar.data, scalar.length, &webpush->key);
    if (err)
        settings_fail(settings, "vapid_private_key_file must hold a P-256 key: PEM, or 32 bytes "
                                "in base64url");
    if (scalar.data)
        explicit_bzero(scalar.data, scalar.length);
    buf_fini(&scalar);
    secret_fini(&text);
}

static int webpush_open(const struct adapter_env *env, const struct adapter_settings *from,
                        void **state, char *why, size_t why_bytes)
{
    struct webpush *webpush = xcalloc(1, sizeof *webpush);
    struct settings settings;

    settings_begin(&settings, KEYS, from, why, why_bytes);
    endpoint_init(&webpush->endpoint, env, &settings);
    webpush->endpoint.is_few = true;
    webpush->endpoint.is_public_only = !settings_bool(&settings, "allow_private");
    webpush->subject = settings_copy(&settings, "vapid_subject");
    webpush->ttl_s = settings_ms(&settings, "ttl", TTL_DEFAULT_S * 1000LL) / 1000;
    if (webpush->subject && strncmp(webpush->subject, "mailto:", 7) != 0 &&
        strncmp(webpush->subject, "https://", 8) != 0)
        settings_fail(&settings, "vapid_subject must start with mailto: or https://");
    if (webpush->subject && strstr(webpush->subject, "@localhost"))
        settings_fail(&settings, "vapid_subject must be an address that others can reach");
    read_key(webpush, &settings);
    if (settings.err)
        webpush_close(webpush);
    else
        *state = webpush;
    return settings.err;
}

static void sign_identity(const struct webpush *webpush, const char *origin, int64_t now_s,
                          struct identity *identity)
{
    int64_t until_s = now_s + TOKEN_LIFE_S;
    unsigned char point[65];
    struct buf claims = {0}, header = {0};

    buf_add_text(&claims, "{\"aud\":");
    buf_add_json(&claims, origin);
    buf_printf(&claims, ",\"exp\":%lld,\"sub\":", (long long)until_s);
    buf_add_json(&claims, webpush->subject);
    buf_add_char(&claims, '}');
    buf_add_text(&header, "vapid t=");
    jose_sign(&header, webpush->key, NULL, buf_text(&claims));
    buf_add_text(&header, ", k=");
    jose_key_point(webpush->key, point);
    encode_base64url(&header, point, sizeof point);
    secret_set(&identity->header, header.data, header.length);
    identity->reuse_until_s = now_s + TOKEN_REUSE_S;
    buf_fini(&header);
    buf_fini(&claims);
}

/* The Authorization header for an origin; signed once and used for hours. */
static const char *identity_of(struct webpush *webpush, const char *origin)
{
    int64_t now_s = webpush->endpoint.env.wall_ms() / 1000;
    struct identity *identity = strmap_get(&webpush->identities, origin);

    if (identity && now_s < identity->reuse_until_s &&
        now_s > identity->reuse_until_s - 2 * TOKEN_REUSE_S)
        return identity->header.bytes;
    if (!identity) {
        if (webpush->identities.count >= ORIGINS_MAX)
            forget_identities(webpush);
        identity = xcalloc(1, sizeof *identity);
        (void)strmap_set(&webpush->identities, origin, identity);
    }
    sign_identity(webpush, origin, now_s, identity);
    return identity->header.bytes;
}

/* "https://host:port" of a URL; NULL when it is none. */
static const char *origin_of(struct arena *arena, const char *url)
{
    const char *host = strstr(url, "://");
    size_t length;

    if (!host || (strncmp(url, "https://", 8) != 0 && strncmp(url, "http://", 7) != 0))
        return NULL;
    length = strcspn(host + 3, "/?#");
    if (length == 0 || memchr(host + 3, '@', length))
        return NULL;
    return arena_copy(arena, url, (size_t)(host - url) + 3 + length);
}

static void write_plain(const struct call *call, struct buf *out)
{
    const struct content *content = &call->content;
    bool is_first = true;
    char id[ID_TEXT_BYTES];

    buf_add_char(out, '{');
    push_member(out, &is_first, "tocsin_id", id_format(call->job->delivery, id));
    push_member(out, &is_first, "title", content->title);
    push_member(out, &is_first, "body", content->body);
    push_member(out, &is_first, "url", content->url);
    push_member(out, &is_first, "image", content->image);
    if (content->data_count) {
        buf_add_text(out, ",\"data\":");
        content_write_pairs(out, content->data, content->data_count);
    }
    buf_add_char(out, '}');
}

static const char *urgency_of(enum priority priority)
{
    static const char *const names[PRIORITY_COUNT] = {
        [PRIORITY_URGENT] = "high",
        [PRIORITY_HIGH] = "high",
        [PRIORITY_NORMAL] = "normal",
        [PRIORITY_LOW] = "low",
    };

    return names[priority];
}

static void add_headers(struct webpush *webpush, struct call *call, const char *origin)
{
    int64_t ttl_s = push_ttl_s(call);

    if (ttl_s < 0 || ttl_s > webpush->ttl_s)
        ttl_s = webpush->ttl_s;
    call_header(call, "TTL", arena_printf(call->arena, "%lld", (long long)ttl_s));
    call_header(call, "Urgency", urgency_of(call->job->priority));
    call_header(call, "Content-Encoding", "aes128gcm");
    call_header(call, "Content-Type", "application/octet-stream");
    call_header(call, "Authorization", identity_of(webpush, origin));
    if (call->job->collapse_key) {
        unsigned char hash[SHA256_BYTES];
        struct buf topic = {0};

        sha256(call->job->collapse_key, strlen(call->job->collapse_key), hash);
        encode_base64url(&topic, hash, TOPIC_BYTES);
        call_header(call, "Topic", arena_strdup(call->arena, buf_text(&topic)));
        buf_fini(&topic);
    }
}

/* RFC 8030 section 5: 201 Created with the message's URL.  Some services send 200 or 202, or no
 * URL. */
static void judge_good(const struct http_response *response, struct outcome *outcome)
{
    const char *location = http_response_header(response, "Location");
    bool is_taken = response->status <= 202 && response->body_bytes == 0;

    if (is_taken || (response->status == 201 && location && location[0]))
        http_outcome_good(outcome, OUTCOME_ACCEPTED, location);
    else
        http_outcome_unrecognised(response, outcome);
}

static bool webpush_judge(struct call *call, const struct http_response *response,
                          struct outcome *outcome)
{
    struct answer *answer;

    if (http_response_is_good(response)) {
        judge_good(response, outcome);
        return true;
    }
    answer = answer_new(response->body, response->body_bytes);
    call_judge_status(call, response, &webpush_errors, answer_text(answer, "errno"), response->body,
                      outcome);
    http_outcome_prefer_wait(response, outcome);
    /* There are several push services; what one says about load or itself is not for all. */
    outcome->is_target_only = outcome->kind != OUTCOME_AUTH_CONFIG_ERROR;
    answer_free(answer);
    return true;
}

/* Seals the push into the call's body; false when it was refused. */
static bool seal(struct call *call, const struct webpush_keys *keys)
{
    struct buf plain = {0};
    int err;

    write_plain(call, &plain);
    err = webpush_seal(&call->body, keys, plain.data, plain.length);
    buf_fini(&plain);
    if (err == ERR_TOO_LARGE)
        call_refuse(call, OUTCOME_PERMANENT, REASON_PAYLOAD_TOO_LARGE,
                    "the push is over 3993 bytes");
    else if (err)
        call_refuse_target(call, "the subscription's keys are not usable");
    return err == 0;
}

static int webpush_send(void *state, const struct job *job, adapter_outcome_fn *on_outcome,
                        void *ctx)
{
    struct webpush *webpush = state;
    struct call *call = call_new(&webpush->endpoint, CHANNEL_PUSH, job, on_outcome, ctx);
    struct answer *target;
    struct webpush_keys keys;
    const char *url, *p256dh, *auth, *origin;

    if (!call)
        return 0;
    target = answer_new(job->target, strlen(job->target));
    url = answer_text(target, "endpoint");
    p256dh = answer_text(target, "keys/p256dh");
    auth = answer_text(target, "keys/auth");
    origin = url ? origin_of(call->arena, url) : NULL;
    url = url ? arena_strdup(call->arena, url) : NULL;
    if (!origin || !p256dh || !auth || webpush_keys_parse(p256dh, auth, &keys) != 0) {
        answer_free(target);
        call_refuse_target(call, "not a subscription with endpoint, keys.p256dh and keys.auth");
        return 0;
    }
    answer_free(target);
    if (!push_has_content(&call->content)) {
        call_refuse(call, OUTCOME_PERMANENT, REASON_CONTENT_INVALID,
                    "a push needs a title, a body or data");
        return 0;
    }
    if (!seal(call, &keys))
        return 0;
    add_headers(webpush, call, origin);
    return call_send(call, url, webpush_judge);
}

const struct adapter adapter_webpush = {
    .name = "webpush",
    .channel = CHANNEL_PUSH,
    .keys = KEYS,
    .open = webpush_open,
    .close = webpush_close,
    .send = webpush_send,
};

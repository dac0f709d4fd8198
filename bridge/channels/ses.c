/* SPDX-License-Identifier: MIT */
/*
 * ses - mail by Amazon SES v2
 *
 * No idempotency: a repeat after an unknown outcome may arrive twice.  The delivery's id is a
 * message tag, which SES hands back with its events (they need a configuration set).
 */
#include "base/alloc.h"
#include "channels/adapters.h"
#include "channels/answer.h"
#include "channels/email_call.h"
#include "channels/encode.h"
#include "channels/mime.h"
#include "channels/sigv4.h"
#include "core/id.h"
#include <stdlib.h>
#include <string.h>

#define PATH        "/v2/email/outbound-emails"
#define HEADERS_MAX 15
#define QUOTA_MS    3600000
#define OUR_SENDER  "our_sender" /* a word beside the error's name: the text names our From */

/* clang-format off */
static const struct error_row ERRORS[] = {
    {.says = "Daily message quota exceeded", .trouble = TROUBLE_QUOTA,
     .reason = REASON_RATE_LIMITED, .note = "the daily quota is used up", .wait_ms = QUOTA_MS},
    {.says = "Maximum sending rate exceeded", .trouble = TROUBLE_RATE,
     .reason = REASON_RATE_LIMITED, .note = "over the sending rate"},
    {.codes = "TooManyRequestsException,Throttling*", .trouble = TROUBLE_RATE,
     .reason = REASON_RATE_LIMITED, .note = "too many requests"},
    {.status = 429, .trouble = TROUBLE_RATE, .reason = REASON_RATE_LIMITED,
     .note = "too many requests"},
    {.codes = "MailFromDomainNotVerifiedException", .trouble = TROUBLE_SENDER,
     .reason = REASON_PROVIDER_AUTH, .note = "the sender's domain is not verified"},
    {.codes = "LimitExceededException,AccountSuspendedException,SendingPausedException",
     .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH, .note = "the account may not send"},
    {.codes = "NotFoundException", .trouble = TROUBLE_SETUP,
     .reason = REASON_PROVIDER_AUTH, .note = "no such configuration set"},
    {.codes = "IncompleteSignature*,InvalidSignature*,SignatureDoesNotMatch*,ExpiredToken*,"
              "MissingAuthenticationToken*,UnrecognizedClient*,AccessDenied*",
     .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "credentials or signature refused: check the clock too"},
    {.status = 403, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "credentials or signature refused: check the clock too"},
    {.status = 404, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "no such configuration set"},
    {.codes = OUR_SENDER, .says = "Email address is not verified", .trouble = TROUBLE_SENDER,
     .reason = REASON_PROVIDER_AUTH, .note = "the sender's address is not verified"},
    {.codes = "MessageRejected", .says = "Email address is not verified",
     .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "the recipient's address is not verified, and the account is in the sandbox"},
    {.codes = "MessageRejected", .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "refused by SES"},
    {.codes = "BadRequestException", .is_refused = FACT_YES, .reason = REASON_CONTENT_INVALID,
     .note = "the mail is not acceptable"},
    {.status = 509, .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_UNAVAILABLE,
     .note = "SES is unwell"},
};
/* clang-format on */
ERROR_TABLE(ses_errors, "ses", ERRORS);

static const struct adapter_key KEYS[] = {
    {"base_url", ADAPTER_URL, false, NULL, "where the API is; from the region without it"},
    CA_FILE_KEY,
    {"region", ADAPTER_TEXT, true, NULL, "AWS region, us-east-1"},
    {"access_key_id", ADAPTER_TEXT, true, NULL, "the key's id, AKIA..."},
    {"secret_access_key_file", ADAPTER_FILE, true, NULL, "its secret"},
    {"session_token_file", ADAPTER_FILE, false, NULL, "the token of temporary credentials"},
    {"configuration_set", ADAPTER_TEXT, false, NULL, "events are published by it"},
    EMAIL_KEYS,
    {"callback_topic_arn", ADAPTER_TEXT, false, NULL,
     "SNS topic of the events; no other is believed"},
    {"callback_sns_url", ADAPTER_URL, false, NULL,
     "where SNS is, for tests; else Amazon's own hosts"},
    {0}};

struct ses {
    struct endpoint endpoint;
    struct email_rules rules;
    struct secret secret_key, session_token;
    char *access_key, *region, *configuration_set, *url, *host;
};

static void ses_close(void *state)
{
    struct ses *ses = state;

    secret_fini(&ses->secret_key);
    secret_fini(&ses->session_token);
    free(ses->access_key);
    free(ses->region);
    free(ses->configuration_set);
    free(ses->url);
    free(ses->host);
    endpoint_fini(&ses->endpoint);
    free(ses);
}

/* The Host header as the engine will send it: without a scheme's own port. */
static char *host_of(const char *url)
{
    const char *host = strstr(url, "://") + 3;
    size_t length = strcspn(host, "/");

    if (strncmp(url, "https:", 6) == 0 && length > 4 && memcmp(host + length - 4, ":443", 4) == 0)
        length -= 4;
    else if (strncmp(url, "http:", 5) == 0 && length > 3 &&
             memcmp(host + length - 3, ":80", 3) == 0)
        length -= 3;
    return xstrndup(host, length);
}

static int ses_open(const struct adapter_env *env, const struct adapter_settings *from,
                    void **state, char *why, size_t why_bytes)
{
    struct ses *ses = xcalloc(1, sizeof *ses);
    struct settings settings;

    settings_begin(&settings, KEYS, from, why, why_bytes);
    endpoint_init(&ses->endpoint, env, &settings);
    email_rules_init(&ses->rules, &settings);
    ses->endpoint.may_fetch_private = settings_bool(&settings, "allow_private");
    ses->access_key = settings_copy(&settings, "access_key_id");
    ses->region = settings_copy(&settings, "region");
    ses->configuration_set = settings_copy(&settings, "configuration_set");
    settings_secret(&settings, "secret_access_key_file", &ses->secret_key);
    settings_secret(&settings, "session_token_file", &ses->session_token);
    if (settings.err) {
        ses_close(ses);
        return settings.err;
    }
    ses->url = endpoint_url(&ses->endpoint, PATH);
    if (!ses->url) {
        struct buf url = {0};

        buf_printf(&url, "https://email.%s.amazonaws.com" PATH, ses->region);
        ses->url = url.data;
    }
    ses->host = host_of(ses->url);
    *state = ses;
    return 0;
}

static void write_text(struct buf *out, const char *name, const char *text, bool *is_first)
{
    if (!text)
        return;
    buf_printf(out, "%s\"%s\":{\"Data\":", *is_first ? "" : ",", name);
    buf_add_json(out, text);
    buf_add_text(out, ",\"Charset\":\"UTF-8\"}");
    *is_first = false;
}

static void write_headers(struct buf *out, const struct email *email)
{
    if (!email->header_count)
        return;
    buf_add_text(out, ",\"Headers\":[");
    for (size_t i = 0; i < email->header_count; i++) {
        buf_add_text(out, i ? ",{\"Name\":" : "{\"Name\":");
        buf_add_json(out, email->headers[i].key);
        buf_add_text(out, ",\"Value\":");
        buf_add_json(out, email->headers[i].value);
        buf_add_char(out, '}');
    }
    buf_add_char(out, ']');
}

static void write_attachments(struct buf *out, const struct email *email)
{
    if (!email->attachment_count)
        return;
    buf_add_text(out, ",\"Attachments\":[");
    for (size_t i = 0; i < email->attachment_count; i++) {
        const struct content_attachment *attachment = &email->attachments[i];

        buf_add_text(out, i ? ",{\"FileName\":" : "{\"FileName\":");
        buf_add_json(out, attachment->name);
        buf_add_text(out, ",\"ContentType\":");
        buf_add_json(out, attachment->type);
        buf_printf(out, ",\"ContentDisposition\":\"%s\",\"ContentTransferEncoding\":\"BASE64\"",
                   attachment->id ? "INLINE" : "ATTACHMENT");
        if (attachment->id) {
            buf_add_text(out, ",\"ContentId\":");
            buf_add_json(out, attachment->id);
        }
        buf_add_text(out, ",\"RawContent\":\"");
        encode_base64(out, attachment->bytes, attachment->length);
        buf_add_text(out, "\"}");
    }
    buf_add_char(out, ']');
}

static void write_mailbox(struct buf *out, const struct mailbox *mailbox)
{
    struct buf text = {0};

    mime_mailbox(&text, mailbox);
    buf_add_json(out, buf_text(&text));
    buf_fini(&text);
}

static void write_body(const struct ses *ses, const struct job *job, const struct email *email,
                       struct buf *out)
{
    char id[ID_TEXT_BYTES];
    bool is_first = true;

    buf_add_text(out, "{\"FromEmailAddress\":");
    write_mailbox(out, email->from);
    buf_add_text(out, ",\"Destination\":{\"ToAddresses\":[");
    buf_add_json(out, email->to);
    buf_add_text(out, "]}");
    if (email->reply_to) {
        buf_add_text(out, ",\"ReplyToAddresses\":[");
        write_mailbox(out, email->reply_to);
        buf_add_char(out, ']');
    }
    buf_add_text(out, ",\"Content\":{\"Simple\":{");
    write_text(out, "Subject", email->subject, &is_first);
    buf_add_text(out, ",\"Body\":{");
    is_first = true;
    write_text(out, "Text", email->text, &is_first);
    write_text(out, "Html", email->html, &is_first);
    buf_add_char(out, '}');
    write_headers(out, email);
    write_attachments(out, email);
    buf_printf(out, "}},\"EmailTags\":[{\"Name\":\"tocsin_delivery\",\"Value\":\"%s\"}]",
               id_format(job->delivery, id));
    if (ses->configuration_set) {
        buf_add_text(out, ",\"ConfigurationSetName\":");
        buf_add_json(out, ses->configuration_set);
    }
    buf_add_char(out, '}');
}

static void sign_request(const struct ses *ses, struct call *call)
{
    char *time =
        sigv4_time(ses->endpoint.env.wall_ms() / 1000, arena_alloc(call->arena, SIGV4_TIME_BYTES));
    struct http_header headers[4] = {{"content-type", "application/json"},
                                     {"host", ses->host},
                                     {"x-amz-date", time},
                                     {"x-amz-security-token", ses->session_token.bytes}};
    struct sigv4_account account = {ses->access_key, ses->region, "ses", &ses->secret_key};
    struct sigv4_request request = {.method = "POST",
                                    .path = strchr(strstr(ses->url, "://") + 3, '/'),
                                    .query = "",
                                    .headers = headers,
                                    .header_count = ses->session_token.bytes ? 4 : 3,
                                    .body = call->body.data,
                                    .body_bytes = call->body.length};
    struct buf authorization = {0};

    sigv4_authorize(&authorization, &account, &request, time);
    call_header(call, "Content-Type", "application/json");
    call_header(call, "X-Amz-Date", time);
    call_header(call, "X-Amz-Security-Token", ses->session_token.bytes);
    call_header(call, "Authorization", arena_strdup(call->arena, buf_text(&authorization)));
    buf_fini(&authorization);
}

/* "ThrottlingException:http://..." and "com.amazonaws#ThrottlingException" to the bare name. */
static const char *error_name_of(struct arena *arena, const struct http_response *response,
                                 struct answer *answer)
{
    const char *name = http_response_header(response, "x-amzn-ErrorType");
    const char *hash;

    if (!name)
        name = answer_text(answer, "code");
    if (!name)
        name = answer_text(answer, "__type");
    if (!name)
        return NULL;
    hash = strchr(name, '#');
    name = hash ? hash + 1 : name;
    return arena_copy(arena, name, strcspn(name, ":"));
}

/* Whether the text names the address, and not a longer one that ends or begins so. */
static bool names(const char *text, const char *address)
{
    static const char part[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "!#$%&'*+-/=?^_`{|}~.@";
    size_t length = strlen(address);
    const char *at = text;

    while ((at = strcasestr(at, address))) {
        bool begins = at == text || !strchr(part, at[-1]);
        bool ends = at[length] == '\0' || !strchr(part, at[length]) ||
                    (at[length] == '.' && strchr(" ", at[length + 1]));

        if (begins && ends)
            return true;
        at++;
    }
    return false;
}

static bool ses_judge(struct call *call, const struct http_response *response,
                      struct outcome *outcome)
{
    const struct ses *ses = call->state;
    struct answer *answer = answer_new(response->body, response->body_bytes);
    struct arena *arena;
    const char *message, *name;

    if (http_response_is_good(response)) {
        http_outcome_named(response, answer_string(answer, "MessageId"), outcome);
        answer_free(answer);
        return true;
    }
    arena = arena_new(0);
    message = answer_text(answer, "message");
    if (!message)
        message = answer_text(answer, "Message");
    name = error_name_of(arena, response, answer);
    if (name && message && names(message, ses->rules.from.address))
        name = arena_printf(arena, "%s " OUR_SENDER, name);
    call_judge_status(call, response, &ses_errors, name, message, outcome);
    arena_free(arena);
    answer_free(answer);
    return true;
}

static int send_email(struct call *call, const struct email *email)
{
    struct ses *ses = call->state;

    if (email->header_count > HEADERS_MAX) {
        call_refuse(call, OUTCOME_PERMANENT, REASON_CONTENT_INVALID, "more than 15 headers");
        return 0;
    }
    write_body(ses, call->job, email, &call->body);
    sign_request(ses, call);
    return call_send(call, ses->url, ses_judge);
}

static int ses_send(void *state, const struct job *job, adapter_outcome_fn *on_outcome, void *ctx)
{
    struct ses *ses = state;
    struct call *call = call_new(&ses->endpoint, CHANNEL_EMAIL, job, on_outcome, ctx);

    if (!call)
        return 0;
    call->state = ses;
    return email_call(call, &ses->rules, send_email);
}

const struct adapter adapter_ses = {
    .name = "ses",
    .channel = CHANNEL_EMAIL,
    .keys = KEYS,
    .has_receipts = true,
    .open = ses_open,
    .close = ses_close,
    .send = ses_send,
};

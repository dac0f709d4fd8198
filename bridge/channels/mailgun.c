/* SPDX-License-Identifier: MIT */
/*
 * mailgun - mail by Mailgun
 *
 * A form, urlencoded, or multipart when there are attachments.  No idempotency: a repeat after
 * an unknown outcome may arrive twice; the Message-ID is the same in every attempt, and the
 * delivery's id is a variable, which Mailgun hands back with its events.
 */
#include "base/alloc.h"
#include "base/random.h"
#include "channels/adapters.h"
#include "channels/answer.h"
#include "channels/email_call.h"
#include "channels/encode.h"
#include "channels/mime.h"
#include "core/id.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* clang-format off */
static const struct error_row ERRORS[] = {
    {.says = "authorized recipients", .is_refused = FACT_YES, .reason = REASON_PROVIDER_REJECTED,
     .note = "a sandbox domain sends to authorized recipients only"},
    {.status = 400, .says = "not allowed to send", .trouble = TROUBLE_SETUP,
     .reason = REASON_PROVIDER_AUTH, .note = "the domain may not send"},
    {.status = 400, .says = "to parameter is not a valid address",
     .dead = PROOF_NOT_AN_ADDRESS, .note = "not an email address"},
    {.status = 400, .says = "'to' parameter is not a valid address",
     .dead = PROOF_NOT_AN_ADDRESS, .note = "not an email address"},
    {.status = 400, .is_refused = FACT_YES, .reason = REASON_CONTENT_INVALID,
     .note = "the mail is not acceptable"},
    {.status = 401, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the API key is refused"},
    {.status = 402, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the account may not send"},
    {.status = 403, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "the API key may not send"},
    {.status = 404, .trouble = TROUBLE_SETUP, .reason = REASON_PROVIDER_AUTH,
     .note = "no such domain"},
    {.status = 413, .is_refused = FACT_YES, .reason = REASON_PAYLOAD_TOO_LARGE,
     .note = "the mail is too large"},
    {.status = 429, .trouble = TROUBLE_QUOTA, .reason = REASON_RATE_LIMITED,
     .note = "over the limit", .wait_ms = 60000},
};
/* clang-format on */
ERROR_TABLE(mailgun_errors, "mailgun", ERRORS);

static const struct adapter_key KEYS[] = {
    ENDPOINT_KEYS("https://api.mailgun.net"),
    {"domain", ADAPTER_TEXT, true, NULL, "the sending domain"},
    {"api_key_file", ADAPTER_FILE, true, NULL, "API key"},
    EMAIL_KEYS,
    {"test_mode", ADAPTER_BOOL, false, "false", "Mailgun takes the mail and sends nothing"},
    {"callback_secret_file", ADAPTER_FILE, false, NULL, "webhook signing key"},
    {0}};

struct mailgun {
    struct endpoint endpoint;
    struct email_rules rules;
    struct secret key;
    bool is_test;
    char *url;
};

/* A form being written: multipart with a boundary, urlencoded without. */
struct form {
    struct buf *out;
    const char *boundary;
};

static void mailgun_close(void *state)
{
    struct mailgun *mailgun = state;

    secret_fini(&mailgun->key);
    free(mailgun->url);
    endpoint_fini(&mailgun->endpoint);
    free(mailgun);
}

static int mailgun_open(const struct adapter_env *env, const struct adapter_settings *from,
                        void **state, char *why, size_t why_bytes)
{
    struct mailgun *mailgun = xcalloc(1, sizeof *mailgun);
    struct settings settings;
    struct buf url = {0};

    settings_begin(&settings, KEYS, from, why, why_bytes);
    endpoint_init(&mailgun->endpoint, env, &settings);
    email_rules_init(&mailgun->rules, &settings);
    mailgun->endpoint.may_fetch_private = settings_bool(&settings, "allow_private");
    mailgun->is_test = settings_bool(&settings, "test_mode");
    settings_secret(&settings, "api_key_file", &mailgun->key);
    if (settings.err) {
        mailgun_close(mailgun);
        return settings.err;
    }
    buf_printf(&url, "%s/v3/", mailgun->endpoint.base_url);
    encode_percent(&url, settings_text(&settings, "domain"));
    buf_add_text(&url, "/messages");
    mailgun->url = url.data;
    *state = mailgun;
    return 0;
}

/* A name inside a Content-Disposition: quotes and line ends as browsers write them. */
static void add_quoted(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '"')
            buf_add_text(out, "%22");
        else
            buf_add_char(out, *text);
    }
}

static void add_field(struct form *form, const char *name, const char *value)
{
    if (!value)
        return;
    if (!form->boundary) {
        encode_form(form->out, name, value);
        return;
    }
    buf_printf(form->out, "--%s\r\nContent-Disposition: form-data; name=\"", form->boundary);
    add_quoted(form->out, name);
    buf_printf(form->out, "\"\r\n\r\n%s\r\n", value);
}

static void add_file(struct form *form, const struct content_attachment *attachment)
{
    buf_printf(form->out, "--%s\r\nContent-Disposition: form-data; name=\"%s\"; filename=\"",
               form->boundary, attachment->id ? "inline" : "attachment");
    /* Mailgun's Content-ID of an inline part is its file name. */
    add_quoted(form->out, attachment->id ? attachment->id : attachment->name);
    buf_printf(form->out, "\"\r\nContent-Type: %s\r\n\r\n", attachment->type);
    buf_add(form->out, attachment->bytes, attachment->length);
    buf_add_text(form->out, "\r\n");
}

static void add_mailbox(struct form *form, const char *name, const struct mailbox *mailbox)
{
    struct buf text = {0};

    if (!mailbox)
        return;
    mime_mailbox(&text, mailbox);
    add_field(form, name, buf_text(&text));
    buf_fini(&text);
}

static void write_form(const struct mailgun *mailgun, struct call *call, const struct email *email,
                       struct form *form)
{
    char id[ID_TEXT_BYTES];

    add_mailbox(form, "from", email->from);
    add_field(form, "to", email->to);
    add_field(form, "subject", email->subject);
    add_field(form, "text", email->text);
    add_field(form, "html", email->html);
    add_mailbox(form, "h:Reply-To", email->reply_to);
    add_field(form, "h:Message-Id", email->message_id);
    for (size_t i = 0; i < email->header_count; i++)
        add_field(form, arena_printf(call->arena, "h:%s", email->headers[i].key),
                  email->headers[i].value);
    add_field(form, "v:tocsin_delivery", id_format(call->job->delivery, id));
    if (mailgun->is_test)
        add_field(form, "o:testmode", "yes");
    for (size_t i = 0; i < email->attachment_count; i++)
        add_file(form, &email->attachments[i]);
    if (form->boundary)
        buf_printf(form->out, "--%s--\r\n", form->boundary);
}

/* "... try again after Mon, 20 Dec 2021 20:33:21 UTC" */
static void read_date(const struct call *call, const char *message, struct outcome *outcome)
{
    const char *after = message ? strstr(message, "try again after ") : NULL;
    struct tm tm = {0};
    int64_t wait_ms;

    if (!after || !strptime(after + strlen("try again after "), "%a, %d %b %Y %H:%M:%S", &tm))
        return;
    wait_ms = (int64_t)timegm(&tm) * 1000 - call->endpoint->env.wall_ms();
    outcome->retry_after_ms = wait_ms < 0 ? 0 : wait_ms;
}

static bool mailgun_judge(struct call *call, const struct http_response *response,
                          struct outcome *outcome)
{
    struct answer *answer = answer_new(response->body, response->body_bytes);
    const char *message = answer_text(answer, "message");
    const char *id = answer_string(answer, "id");

    if (http_response_is_good(response)) {
        http_outcome_named(response, id, outcome);
    } else {
        call_judge_status(call, response, &mailgun_errors, NULL, message ? message : response->body,
                          outcome);
        if (response->status == 429 && response->retry_after_ms < 0)
            read_date(call, message, outcome);
    }
    answer_free(answer);
    return true;
}

static int send_email(struct call *call, const struct email *email)
{
    struct mailgun *mailgun = call->state;
    struct http_request request = {
        .url = mailgun->url, .basic_user = "api", .basic_password = &mailgun->key};
    struct form form = {&call->body, NULL};

    if (email->attachment_count) {
        unsigned char random[12];
        struct buf boundary = {0};

        /* Nobody who writes a mail can know it, so no mail can contain it. */
        random_bytes(random, sizeof random);
        buf_add_text(&boundary, "tocsin-");
        encode_hex(&boundary, random, sizeof random);
        form.boundary = arena_strdup(call->arena, buf_text(&boundary));
        buf_fini(&boundary);
    }
    write_form(mailgun, call, email, &form);
    call_header(call, "Content-Type",
                form.boundary
                    ? arena_printf(call->arena, "multipart/form-data; boundary=%s", form.boundary)
                    : "application/x-www-form-urlencoded");
    return call_send_request(call, &request, mailgun_judge);
}

static int mailgun_send(void *state, const struct job *job, adapter_outcome_fn *on_outcome,
                        void *ctx)
{
    struct mailgun *mailgun = state;
    struct call *call = call_new(&mailgun->endpoint, CHANNEL_EMAIL, job, on_outcome, ctx);

    if (!call)
        return 0;
    call->state = mailgun;
    return email_call(call, &mailgun->rules, send_email);
}

const struct adapter adapter_mailgun = {
    .name = "mailgun",
    .channel = CHANNEL_EMAIL,
    .keys = KEYS,
    .has_receipts = true,
    .open = mailgun_open,
    .close = mailgun_close,
    .send = mailgun_send,
};

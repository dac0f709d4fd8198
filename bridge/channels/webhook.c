/* SPDX-License-Identifier: MIT */
/*
 * webhook - any HTTPS endpoint, signed by the Standard Webhooks rules
 *
 * The delivery's id is the webhook-id, the same in every attempt, so that a receiver can drop
 * repeats.  Every endpoint is somebody else's: an answer says something about that target and
 * nothing about the others, so all outcomes here are is_target_only.
 */
#include "base/alloc.h"
#include "base/timefmt.h"
#include "channels/adapters.h"
#include "channels/call.h"
#include "channels/sign.h"
#include "core/id.h"
#include <stdio.h>
#include <stdlib.h>

/* clang-format off */
static const struct error_row ERRORS[] = {
    {.status = 410, .dead = PROOF_UNREGISTERED,
     .note = "the endpoint is gone"},
    {.status = 429, .trouble = TROUBLE_RATE, .reason = REASON_RATE_LIMITED,
     .note = "the endpoint asks for a pause"},
    {.status = 501, .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_REJECTED,
     .note = "the endpoint fails"},
    {.status = 505, .trouble = TROUBLE_UNWELL, .reason = REASON_PROVIDER_REJECTED,
     .note = "the endpoint fails"},
};
/* clang-format on */
ERROR_TABLE(webhook_errors, "webhook", ERRORS);

static const struct adapter_key KEYS[] = {
    {"secret_file", ADAPTER_FILE, true, NULL,
     "signing secret: whsec_ and base64 of 24 to 64 bytes"},
    {"previous_secret_file", ADAPTER_FILE, false, NULL,
     "the former secret while receivers change over; both sign"},
    {"allow_private", ADAPTER_BOOL, false, "false",
     "also deliver to loopback, private and link-local addresses"},
    CA_FILE_KEY,
    {0}};

struct webhook {
    struct endpoint endpoint;
    struct secret keys[2]; /* now and, perhaps, before */
};

static void webhook_close(void *state)
{
    struct webhook *webhook = state;

    secret_fini(&webhook->keys[0]);
    secret_fini(&webhook->keys[1]);
    endpoint_fini(&webhook->endpoint);
    free(webhook);
}

static void read_key(struct settings *settings, const char *name, struct secret *key)
{
    struct secret text = {0};

    settings_secret(settings, name, &text);
    if (text.bytes && webhook_secret_parse(&text, key) != 0)
        settings_fail(settings, "%s must hold whsec_ and the base64 of 24 to 64 bytes", name);
    secret_fini(&text);
}

static int webhook_open(const struct adapter_env *env, const struct adapter_settings *from,
                        void **state, char *why, size_t why_bytes)
{
    struct webhook *webhook = xcalloc(1, sizeof *webhook);
    struct settings settings;

    settings_begin(&settings, KEYS, from, why, why_bytes);
    endpoint_init(&webhook->endpoint, env, &settings);
    webhook->endpoint.is_target_only = true;
    webhook->endpoint.is_public_only = !settings_bool(&settings, "allow_private");
    read_key(&settings, "secret_file", &webhook->keys[0]);
    read_key(&settings, "previous_secret_file", &webhook->keys[1]);
    if (settings.err)
        webhook_close(webhook);
    else
        *state = webhook;
    return settings.err;
}

static void write_member(struct buf *out, const char *name, const char *value)
{
    if (!value)
        return;
    buf_printf(out, ",\"%s\":", name);
    buf_add_json(out, value);
}

static void write_body(struct call *call)
{
    const struct job *job = call->job;
    const struct content *content = &call->content;
    char id[ID_TEXT_BYTES], when[TIMEFMT_BYTES];
    struct buf *out = &call->body;

    if (content->body_json) {
        buf_add_text(out, content->body_json);
        return;
    }
    buf_add_text(out, "{\"type\":");
    buf_add_json(out, job->type);
    buf_printf(out, ",\"timestamp\":\"%s\",\"data\":{\"notification\":\"%s\"",
               timefmt_wall(job->created_ms, when), id_format(job->notification, id));
    write_member(out, "title", content->title);
    write_member(out, "body", content->body);
    if (content->data_json)
        buf_printf(out, ",\"data\":%s", content->data_json);
    buf_add_text(out, "}}");
}

static bool webhook_judge(struct call *call, const struct http_response *response,
                          struct outcome *outcome)
{
    struct facts facts;
    char answered[64];
    const char *note;

    (void)call;
    if (http_status_is_good(response->status)) {
        http_outcome_good(outcome, OUTCOME_DELIVERED, NULL);
        return true;
    }
    note = http_facts_of_status(response, &webhook_errors, NULL, NULL, &facts);
    /* A receiver under repair answers anything: only its schedule of retries ends it. */
    if (!facts.dead && (facts.is_refused == FACT_YES || facts.trouble == TROUBLE_SETUP)) {
        (void)snprintf(answered, sizeof answered, "the endpoint answered %d", response->status);
        note = answered;
        facts = (struct facts){.trouble = TROUBLE_UNWELL,
                               .reason = REASON_PROVIDER_REJECTED,
                               .wait_ms = response->retry_after_ms};
    }
    http_outcome_of_facts(response, &facts, note, NULL, outcome);
    http_outcome_prefer_wait(response, outcome);
    /* A receiver that never has time is not waited for without end. */
    outcome->is_counted = true;
    return true;
}

static int webhook_send(void *state, const struct job *job, adapter_outcome_fn *on_outcome,
                        void *ctx)
{
    struct webhook *webhook = state;
    struct call *call = call_new(&webhook->endpoint, CHANNEL_WEBHOOK, job, on_outcome, ctx);
    int64_t now_s = webhook->endpoint.env.wall_ms() / 1000;
    struct buf signature = {0};
    char *id;

    if (!call)
        return 0;
    write_body(call);
    id = id_format(job->delivery, arena_alloc(call->arena, ID_TEXT_BYTES));
    for (unsigned i = 0; i < 2; i++) {
        if (webhook->keys[i].bytes)
            webhook_sign(&signature, &webhook->keys[i], id, now_s, buf_text(&call->body),
                         call->body.length);
    }
    call_header(call, "Content-Type", "application/json");
    call_header(call, "webhook-id", id);
    call_header(call, "webhook-timestamp", arena_printf(call->arena, "%lld", (long long)now_s));
    call_header(call, "webhook-signature", arena_strdup(call->arena, buf_text(&signature)));
    buf_fini(&signature);
    return call_send(call, job->target, webhook_judge);
}

const struct adapter adapter_webhook = {
    .name = "webhook",
    .channel = CHANNEL_WEBHOOK,
    .keys = KEYS,
    .is_idempotent = true,
    .open = webhook_open,
    .close = webhook_close,
    .send = webhook_send,
};

/* SPDX-License-Identifier: MIT */
#include "channels/call.h"
#include "base/alloc.h"
#include "base/log.h"
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS  10000
#define CONNECT_MS  5000
#define LEFT_MIN_MS 1000
#define WARM_MS     45000 /* less than the engine keeps an idle connection */

void endpoint_init(struct endpoint *endpoint, const struct adapter_env *env,
                   const struct settings *settings)
{
    const char *base_url = settings_text(settings, "base_url");
    const char *ca_file = settings_text(settings, "ca_file");

    *endpoint = (struct endpoint){.env = *env};
    endpoint->name = xstrdup(settings->from->name);
    if (base_url) {
        size_t length = strlen(base_url);

        while (length && base_url[length - 1] == '/')
            length--;
        endpoint->base_url = xstrndup(base_url, length);
    }
    if (ca_file)
        endpoint->ca_file = xstrdup(ca_file);
    endpoint->timeout_ms =
        settings_ms(settings, "timeout", env->timeout_ms ? env->timeout_ms : TIMEOUT_MS);
    endpoint->connect_ms = endpoint->timeout_ms < CONNECT_MS ? endpoint->timeout_ms : CONNECT_MS;
}

void endpoint_fini(struct endpoint *endpoint)
{
    free(endpoint->name);
    free(endpoint->base_url);
    free(endpoint->ca_file);
}

char *endpoint_url(const struct endpoint *endpoint, const char *path)
{
    struct buf url = {0};

    if (!endpoint->base_url)
        return NULL;
    buf_printf(&url, "%s%s", endpoint->base_url, path);
    return url.data;
}

static int parse(struct call *call, enum channel channel)
{
    char why[sizeof((struct outcome *)0)->detail] = "";
    int err = content_parse(call->job->content, call->job->content_bytes, channel, call->arena,
                            &call->content, why, sizeof why);

    if (err)
        call_refuse(call, OUTCOME_PERMANENT, REASON_CONTENT_INVALID, why);
    return err;
}

struct call *call_new(struct endpoint *endpoint, enum channel channel, const struct job *job,
                      adapter_outcome_fn *on_outcome, void *ctx)
{
    struct call *call = xcalloc(1, sizeof *call);

    call->endpoint = endpoint;
    call->job = job;
    call->on_outcome = on_outcome;
    call->ctx = ctx;
    call->deadline_ms = endpoint->env.wall_ms() + endpoint->timeout_ms;
    call->arena = arena_new(0);
    if (parse(call, channel) != 0)
        return NULL;
    call->has_own_sender = call->content.from != NULL;
    return call;
}

/* What only the request needed. */
static void forget_request(struct call *call)
{
    arena_free(call->arena);
    call->arena = NULL;
    call->header_count = 0;
    buf_fini(&call->body);
    call->body = (struct buf){0};
}

void call_drop(struct call *call)
{
    loop_timer_stop(&call->timer);
    if (call->on_drop)
        call->on_drop(call);
    forget_request(call);
    free(call->refusal);
    free(call->extra);
    free(call);
}

void call_header(struct call *call, const char *name, const char *value)
{
    if (!value)
        return;
    ASSERT(call->header_count < CALL_HEADERS_MAX);
    call->headers[call->header_count++] = (struct http_header){name, value};
}

void call_end(struct call *call, struct outcome *outcome)
{
    adapter_outcome_fn *on_outcome = call->on_outcome;
    void *ctx = call->ctx;

    if (!outcome->segments)
        outcome->segments = call->segments;
    call_drop(call);
    on_outcome(ctx, outcome);
}

static void on_refusal_due(void *ctx)
{
    struct call *call = ctx;
    struct outcome outcome = *call->refusal;

    call_end(call, &outcome);
}

void call_refuse(struct call *call, enum outcome_kind kind, enum reason reason, const char *detail)
{
    call->refusal = xcalloc(1, sizeof *call->refusal);
    outcome_set(call->refusal, kind, reason, detail);
    loop_timer_start(call->endpoint->env.loop, &call->timer, 0, on_refusal_due, call);
}

void call_refuse_target(struct call *call, const char *detail)
{
    struct facts facts = {
        .dead = PROOF_NOT_AN_ADDRESS, .is_shared_target = call->is_shared_target, .wait_ms = -1};

    call_refuse(call, OUTCOME_PERMANENT, REASON_TARGET_INVALID, detail);
    outcome_of_facts(call->refusal, &facts, detail);
}

void call_judge_status(const struct call *call, const struct http_response *response,
                       const struct error_table *table, const char *code, const char *text,
                       struct outcome *outcome)
{
    struct facts facts;
    const char *note = http_facts_of_status(response, table, code, text, &facts);

    facts.is_own_sender = call->has_own_sender;
    facts.is_shared_target = call->is_shared_target;
    http_outcome_of_facts(response, &facts, note, code, outcome);
}

/* Whether the others may follow: an answer came over the connection, or it was lost. */
static void note_connection(struct endpoint *endpoint, const struct http_response *response)
{
    if (endpoint->version != HTTP_VERSION_2)
        return;
    endpoint->under_way--;
    if (response->status > 0)
        endpoint->warm_until_ms = endpoint->env.wall_ms() + WARM_MS;
    else if (response->fail != HTTP_FAIL_TIMEOUT)
        endpoint->warm_until_ms = 0;
}

static bool must_wait(const struct call *call)
{
    const struct endpoint *endpoint = call->endpoint;

    return endpoint->version == HTTP_VERSION_2 && endpoint->under_way > 0 && !call->is_late &&
           endpoint->env.wall_ms() >= endpoint->warm_until_ms;
}

static void on_response(void *ctx, const struct http_response *response)
{
    struct call *call = ctx;
    struct outcome outcome;

    note_connection(call->endpoint, response);
    outcome_set(&outcome, OUTCOME_RETRY, REASON_INTERNAL, "");
    if (!call->is_mail && http_outcome_of_failure(response, &outcome)) {
        outcome.is_target_only = call->endpoint->is_target_only;
        call_end(call, &outcome);
        return;
    }
    if (!call->judge(call, response, &outcome))
        return;
    if (!outcome.status)
        outcome.status = response->status;
    outcome.is_target_only |= call->endpoint->is_target_only;
    call_end(call, &outcome);
}

int64_t call_time_left_ms(const struct call *call)
{
    int64_t most_ms = call->endpoint->timeout_ms;
    int64_t left_ms = call->deadline_ms - call->endpoint->env.wall_ms();

    if (left_ms < LEFT_MIN_MS)
        left_ms = LEFT_MIN_MS;
    return left_ms < most_ms ? left_ms : most_ms;
}

int call_unsent(struct call *call, int err)
{
    struct outcome outcome;

    if (!call->is_late) {
        call_drop(call);
        return err;
    }
    outcome_set(&outcome, OUTCOME_RETRY, REASON_INTERNAL, "too many requests under way");
    outcome.is_connection = true;
    call_end(call, &outcome);
    return 0;
}

/* After http_send: the call goes on, or is refused for its URL, or was not sent. */
static int after_send(struct call *call, int err)
{
    if (err == ERR_INVALID) {
        call_refuse(call, OUTCOME_PERMANENT, REASON_TARGET_INVALID, "not a usable URL");
        return 0;
    }
    if (err)
        return call_unsent(call, err);
    forget_request(call);
    return 0;
}

int call_send_request(struct call *call, struct http_request *request, call_judge_fn *judge)
{
    struct endpoint *endpoint = call->endpoint;
    int err;

    if (must_wait(call))
        return call_unsent(call, ERR_FULL);
    if (!request->method)
        request->method = "POST";
    request->headers = call->headers;
    request->header_count = call->header_count;
    request->body = buf_text(&call->body);
    request->body_bytes = call->body.length;
    request->version = endpoint->version;
    request->is_few = endpoint->is_few;
    request->is_public_only = endpoint->is_public_only;
    request->ca_file = endpoint->ca_file;
    request->connect_ms = endpoint->connect_ms;
    request->timeout_ms = call_time_left_ms(call);
    request->response_max = endpoint->response_max;
    call->judge = judge;
    call->tries++;
    err = http_send(endpoint->env.http, request, on_response, call);
    if (!err && endpoint->version == HTTP_VERSION_2)
        endpoint->under_way++;
    return after_send(call, err);
}

int call_send(struct call *call, const char *url, call_judge_fn *judge)
{
    struct http_request request = {.url = url};

    return call_send_request(call, &request, judge);
}

int call_send_mail(struct call *call, const struct http_mail *mail, call_judge_fn *judge)
{
    struct http_mail timed = *mail;

    timed.timeout_ms = call_time_left_ms(call);
    call->judge = judge;
    call->is_mail = true;
    call->tries++;
    return after_send(call, http_send_mail(call->endpoint->env.http, &timed, on_response, call));
}

void call_rewind(struct call *call, enum channel channel)
{
    char why[64];

    ASSERT(!call->arena);
    call->arena = arena_new(0);
    if (content_parse(call->job->content, call->job->content_bytes, channel, call->arena,
                      &call->content, why, sizeof why) != 0)
        panic("content that was good once is good again");
}

/* SPDX-License-Identifier: MIT */
#include "channels/token.h"
#include "base/alloc.h"
#include "base/log.h"
#include "channels/answer.h"
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define RENEW_AHEAD_MS  300000
#define RETRY_FETCH_MS  5000
#define LIFE_DEFAULT_S  3600
#define LIFE_MAX_S      86400
#define TOKEN_BYTES_MAX 8192

/* One request to the token endpoint; outlives its source if it must. */
struct token_fetch {
    struct token_source *source; /* NULL once the source is gone */
};

struct token_source {
    struct token_config config;
    struct secret token;
    uint64_t generation;
    int64_t ends_ms, renew_ms; /* wall: no longer good; better renewed */
    int64_t not_before_ms;     /* wall: no renewal before, after one failed */
    struct token_fetch *fetch; /* owned by the request; NULL when none is under way */
    struct list waiters;
};

struct token_source *token_source_new(const struct token_config *config)
{
    struct token_source *source = xcalloc(1, sizeof *source);

    source->config = *config;
    list_init(&source->waiters);
    return source;
}

void token_source_free(struct token_source *source)
{
    if (!source)
        return;
    ASSERT(source->waiters.count == 0);
    if (source->fetch)
        source->fetch->source = NULL;
    secret_fini(&source->token);
    free(source);
}

uint64_t token_generation(const struct token_source *source)
{
    return source->generation;
}

/* Calls everybody who waited until now; who waits again meanwhile waits for the next fetch. */
static void wake_all(struct token_source *source, const struct outcome *why)
{
    for (size_t left = source->waiters.count; left > 0; left--) {
        struct list_node *node = list_first(&source->waiters);
        struct token_waiter *waiter;

        ASSERT(node && list_is_linked(node)); /* nobody leaves by another way */
        list_remove(&source->waiters, node);
        waiter = CONTAINER_OF(node, struct token_waiter, node);
        waiter->on_token(waiter->ctx, why);
    }
}

/* True when the answer holds a token, which is then in place. */
static bool take_token(struct token_source *source, struct answer *answer)
{
    const char *token = answer_text(answer, "access_token");
    int64_t life_s = answer_number(answer, "expires_in", LIFE_DEFAULT_S);

    if (!token || !*token || strlen(token) > TOKEN_BYTES_MAX || strpbrk(token, "\r\n"))
        return false;
    if (life_s < 1 || life_s > LIFE_MAX_S)
        life_s = LIFE_DEFAULT_S;
    secret_fini(&source->token);
    secret_set(&source->token, token, strlen(token));
    source->generation++;
    source->ends_ms = source->config.endpoint->env.wall_ms() + life_s * 1000;
    source->renew_ms =
        source->ends_ms - (life_s * 200 < RENEW_AHEAD_MS ? life_s * 200 : RENEW_AHEAD_MS);
    source->not_before_ms = 0;
    return true;
}

/* Nothing went out to the provider for those who waited: no attempt is spent on it. */
static void judge_fetch(struct token_source *source, const struct http_response *response,
                        struct answer *answer, struct outcome *why)
{
    if (!http_outcome_of_failure(response, why)) {
        http_outcome_of_status(response, source->config.errors, answer_text(answer, "error"), NULL,
                               why);
        if (http_status_is_good(response->status) || why->kind == OUTCOME_PERMANENT)
            outcome_set(why, OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH,
                        "the token endpoint gives no token");
    }
    if (why->kind == OUTCOME_UNKNOWN || why->kind == OUTCOME_RETRY) {
        why->kind = OUTCOME_RETRY;
        why->is_connection = true;
    }
}

static void on_response(void *ctx, const struct http_response *response)
{
    struct token_fetch *fetch = ctx;
    struct token_source *source = fetch->source;
    struct answer *answer;
    struct outcome why;
    bool is_good;

    free(fetch);
    if (!source)
        return;
    source->fetch = NULL;
    answer = answer_new(response->body, response->body_bytes);
    is_good = response->fail == HTTP_FAIL_NONE && http_status_is_good(response->status) &&
              take_token(source, answer);
    outcome_set(&why, OUTCOME_RETRY, REASON_PROVIDER_AUTH, "");
    if (!is_good) {
        judge_fetch(source, response, answer, &why);
        why.is_before_message = true;
        source->not_before_ms = source->config.endpoint->env.wall_ms() + RETRY_FETCH_MS;
        log_warn("token.refused", LOG_STR("destination", source->config.endpoint->name),
                 LOG_STR("outcome", outcome_name(why.kind)), LOG_STR("detail", why.detail),
                 LOG_INT("status", response->status));
    }
    answer_free(answer);
    wake_all(source, is_good ? NULL : &why);
}

static int start_fetch(struct token_source *source)
{
    static const struct http_header headers[] = {
        {"Content-Type", "application/x-www-form-urlencoded"}, {"Accept", "application/json"}};
    const struct endpoint *endpoint = source->config.endpoint;
    struct token_fetch *fetch = xcalloc(1, sizeof *fetch);
    struct buf form = {0};
    int err;

    source->config.write_form(source->config.ctx, &form);
    struct http_request request = {.method = "POST",
                                   .url = source->config.url,
                                   .headers = headers,
                                   .header_count = 2,
                                   .body = form.data,
                                   .body_bytes = form.length,
                                   .ca_file = endpoint->ca_file,
                                   .connect_ms = endpoint->connect_ms,
                                   .timeout_ms = endpoint->timeout_ms};
    fetch->source = source;
    err = http_send(endpoint->env.http, &request, on_response, fetch);
    if (form.data)
        OPENSSL_cleanse(form.data, form.length);
    buf_fini(&form);
    if (err) {
        free(fetch);
        return err;
    }
    source->fetch = fetch;
    return 0;
}

const char *token_current(struct token_source *source)
{
    int64_t now_ms = source->config.endpoint->env.wall_ms();

    if (!source->token.bytes || now_ms >= source->ends_ms)
        return NULL;
    /* A renewal that cannot start now is tried with the next use. */
    if (now_ms >= source->renew_ms && !source->fetch && now_ms >= source->not_before_ms)
        (void)start_fetch(source);
    return source->token.bytes;
}

int token_wait(struct token_source *source, struct token_waiter *waiter)
{
    if (source->waiters.count >= TOKEN_WAITERS_MAX)
        return ERR_FULL;
    if (!source->fetch) {
        int err = start_fetch(source);

        if (err)
            return err;
    }
    list_push_back(&source->waiters, &waiter->node);
    return 0;
}

void token_refused(struct token_source *source, uint64_t generation)
{
    if (source->generation == generation)
        secret_fini(&source->token);
}

/* SPDX-License-Identifier: MIT */
#include "channels/email_call.h"
#include "base/alloc.h"
#include "channels/encode.h"
#include <string.h>

/* The fetching of one call's attachments, one after the other; lives in call->extra. */
struct fetching {
    struct call *call;
    struct email email;
    struct content_attachment *attachments; /* in the call's arena */
    size_t next, bytes;
    email_send_fn *send_email;
    struct email_rules *rules;
};

static int fetch_next(struct fetching *fetching);

static void judge_fetch(const struct http_response *response, struct outcome *outcome)
{
    if (!http_outcome_of_failure(response, outcome))
        http_outcome_of_status(response, NULL, NULL, NULL, outcome);
    if (response->fail == HTTP_FAIL_TOO_LARGE)
        outcome_set(outcome, OUTCOME_PERMANENT, REASON_PAYLOAD_TOO_LARGE,
                    "an attachment is too large");
    else if (response->fail == HTTP_FAIL_FORBIDDEN ||
             (response->status >= 300 && response->status < 500 && response->status != 408 &&
              response->status != 429))
        outcome_set(outcome, OUTCOME_PERMANENT, REASON_CONTENT_INVALID,
                    "an attachment cannot be fetched from its URL");
    else
        outcome_set(outcome, OUTCOME_RETRY, REASON_CONTENT_INVALID,
                    "an attachment could not be fetched now");
    /* Not the mail provider's fault. */
    outcome->is_target_only = true;
}

/* What a server calls its file, if that can stand in a header of ours. */
static void take_type(struct arena *arena, struct content_attachment *attachment, const char *type)
{
    char *copy = arena_copy(arena, type, strcspn(type, "; \""));

    if (text_is_ascii(copy) && strchr(copy, '/') && strlen(copy) < 100)
        attachment->type = copy;
}

static void take_bytes(struct fetching *fetching, const struct http_response *response)
{
    struct content_attachment *attachment = &fetching->attachments[fetching->next];
    const char *type = http_response_header(response, "Content-Type");
    char *copy = arena_alloc(fetching->call->arena, response->body_bytes + 1);

    memcpy(copy, response->body, response->body_bytes);
    attachment->bytes = copy;
    attachment->length = response->body_bytes;
    if (type && strcmp(attachment->type, "application/octet-stream") == 0)
        take_type(fetching->call->arena, attachment, type);
    fetching->bytes += response->body_bytes;
    fetching->next++;
}

static void on_fetched(void *ctx, const struct http_response *response)
{
    struct fetching *fetching = ctx;
    struct call *call = fetching->call;
    struct outcome outcome;

    if (response->fail == HTTP_FAIL_NONE && http_status_is_good(response->status)) {
        take_bytes(fetching, response);
        call->is_late = true;
        (void)fetch_next(fetching); /* late: it ends in an outcome whatever happens */
        return;
    }
    judge_fetch(response, &outcome);
    call_end(call, &outcome);
}

/* Fetches the next attachment that has a URL, or sends. */
static int fetch_next(struct fetching *fetching)
{
    struct call *call = fetching->call;
    const struct endpoint *endpoint = call->endpoint;

    while (fetching->next < fetching->email.attachment_count &&
           !fetching->attachments[fetching->next].url)
        fetching->next++;
    if (fetching->bytes > EMAIL_ATTACHED_MAX) {
        call_refuse(call, OUTCOME_PERMANENT, REASON_PAYLOAD_TOO_LARGE,
                    "the attachments are too large");
        return 0;
    }
    if (fetching->next == fetching->email.attachment_count)
        return fetching->send_email(call, &fetching->email);

    struct http_request request = {.method = "GET",
                                   .url = fetching->attachments[fetching->next].url,
                                   .is_public_only = !endpoint->may_fetch_private,
                                   .ca_file = endpoint->ca_file,
                                   .connect_ms = endpoint->connect_ms,
                                   .timeout_ms = call_time_left_ms(call) / 2,
                                   .response_max = EMAIL_ATTACHED_MAX + 1 - fetching->bytes};
    int err = http_send(endpoint->env.http, &request, on_fetched, fetching);

    if (err != ERR_INVALID)
        return err ? call_unsent(call, err) : 0;
    call_refuse(call, OUTCOME_PERMANENT, REASON_CONTENT_INVALID,
                "an attachment's URL is not usable");
    return 0;
}

static bool is_carrier(const struct email *email)
{
    for (size_t i = 0; i < email->attachment_count; i++)
        if (email->attachments[i].url)
            return true;
    return false;
}

static void on_carrier_drop(struct call *call)
{
    struct fetching *fetching = call->extra;

    fetching->rules->carriers--;
}

int email_call(struct call *call, struct email_rules *rules, email_send_fn *send_email)
{
    struct fetching *fetching = xcalloc(1, sizeof *fetching);
    size_t count;

    call->extra = fetching;
    fetching->call = call;
    fetching->send_email = send_email;
    if (email_prepare(call, rules, &fetching->email) != 0)
        return 0;
    count = fetching->email.attachment_count;
    fetching->attachments = arena_alloc(call->arena, (count + 1) * sizeof *fetching->attachments);
    if (count)
        memcpy(fetching->attachments, fetching->email.attachments,
               count * sizeof *fetching->attachments);
    fetching->email.attachments = fetching->attachments;
    if (is_carrier(&fetching->email)) {
        if (rules->carriers >= EMAIL_CARRIERS_MAX)
            return call_unsent(call, ERR_FULL);
        rules->carriers++;
        fetching->rules = rules;
        call->on_drop = on_carrier_drop;
    }
    return fetch_next(fetching);
}

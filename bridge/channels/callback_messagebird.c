/* SPDX-License-Identifier: MIT */
/*
 * callback_messagebird - status reports of the classic MessageBird API, and messages that come in
 *
 * A GET whose query says what became of a message, or a GET or POST with one that came in; a JWT
 * in a header covers the whole URL and, if there is one, the body.
 */
#include "channels/callback_tools.h"
#include "channels/callback_url.h"
#include "base/timefmt.h"
#include <stdlib.h>
#include <string.h>

/* How far the clocks may differ.  A token lives for a minute, and a repeat brings nothing new. */
#define SKEW_S 60

static bool hash_fits(const char *claim, const void *bytes, size_t length)
{
    struct buf hex = {0};
    bool is_good;

    callback_sha256_hex(&hex, bytes, length);
    is_good = callback_equal_hex(hex.data, claim);
    buf_fini(&hex);
    return is_good;
}

static bool url_fits(void *ctx, const char *url)
{
    return hash_fits(ctx, url, strlen(url));
}

/* What the token must claim; NULL when it does. */
static const char *claims_fault(struct answer *claims, const struct callback_request *request)
{
    const char *issuer = answer_text(claims, "iss"), *id = answer_text(claims, "jti");
    const char *payload = answer_text(claims, "payload_hash");
    const char *url = answer_text(claims, "url_hash");
    int64_t now_s = request->now_ms / 1000;

    if (!issuer || strcmp(issuer, "MessageBird") != 0 || !id || !id[0])
        return "the token is not MessageBird's";
    if (answer_number(claims, "nbf", INT64_MAX) > now_s + SKEW_S)
        return "the token is not valid yet";
    if (answer_number(claims, "exp", 0) < now_s - SKEW_S)
        return "the token has expired";
    if (!url || !callback_url_fits(request->url, 0, url_fits, (void *)(uintptr_t)url))
        return "the token is for another URL";
    if (!payload != !request->body_bytes ||
        (payload && !hash_fits(payload, request->body, request->body_bytes)))
        return "the token is for another body";
    return NULL;
}

static const struct {
    const char *status;
    enum report report;
} STATUSES[] = {
    {"scheduled", REPORT_SENT},      {"sent", REPORT_SENT},      {"buffered", REPORT_SENT},
    {"delivered", REPORT_DELIVERED}, {"expired", REPORT_FAILED}, {"delivery_failed", REPORT_FAILED},
};

static void read_status(struct callback_result *result, const struct callback_form *form)
{
    struct callback_event event = {.provider_id = callback_form_get(form, "id"),
                                   .delivery =
                                       callback_delivery(callback_form_get(form, "reference")),
                                   .name = callback_form_get(form, "status"),
                                   .code = callback_form_get(form, "statusErrorCode")};
    const char *at = callback_form_get(form, "statusDatetime");

    if (at && timefmt_parse_wall(at, &event.at_ms))
        event.at_ms = 0;
    for (size_t i = 0; event.name && i < sizeof STATUSES / sizeof STATUSES[0]; i++) {
        if (strcmp(STATUSES[i].status, event.name) != 0)
            continue;
        event.report = STATUSES[i].report;
        if (event.report == REPORT_FAILED)
            event.reason = REASON_PROVIDER_REJECTED;
        callback_add(result, &event);
        return;
    }
    callback_unread(result, NULL);
}

/* What a message that came in is called: sent to a number, to a short code, or through a flow. */
static const char *const FROM[] = {"originator", "sender", NULL};
static const char *const TEXT[] = {"body", "payload", "message", NULL};
static const char *const ID[] = {"id", "message_id", "mid", NULL};

static const char *first_of(const struct callback_form *form, const char *const names[])
{
    const char *value = NULL;

    for (size_t i = 0; names[i] && !value; i++)
        value = callback_form_get(form, names[i]);
    return value;
}

static const char *first_in(struct answer *body, const char *const names[])
{
    const char *value = NULL;

    for (size_t i = 0; names[i] && !value; i++)
        value = answer_text(body, names[i]);
    return value;
}

/* The query of a GET, or the body of a POST as form or JSON. */
static void hear(struct callback_result *result, const struct callback_request *request,
                 struct callback_form *form)
{
    bool is_json = request->body_bytes && request->body[0] == '{';
    struct answer *body;

    if (request->body_bytes && !is_json &&
        !callback_form_read(form, result->arena, request->body, request->body_bytes)) {
        callback_unread(result, NULL);
        return;
    }
    if (!is_json) {
        callback_hear(result, first_of(form, FROM), first_of(form, TEXT), first_of(form, ID), 0);
        if (!first_of(form, FROM))
            callback_unread(result, NULL); /* neither a report nor a message */
        return;
    }
    body = callback_json(request, result);
    callback_hear(result, first_in(body, FROM), first_in(body, TEXT), first_in(body, ID), 0);
    if (answer_is_json(body) && !first_in(body, FROM))
        callback_unread(result, NULL);
    answer_free(body);
}

static enum callback_verdict read_messagebird(const struct callback_account *account,
                                              const struct callback_request *request,
                                              struct callback_result *result)
{
    const char *token = request->header(request->ctx, "MessageBird-Signature-JWT");
    struct answer *claims = callback_jwt(token, &account->secret);
    const char *fault =
        claims ? claims_fault(claims, request) : "MessageBird-Signature-JWT is missing or wrong";
    struct callback_form *form = arena_alloc(result->arena, sizeof *form);

    answer_free(claims);
    if (fault)
        return callback_refuse(result, fault);
    if (!callback_form_read(form, result->arena, request->query, strlen(request->query)))
        callback_unread(result, NULL);
    else if (callback_form_get(form, "status"))
        read_status(result, form);
    else
        hear(result, request, form);
    return CALLBACK_GOOD;
}

const struct callback_reader callback_messagebird = {
    .adapter = "messagebird", .takes_get = true, .read = read_messagebird};

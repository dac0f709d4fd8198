/* SPDX-License-Identifier: MIT */
/*
 * callback_messagebird - status reports of the classic MessageBird API
 *
 * A GET whose query says what became of a message; a JWT in a header covers the whole URL and,
 * if there is one, the body.
 */
#include "channels/callback_tools.h"
#include "base/timefmt.h"
#include <stdlib.h>
#include <string.h>

#define SKEW_S 1

static bool hash_fits(const char *claim, const void *bytes, size_t length)
{
    struct buf hex = {0};
    bool is_good;

    callback_sha256_hex(&hex, bytes, length);
    is_good = callback_equal_text(hex.data, claim);
    buf_fini(&hex);
    return is_good;
}

/* What the token must claim; NULL when it does. */
static const char *claims_fault(struct answer *claims, const struct callback_request *request)
{
    const char *issuer = answer_text(claims, "iss"), *id = answer_text(claims, "jti");
    const char *payload = answer_text(claims, "payload_hash");
    int64_t now_s = request->now_ms / 1000;

    if (!issuer || strcmp(issuer, "MessageBird") != 0 || !id || !id[0])
        return "the token is not MessageBird's";
    if (answer_number(claims, "nbf", INT64_MAX) > now_s + SKEW_S)
        return "the token is not valid yet";
    if (answer_number(claims, "exp", 0) < now_s - SKEW_S)
        return "the token has expired";
    if (!hash_fits(answer_text(claims, "url_hash"), request->url, strlen(request->url)))
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
    }
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
        return callback_misread(result, "more fields than a status report has");
    read_status(result, form);
    return CALLBACK_GOOD;
}

const struct callback_reader callback_messagebird = {
    .adapter = "messagebird", .takes_get = true, .read = read_messagebird};

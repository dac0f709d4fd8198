/* SPDX-License-Identifier: MIT */
/*
 * callback_vonage - statuses and incoming messages of Vonage's Messages API: JSON, covered by a JWT
 */
#include "channels/callback_tools.h"
#include "base/timefmt.h"
#include <string.h>
#include <strings.h>

#define SKEW_S 60

/* What the token must claim; NULL when it does. */
static const char *claims_fault(const struct callback_account *account, struct answer *claims,
                                const struct callback_request *request)
{
    const char *api_key = answer_text(claims, "api_key");
    int64_t now_s = request->now_ms / 1000;
    struct buf hex = {0};
    bool is_same;

    if (account->api_key && (!api_key || strcmp(account->api_key, api_key) != 0))
        return "the token is for another account";
    if (answer_number(claims, "nbf", 0) > now_s + SKEW_S ||
        answer_number(claims, "iat", 0) > now_s + SKEW_S)
        return "the token is not valid yet";
    if (answer_number(claims, "exp", INT64_MAX) < now_s - SKEW_S)
        return "the token has expired";
    callback_sha256_hex(&hex, request->body, request->body_bytes);
    is_same = callback_equal_hex(hex.data, answer_text(claims, "payload_hash"));
    buf_fini(&hex);
    return is_same ? NULL : "the token is for another body";
}

/* "https://.../messages#1330": what is behind the mark. */
static const char *error_code(struct answer *body)
{
    const char *type = answer_text(body, "error/type");
    const char *mark = type ? strrchr(type, '#') : NULL;

    return mark ? mark + 1 : answer_text(body, "error/title");
}

static void read_status(struct callback_result *result, struct answer *body)
{
    struct callback_event event = {.provider_id = answer_text(body, "message_uuid"),
                                   .delivery = callback_delivery(answer_text(body, "client_ref")),
                                   .name = answer_text(body, "status"),
                                   .code = error_code(body)};
    const char *at = answer_text(body, "timestamp");

    if (at && timefmt_parse_wall(at, &event.at_ms))
        event.at_ms = 0;
    if (!event.name) {
        const char *channel = answer_text(body, "channel");

        if (channel && strcmp(channel, "sms") == 0)
            callback_hear(result, answer_text(body, "from"), answer_text(body, "text"),
                          event.provider_id, event.at_ms);
        if (!answer_has(body, "from") && answer_is_json(body))
            callback_unread(result, NULL); /* no message that came in either */
        return;
    }
    if (strcmp(event.name, "submitted") == 0) {
        event.report = REPORT_SENT;
    } else if (strcmp(event.name, "delivered") == 0) {
        event.report = REPORT_DELIVERED;
    } else if (strcmp(event.name, "read") == 0) {
        event.report = REPORT_READ;
    } else if (strcmp(event.name, "rejected") == 0 || strcmp(event.name, "undeliverable") == 0) {
        event.report = REPORT_FAILED;
        event.reason = callback_reason("vonage", event.code, REASON_PROVIDER_REJECTED);
        if (event.reason == REASON_OPTED_OUT)
            event.report = REPORT_OPTED_OUT;
        /* The carriers told Vonage nothing in time: nobody knows, and it counts as sent. */
        if (event.code && strcmp(event.code, "1490") == 0)
            event.report = REPORT_SENT;
    } else {
        callback_unread(result, NULL);
        return;
    }
    callback_add(result, &event);
}

static enum callback_verdict read_vonage(const struct callback_account *account,
                                         const struct callback_request *request,
                                         struct callback_result *result)
{
    static const char bearer[] = "Bearer ";
    const char *header = request->header(request->ctx, "Authorization");
    const char *fault = "Authorization is missing or wrong";
    struct answer *claims = NULL, *body;

    if (header && strncasecmp(header, bearer, sizeof bearer - 1) == 0)
        claims = callback_jwt(header + sizeof bearer - 1, &account->secret);
    if (claims)
        fault = claims_fault(account, claims, request);
    answer_free(claims);
    if (fault)
        return callback_refuse(result, fault);
    body = callback_json(request, result);
    read_status(result, body);
    answer_free(body);
    return CALLBACK_GOOD;
}

const struct callback_reader callback_vonage = {.adapter = "vonage", .read = read_vonage};

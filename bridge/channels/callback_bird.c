/* SPDX-License-Identifier: MIT */
/*
 * callback_bird - events of Bird's platform API, signed after Standard Webhooks
 *
 * The signature covers id, time and body; one of several signatures must fit, so that a secret
 * can be rotated.  Five minutes is what the specification allows the clocks to differ.
 */
#include "channels/callback_tools.h"
#include "channels/sign.h"
#include "base/timefmt.h"
#include <stdlib.h>
#include <string.h>

#define TOLERANCE_S 300

static bool is_signed(const struct callback_account *account,
                      const struct callback_request *request)
{
    const char *id = request->header(request->ctx, "webhook-id");
    const char *stamp = request->header(request->ctx, "webhook-timestamp");
    const char *given = request->header(request->ctx, "webhook-signature");
    struct secret key = {0};
    struct buf made = {0};
    bool is_good = false;
    long long seconds = stamp ? strtoll(stamp, NULL, 10) : 0;
    int64_t now_s = request->now_ms / 1000;

    if (!id || !stamp || !given || seconds < now_s - TOLERANCE_S || seconds > now_s + TOLERANCE_S ||
        webhook_secret_parse(&account->secret, &key))
        return false;
    webhook_sign(&made, &key, id, seconds, request->body, request->body_bytes);
    for (; *given; given += strspn(given, " ")) {
        size_t length = strcspn(given, " ");

        is_good = callback_equal(given, length, made.data, made.length) || is_good;
        given += length;
    }
    secret_fini(&key);
    buf_fini(&made);
    return is_good;
}

/* Failures: by the provider's own words, which differ from those of a refused request. */
static const struct {
    const char *code;
    enum report report;
    enum reason reason;
} CODES[] = {
    {"invalid_destination", REPORT_FAILED, REASON_TARGET_INVALID},
    {"landline_unreachable", REPORT_FAILED, REASON_TARGET_INVALID},
    {"recipient_opted_out", REPORT_OPTED_OUT, REASON_OPTED_OUT},
    {"blocked_by_recipient", REPORT_OPTED_OUT, REASON_OPTED_OUT},
    {"unreachable", REPORT_FAILED, REASON_TARGET_INVALID},
    {"provider_unavailable", REPORT_FAILED, REASON_PROVIDER_UNAVAILABLE},
    {"sender_unregistered", REPORT_FAILED, REASON_PROVIDER_AUTH},
    {"insufficient_balance", REPORT_FAILED, REASON_PROVIDER_AUTH},
    {"content_rejected", REPORT_FAILED, REASON_CONTENT_INVALID},
};

static void judge_failure(struct callback_event *event)
{
    event->report = REPORT_FAILED;
    event->reason = REASON_PROVIDER_REJECTED;
    for (size_t i = 0; event->code && i < sizeof CODES / sizeof CODES[0]; i++) {
        if (strcmp(CODES[i].code, event->code) == 0) {
            event->report = CODES[i].report;
            event->reason = CODES[i].reason;
        }
    }
}

static void read_event(struct callback_result *result, struct answer *body, const char *id)
{
    struct callback_event event = {.provider_id = answer_text(body, "data/sms_id"),
                                   .key = id,
                                   .name = answer_text(body, "type"),
                                   .code = answer_text(body, "data/error/code")};
    const char *at = answer_text(body, "timestamp");

    if (!event.name) {
        if (answer_is_json(body))
            callback_unread(result, NULL);
        return;
    }
    if (at && timefmt_parse_wall(at, &event.at_ms))
        event.at_ms = 0;
    if (strcmp(event.name, "sms.accepted") == 0 || strcmp(event.name, "sms.sent") == 0) {
        event.report = REPORT_SENT;
    } else if (strcmp(event.name, "sms.delivered") == 0) {
        event.report = REPORT_DELIVERED;
    } else if (strcmp(event.name, "sms.undelivered") == 0 ||
               strcmp(event.name, "sms.failed") == 0 || strcmp(event.name, "sms.rejected") == 0 ||
               strcmp(event.name, "sms.expired") == 0) {
        judge_failure(&event);
    } else if (strcmp(event.name, "sms.received") == 0) {
        callback_hear(result, answer_text(body, "data/from"), answer_text(body, "data/text"), id,
                      event.at_ms);
        return;
    } else {
        callback_unread(result, NULL);
        return;
    }
    callback_add(result, &event);
}

static enum callback_verdict read_bird(const struct callback_account *account,
                                       const struct callback_request *request,
                                       struct callback_result *result)
{
    struct answer *body;

    if (!is_signed(account, request))
        return callback_refuse(result, "webhook-signature is missing, wrong or too old");
    body = callback_json(request, result);
    read_event(result, body, request->header(request->ctx, "webhook-id"));
    answer_free(body);
    return CALLBACK_GOOD;
}

const struct callback_reader callback_bird = {.adapter = "bird", .read = read_bird};

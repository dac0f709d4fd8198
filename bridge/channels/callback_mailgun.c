/* SPDX-License-Identifier: MIT */
/*
 * callback_mailgun - Mailgun's webhooks: JSON that carries its own signature
 *
 * The signature covers a time and a token, and not what is said; the token is good for one
 * event, which is why it is the event's key: whoever replays it with other words is not heard.
 */
#include "channels/bounce.h"
#include "channels/callback_tools.h"
#include <string.h>

static bool is_signed(const struct callback_account *account, struct answer *body)
{
    const char *stamp = answer_text(body, "signature/timestamp");
    const char *token = answer_text(body, "signature/token");
    const char *given = answer_text(body, "signature/signature");
    struct buf message = {0}, made = {0};
    bool is_good;

    if (!stamp || !token || !given)
        return false;
    buf_add_text(&message, stamp);
    buf_add_text(&message, token);
    callback_hmac_hex(&made, &account->secret, message.data, message.length);
    is_good = callback_equal_hex(made.data, given);
    buf_fini(&message);
    buf_fini(&made);
    return is_good;
}

/* Mailgun calls any refusal for good a bounce; what the server said is beside it. */
static void judge_bounce(struct callback_event *event, struct answer *body)
{
    const char *said = answer_text(body, "event-data/delivery-status/message");

    if (!said || !said[0])
        said = answer_text(body, "event-data/delivery-status/description");
    callback_bounced(event,
                     bounce_is_proof(BOUNCE_HARD,
                                     answer_text(body, "event-data/delivery-status/enhanced-code"),
                                     said));
}

static void judge_failed(struct callback_event *event, struct answer *body)
{
    const char *severity = answer_text(body, "event-data/severity");
    const char *reason = answer_text(body, "event-data/reason");

    event->report = REPORT_FAILED;
    event->reason = REASON_PROVIDER_REJECTED;
    if (severity && strcmp(severity, "temporary") == 0) {
        event->report = REPORT_SENT; /* Mailgun tries again */
        event->reason = REASON_NONE;
    } else if (reason && strcmp(reason, "bounce") == 0) {
        judge_bounce(event, body);
    } else if (reason && strcmp(reason, "suppress-bounce") == 0) {
        callback_bounced(event, true);
    } else if (reason && strcmp(reason, "suppress-complaint") == 0) {
        event->report = REPORT_COMPLAINED;
        event->reason = REASON_COMPLAINED;
    } else if (reason && strcmp(reason, "suppress-unsubscribe") == 0) {
        event->report = REPORT_OPTED_OUT;
        event->reason = REASON_OPTED_OUT;
    }
}

/* Of no interest. */
static const char *const IGNORED[] = {
    "clicked", "stored", "list_member_uploaded", "list_member_upload_error", "list_uploaded", NULL};

/* False for what we do not know. */
static bool judge(struct callback_event *event, struct answer *body)
{
    const char *name = event->name;

    if (strcmp(name, "accepted") == 0) {
        event->report = REPORT_SENT;
    } else if (strcmp(name, "delivered") == 0) {
        event->report = REPORT_DELIVERED;
    } else if (strcmp(name, "opened") == 0) {
        event->report = REPORT_READ;
    } else if (strcmp(name, "failed") == 0) {
        judge_failed(event, body);
    } else if (strcmp(name, "rejected") == 0) {
        event->report = REPORT_FAILED;
        event->reason = REASON_PROVIDER_REJECTED;
    } else if (strcmp(name, "complained") == 0) {
        event->report = REPORT_COMPLAINED;
        event->reason = REASON_COMPLAINED;
    } else if (strcmp(name, "unsubscribed") == 0) {
        event->report = REPORT_OPTED_OUT;
        event->reason = REASON_OPTED_OUT;
    } else {
        return false;
    }
    return true;
}

/* Events name the Message-ID without the brackets in which the answer had it. */
static const char *message_id(struct arena *arena, const char *id)
{
    if (!id || !id[0] || id[0] == '<')
        return id;
    return arena_printf(arena, "<%s>", id);
}

static enum callback_verdict read_mailgun(const struct callback_account *account,
                                          const struct callback_request *request,
                                          struct callback_result *result)
{
    struct answer *body = callback_json(request, result);
    struct callback_event event;

    if (!is_signed(account, body)) {
        answer_free(body);
        return callback_refuse(result, "the signature in the body is missing or wrong");
    }
    event = (struct callback_event){
        .provider_id =
            message_id(result->arena, answer_text(body, "event-data/message/headers/message-id")),
        .delivery =
            callback_delivery(answer_text(body, "event-data/user-variables/tocsin_delivery")),
        .key = answer_text(body, "signature/token"),
        .name = answer_text(body, "event-data/event"),
        .code = answer_text(body, "event-data/delivery-status/code"),
        .at_ms = callback_seconds(answer_text(body, "signature/timestamp"))};
    if (event.name && judge(&event, body))
        callback_add(result, &event);
    else if (!callback_is_among(event.name, IGNORED))
        callback_unread(result, NULL);
    answer_free(body);
    return CALLBACK_GOOD;
}

const struct callback_reader callback_mailgun = {.adapter = "mailgun", .read = read_mailgun};

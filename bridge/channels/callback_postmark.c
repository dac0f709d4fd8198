/* SPDX-License-Identifier: MIT */
/*
 * callback_postmark - Postmark's webhooks, which are not signed: HTTP Basic is the proof
 */
#include "channels/bounce.h"
#include "channels/callback_tools.h"
#include "base/timefmt.h"
#include "channels/encode.h"
#include <string.h>
#include <strings.h>

static bool is_known(const struct callback_account *account, const struct callback_request *request)
{
    static const char basic[] = "Basic ";
    const char *header = request->header(request->ctx, "Authorization");
    struct buf given = {0}, wanted = {0};
    bool is_good = false;

    if (!header || strncasecmp(header, basic, sizeof basic - 1) != 0)
        return false;
    header += sizeof basic - 1;
    buf_printf(&wanted, "%s:", account->user);
    buf_add(&wanted, account->secret.bytes, account->secret.length);
    if (decode_base64(&given, header, strlen(header)) == 0)
        is_good = callback_equal(given.data, given.length, wanted.data, wanted.length);
    memset(wanted.data, 0, wanted.length);
    buf_fini(&given);
    buf_fini(&wanted);
    return is_good;
}

/* Kinds of bounces. */
static const struct {
    const char *type;
    enum report report;
    enum reason reason;
} TYPES[] = {
    {"HardBounce", REPORT_BOUNCED, REASON_BOUNCED},
    {"BadEmailAddress", REPORT_BOUNCED, REASON_BOUNCED},
    {"SpamNotification", REPORT_FAILED, REASON_PROVIDER_REJECTED}, /* a filter's word */
    {"SpamComplaint", REPORT_COMPLAINED, REASON_COMPLAINED},
    {"ManualSuppression", REPORT_OPTED_OUT, REASON_OPTED_OUT},
    {"Unsubscribe", REPORT_OPTED_OUT, REASON_OPTED_OUT},
    {"ManuallyDeactivated", REPORT_FAILED, REASON_PROVIDER_REJECTED},
    {"Blocked", REPORT_FAILED, REASON_PROVIDER_REJECTED},
    {"DMARCPolicy", REPORT_FAILED, REASON_PROVIDER_REJECTED},
    {"SoftBounce", REPORT_FAILED, REASON_PROVIDER_REJECTED},
    {"VirusNotification", REPORT_FAILED, REASON_CONTENT_INVALID},
    {"TemplateRenderingFailed", REPORT_FAILED, REASON_TEMPLATE_ERROR},
    {"SMTPApiError", REPORT_FAILED, REASON_PROVIDER_REJECTED},
    {"Transient", REPORT_SENT, REASON_NONE},
    {"DnsError", REPORT_SENT, REASON_NONE},
    {"OpenRelayTest", REPORT_SENT, REASON_NONE},
};

/* What Postmark calls a bounce and is none, and records that are of no interest. */
static const char *const NO_BOUNCES[] = {
    "Subscribe", "AutoResponder", "AddressChange",         "InboundError",
    "Unknown",   "Unconfirmed",   "ChallengeVerification", NULL};
static const char *const IGNORED[] = {"Click", "Inbound", NULL};

static bool judge_bounce(struct callback_event *event, const char *type)
{
    for (size_t i = 0; type && i < sizeof TYPES / sizeof TYPES[0]; i++) {
        if (strcmp(TYPES[i].type, type) == 0) {
            event->name = TYPES[i].type;
            event->report = TYPES[i].report;
            event->reason = TYPES[i].reason;
            return true;
        }
    }
    return false;
}

/* False for what we do not know. */
static bool judge(struct callback_event *event, struct answer *body)
{
    const char *record = event->name, *why;

    if (strcmp(record, "Delivery") == 0) {
        event->report = REPORT_DELIVERED;
        return true;
    }
    if (strcmp(record, "Open") == 0) {
        event->report = REPORT_READ;
        return true;
    }
    if (strcmp(record, "Bounce") == 0) {
        bool is_known = judge_bounce(event, answer_text(body, "Type"));

        if (is_known && event->report == REPORT_BOUNCED)
            callback_bounced(
                event, bounce_is_proof(BOUNCE_NO_MAILBOX, NULL, answer_text(body, "Details")));
        return is_known;
    }
    if (strcmp(record, "SpamComplaint") == 0)
        return judge_bounce(event, "SpamComplaint");
    if (strcmp(record, "SubscriptionChange") != 0)
        return false;
    why = answer_text(body, "SuppressionReason");
    return judge_bounce(event, why ? why : "ManualSuppression");
}

/* Known, and nothing that we report. */
static bool is_ignored(const char *record, struct answer *body)
{
    const char *suppressed = answer_text(body, "SuppressSending");

    if (record && strcmp(record, "SubscriptionChange") == 0)
        return suppressed && strcmp(suppressed, "false") == 0;
    if (record && strcmp(record, "Bounce") == 0)
        return callback_is_among(answer_text(body, "Type"), NO_BOUNCES);
    return callback_is_among(record, IGNORED);
}

static void note_time(struct callback_event *event, struct answer *body)
{
    static const char *const names[] = {"DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *at = answer_text(body, names[i]);

        if (at && timefmt_parse_wall(at, &event->at_ms) == 0)
            return;
    }
    event->at_ms = 0;
}

static enum callback_verdict read_postmark(const struct callback_account *account,
                                           const struct callback_request *request,
                                           struct callback_result *result)
{
    struct answer *body;
    struct callback_event event = {0};

    if (!is_known(account, request))
        return callback_refuse(result, "the user or password of HTTP Basic is missing or wrong");
    body = callback_json(request, result);
    event.provider_id = answer_text(body, "MessageID");
    event.delivery = callback_delivery(answer_text(body, "Metadata/tocsin_delivery"));
    event.name = answer_text(body, "RecordType");
    event.code = answer_text(body, "TypeCode");
    note_time(&event, body);
    if (is_ignored(event.name, body))
        ; /* a click, somebody who wants mail again */
    else if (event.name && judge(&event, body))
        callback_add(result, &event);
    else if (answer_is_json(body))
        callback_unread(result, NULL);
    answer_free(body);
    return CALLBACK_GOOD;
}

const struct callback_reader callback_postmark = {.adapter = "postmark", .read = read_postmark};

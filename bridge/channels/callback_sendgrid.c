/* SPDX-License-Identifier: MIT */
/*
 * callback_sendgrid - SendGrid's Event Webhook: an array of events, signed by ECDSA
 *
 * The signature covers the time stamp and the bytes of the body, the line end behind it
 * included.  SendGrid repeats for a day and says in each event which one it is.
 */
#include "channels/bounce.h"
#include "channels/callback_tools.h"
#include "channels/encode.h"
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

/* The public key as SendGrid shows it: base64 of the DER form, with or without PEM's lines. */
static EVP_PKEY *read_key(const struct secret *text)
{
    static const char begin[] = "-----BEGIN PUBLIC KEY-----", end[] = "-----END";
    const char *from = strstr(text->bytes, begin), *to;
    struct buf der = {0};
    EVP_PKEY *key = NULL;
    const unsigned char *at;

    from = from ? from + sizeof begin - 1 : text->bytes;
    to = strstr(from, end);
    if (decode_base64(&der, from, to ? (size_t)(to - from) : strlen(from)) == 0) {
        at = (const unsigned char *)der.data;
        key = der.length ? d2i_PUBKEY(NULL, &at, (long)der.length) : NULL;
    }
    buf_fini(&der);
    return key;
}

static bool verify(EVP_PKEY *key, const struct buf *message, const struct buf *signature)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool is_good = md && EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, key) == 1 &&
                   EVP_DigestVerify(md, (const unsigned char *)signature->data, signature->length,
                                    (const unsigned char *)message->data, message->length) == 1;

    EVP_MD_CTX_free(md);
    return is_good;
}

static bool is_signed(const struct callback_account *account,
                      const struct callback_request *request)
{
    const char *given = request->header(request->ctx, "X-Twilio-Email-Event-Webhook-Signature");
    const char *stamp = request->header(request->ctx, "X-Twilio-Email-Event-Webhook-Timestamp");
    struct buf message = {0}, signature = {0};
    EVP_PKEY *key = given && stamp ? read_key(&account->secret) : NULL;
    bool is_good = false;

    if (key && EVP_PKEY_base_id(key) == EVP_PKEY_EC &&
        decode_base64(&signature, given, strlen(given)) == 0 && signature.length) {
        buf_add_text(&message, stamp);
        buf_add(&message, request->body, request->body_bytes);
        is_good = verify(key, &message, &signature);
    }
    EVP_PKEY_free(key);
    buf_fini(&message);
    buf_fini(&signature);
    return is_good;
}

static bool is_among(const char *word, const char *a, const char *b, const char *c)
{
    return word && (strcmp(word, a) == 0 || strcmp(word, b) == 0 || strcmp(word, c) == 0);
}

static void judge_dropped(struct callback_event *event, const char *reason)
{
    event->report = REPORT_FAILED;
    event->reason = REASON_PROVIDER_REJECTED;
    if (is_among(reason, "Bounced Address", "Bounced", "bounced address")) {
        callback_bounced(event, true);
    } else if (is_among(reason, "Invalid", "Invalid Address", "Invalid Address")) {
        event->reason = REASON_TARGET_INVALID;
    } else if (is_among(reason, "Unsubscribed Address", "Group Unsubscribe", "Unsubscribed")) {
        event->report = REPORT_OPTED_OUT;
        event->reason = REASON_OPTED_OUT;
    } else if (is_among(reason, "Spam Reporting Address", "Spam Reporting", "Spam Report")) {
        event->report = REPORT_COMPLAINED;
        event->reason = REASON_COMPLAINED;
    }
}

/* "blocked" is about us, "expired" about time; a bounce that has a class is one of that class. */
static enum bounce_class class_of(struct answer *body)
{
    const char *type = answer_text(body, "type");
    const char *class = answer_text(body, "bounce_classification");

    if (type && strcmp(type, "bounce") != 0)
        return BOUNCE_OTHER;
    if (!class || !class[0])
        return BOUNCE_HARD;
    return is_among(class, "Invalid Address", "invalid", "Invalid") ? BOUNCE_NO_MAILBOX
                                                                    : BOUNCE_OTHER;
}

/* Of no interest: clicks, and those who come back. */
static const char *const IGNORED[] = {"click", "group_resubscribe", "resubscribe", NULL};

/* False for a name that is none of SendGrid's. */
static bool judge(struct callback_event *event, struct answer *body)
{
    const char *name = event->name, *reason = answer_text(body, "reason");

    if (is_among(name, "processed", "deferred", "deferred")) {
        event->report = REPORT_SENT;
    } else if (strcmp(name, "delivered") == 0) {
        event->report = REPORT_DELIVERED;
    } else if (strcmp(name, "open") == 0) {
        event->report = REPORT_READ;
    } else if (strcmp(name, "bounce") == 0) {
        callback_bounced(event, bounce_is_proof(class_of(body), event->code, reason));
    } else if (strcmp(name, "dropped") == 0) {
        judge_dropped(event, reason);
    } else if (strcmp(name, "spamreport") == 0) {
        event->report = REPORT_COMPLAINED;
        event->reason = REASON_COMPLAINED;
    } else if (is_among(name, "unsubscribe", "group_unsubscribe", "group_unsubscribe")) {
        event->report = REPORT_OPTED_OUT;
        event->reason = REASON_OPTED_OUT;
    } else {
        return false;
    }
    return true;
}

/* sg_message_id is the X-Message-Id of the answer and what SendGrid's machines put behind it. */
static const char *message_id(struct arena *arena, const char *id)
{
    const char *end = NULL;

    if (!id)
        return NULL;
    end = strstr(id, ".recvd-");
    if (!end)
        end = strstr(id, ".filter");
    if (!end)
        end = strchr(id, '.');
    return end ? arena_copy(arena, id, (size_t)(end - id)) : id;
}

/*
 * Our delivery, which we gave as a custom argument and as the left side of the Message-ID
 * ("<0123456789abcdef.tocsin@example.org>"): some events have one of these and no sg_message_id.
 */
static uint64_t delivery_of(struct arena *arena, struct answer *event)
{
    static const char *const places[] = {"tocsin_delivery", "custom_args/tocsin_delivery",
                                         "unique_args/tocsin_delivery"};
    const char *id = answer_text(event, "smtp-id");
    uint64_t delivery = 0;

    for (size_t i = 0; !delivery && i < sizeof places / sizeof places[0]; i++)
        delivery = callback_delivery(answer_text(event, places[i]));
    if (delivery || !id)
        return delivery;
    id += strspn(id, "< ");
    return strncmp(id + strcspn(id, "."), ".tocsin@", 8) == 0
               ? callback_delivery(arena_copy(arena, id, strcspn(id, ".")))
               : 0;
}

static void read_event(struct callback_result *result, const char *json)
{
    struct answer *body = answer_new(json, strlen(json));
    struct callback_event event = {
        .provider_id = message_id(result->arena, answer_text(body, "sg_message_id")),
        .delivery = delivery_of(result->arena, body),
        .key = answer_text(body, "sg_event_id"),
        .name = answer_text(body, "event"),
        .code = answer_text(body, "status"),
        .raw = json,
        .at_ms = callback_seconds(answer_text(body, "timestamp"))};

    if (event.name && judge(&event, body))
        callback_add(result, &event);
    else if (!callback_is_among(event.name, IGNORED))
        callback_unread(result, json);
    answer_free(body);
}

static enum callback_verdict read_sendgrid(const struct callback_account *account,
                                           const struct callback_request *request,
                                           struct callback_result *result)
{
    struct answer *body;
    char place[24];
    size_t count;

    if (!is_signed(account, request))
        return callback_refuse(result, "the Event Webhook's signature is missing or wrong");
    body = callback_json(request, result);
    count = answer_count(body, "");
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(place, sizeof place, "%zu", i);
        read_event(result, answer_json(body, place));
    }
    if (!count && answer_has(body, "event"))
        read_event(result, answer_json(body, ""));
    else if (!count && answer_is_json(body) && !answer_is_array(body, ""))
        callback_unread(result, NULL);
    answer_free(body);
    return CALLBACK_GOOD;
}

const struct callback_reader callback_sendgrid = {.adapter = "sendgrid", .read = read_sendgrid};

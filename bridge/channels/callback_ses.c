/* SPDX-License-Identifier: MIT */
/*
 * callback_ses - events of Amazon SES, as Amazon SNS posts them
 *
 * SNS signs an envelope with a key whose certificate it names by URL.  The URL is believed only
 * on Amazon's own hosts (or where sns_url says, for tests), the certificate because it came by
 * TLS from there, and the envelope only if it is of our own topic: anybody with an AWS account
 * can have SNS sign something.
 */
#include "channels/bounce.h"
#include "channels/callback_tools.h"
#include "base/timefmt.h"
#include "channels/encode.h"
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

/* https://sns.<region>.amazonaws.com[.cn]/, or what the configuration says instead. */
static bool is_amazon(const struct callback_account *account, const char *url)
{
    static const char start[] = "https://sns.";
    const char *host, *tail;
    size_t region;

    if (!url)
        return false;
    if (account->sns_url)
        return strncmp(url, account->sns_url, strlen(account->sns_url)) == 0 &&
               url[strlen(account->sns_url)] == '/';
    if (strncmp(url, start, sizeof start - 1) != 0)
        return false;
    host = url + sizeof start - 1;
    region = strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-");
    tail = host + region;
    return region >= 3 && (strncmp(tail, ".amazonaws.com/", 15) == 0 ||
                           strncmp(tail, ".amazonaws.com.cn/", 18) == 0);
}

static bool is_certificate_url(const struct callback_account *account, const char *url)
{
    size_t length = url ? strlen(url) : 0;

    return is_amazon(account, url) && length > 4 && strcmp(url + length - 4, ".pem") == 0 &&
           !strpbrk(url, "?#@ ");
}

/* The members that are signed, in byte order; Subject only when it is there. */
static void write_signed(struct buf *out, struct answer *body, bool is_notification)
{
    static const char *const notification[] = {"Message",  "MessageId", "Subject", "Timestamp",
                                               "TopicArn", "Type",      NULL};
    static const char *const other[] = {"Message", "MessageId", "SubscribeURL", "Timestamp",
                                        "Token",   "TopicArn",  "Type",         NULL};

    for (const char *const *name = is_notification ? notification : other; *name; name++) {
        const char *value = answer_text(body, *name);

        if (value)
            buf_printf(out, "%s\n%s\n", *name, value);
    }
}

static EVP_PKEY *key_of(const struct callback_request *request)
{
    BIO *bio = BIO_new_mem_buf(request->certificate, -1);
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    EVP_PKEY *key = certificate ? X509_get_pubkey(certificate) : NULL;

    X509_free(certificate);
    BIO_free(bio);
    return key;
}

static bool is_signed(const struct callback_request *request, struct answer *body,
                      bool is_notification)
{
    const char *version = answer_text(body, "SignatureVersion");
    const char *given = answer_text(body, "Signature");
    const EVP_MD *digest = version && strcmp(version, "2") == 0   ? EVP_sha256()
                           : version && strcmp(version, "1") == 0 ? EVP_sha1()
                                                                  : NULL;
    struct buf message = {0}, signature = {0};
    EVP_PKEY *key = digest && given ? key_of(request) : NULL;
    EVP_MD_CTX *md = key ? EVP_MD_CTX_new() : NULL;
    bool is_good = false;

    if (md && EVP_PKEY_base_id(key) == EVP_PKEY_RSA &&
        decode_base64(&signature, given, strlen(given)) == 0 && signature.length) {
        write_signed(&message, body, is_notification);
        is_good = EVP_DigestVerifyInit(md, NULL, digest, NULL, key) == 1 &&
                  EVP_DigestVerify(md, (const unsigned char *)signature.data, signature.length,
                                   (const unsigned char *)buf_text(&message), message.length) == 1;
    }
    EVP_MD_CTX_free(md);
    EVP_PKEY_free(key);
    buf_fini(&message);
    buf_fini(&signature);
    return is_good;
}

static bool is_word(const char *text, const char *word)
{
    return text && strcmp(text, word) == 0;
}

/* "Suppressed" and "OnAccountSuppressionList": Amazon did not send, since it bounced before. */
static void judge_bounce(struct callback_event *event, struct answer *mail)
{
    const char *kind = answer_text(mail, "bounce/bounceSubType");
    bool is_listed = is_word(kind, "Suppressed") || is_word(kind, "OnAccountSuppressionList");
    enum bounce_class class = is_word(kind, "NoEmail") ? BOUNCE_NO_MAILBOX : BOUNCE_HARD;

    event->code = kind;
    if (!is_word(answer_text(mail, "bounce/bounceType"), "Permanent"))
        class = BOUNCE_OTHER;
    callback_bounced(
        event,
        class != BOUNCE_OTHER &&
            (is_listed ||
             bounce_is_proof(class, answer_text(mail, "bounce/bouncedRecipients/0/status"),
                             answer_text(mail, "bounce/bouncedRecipients/0/diagnosticCode"))));
}

/* False for what we do not know. */
static bool judge(struct callback_event *event, struct answer *mail)
{
    const char *name = event->name;

    if (is_word(name, "Send") || is_word(name, "DeliveryDelay")) {
        event->report = REPORT_SENT;
    } else if (is_word(name, "Delivery")) {
        event->report = REPORT_DELIVERED;
    } else if (is_word(name, "Open")) {
        event->report = REPORT_READ;
    } else if (is_word(name, "Bounce")) {
        judge_bounce(event, mail);
    } else if (is_word(name, "Complaint")) {
        event->report = REPORT_COMPLAINED;
        event->reason = REASON_COMPLAINED;
    } else if (is_word(name, "Subscription")) {
        event->report = REPORT_OPTED_OUT;
        event->reason = REASON_OPTED_OUT;
    } else if (is_word(name, "Reject") || is_word(name, "Rendering Failure") ||
               is_word(name, "RenderingFailure")) {
        event->report = REPORT_FAILED;
        event->reason = is_word(name, "Reject") ? REASON_PROVIDER_REJECTED : REASON_TEMPLATE_ERROR;
    } else {
        return false;
    }
    return true;
}

/* What SES publishes once, when it is told of a topic. */
static bool is_greeting(const char *message)
{
    return message && strncmp(message, "Successfully validated SNS topic", 32) == 0;
}

static void read_event(struct callback_result *result, struct answer *body)
{
    const char *message = answer_text(body, "Message");
    const char *stamp = answer_text(body, "Timestamp");
    struct answer *mail = answer_new_mended(message ? message : "", message ? strlen(message) : 0);
    struct callback_event event = {
        .provider_id = answer_text(mail, "mail/messageId"),
        .delivery = callback_delivery(answer_text(mail, "mail/tags/tocsin_delivery/0")),
        .key = answer_text(body, "MessageId"),
        .name = answer_text(mail, "eventType")};

    if (!event.name)
        event.name = answer_text(mail, "notificationType");
    if (stamp && timefmt_parse_wall(stamp, &event.at_ms))
        event.at_ms = 0;
    if (event.name && judge(&event, mail))
        callback_add(result, &event);
    else if (!is_word(event.name, "Click") && !is_greeting(message))
        callback_unread(result, NULL);
    answer_free(mail);
}

static enum callback_verdict read_envelope(const struct callback_account *account,
                                           const struct callback_request *request,
                                           struct callback_result *result, struct answer *body)
{
    const char *type = answer_text(body, "Type"), *url = answer_text(body, "SigningCertURL");
    const char *subscribe = answer_text(body, "SubscribeURL");
    bool is_notification = is_word(type, "Notification");

    if (!type || !callback_equal_text(answer_text(body, "TopicArn"), account->topic))
        return callback_refuse(result, "this is not of our SNS topic");
    if (!is_certificate_url(account, url))
        return callback_refuse(result, "SigningCertURL is not one of Amazon's");
    if (!request->certificate || strcmp(request->certificate_url, url) != 0) {
        result->fetch = arena_strdup(result->arena, url);
        return CALLBACK_FETCH;
    }
    if (!is_signed(request, body, is_notification))
        return callback_refuse(result, "the signature of SNS is missing or wrong");
    if (is_notification)
        read_event(result, body);
    else if (is_word(type, "SubscriptionConfirmation") && is_amazon(account, subscribe))
        result->confirm = arena_strdup(result->arena, subscribe);
    return CALLBACK_GOOD;
}

static enum callback_verdict read_ses(const struct callback_account *account,
                                      const struct callback_request *request,
                                      struct callback_result *result)
{
    /* Of a document with a syntax error no member could be believed to be what was signed. */
    struct answer *body = answer_new(request->body, request->body_bytes);
    enum callback_verdict verdict = read_envelope(account, request, result, body);

    answer_free(body);
    return verdict;
}

const struct callback_reader callback_ses = {
    .adapter = "ses", .read = read_ses, .is_known_by_topic = true};

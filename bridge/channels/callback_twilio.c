/* SPDX-License-Identifier: MIT */
/*
 * callback_twilio - status callbacks of Twilio, and messages that come in: a form, signed together
 * with the URL
 *
 * The sender is inconsistent about a standard port in the URL and about what it percent-encodes in
 * its query: each spelling that names the same parameters is tried (channels/callback_url.h).
 */
#include "channels/callback_tools.h"
#include "channels/callback_url.h"
#include "channels/encode.h"
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#define SHA1_BYTES 20

static int by_name_and_value(const void *a, const void *b)
{
    const struct callback_pair *x = a, *y = b;
    int order = strcmp(x->name, y->name);

    return order ? order : strcmp(x->value, y->value);
}

/* Name and value of each parameter, sorted; the same pair twice counts once. */
static void add_parameters(struct buf *out, struct arena *arena, const struct callback_form *form)
{
    struct callback_pair *sorted = arena_alloc(arena, (form->count + 1) * sizeof *sorted);

    if (form->count)
        memcpy(sorted, form->pairs, form->count * sizeof *sorted);
    qsort(sorted, form->count, sizeof *sorted, by_name_and_value);
    for (size_t i = 0; i < form->count; i++) {
        const struct callback_pair *pair = &sorted[i];

        if (i && by_name_and_value(pair - 1, pair) == 0)
            continue;
        /* The name stands before each of several values. */
        buf_add_text(out, pair->name);
        buf_add_text(out, pair->value);
    }
}

struct proof {
    const struct callback_account *account;
    const struct buf *parameters;
    const char *signature;
};

static bool signature_fits(void *ctx, const char *url)
{
    const struct proof *proof = ctx;
    const struct callback_account *account = proof->account;
    const struct buf *parameters = proof->parameters;
    unsigned char mac[SHA1_BYTES];
    struct buf message = {0}, made = {0};
    bool is_good;

    buf_add_text(&message, url);
    buf_add(&message, buf_text(parameters), parameters->length);
    is_good = HMAC(EVP_sha1(), account->secret.bytes, (int)account->secret.length,
                   (const unsigned char *)buf_text(&message), message.length, mac, NULL) != NULL;
    encode_base64(&made, mac, sizeof mac);
    is_good = is_good && callback_equal_text(made.data, proof->signature);
    buf_fini(&message);
    buf_fini(&made);
    return is_good;
}

/* The URL with its scheme's own port when it has none, without it when it has; NULL: neither. */
static const char *other_port(struct arena *arena, const char *url)
{
    bool is_https = strncmp(url, "https://", 8) == 0;
    const char *port = is_https ? ":443" : ":80";
    const char *host = strstr(url, "://") ? strstr(url, "://") + 3 : url;
    size_t host_length = strcspn(host, "/?"), name = host_length;

    if (host_length > strlen(port) &&
        memcmp(host + host_length - strlen(port), port, strlen(port)) == 0)
        return arena_printf(arena, "%.*s%s",
                            (int)((size_t)(host - url) + host_length - strlen(port)), url,
                            host + host_length);
    while (name && host[name - 1] >= '0' && host[name - 1] <= '9')
        name--;
    if (name && host[name - 1] == ':')
        return NULL; /* a port of its own */
    return arena_printf(arena, "%.*s%s%s", (int)((size_t)(host - url) + host_length), url, port,
                        host + host_length);
}

/* A body that is no form is covered by a hash in the URL. */
static bool body_hash_fits(const struct callback_request *request, const char *hash)
{
    struct buf hex = {0};
    bool is_good;

    callback_sha256_hex(&hex, request->body, request->body_bytes);
    is_good = callback_equal_hex(hex.data, hash);
    buf_fini(&hex);
    return is_good;
}

static bool is_signed(const struct callback_account *account,
                      const struct callback_request *request, struct callback_result *result,
                      const struct callback_form *form)
{
    const char *signature = request->header(request->ctx, "X-Twilio-Signature");
    struct callback_form *query = arena_alloc(result->arena, sizeof *query);
    const char *hash = NULL, *other = other_port(result->arena, request->url);
    struct buf parameters = {0};
    struct proof proof = {account, &parameters, signature};
    bool is_good;

    if (!signature)
        return false;
    if (callback_form_read(query, result->arena, request->query, strlen(request->query)))
        hash = callback_form_get(query, "bodySHA256");
    if (hash) {
        if (!body_hash_fits(request, hash))
            return false;
    } else {
        add_parameters(&parameters, result->arena, form);
    }
    is_good = callback_url_fits(request->url, parameters.length, signature_fits, &proof) ||
              (other && callback_url_fits(other, parameters.length, signature_fits, &proof));
    buf_fini(&parameters);
    return is_good;
}

static const struct {
    const char *status;
    enum report report;
} STATUSES[] = {
    {"queued", REPORT_SENT},
    {"accepted", REPORT_SENT},
    {"scheduled", REPORT_SENT},
    {"sending", REPORT_SENT},
    {"sent", REPORT_SENT},
    {"delivered", REPORT_DELIVERED},
    {"read", REPORT_READ},
    {"undelivered", REPORT_FAILED},
    {"failed", REPORT_FAILED},
    {"canceled", REPORT_FAILED},
    {"partially_delivered", REPORT_DELIVERED},
};

/* Each name has an older one, from before there was more than SMS. */
static const char *get(const struct callback_form *form, const char *name, const char *older)
{
    const char *value = callback_form_get(form, name);

    return value ? value : callback_form_get(form, older);
}

static bool is_incoming(const struct callback_form *form, const char *status)
{
    return callback_form_get(form, "Body") &&
           (!status || strcmp(status, "received") == 0 || strcmp(status, "receiving") == 0);
}

static void read_form(struct callback_result *result, const struct callback_form *form)
{
    struct callback_event event = {.provider_id = get(form, "MessageSid", "SmsSid"),
                                   .name = get(form, "MessageStatus", "SmsStatus"),
                                   .code = callback_form_get(form, "ErrorCode")};

    if (is_incoming(form, event.name)) {
        callback_hear(result, callback_form_get(form, "From"), callback_form_get(form, "Body"),
                      event.provider_id, 0);
        return;
    }
    for (size_t i = 0; event.name && i < sizeof STATUSES / sizeof STATUSES[0]; i++) {
        if (strcmp(STATUSES[i].status, event.name) != 0)
            continue;
        event.report = STATUSES[i].report;
        if (event.report == REPORT_FAILED)
            event.reason = callback_reason("twilio", event.code, REASON_PROVIDER_REJECTED);
        if (event.reason == REASON_OPTED_OUT)
            event.report = REPORT_OPTED_OUT;
        callback_add(result, &event);
        return;
    }
    callback_unread(result, NULL);
}

static enum callback_verdict read_twilio(const struct callback_account *account,
                                         const struct callback_request *request,
                                         struct callback_result *result)
{
    struct callback_form *form = arena_alloc(result->arena, sizeof *form);

    if (!callback_form_read(form, result->arena, request->body, request->body_bytes))
        return callback_misread(result, "more fields than a status callback has");
    if (!is_signed(account, request, result, form))
        return callback_refuse(result, "X-Twilio-Signature is missing or wrong");
    read_form(result, form);
    return CALLBACK_GOOD;
}

const struct callback_reader callback_twilio = {.adapter = "twilio", .read = read_twilio};

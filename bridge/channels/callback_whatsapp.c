/* SPDX-License-Identifier: MIT */
/*
 * callback_whatsapp - statuses of the WhatsApp Cloud API, and the handshake before them
 *
 * Meta escapes what is not ASCII, so that only the bytes as they came can be verified.  One
 * request carries many statuses of many messages.
 */
#include "channels/callback_tools.h"
#include <stdio.h>
#include <string.h>

/* GET hub.mode=subscribe: whoever knows the token gets the challenge back. */
static enum callback_verdict shake_hands(const struct callback_account *account,
                                         const struct callback_request *request,
                                         struct callback_result *result)
{
    struct callback_form *form = arena_alloc(result->arena, sizeof *form);
    const char *mode, *token;

    if (!callback_form_read(form, result->arena, request->query, strlen(request->query)))
        return callback_misread(result, "more fields than a handshake has");
    mode = callback_form_get(form, "hub.mode");
    token = callback_form_get(form, "hub.verify_token");
    if (!mode || strcmp(mode, "subscribe") != 0 || !account->verify_token.length || !token ||
        !callback_equal(token, strlen(token), account->verify_token.bytes,
                        account->verify_token.length))
        return callback_refuse(result, "hub.verify_token is missing or wrong");
    result->reply = callback_form_get(form, "hub.challenge");
    return CALLBACK_GOOD;
}

static bool is_signed(const struct callback_account *account,
                      const struct callback_request *request)
{
    static const char start[] = "sha256=";
    const char *given = request->header(request->ctx, "X-Hub-Signature-256");
    struct buf made = {0};
    bool is_good;

    if (!given || strncmp(given, start, sizeof start - 1) != 0)
        return false;
    callback_hmac_hex(&made, &account->secret, request->body, request->body_bytes);
    is_good = callback_equal_hex(made.data, given + sizeof start - 1);
    buf_fini(&made);
    return is_good;
}

static const char *at(struct answer *body, const char *path, const char *name)
{
    char full[160];

    (void)snprintf(full, sizeof full, "%s/%s", path, name);
    return answer_text(body, full);
}

/* Of no interest: the recipient has deleted the message. */
static const char *const IGNORED[] = {"deleted", NULL};

static void read_status(struct callback_result *result, struct answer *body, const char *path)
{
    struct callback_event event = {.provider_id = at(body, path, "id"),
                                   .name = at(body, path, "status"),
                                   .code = at(body, path, "errors/0/code"),
                                   .raw = answer_json(body, path)};
    const char *seconds = at(body, path, "timestamp");

    event.delivery = callback_delivery(at(body, path, "biz_opaque_callback_data"));
    event.at_ms = callback_seconds(seconds);
    if (!event.name) {
        callback_unread(result, event.raw);
        return;
    }
    if (strcmp(event.name, "sent") == 0) {
        event.report = REPORT_SENT;
    } else if (strcmp(event.name, "delivered") == 0) {
        event.report = REPORT_DELIVERED;
    } else if (strcmp(event.name, "read") == 0) {
        event.report = REPORT_READ;
    } else if (strcmp(event.name, "failed") == 0) {
        event.report = REPORT_FAILED;
        event.reason = callback_reason("whatsapp", event.code, REASON_PROVIDER_REJECTED);
        if (event.reason == REASON_OPTED_OUT)
            event.report = REPORT_OPTED_OUT;
    } else {
        if (!callback_is_among(event.name, IGNORED))
            callback_unread(result, event.raw);
        return;
    }
    callback_add(result, &event);
}

static void read_body(struct callback_result *result, struct answer *body)
{
    size_t entries = answer_count(body, "entry");

    for (size_t e = 0; e < entries; e++) {
        char path[128];
        size_t changes;

        (void)snprintf(path, sizeof path, "entry/%zu/changes", e);
        changes = answer_count(body, path);
        for (size_t c = 0; c < changes; c++) {
            size_t statuses;

            (void)snprintf(path, sizeof path, "entry/%zu/changes/%zu/value/statuses", e, c);
            statuses = answer_count(body, path);
            for (size_t s = 0; s < statuses; s++) {
                (void)snprintf(path, sizeof path, "entry/%zu/changes/%zu/value/statuses/%zu", e, c,
                               s);
                read_status(result, body, path);
            }
        }
    }
}

static enum callback_verdict read_whatsapp(const struct callback_account *account,
                                           const struct callback_request *request,
                                           struct callback_result *result)
{
    struct answer *body;

    if (strcmp(request->method, "GET") == 0)
        return shake_hands(account, request, result);
    if (!is_signed(account, request))
        return callback_refuse(result, "X-Hub-Signature-256 is missing or wrong");
    body = callback_json(request, result);
    if (answer_is_json(body) && !answer_is_array(body, "entry"))
        callback_unread(result, NULL);
    read_body(result, body);
    answer_free(body);
    return CALLBACK_GOOD;
}

const struct callback_reader callback_whatsapp = {
    .adapter = "whatsapp", .takes_get = true, .read = read_whatsapp};

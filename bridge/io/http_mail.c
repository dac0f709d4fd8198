/* SPDX-License-Identifier: MIT */
#include "io/http_client_private.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

#define REPLY_MAX 1024 /* of a reply line; more is not one */

static size_t on_read(char *out, size_t size, size_t count, void *ctx)
{
    struct http_call *call = ctx;
    size_t left = call->sent.length - call->sent_at;
    size_t length = size * count < left ? size * count : left;

    if (length)
        memcpy(out, call->sent.data + call->sent_at, length);
    call->sent_at += length;
    return length;
}

/* An address that cannot leave its angle brackets, nor its line. */
static bool is_good_address(const char *address)
{
    return address[0] != '\0' && address[strcspn(address, "<> \t\r\n")] == '\0';
}

static int add_recipients(struct http_call *call, const char *const *recipients)
{
    struct buf address = {0};
    int err = recipients[0] ? 0 : ERR_INVALID;

    for (; *recipients && !err; recipients++) {
        struct curl_slist *list;

        if (!is_good_address(*recipients)) {
            err = ERR_INVALID;
            break;
        }
        buf_clear(&address);
        buf_printf(&address, "<%s>", *recipients);
        list = curl_slist_append(call->recipients, buf_text(&address));
        if (!list)
            fatal("memory.exhausted", "curl_slist_append() returned nothing");
        call->recipients = list;
    }
    buf_fini(&address);
    curl_easy_setopt(call->easy, CURLOPT_MAIL_RCPT, call->recipients);
    return err;
}

static int set_server(struct http_call *call, const struct http_mail *mail)
{
    const char *scheme = mail->tls == HTTP_MAIL_TLS ? "smtps" : "smtp";
    bool is_v6 = strchr(mail->host, ':') != NULL;
    char url[300];
    int length = snprintf(url, sizeof url, "%s://%s%s%s:%u", scheme, is_v6 ? "[" : "", mail->host,
                          is_v6 ? "]" : "", mail->port);

    if (length >= (int)sizeof url || mail->host[0] == '\0' ||
        mail->host[strcspn(mail->host, "/@?#[] \r\n")] != '\0')
        return ERR_INVALID;
    curl_easy_setopt(call->easy, CURLOPT_URL, url);
    curl_easy_setopt(call->easy, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    curl_easy_setopt(call->easy, CURLOPT_USE_SSL,
                     (long)(mail->tls == HTTP_MAIL_PLAIN ? CURLUSESSL_NONE : CURLUSESSL_ALL));
    return 0;
}

static void set_login(struct http_call *call, const struct http_mail *mail)
{
    const char *password = mail->password && mail->password->bytes ? mail->password->bytes : "";

    if (!mail->username)
        return;
    curl_easy_setopt(call->easy, CURLOPT_USERNAME, mail->username);
    if (mail->is_bearer) {
        curl_easy_setopt(call->easy, CURLOPT_XOAUTH2_BEARER, password);
        curl_easy_setopt(call->easy, CURLOPT_LOGIN_OPTIONS, "AUTH=XOAUTH2");
    } else {
        curl_easy_setopt(call->easy, CURLOPT_PASSWORD, password);
    }
}

int http_call_prepare_mail(struct http_call *call, const struct http_mail *mail)
{
    struct buf from = {0};
    int err = set_server(call, mail);

    if (err || !is_good_address(mail->from))
        return ERR_INVALID;
    call->is_mail = true;
    call->received_max = REPLY_MAX;
    http_call_prepare_common(call, mail->ca_file, mail->connect_ms, mail->timeout_ms);
    set_login(call, mail);
    buf_printf(&from, "<%s>", mail->from);
    curl_easy_setopt(call->easy, CURLOPT_MAIL_FROM, buf_text(&from));
    buf_fini(&from);
    err = add_recipients(call, mail->recipients);
    if (err)
        return err;
    buf_add(&call->sent, mail->message, mail->message_bytes);
    curl_easy_setopt(call->easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(call->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)call->sent.length);
    curl_easy_setopt(call->easy, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(call->easy, CURLOPT_READDATA, call);
    return 0;
}

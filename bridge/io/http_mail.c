/* SPDX-License-Identifier: MIT */
#include "io/http_client_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

#define REPLY_MAX 1024 /* of a reply line; more is not one */

/* ---- what a mail says ---- */

/* An address that cannot leave its angle brackets, nor its line. */
static bool is_good_address(const char *address)
{
    return address[0] != '\0' && address[strcspn(address, "<> \t\r\n")] == '\0';
}

static bool is_ascii(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text > 0x7E)
            return false;
    return true;
}

static int add_recipients(struct http_call *call, const char *const *recipients)
{
    if (!recipients[0])
        return ERR_INVALID;
    for (; *recipients; recipients++) {
        struct curl_slist *list;

        if (!is_good_address(*recipients))
            return ERR_INVALID;
        list = curl_slist_append(call->recipients, *recipients);
        if (!list)
            fatal("memory.exhausted", "curl_slist_append() returned nothing");
        call->recipients = list;
        call->needs_utf8 |= !is_ascii(*recipients);
    }
    return 0;
}

/* The text as it goes over the wire: a dot at the start of a line doubled, a lone one at the end.
 */
static void stuff(struct buf *out, const char *text, size_t length)
{
    bool is_start = true;

    buf_reserve(out, length + 64);
    for (size_t i = 0; i < length;) {
        const char *end = memchr(text + i, '\n', length - i);
        size_t line = end ? (size_t)(end - text) + 1 - i : length - i;

        if (is_start && text[i] == '.')
            buf_add_char(out, '.');
        buf_add(out, text + i, line);
        i += line;
        is_start = end != NULL;
    }
    buf_add_text(out, is_start ? ".\r\n" : "\r\n.\r\n");
}

static bool is_good_host(const char *host)
{
    return host[0] != '\0' && host[strcspn(host, "/@?#[] \r\n")] == '\0' && strlen(host) <= 255;
}

static struct mail_server *server_new(const struct http_mail *mail)
{
    struct mail_server *server = xcalloc(1, sizeof *server);
    struct buf route = {0};

    server->mail = (struct http_mail){.host = xstrdup(mail->host),
                                      .port = mail->port,
                                      .tls = mail->tls,
                                      .ca_file = mail->ca_file,
                                      .username = mail->username ? xstrdup(mail->username) : NULL,
                                      .is_bearer = mail->is_bearer,
                                      .connect_ms = mail->connect_ms,
                                      .timeout_ms = mail->timeout_ms};
    if (mail->username && mail->password && mail->password->bytes)
        secret_set(&server->password, mail->password->bytes, mail->password->length);
    buf_printf(&route, "%d %d %s:%u %s %s", mail->tls, mail->is_bearer, mail->host, mail->port,
               mail->ca_file ? mail->ca_file : "", mail->username ? mail->username : "");
    server->route = route.data;
    return server;
}

void http_mail_server_free(struct mail_server *server)
{
    if (!server)
        return;
    free((char *)(uintptr_t)server->mail.host);
    free((char *)(uintptr_t)server->mail.username);
    secret_fini(&server->password);
    free(server->route);
    free(server);
}

int http_mail_prepare(struct http_call *call, const struct http_mail *mail)
{
    int err;

    if (!is_good_host(mail->host) || !is_good_address(mail->from))
        return ERR_INVALID;
    call->is_mail = true;
    call->needs_utf8 = !is_ascii(mail->from);
    err = add_recipients(call, mail->recipients);
    if (err)
        return err;
    call->from = xstrdup(mail->from);
    call->server = server_new(mail);
    stuff(&call->sent, mail->message, mail->message_bytes);
    call->message_bytes = mail->message_bytes;
    return 0;
}

/* ---- libcurl's part: a session up to its login ---- */

static void set_login(struct http_call *carrier, const struct mail_server *server)
{
    const char *password = server->password.bytes ? server->password.bytes : "";

    if (!server->mail.username)
        return;
    curl_easy_setopt(carrier->easy, CURLOPT_USERNAME, server->mail.username);
    if (server->mail.is_bearer) {
        curl_easy_setopt(carrier->easy, CURLOPT_XOAUTH2_BEARER, password);
        curl_easy_setopt(carrier->easy, CURLOPT_LOGIN_OPTIONS, "AUTH=XOAUTH2");
    } else {
        curl_easy_setopt(carrier->easy, CURLOPT_PASSWORD, password);
    }
}

void http_mail_prepare_carrier(struct http_call *carrier, const struct mail_server *server)
{
    const struct http_mail *mail = &server->mail;
    bool is_v6 = strchr(mail->host, ':') != NULL;
    char url[300];

    (void)snprintf(url, sizeof url, "%s://%s%s%s:%u", mail->tls == HTTP_MAIL_TLS ? "smtps" : "smtp",
                   is_v6 ? "[" : "", mail->host, is_v6 ? "]" : "", mail->port);
    carrier->is_mail = carrier->is_carrier = true;
    carrier->received_max = REPLY_MAX;
    http_call_prepare_common(carrier, mail->ca_file, mail->connect_ms, mail->timeout_ms);
    curl_easy_setopt(carrier->easy, CURLOPT_URL, url);
    curl_easy_setopt(carrier->easy, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    curl_easy_setopt(carrier->easy, CURLOPT_USE_SSL,
                     (long)(mail->tls == HTTP_MAIL_PLAIN ? CURLUSESSL_NONE : CURLUSESSL_ALL));
    curl_easy_setopt(carrier->easy, CURLOPT_CONNECT_ONLY, 1L);
    set_login(carrier, server);
}

void http_mail_opened(struct http_call *carrier, CURLcode code)
{
    mail_session_opened(carrier->session, code);
}

/* ---- which session takes which mail ---- */

void http_mail_assign(struct http_call *call)
{
    struct http_client *client = call->client;
    size_t count = 0;
    struct mail_session *session = mail_session_find(client, call->server->route, &count);

    if (session)
        mail_session_give(session, call);
    else if (count < client->config.max_connections)
        mail_session_open(call);
    else
        list_push_back(&client->waiting, &call->waiting);
}

/* Each is looked at once: those that find none wait again, in their order. */
void http_mail_serve(struct http_client *client)
{
    size_t count = client->waiting.count;

    while (count-- > 0 && !client->is_closed)
        http_mail_assign(CONTAINER_OF(list_pop_front(&client->waiting), struct http_call, waiting));
}

void http_mail_detach(struct http_call *call)
{
    if (call->session)
        mail_session_abandon(call->session);
    call->session = NULL;
    if (list_is_linked(&call->waiting))
        list_remove(&call->client->waiting, &call->waiting);
}

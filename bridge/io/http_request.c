/* SPDX-License-Identifier: MIT */
#include "io/http_client_private.h"

#include <strings.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

#define RESPONSE_MAX      (64 * 1024)
#define HEADERS_MAX       (64 * 1024)
#define IDLE_CONNECTION_S 60L

bool http_is_one_line(const char *text)
{
    return text[strcspn(text, "\r\n")] == '\0';
}

static size_t on_body(char *bytes, size_t size, size_t count, void *ctx)
{
    struct http_call *call = ctx;
    size_t length = size * count;

    if (length > call->received_max - call->received.length) {
        call->is_too_large = true;
        return 0; /* breaks the transfer off */
    }
    buf_add(&call->received, bytes, length);
    return length;
}

/* What EHLO offers; said before STARTTLS it does not count. */
static void note_offer(struct http_call *call, const char *line, size_t length)
{
    if (length >= 3 && memcmp(line, "220", 3) == 0)
        call->has_utf8 = call->has_size = false;
    if (length >= 12 && strncasecmp(line + 4, "SMTPUTF8", 8) == 0)
        call->has_utf8 = true;
    if (length >= 8 && strncasecmp(line + 4, "SIZE", 4) == 0 && (length == 8 || line[8] == ' '))
        call->has_size = true;
}

/* A line of an SMTP reply: the last reply is kept with all its lines, but for QUIT's. */
static void keep_line(struct http_call *call, const char *line, size_t length)
{
    while (length && (line[length - 1] == '\r' || line[length - 1] == '\n'))
        length--;
    if (call->received.length && length >= 3 && memcmp(line, "221", 3) == 0)
        return;
    note_offer(call, line, length);
    if (call->has_more_lines)
        buf_add_char(&call->received, '\n');
    else
        buf_clear(&call->received);
    buf_add(&call->received, line, length);
    call->has_more_lines = length > 3 && line[3] == '-';
}

static size_t on_header(char *bytes, size_t size, size_t count, void *ctx)
{
    struct http_call *call = ctx;
    size_t length = size * count;

    call->header_bytes += length;
    if (call->header_bytes > HEADERS_MAX) {
        call->is_too_large = true;
        return 0;
    }
    if (call->is_mail)
        keep_line(call, bytes, length);
    return size * count;
}

static curl_socket_t on_open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct http_call *call = ctx;

    (void)purpose;
    if (call->is_public_only && !http_address_is_public(&address->addr)) {
        call->is_forbidden = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/*
 * About to send.  A connection from the pool may have been opened by a request that was allowed
 * more, so the address is checked again.  And libcurl sends a request a second time when a
 * pooled connection ended without an answer, though the server may have acted on it: not ours.
 * What the server says it has not processed (RFC 9113 section 8.7) may go again.
 */
static int on_start(void *ctx, char *peer, char *local, int peer_port, int local_port)
{
    struct http_call *call = ctx;

    (void)local, (void)peer_port, (void)local_port;
    if (call->is_public_only && !http_address_text_is_public(peer)) {
        call->is_forbidden = true;
        return CURL_PREREQFUNC_ABORT;
    }
    if (call->is_refused)
        call->starts = 0;
    call->is_refused = false;
    return ++call->starts > 1 ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

void http_call_prepare_common(struct http_call *call, const char *ca_file, int64_t connect_ms,
                              int64_t timeout_ms)
{
    CURL *easy = call->easy;

    curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    /* Of each call under way, until its answer is there: else 16 KB and, with HTTP/2, 64 KB. */
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 4096L);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)HTTP_UPLOAD_BYTES);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* never wait for a resolver thread */
    curl_easy_setopt(easy, CURLOPT_PROXY, "");      /* whatever the environment says */
    curl_easy_setopt(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(connect_ms > 0 ? connect_ms : 1));
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(timeout_ms > 0 ? timeout_ms : 1));
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, IDLE_CONNECTION_S);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    /* libcurl caches parsed certificates only without a directory of them. */
    curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    if (ca_file)
        curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, call);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_start);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, call);
}

static bool is_good_url(const char *url)
{
    CURLU *parsed = curl_url();
    char *scheme = NULL;
    bool is_good;

    if (!parsed)
        fatal("memory.exhausted", "curl_url() returned nothing");
    is_good = curl_url_set(parsed, CURLUPART_URL, url, CURLU_DISALLOW_USER) == CURLUE_OK &&
              curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
              (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    curl_free(scheme);
    curl_url_cleanup(parsed);
    return is_good;
}

static bool is_token(const char *text)
{
    static const char allowed[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

    return text[0] != '\0' && text[strspn(text, allowed)] == '\0';
}

static void add_header(struct http_call *call, const char *line)
{
    struct curl_slist *list = curl_slist_append(call->headers, line);

    if (!list)
        fatal("memory.exhausted", "curl_slist_append() returned nothing");
    call->headers = list;
}

static int set_headers(struct http_call *call, const struct http_request *request)
{
    struct buf line = {0};
    bool has_type = false;
    int err = 0;

    for (unsigned i = 0; i < request->header_count && !err; i++) {
        const struct http_header *header = &request->headers[i];

        if (!is_token(header->name) || !http_is_one_line(header->value)) {
            err = ERR_INVALID;
            break;
        }
        has_type = has_type || strcasecmp(header->name, "Content-Type") == 0;
        buf_clear(&line);
        buf_add_text(&line, header->name);
        buf_add_text(&line, header->value[0] ? ": " : ";"); /* libcurl's sign for an empty one */
        buf_add_text(&line, header->value);
        add_header(call, buf_text(&line));
    }
    buf_fini(&line);
    if (err)
        return err;
    add_header(call, "Expect:"); /* no wait for 100 Continue */
    if (!has_type)
        add_header(call, "Content-Type:"); /* not libcurl's guess */
    curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->headers);
    return 0;
}

static void set_method(struct http_call *call, const struct http_request *request)
{
    CURL *easy = call->easy;
    bool has_body = request->body_bytes > 0 || strcmp(request->method, "POST") == 0;

    if (has_body) {
        buf_add(&call->sent, request->body, request->body_bytes);
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->sent.length);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, buf_text(&call->sent));
    } else if (strcmp(request->method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        return;
    } else {
        curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
}

static void set_version(struct http_call *call, const struct http_request *request)
{
    static const long versions[] = {[HTTP_VERSION_ANY] = CURL_HTTP_VERSION_2TLS,
                                    [HTTP_VERSION_1_1] = CURL_HTTP_VERSION_1_1,
                                    [HTTP_VERSION_2] = CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE};
    bool is_tls = strncasecmp(request->url, "https:", 6) == 0;

    call->is_few = request->version == HTTP_VERSION_2 || (request->is_few && is_tls);
    curl_easy_setopt(call->easy, CURLOPT_HTTP_VERSION, versions[request->version]);
    /*
     * Share a connection being made rather than make another.  With TLS the handshake tells
     * whether it can be shared; without, the first answer does, and one slow answer would hold
     * up all the others.
     */
    if (request->version == HTTP_VERSION_2 || (request->version == HTTP_VERSION_ANY && is_tls))
        curl_easy_setopt(call->easy, CURLOPT_PIPEWAIT, 1L);
}

int http_call_prepare(struct http_call *call, const struct http_request *request)
{
    CURL *easy = call->easy;

    if (!is_token(request->method) || !http_is_one_line(request->url) || !is_good_url(request->url))
        return ERR_INVALID;
    http_call_prepare_common(call, request->ca_file, request->connect_ms, request->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "tocsin/" TOCSIN_VERSION);
    call->is_public_only = request->is_public_only;
    call->received_max = request->response_max ? request->response_max : RESPONSE_MAX;
    curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)call->received_max);
    if (curl_easy_setopt(easy, CURLOPT_URL, request->url) != CURLE_OK)
        return ERR_INVALID;
    if (request->basic_user) {
        curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(easy, CURLOPT_USERNAME, request->basic_user);
        curl_easy_setopt(easy, CURLOPT_PASSWORD,
                         request->basic_password ? request->basic_password->bytes : "");
    }
    set_version(call, request);
    set_method(call, request);
    return set_headers(call, request);
}

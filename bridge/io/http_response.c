/* SPDX-License-Identifier: MIT */
#include "io/http_client_private.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"

#define RETRY_AFTER_MAX_S INT64_C(9999999999)
#define STATUS_MIN        100
#define STATUS_MAX        999

const char *http_response_header(const struct http_response *response, const char *name)
{
    struct curl_header *header = NULL;
    CURL *easy = (CURL *)(uintptr_t)response->internal;

    if (!easy)
        return NULL;
    /* Asked for the first, libcurl also says how many there are. */
    if (curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return NULL;
    if (header->amount > 1 &&
        curl_easy_header(easy, name, header->amount - 1, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return NULL;
    return header->value;
}

/* Seconds or an HTTP date; what has passed is now, what makes no sense is absent. */
static int64_t read_retry_after(const struct http_response *response)
{
    const char *value = http_response_header(response, "Retry-After");
    int64_t seconds = 0, wait_ms;
    size_t digits;
    time_t date;

    if (!value || value[0] == '\0')
        return -1;
    digits = strspn(value, "0123456789");
    if (value[digits] == '\0') {
        for (size_t i = 0; i < digits; i++)
            if (seconds < RETRY_AFTER_MAX_S)
                seconds = seconds * 10 + (value[i] - '0');
        return (seconds < RETRY_AFTER_MAX_S ? seconds : RETRY_AFTER_MAX_S) * 1000;
    }
    if (digits > 0 || !strchr(value, ':'))
        return -1; /* "-5", "3.5", "soon": curl_getdate() reads dates into too much */
    date = curl_getdate(value, NULL);
    if (date == (time_t)-1)
        return -1;
    if (date <= 0)
        return 0;
    if ((int64_t)date > clock_wall_ms() / 1000 + RETRY_AFTER_MAX_S)
        return RETRY_AFTER_MAX_S * 1000; /* and milliseconds of the year 60 billion overflow */
    wait_ms = (int64_t)date * 1000 - clock_wall_ms();
    return wait_ms > 0 ? wait_ms : 0;
}

static enum http_fail fail_of(CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return HTTP_FAIL_NONE;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return HTTP_FAIL_RESOLVE;
    case CURLE_COULDNT_CONNECT:
        return HTTP_FAIL_CONNECT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_USE_SSL_FAILED:
        return HTTP_FAIL_TLS;
    case CURLE_OPERATION_TIMEDOUT:
        return HTTP_FAIL_TIMEOUT;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL: /* how libcurl refuses HTTP/0.9 */
    case CURLE_BAD_CONTENT_ENCODING:
        return HTTP_FAIL_GARBAGE;
    case CURLE_FILESIZE_EXCEEDED:
    case CURLE_OUT_OF_MEMORY: /* a header line beyond libcurl's own limit */
#if LIBCURL_VERSION_NUM >= 0x080600
    case CURLE_TOO_LARGE: /* the same since libcurl 8.6 */
#endif
        return HTTP_FAIL_TOO_LARGE;
    default:
        return HTTP_FAIL_RESET;
    }
}

static int64_t info_us(CURL *easy, CURLINFO info)
{
    curl_off_t value = 0;

    curl_easy_getinfo(easy, info, &value);
    return (int64_t)value;
}

/* A time-out before anything was sent is better called by what it waited for. */
static enum http_fail name_timeout(struct http_call *call)
{
    if (call->starts > 0 || call->is_mail)
        return HTTP_FAIL_TIMEOUT;
    if (info_us(call->easy, CURLINFO_NAMELOOKUP_TIME_T) == 0)
        return HTTP_FAIL_TIMEOUT; /* perhaps it never left our own queue */
    return HTTP_FAIL_CONNECT;     /* or the TLS handshake */
}

static void set_fail(struct http_call *call, CURLcode code, struct http_response *response)
{
    response->fail = fail_of(code);
    if (call->is_too_large)
        response->fail = HTTP_FAIL_TOO_LARGE;
    else if (call->is_forbidden && code != CURLE_OK)
        response->fail = HTTP_FAIL_FORBIDDEN;
    else if (response->fail == HTTP_FAIL_TIMEOUT)
        response->fail = name_timeout(call);
}

/*
 * What may have reached the peer, if it is not certain that it was not processed; the outcome is
 * then unknown, and a repeat is not safe.
 */
static void set_sent(struct http_call *call, struct http_response *response)
{
    if (call->is_forbidden || call->is_refused)
        return;
    if (call->is_mail) {
        response->is_sent = call->sent_at > 0;
        response->is_fully_sent = call->sent_at > 0 && call->sent_at == call->sent.length;
        return;
    }
    long request_bytes = 0;
    curl_off_t uploaded = 0;

    curl_easy_getinfo(call->easy, CURLINFO_REQUEST_SIZE, &request_bytes);
    curl_easy_getinfo(call->easy, CURLINFO_SIZE_UPLOAD_T, &uploaded);
    response->is_sent = request_bytes > 0 || call->starts > 1;
    response->is_fully_sent =
        call->starts > 1 || (response->is_sent && (size_t)uploaded >= call->sent.length);
}

static void set_times(struct http_call *call, struct http_response *response)
{
    int64_t inside_us = info_us(call->easy, CURLINFO_TOTAL_TIME_T);
    int64_t connect_us = info_us(call->easy, CURLINFO_APPCONNECT_TIME_T);

    response->total_us = clock_boot_us() - call->started_us;
    response->queued_us = response->total_us > inside_us ? response->total_us - inside_us : 0;
    response->connect_us = connect_us ? connect_us : info_us(call->easy, CURLINFO_CONNECT_TIME_T);
}

void http_call_result(struct http_call *call, CURLcode code, struct http_response *response)
{
    long status = 0, version = 0;

    memset(response, 0, sizeof *response);
    response->retry_after_ms = -1;
    response->body = buf_text(&call->received);
    response->body_bytes = call->received.length;
    set_fail(call, code, response);
    set_sent(call, response);
    set_times(call, response);
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    if (call->is_mail) {
        if (call->mail_status)
            status = call->mail_status;
        response->stage = call->mail_stage;
        /* A refusal ends with some error of libcurl's, but the server has spoken. */
        if (status >= 400 && response->fail != HTTP_FAIL_TIMEOUT) {
            response->fail = HTTP_FAIL_NONE;
            response->status = (int)status;
        } else if (code == CURLE_OK) {
            response->status = (int)status;
        }
        return;
    }
    response->internal = call->easy;
    if (status < STATUS_MIN || status > STATUS_MAX) {
        /* libcurl takes any number for a status, 000 too, which nobody could classify. */
        status = 0;
        if (response->fail == HTTP_FAIL_NONE)
            response->fail = HTTP_FAIL_GARBAGE;
    }
    response->status = (int)status;
    curl_easy_getinfo(call->easy, CURLINFO_HTTP_VERSION, &version);
    response->version = version >= CURL_HTTP_VERSION_2_0 ? 2 : version > 0 ? 1 : 0;
    if (status)
        response->retry_after_ms = read_retry_after(response);
}

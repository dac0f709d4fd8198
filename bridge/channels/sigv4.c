/* SPDX-License-Identifier: MIT */
#include "channels/sigv4.h"
#include "base/alloc.h"
#include "base/log.h"
#include "channels/encode.h"
#include "channels/sign.h"
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ALGORITHM "AWS4-HMAC-SHA256"
#define PARTS_MAX 64

char *sigv4_time(int64_t unix_seconds, char out[SIGV4_TIME_BYTES])
{
    time_t seconds = (time_t)unix_seconds;
    struct tm tm;

    if (!gmtime_r(&seconds, &tm) ||
        strftime(out, SIGV4_TIME_BYTES, "%Y%m%dT%H%M%SZ", &tm) != SIGV4_TIME_BYTES - 1)
        /* A broken clock: the provider refuses the signature, and says why. */
        snprintf(out, SIGV4_TIME_BYTES, "99991231T235959Z");
    return out;
}

/* By name, then by value: "Param=" sorts before "Param-3=". */
static int compare_pairs(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;

    while (*x && *x == *y)
        x++, y++;
    if (*x == '=' || *y == '=')
        return (*y == '=') - (*x == '=');
    return (unsigned char)*x - (unsigned char)*y;
}

/* name=value pairs, encoded and in order; what is encoded already stays as it is. */
static void add_query(struct buf *out, const char *query)
{
    char *parts[PARTS_MAX] = {0};
    size_t count = 0;

    while (*query && count < PARTS_MAX) {
        size_t length = strcspn(query, "&");
        struct buf part = {0};

        for (size_t i = 0; i < length; i++) {
            char one[2] = {query[i], '\0'};

            if (query[i] == '=' || query[i] == '%')
                buf_add_char(&part, query[i]);
            else
                encode_percent(&part, one);
        }
        if (!memchr(query, '=', length))
            buf_add_char(&part, '=');
        parts[count++] = part.data;
        query += length + (query[length] == '&');
    }
    qsort(parts, count, sizeof parts[0], compare_pairs);
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_add_char(out, '&');
        buf_add_text(out, parts[i]);
        free(parts[i]);
    }
}

static void add_path(struct buf *out, const char *path)
{
    for (; *path; path++) {
        char one[2] = {*path, '\0'};

        if (*path == '/')
            buf_add_char(out, '/');
        else
            encode_percent(out, one);
    }
}

static void add_lower(struct buf *out, const char *text)
{
    for (; *text; text++)
        buf_add_char(out, *text >= 'A' && *text <= 'Z' ? (char)(*text + 'a' - 'A') : *text);
}

/* Outer blanks off, runs of inner ones to one. */
static void add_trimmed(struct buf *out, const char *text)
{
    bool is_blank = false;
    size_t start = out->length;

    for (; *text; text++) {
        if (*text == ' ' || *text == '\t' || *text == '\n') {
            is_blank = true;
            continue;
        }
        if (is_blank && out->length > start)
            buf_add_char(out, ' ');
        is_blank = false;
        buf_add_char(out, *text);
    }
}

struct header_line {
    char *name;
    const char *value;
    size_t order;
};

static int compare_headers(const void *a, const void *b)
{
    const struct header_line *x = a, *y = b;
    int by_name = strcmp(x->name, y->name);

    return by_name ? by_name : (x->order > y->order) - (x->order < y->order);
}

/* The header lines and, in signed_names, "a;b;c". */
static void add_headers(struct buf *out, struct buf *signed_names,
                        const struct sigv4_request *request)
{
    struct header_line *lines = xcalloc(request->header_count + 1, sizeof *lines);

    for (size_t i = 0; i < request->header_count; i++) {
        struct buf name = {0};

        add_lower(&name, request->headers[i].name);
        lines[i] = (struct header_line){name.data, request->headers[i].value, i};
    }
    qsort(lines, request->header_count, sizeof *lines, compare_headers);
    for (size_t i = 0; i < request->header_count; i++) {
        bool is_same = i > 0 && strcmp(lines[i].name, lines[i - 1].name) == 0;

        if (is_same) {
            buf_add_char(out, ',');
        } else {
            if (i > 0) {
                buf_add_char(out, '\n');
                buf_add_char(signed_names, ';');
            }
            buf_add_text(signed_names, lines[i].name);
            buf_add_text(out, lines[i].name);
            buf_add_char(out, ':');
        }
        add_trimmed(out, lines[i].value);
    }
    buf_add_char(out, '\n');
    for (size_t i = 0; i < request->header_count; i++)
        free(lines[i].name);
    free(lines);
}

static void add_hash(struct buf *out, const void *bytes, size_t length)
{
    unsigned char hash[SHA256_BYTES];

    sha256(bytes, length, hash);
    encode_hex(out, hash, sizeof hash);
}

static void sign(struct buf *out, const struct sigv4_account *account, const char *date,
                 const struct buf *to_sign)
{
    unsigned char key[SHA256_BYTES], mac[SHA256_BYTES];
    const char *steps[3] = {account->region, account->service, "aws4_request"};
    struct buf first = {0};

    buf_reserve(&first, account->secret_key->length + 5);
    buf_add_text(&first, "AWS4");
    buf_add(&first, account->secret_key->bytes, account->secret_key->length);
    hmac_sha256(first.data, first.length, date, 8, key);
    OPENSSL_cleanse(first.data, first.length);
    buf_fini(&first);
    for (unsigned i = 0; i < 3; i++) {
        hmac_sha256(key, sizeof key, steps[i], strlen(steps[i]), mac);
        memcpy(key, mac, sizeof key);
    }
    hmac_sha256(key, sizeof key, to_sign->data, to_sign->length, mac);
    OPENSSL_cleanse(key, sizeof key);
    encode_hex(out, mac, sizeof mac);
}

void sigv4_authorize(struct buf *out, const struct sigv4_account *account,
                     const struct sigv4_request *request, const char *time)
{
    struct buf canonical = {0}, names = {0}, scope = {0}, to_sign = {0};

    buf_printf(&canonical, "%s\n", request->method);
    add_path(&canonical, request->path);
    buf_add_char(&canonical, '\n');
    add_query(&canonical, request->query);
    buf_add_char(&canonical, '\n');
    add_headers(&canonical, &names, request);
    buf_printf(&canonical, "\n%s\n", buf_text(&names));
    add_hash(&canonical, request->body ? request->body : "", request->body_bytes);
    buf_printf(&scope, "%.8s/%s/%s/aws4_request", time, account->region, account->service);
    buf_printf(&to_sign, ALGORITHM "\n%s\n%s\n", time, buf_text(&scope));
    add_hash(&to_sign, canonical.data, canonical.length);
    buf_printf(out,
               ALGORITHM " Credential=%s/%s, SignedHeaders=%s, Signature=", account->access_key,
               buf_text(&scope), buf_text(&names));
    sign(out, account, time, &to_sign);
    buf_fini(&canonical);
    buf_fini(&names);
    buf_fini(&scope);
    buf_fini(&to_sign);
}

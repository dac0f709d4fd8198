/* SPDX-License-Identifier: MIT */
#include "services/jwks.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/log.h"
#include "base/random.h"
#include "core/json.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BYTES_MAX      (1 << 20) /* as the plugin reads */
#define DEPTH_MAX      64
#define TIMEOUT_MS     10000
#define BACKOFF_MIN_MS 1000
#define ETAG_BYTES     128

/* One provider's set. */
struct source {
    struct jwks *jwks;
    char *url, *file;
    struct loop_timer timer;
    char etag[ETAG_BYTES], new_etag[ETAG_BYTES];
    char *body; /* being written */
    size_t body_bytes;
    int write_err;
    int64_t backoff_ms;
};

struct jwks {
    struct loop *loop;
    struct jwks_config config;
    struct http_client *http;
    struct source sources[JWKS_MAX];
    size_t count;
    bool is_closing;
    struct rng rng;
    struct metric *fetched, *failed;
};

static void on_timer(void *ctx);

static void arm(struct source *source, int64_t after_ms)
{
    if (!source->jwks->is_closing)
        loop_timer_start(source->jwks->loop, &source->timer, after_ms, on_timer, source);
}

static void fail(struct source *source, const char *why, int status)
{
    struct jwks *jwks = source->jwks;

    metric_add(jwks->failed, 1);
    log_warn("jwks.failed", LOG_STR("file", source->file), LOG_STR("why", why),
             LOG_INT("status", status), LOG_MS("again", source->backoff_ms));
    arm(source, (int64_t)rng_below(&jwks->rng, (uint64_t)source->backoff_ms) + 1);
    source->backoff_ms *= 2;
    if (source->backoff_ms > jwks->config.every_ms)
        source->backoff_ms = jwks->config.every_ms;
}

static void done(struct source *source)
{
    metric_add(source->jwks->fetched, 1);
    source->backoff_ms = BACKOFF_MIN_MS;
    arm(source, source->jwks->config.every_ms);
}

/* ---- is it a key set?  Which of its keys an issuer may use is the plugin's to judge ---- */

static const char *text_of(const struct json *key, const char *name)
{
    const struct json *value = json_member(key, name);

    return value && value->kind == JSON_KIND_STRING ? value->text : "";
}

/* base64url without padding (RFC 7515, 2), of at least and at most as many characters. */
static bool is_base64url(const char *text, size_t min, size_t max)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t length = strspn(text, alphabet);

    return text[length] == '\0' && length >= min && length <= max;
}

/* A signature key of a type that is known, with numbers of the right size. */
static bool is_usable(const struct json *key)
{
    const struct json *use;
    const char *kty, *crv;

    if (key->kind != JSON_KIND_OBJECT)
        return false;
    kty = text_of(key, "kty");
    crv = text_of(key, "crv");
    use = json_member(key, "use");
    if (use && use->kind != JSON_KIND_NULL && strcmp(text_of(key, "use"), "sig") != 0)
        return false;
    if (!strcmp(kty, "RSA"))
        return is_base64url(text_of(key, "n"), 342, 1368) && is_base64url(text_of(key, "e"), 2, 11);
    if (!strcmp(kty, "EC") && (!strcmp(crv, "P-256") || !strcmp(crv, "P-384"))) {
        size_t length = !strcmp(crv, "P-256") ? 43 : 64;

        return is_base64url(text_of(key, "x"), length, length) &&
               is_base64url(text_of(key, "y"), length, length);
    }
    if (!strcmp(kty, "OKP") && !strcmp(crv, "Ed25519"))
        return is_base64url(text_of(key, "x"), 43, 43);
    return !strcmp(kty, "oct") && is_base64url(text_of(key, "k"), 1, BYTES_MAX);
}

/*
 * A set in which at least one key can be used.  Others beside it may be anything: members that are
 * not understood are passed over (RFC 7517, 5), here as in the plugin.
 */
static bool is_key_set(const char *text, size_t bytes)
{
    struct arena *arena = arena_new(4096);
    const struct json *keys = NULL;
    struct json_doc doc;
    bool is_good = false;

    if (!json_read(text, bytes, DEPTH_MAX, arena, &doc) && doc.root->kind == JSON_KIND_OBJECT)
        keys = json_member(doc.root, "keys");
    if (keys && keys->kind == JSON_KIND_ARRAY)
        for (const struct json *key = keys->first; key && !is_good; key = key->next)
            is_good = is_usable(key);
    arena_free(arena);
    return is_good;
}

/* ---- on a pool thread: one step for whoever reads the file ---- */

static int write_all(int fd, const char *bytes, size_t length)
{
    while (length) {
        ssize_t written = write(fd, bytes, length);

        if (written <= 0)
            return ERR_IO;
        bytes += written;
        length -= (size_t)written;
    }
    return fsync(fd) ? ERR_IO : 0;
}

static void write_file(void *ctx)
{
    struct source *source = ctx;
    char path[4096];
    int fd;

    source->write_err = ERR_IO;
    if (snprintf(path, sizeof(path), "%s.new", source->file) >= (int)sizeof(path))
        return;
    /* Public keys: the broker runs as another user and must be able to read them. */
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return;
    source->write_err = write_all(fd, source->body, source->body_bytes);
    close(fd);
    if (!source->write_err && rename(path, source->file))
        source->write_err = ERR_IO;
}

static void on_written(void *ctx)
{
    struct source *source = ctx;

    free(source->body);
    source->body = NULL;
    if (source->jwks->is_closing)
        return;
    if (source->write_err) {
        fail(source, "the file could not be written", 0);
        return;
    }
    memcpy(source->etag, source->new_etag, sizeof(source->etag));
    log_info("jwks.updated", LOG_STR("file", source->file), LOG_INT("bytes", source->body_bytes));
    done(source);
}

/* ---- the request ---- */

/* What went wrong, in words that name the host. */
static void say_failure(const struct source *source, const struct http_response *response,
                        char *why, size_t why_bytes)
{
    static const char *const what[] = {
        [HTTP_FAIL_RESOLVE] = "cannot resolve",
        [HTTP_FAIL_CONNECT] = "no connection to",
        [HTTP_FAIL_TLS] = "no TLS with a certificate that is trusted (jwks.ca_file) from",
        [HTTP_FAIL_TIMEOUT] = "no answer in time from",
        [HTTP_FAIL_RESET] = "the connection was lost to",
        [HTTP_FAIL_GARBAGE] = "an answer that is not HTTP from",
        [HTTP_FAIL_TOO_LARGE] = "an answer that is too large from",
    };
    const char *host = strstr(source->url, "://");
    const char *words =
        (size_t)response->fail < sizeof(what) / sizeof(what[0]) ? what[response->fail] : NULL;

    host = host ? host + 3 : source->url;
    if (response->fail)
        snprintf(why, why_bytes, "%s %.*s", words ? words : "no answer from",
                 (int)strcspn(host, "/?#"), host);
    else
        snprintf(why, why_bytes, "the server %.*s answered %d", (int)strcspn(host, "/?#"), host,
                 response->status);
}

static void on_response(void *ctx, const struct http_response *response)
{
    struct source *source = ctx;
    const char *etag = http_response_header(response, "ETag");

    if (source->jwks->is_closing || response->fail == HTTP_FAIL_CLOSED)
        return;
    if (response->fail || (response->status != 200 && response->status != 304)) {
        char why[300];

        say_failure(source, response, why, sizeof(why));
        fail(source, why, response->status);
        return;
    }
    if (response->status == 304) {
        done(source);
        return;
    }
    if (!is_key_set(response->body, response->body_bytes)) {
        fail(source, "the answer is not a key set; the last good one stays", response->status);
        return;
    }
    snprintf(source->new_etag, sizeof(source->new_etag), "%s",
             etag && strlen(etag) < ETAG_BYTES ? etag : "");
    source->body = xmalloc(response->body_bytes);
    source->body_bytes = response->body_bytes;
    memcpy(source->body, response->body, response->body_bytes);
    loop_work(source->jwks->loop, write_file, on_written, source);
}

static void on_timer(void *ctx)
{
    struct source *source = ctx;
    /* Kubernetes has nothing but jwk-set+json, others nothing but what they call it. */
    struct http_header headers[] = {
        {"Accept", "application/jwk-set+json, application/json;q=0.9, */*;q=0.8"},
        {"If-None-Match", source->etag}};
    /* Asks for what is new only where there is something old: the file may have been taken away. */
    bool is_there = source->etag[0] && access(source->file, F_OK) == 0;
    struct http_request request = {
        .method = "GET",
        .url = source->url,
        .headers = headers,
        .header_count = is_there ? 2 : 1,
        .ca_file = source->jwks->config.ca_file,
        .connect_ms = TIMEOUT_MS / 2,
        .timeout_ms = TIMEOUT_MS,
        .response_max = BYTES_MAX,
    };

    if (http_send(source->jwks->http, &request, on_response, source))
        fail(source, "the request could not be sent", 0);
}

/* The words of a list, or the whole text where it is of one. */
static size_t split(const char *text, bool is_one, char *words[JWKS_MAX])
{
    size_t count = 0;

    if (is_one) {
        words[0] = xstrdup(text);
        return 1;
    }
    for (; *text && count < JWKS_MAX; text += strspn(text, " ")) {
        size_t length = strcspn(text, " ");

        words[count++] = xstrndup(text, length);
        text += length;
    }
    return count;
}

size_t jwks_count(const char *list)
{
    size_t count = 0;

    for (; *list; list += strspn(list, " ")) {
        count++;
        list += strcspn(list, " ");
    }
    return count;
}

struct jwks *jwks_open(struct loop *loop, const struct jwks_config *config,
                       struct http_client *http, struct metrics *metrics)
{
    struct jwks *jwks = xcalloc(1, sizeof(*jwks));
    char *urls[JWKS_MAX], *files[JWKS_MAX];
    bool is_one = jwks_count(config->url) == 1;
    uint64_t seed;

    jwks->loop = loop;
    jwks->config = *config;
    jwks->http = http;
    jwks->count = split(config->url, is_one, urls);
    (void)split(config->file, is_one, files);
    random_bytes(&seed, sizeof(seed));
    rng_init(&jwks->rng, seed);
    jwks->fetched = metrics_get(metrics, METRIC_COUNTER, "tocsin_jwks_fetched_total",
                                "Key sets fetched or found unchanged.", NULL);
    jwks->failed =
        metrics_get(metrics, METRIC_COUNTER, "tocsin_jwks_failed_total",
                    "Key sets that could not be fetched; the last good one stays.", NULL);
    for (size_t i = 0; i < jwks->count; i++) {
        jwks->sources[i] = (struct source){
            .jwks = jwks, .url = urls[i], .file = files[i], .backoff_ms = BACKOFF_MIN_MS};
        arm(&jwks->sources[i], 0);
    }
    return jwks;
}

void jwks_close(struct jwks *jwks)
{
    jwks->is_closing = true;
    for (size_t i = 0; i < jwks->count; i++)
        loop_timer_stop(&jwks->sources[i].timer);
}

void jwks_free(struct jwks *jwks)
{
    for (size_t i = 0; i < jwks->count; i++) {
        free(jwks->sources[i].url);
        free(jwks->sources[i].file);
    }
    free(jwks);
}

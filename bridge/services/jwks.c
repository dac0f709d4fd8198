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

#define BYTES_MAX      65536
#define KEYS_MAX       64
#define TIMEOUT_MS     10000
#define BACKOFF_MIN_MS 1000
#define ETAG_BYTES     128

struct jwks {
    struct loop *loop;
    struct jwks_config config;
    struct http_client *http;
    struct loop_timer timer;
    char etag[ETAG_BYTES], new_etag[ETAG_BYTES];
    char *body; /* being written */
    size_t body_bytes;
    int write_err;
    bool is_closing;
    int64_t backoff_ms;
    struct rng rng;
    struct metric *fetched, *failed;
};

static void on_timer(void *ctx);

static void arm(struct jwks *jwks, int64_t after_ms)
{
    if (!jwks->is_closing)
        loop_timer_start(jwks->loop, &jwks->timer, after_ms, on_timer, jwks);
}

static void fail(struct jwks *jwks, const char *why, int status)
{
    metric_add(jwks->failed, 1);
    log_warn("jwks.failed", LOG_STR("why", why), LOG_INT("status", status),
             LOG_MS("again", jwks->backoff_ms));
    arm(jwks, (int64_t)rng_below(&jwks->rng, (uint64_t)jwks->backoff_ms) + 1);
    jwks->backoff_ms *= 2;
    if (jwks->backoff_ms > jwks->config.every_ms)
        jwks->backoff_ms = jwks->config.every_ms;
}

static void done(struct jwks *jwks)
{
    metric_add(jwks->fetched, 1);
    jwks->backoff_ms = BACKOFF_MIN_MS;
    arm(jwks, jwks->config.every_ms);
}

/* A set with at least one key; what kind of keys is the plugin's to judge. */
static bool is_key_set(const char *text, size_t bytes)
{
    struct arena *arena = arena_new(4096);
    const struct json *keys = NULL;
    struct json_doc doc;
    bool is_good;

    if (!json_read(text, bytes, 8, arena, &doc) && !doc.troubles &&
        doc.root->kind == JSON_KIND_OBJECT)
        keys = json_member(doc.root, "keys");
    is_good = keys && keys->kind == JSON_KIND_ARRAY && keys->count > 0 && keys->count <= KEYS_MAX;
    for (const struct json *key = is_good ? keys->first : NULL; key; key = key->next)
        is_good = is_good && key->kind == JSON_KIND_OBJECT && json_member(key, "kty");
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
    struct jwks *jwks = ctx;
    char path[4096];
    int fd;

    jwks->write_err = ERR_IO;
    if (snprintf(path, sizeof(path), "%s.new", jwks->config.file) >= (int)sizeof(path))
        return;
    /* Public keys: the broker runs as another user and must be able to read them. */
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return;
    jwks->write_err = write_all(fd, jwks->body, jwks->body_bytes);
    close(fd);
    if (!jwks->write_err && rename(path, jwks->config.file))
        jwks->write_err = ERR_IO;
}

static void on_written(void *ctx)
{
    struct jwks *jwks = ctx;

    free(jwks->body);
    jwks->body = NULL;
    if (jwks->is_closing)
        return;
    if (jwks->write_err) {
        fail(jwks, "the file could not be written", 0);
        return;
    }
    memcpy(jwks->etag, jwks->new_etag, sizeof(jwks->etag));
    log_info("jwks.updated", LOG_INT("bytes", jwks->body_bytes));
    done(jwks);
}

/* ---- the request ---- */

static void on_response(void *ctx, const struct http_response *response)
{
    struct jwks *jwks = ctx;
    const char *etag = http_response_header(response, "ETag");

    if (jwks->is_closing || response->fail == HTTP_FAIL_CLOSED)
        return;
    if (response->fail || (response->status != 200 && response->status != 304)) {
        fail(jwks, "no key set in the answer", response->status);
        return;
    }
    if (response->status == 304) {
        done(jwks);
        return;
    }
    if (!is_key_set(response->body, response->body_bytes)) {
        fail(jwks, "the answer is not a key set; the last good one stays", response->status);
        return;
    }
    snprintf(jwks->new_etag, sizeof(jwks->new_etag), "%s",
             etag && strlen(etag) < ETAG_BYTES ? etag : "");
    jwks->body = xmalloc(response->body_bytes);
    jwks->body_bytes = response->body_bytes;
    memcpy(jwks->body, response->body, response->body_bytes);
    loop_work(jwks->loop, write_file, on_written, jwks);
}

static void on_timer(void *ctx)
{
    struct jwks *jwks = ctx;
    struct http_header headers[] = {{"Accept", "application/json"}, {"If-None-Match", jwks->etag}};
    struct http_request request = {
        .method = "GET",
        .url = jwks->config.url,
        .headers = headers,
        .header_count = jwks->etag[0] ? 2 : 1,
        .ca_file = jwks->config.ca_file,
        .connect_ms = TIMEOUT_MS / 2,
        .timeout_ms = TIMEOUT_MS,
        .response_max = BYTES_MAX,
    };

    if (http_send(jwks->http, &request, on_response, jwks))
        fail(jwks, "the request could not be sent", 0);
}

struct jwks *jwks_open(struct loop *loop, const struct jwks_config *config,
                       struct http_client *http, struct metrics *metrics)
{
    struct jwks *jwks = xcalloc(1, sizeof(*jwks));
    uint64_t seed;

    jwks->loop = loop;
    jwks->config = *config;
    jwks->http = http;
    jwks->backoff_ms = BACKOFF_MIN_MS;
    random_bytes(&seed, sizeof(seed));
    rng_init(&jwks->rng, seed);
    jwks->fetched = metrics_get(metrics, METRIC_COUNTER, "tocsin_jwks_fetched_total",
                                "Key sets fetched or found unchanged.", NULL);
    jwks->failed =
        metrics_get(metrics, METRIC_COUNTER, "tocsin_jwks_failed_total",
                    "Key sets that could not be fetched; the last good one stays.", NULL);
    arm(jwks, 0);
    return jwks;
}

void jwks_close(struct jwks *jwks)
{
    jwks->is_closing = true;
    loop_timer_stop(&jwks->timer);
}

void jwks_free(struct jwks *jwks)
{
    free(jwks);
}

/* SPDX-License-Identifier: MIT */
#include "channels/tracker.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/panic.h"
#include "base/secret.h"
#include "channels/encode.h"
#include "channels/sign.h"
#include "core/html.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define KEY_BYTES_MIN 16
#define KEYS_MAX      2
#define MAC_BYTES     16 /* of 32: more than can be guessed, and half the link */
#define ID_BYTES      8
#define NONCE_BYTES   12
#define TAG_BYTES     16
/* A link that would become longer than servers and gateways take is left alone. */
#define URL_MAX 2000

/* What a file's secret is used for, apart from each other. */
struct keys {
    unsigned char sign[SHA256_BYTES], seal[SHA256_BYTES], nonce[SHA256_BYTES];
};

struct tracker {
    char *prefix; /* public_url and TRACKER_PATH */
    struct keys keys[KEYS_MAX];
    size_t count; /* the first makes, all verify */
};

/* ---- keys ---- */

struct tracker *tracker_new(void)
{
    return xcalloc(1, sizeof(struct tracker));
}

void tracker_free(struct tracker *tracker)
{
    if (!tracker)
        return;
    free(tracker->prefix);
    OPENSSL_cleanse(tracker->keys, sizeof(tracker->keys));
    free(tracker);
}

static void derive(const struct secret *secret, const char *what, unsigned char out[SHA256_BYTES])
{
    hmac_sha256(secret->bytes, secret->length, what, strlen(what), out);
}

static int read_keys(const char *path, struct keys *keys, char *why, size_t why_bytes)
{
    struct secret secret = {0};
    int err = secret_read_file(&secret, path, why, why_bytes);

    if (!err && secret.length < KEY_BYTES_MIN) {
        snprintf(why, why_bytes, "%s: a tracking key has at least %d bytes", path, KEY_BYTES_MIN);
        err = ERR_INVALID;
    }
    if (!err) {
        derive(&secret, "tocsin tracking: sign", keys->sign);
        derive(&secret, "tocsin tracking: seal", keys->seal);
        derive(&secret, "tocsin tracking: nonce", keys->nonce);
    }
    secret_fini(&secret);
    return err;
}

int tracker_load(struct tracker *tracker, const struct tracker_config *config, char *why,
                 size_t why_bytes)
{
    const char *const files[KEYS_MAX] = {config->key_file, config->former_key_file};
    struct tracker loaded = {0};
    size_t length = strlen(config->public_url);
    struct buf prefix = {0};

    for (size_t i = 0; i < KEYS_MAX && files[i]; i++) {
        int err = read_keys(files[i], &loaded.keys[i], why, why_bytes);

        if (err) {
            OPENSSL_cleanse(&loaded, sizeof(loaded));
            return err;
        }
        loaded.count++;
    }
    while (length && config->public_url[length - 1] == '/')
        length--;
    buf_printf(&prefix, "%.*s" TRACKER_PATH, (int)length, config->public_url);
    free(tracker->prefix);
    *tracker = loaded;
    tracker->prefix = prefix.data;
    OPENSSL_cleanse(&loaded, sizeof(loaded));
    return 0;
}

/* ---- tokens ---- */

static void put_id(unsigned char out[ID_BYTES], uint64_t id)
{
    for (int i = 0; i < ID_BYTES; i++)
        out[i] = (unsigned char)(id >> (56 - 8 * i));
}

static uint64_t get_id(const unsigned char *bytes)
{
    uint64_t id = 0;

    for (int i = 0; i < ID_BYTES; i++)
        id = id << 8 | bytes[i];
    return id;
}

static void sign(const struct keys *keys, char kind, const unsigned char id[ID_BYTES],
                 const char *url, unsigned char mac[SHA256_BYTES])
{
    struct buf message = {0};

    buf_add_char(&message, kind);
    buf_add(&message, id, ID_BYTES);
    buf_add_text(&message, url);
    hmac_sha256(keys->sign, sizeof(keys->sign), message.data, message.length, mac);
    buf_fini(&message);
}

static void add_token(const struct tracker *tracker, struct buf *out, char kind, uint64_t delivery,
                      const char *url)
{
    unsigned char token[ID_BYTES + SHA256_BYTES];

    put_id(token, delivery);
    sign(&tracker->keys[0], kind, token, url, token + ID_BYTES);
    encode_base64url(out, token, ID_BYTES + MAC_BYTES);
}

static int check_token(const struct tracker *tracker, const struct buf *token, char kind,
                       const char *url, uint64_t *delivery)
{
    const unsigned char *bytes = (const unsigned char *)token->data;
    unsigned char mac[SHA256_BYTES];
    bool is_good = false;

    if (token->length != ID_BYTES + MAC_BYTES)
        return ERR_REFUSED;
    for (size_t i = 0; i < tracker->count; i++) {
        sign(&tracker->keys[i], kind, bytes, url, mac);
        is_good = CRYPTO_memcmp(mac, bytes + ID_BYTES, MAC_BYTES) == 0 || is_good;
    }
    *delivery = get_id(bytes);
    return is_good ? 0 : ERR_REFUSED;
}

/* ---- links and the image ---- */

/* An absolute http or https URL that survives a Location header as it is. */
static bool is_redirectable(const char *url)
{
    bool is_web = strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0;
    const char *host = is_web ? strstr(url, "://") + 3 : url;

    if (!is_web || !*host || strchr("/?#:@", *host))
        return false;
    for (const char *at = url; *at; at++)
        if ((unsigned char)*at <= 0x20 || *at == 0x7f || *at == '\\')
            return false;
    return true;
}

/* While one mail is rewritten. */
struct rewriting {
    const struct tracker *tracker;
    const struct job *job;
    const char *unsubscribe;
    struct buf url;
};

static const char *on_link(void *ctx, const char *url)
{
    struct rewriting *rewriting = ctx;
    const struct tracker *tracker = rewriting->tracker;

    if (rewriting->unsubscribe && strcasecmp(url, "tocsin:unsubscribe") == 0)
        return rewriting->unsubscribe;
    if (!(rewriting->job->tracking & JOB_TRACK_CLICKS) || !is_redirectable(url) ||
        strlen(url) > URL_MAX || strncmp(url, tracker->prefix, strlen(tracker->prefix)) == 0)
        return NULL;
    buf_clear(&rewriting->url);
    buf_printf(&rewriting->url, "%sc/", tracker->prefix);
    add_token(tracker, &rewriting->url, 'c', rewriting->job->delivery, url);
    buf_add_char(&rewriting->url, '/');
    encode_base64url(&rewriting->url, url, strlen(url));
    return rewriting->url.data;
}

static bool is_wanted(const struct tracker *tracker, const struct job *job, unsigned what)
{
    return tracker && tracker->count && (job->tracking & what);
}

const char *tracker_html(const struct tracker *tracker, struct arena *arena, const struct job *job,
                         const char *html)
{
    struct rewriting rewriting = {.tracker = tracker, .job = job};
    struct buf out = {0}, image = {0};

    if (!html || !is_wanted(tracker, job, ~0u))
        return html;
    rewriting.unsubscribe = tracker_unsubscribe_url(tracker, arena, job);
    if (job->tracking & JOB_TRACK_OPENS) {
        buf_add_text(&image, "<img src=\"");
        buf_printf(&rewriting.url, "%so/", tracker->prefix);
        add_token(tracker, &rewriting.url, 'o', job->delivery, "");
        html_escape(&image, rewriting.url.data);
        buf_add_text(&image, "\" width=\"1\" height=\"1\" alt=\"\" style=\"border:0\">");
    }
    html_rewrite(&out, html, strlen(html), on_link, &rewriting, image.data);
    html = arena_copy(arena, buf_text(&out), out.length);
    buf_fini(&rewriting.url);
    buf_fini(&image);
    buf_fini(&out);
    return html;
}

/* ---- unsubscription ---- */

/* The same text gives the same nonce, and no other text does: nothing is told by a repeat. */
static void seal(const struct keys *keys, const struct buf *plain, struct buf *out)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    unsigned char mac[SHA256_BYTES], *at;
    int used = 0, more = 0;

    hmac_sha256(keys->nonce, sizeof(keys->nonce), plain->data, plain->length, mac);
    buf_add(out, mac, NONCE_BYTES);
    buf_reserve(out, plain->length + TAG_BYTES + 1);
    at = (unsigned char *)out->data + out->length;
    if (!ctx || EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, keys->seal, mac) != 1 ||
        EVP_EncryptUpdate(ctx, at, &used, (const unsigned char *)plain->data, (int)plain->length) !=
            1 ||
        EVP_EncryptFinal_ex(ctx, at + used, &more) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, at + used + more) != 1)
        panic("AES-256-GCM");
    out->length += (size_t)used + (size_t)more + TAG_BYTES;
    out->data[out->length] = '\0';
    EVP_CIPHER_CTX_free(ctx);
}

/* Into out, which has room for sealed->length; false when it was not sealed with this key. */
static bool unseal(const struct keys *keys, const struct buf *sealed, unsigned char *out)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    const unsigned char *bytes = (const unsigned char *)sealed->data;
    size_t length = sealed->length - NONCE_BYTES - TAG_BYTES;
    int used = 0, more = 0;
    bool is_good;

    is_good = ctx && EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, keys->seal, bytes) == 1 &&
              EVP_DecryptUpdate(ctx, out, &used, bytes + NONCE_BYTES, (int)length) == 1 &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG_BYTES,
                                  (void *)(uintptr_t)(bytes + NONCE_BYTES + length)) == 1 &&
              EVP_DecryptFinal_ex(ctx, out + used, &more) == 1;
    EVP_CIPHER_CTX_free(ctx);
    return is_good;
}

/* Channel, delivery, the type's length, type, address. */
#define PLAIN_HEAD (1 + ID_BYTES + 1)

const char *tracker_unsubscribe_url(const struct tracker *tracker, struct arena *arena,
                                    const struct job *job)
{
    unsigned char id[ID_BYTES];
    struct buf plain = {0}, sealed = {0}, url = {0};
    size_t type = strlen(job->type);
    const char *copy;

    if (!is_wanted(tracker, job, JOB_TRACK_UNSUBSCRIBE) || type > UINT8_MAX)
        return NULL;
    put_id(id, job->delivery);
    buf_add_char(&plain, (char)CHANNEL_EMAIL);
    buf_add(&plain, id, sizeof(id));
    buf_add_char(&plain, (char)type);
    buf_add(&plain, job->type, type);
    buf_add_text(&plain, job->target);
    seal(&tracker->keys[0], &plain, &sealed);
    buf_printf(&url, "%su/", tracker->prefix);
    encode_base64url(&url, sealed.data, sealed.length);
    copy = arena_copy(arena, url.data, url.length);
    buf_fini(&plain);
    buf_fini(&sealed);
    buf_fini(&url);
    return copy;
}

static int read_unsubscribe(const struct tracker *tracker, struct arena *arena,
                            const struct buf *sealed, struct tracker_link *link)
{
    unsigned char *plain;
    size_t length, type;
    bool is_good = false;

    if (sealed->length < NONCE_BYTES + PLAIN_HEAD + TAG_BYTES)
        return ERR_REFUSED;
    length = sealed->length - NONCE_BYTES - TAG_BYTES;
    plain = arena_alloc(arena, sealed->length);
    for (size_t i = 0; i < tracker->count && !is_good; i++)
        is_good = unseal(&tracker->keys[i], sealed, plain);
    if (!is_good)
        return ERR_REFUSED;
    type = plain[PLAIN_HEAD - 1];
    if (plain[0] >= CHANNEL_COUNT || length <= PLAIN_HEAD + type)
        return ERR_REFUSED; /* sealed by us, yet not of this version */
    link->channel = (enum channel)plain[0];
    link->delivery = get_id(plain + 1);
    link->type = arena_copy(arena, (const char *)plain + PLAIN_HEAD, type);
    link->address =
        arena_copy(arena, (const char *)plain + PLAIN_HEAD + type, length - PLAIN_HEAD - type);
    return 0;
}

/* ---- reading ---- */

/* Bytes that a header cannot hold, as %XX: browsers would send them so. */
static const char *ascii_url(struct arena *arena, const char *url)
{
    struct buf out = {0};
    const char *copy;

    for (; *url; url++) {
        if ((unsigned char)*url < 0x80)
            buf_add_char(&out, *url);
        else
            buf_printf(&out, "%%%02X", (unsigned char)*url);
    }
    copy = arena_strdup(arena, buf_text(&out));
    buf_fini(&out);
    return copy;
}

static int read_click(const struct tracker *tracker, struct arena *arena, const struct buf *token,
                      const char *encoded, struct tracker_link *link)
{
    struct buf url = {0};
    int err = ERR_REFUSED;

    if (decode_base64(&url, encoded, strlen(encoded)) == 0 && url.length &&
        strlen(url.data) == url.length && is_redirectable(url.data))
        err = check_token(tracker, token, 'c', url.data, &link->delivery);
    if (!err)
        link->url = ascii_url(arena, url.data);
    buf_fini(&url);
    return err;
}

int tracker_read(const struct tracker *tracker, struct arena *arena, const char *path,
                 struct tracker_link *link)
{
    const char *rest = path + 2, *slash;
    struct buf token = {0};
    size_t length;
    int err = ERR_REFUSED;

    memset(link, 0, sizeof(*link));
    if (!path[0] || path[1] != '/' || strlen(path) > 2 * (size_t)URL_MAX)
        return ERR_REFUSED;
    slash = strchr(rest, '/');
    length = slash ? (size_t)(slash - rest) : strlen(rest);
    if (decode_base64(&token, rest, length) != 0) {
        buf_fini(&token);
        return ERR_REFUSED;
    }
    if (path[0] == 'o' && !slash) {
        link->kind = TRACKER_OPEN;
        err = check_token(tracker, &token, 'o', "", &link->delivery);
    } else if (path[0] == 'c' && slash) {
        link->kind = TRACKER_CLICK;
        err = read_click(tracker, arena, &token, slash + 1, link);
    } else if (path[0] == 'u' && !slash) {
        link->kind = TRACKER_UNSUBSCRIBE;
        err = read_unsubscribe(tracker, arena, &token, link);
    }
    buf_fini(&token);
    return err;
}

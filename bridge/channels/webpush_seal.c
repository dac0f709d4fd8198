/* SPDX-License-Identifier: MIT */
#include "channels/webpush_seal.h"
#include "base/log.h"
#include "base/random.h"
#include "channels/encode.h"
#include "channels/jose.h"
#include "channels/sign.h"
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <string.h>

#define RECORD_SIZE 4096
#define TAG_BYTES   16
#define KEY_BYTES   16
#define NONCE_BYTES 12

/* A public key on P-256, or NULL when the point is not on the curve. */
static EVP_PKEY *public_key(const unsigned char point[WEBPUSH_POINT_BYTES])
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM params[3] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char[]){"prime256v1"}, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)point,
                                          WEBPUSH_POINT_BYTES),
        OSSL_PARAM_construct_end()};

    if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
        pkey = NULL;
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

static int decode_exactly(const char *text, unsigned char *out, size_t length)
{
    struct buf bytes = {0};
    int err = decode_base64(&bytes, text, strlen(text));

    if (!err && bytes.length != length)
        err = ERR_INVALID;
    if (!err)
        memcpy(out, bytes.data, length);
    buf_fini(&bytes);
    return err;
}

int webpush_keys_parse(const char *p256dh, const char *auth, struct webpush_keys *keys)
{
    if (decode_exactly(p256dh, keys->point, sizeof keys->point) != 0 || keys->point[0] != 4)
        return ERR_INVALID;
    return decode_exactly(auth, keys->auth, sizeof keys->auth);
}

/* The peer's point is on the curve (public_key() checks), and P-256 has no others to check for. */
static int shared_secret(EVP_PKEY *own, const unsigned char peer[WEBPUSH_POINT_BYTES],
                         unsigned char out[32])
{
    EVP_PKEY *other = public_key(peer);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(own, NULL);
    size_t length = 32;
    int err = ERR_INVALID;

    if (other && ctx && EVP_PKEY_derive_init(ctx) == 1 &&
        EVP_PKEY_derive_set_peer_ex(ctx, other, 0) == 1 &&
        EVP_PKEY_derive(ctx, out, &length) == 1 && length == 32)
        err = 0;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(other);
    return err;
}

/* RFC 8291 3.4 and RFC 8188 2.2, 2.3: the content key and nonce. */
static void derive(const struct webpush_keys *keys, const unsigned char own[WEBPUSH_POINT_BYTES],
                   const unsigned char secret[32], const unsigned char *salt,
                   unsigned char key[SHA256_BYTES], unsigned char nonce[SHA256_BYTES])
{
    static const char key_info[] = "Content-Encoding: aes128gcm\0\1";
    static const char nonce_info[] = "Content-Encoding: nonce\0\1";
    static const char start[] = "WebPush: info";
    unsigned char prk[SHA256_BYTES], ikm[SHA256_BYTES];
    unsigned char info[sizeof start + 2 * WEBPUSH_POINT_BYTES + 1];
    unsigned char *at = info;

    memcpy(at, start, sizeof start); /* with its NUL */
    at += sizeof start;
    memcpy(at, keys->point, WEBPUSH_POINT_BYTES);
    at += WEBPUSH_POINT_BYTES;
    memcpy(at, own, WEBPUSH_POINT_BYTES);
    at += WEBPUSH_POINT_BYTES;
    *at = 1;
    hmac_sha256(keys->auth, sizeof keys->auth, secret, 32, prk);
    hmac_sha256(prk, sizeof prk, info, sizeof info, ikm);
    hmac_sha256(salt, WEBPUSH_SALT_BYTES, ikm, sizeof ikm, prk);
    hmac_sha256(prk, sizeof prk, key_info, sizeof key_info - 1, key);
    hmac_sha256(prk, sizeof prk, nonce_info, sizeof nonce_info - 1, nonce);
    OPENSSL_cleanse(prk, sizeof prk);
    OPENSSL_cleanse(ikm, sizeof ikm);
}

static void encrypt(struct buf *out, const unsigned char *key, const unsigned char *nonce,
                    const void *plain, size_t length)
{
    static const unsigned char last_record = 2;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    unsigned char *at;
    int used = 0, more = 0, end = 0;

    buf_reserve(out, length + 1 + TAG_BYTES + 1);
    at = (unsigned char *)out->data + out->length;
    if (!ctx || EVP_EncryptInit_ex(ctx, EVP_aes_128_gcm(), NULL, key, nonce) != 1 ||
        EVP_EncryptUpdate(ctx, at, &used, plain, (int)length) != 1 ||
        EVP_EncryptUpdate(ctx, at + used, &more, &last_record, 1) != 1 ||
        EVP_EncryptFinal_ex(ctx, at + used + more, &end) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, at + used + more) != 1)
        panic("AES-128-GCM");
    out->length += (size_t)used + (size_t)more + TAG_BYTES;
    out->data[out->length] = '\0';
    EVP_CIPHER_CTX_free(ctx);
}

static int seal(struct buf *out, const struct webpush_keys *keys, const void *plain, size_t length,
                EVP_PKEY *own, const unsigned char *salt)
{
    static const unsigned char sizes[5] = {0, 0, RECORD_SIZE >> 8, RECORD_SIZE & 0xff,
                                           WEBPUSH_POINT_BYTES};
    unsigned char point[WEBPUSH_POINT_BYTES], secret[32];
    unsigned char key[SHA256_BYTES], nonce[SHA256_BYTES];
    size_t point_bytes = 0;

    if (EVP_PKEY_get_octet_string_param(own, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point,
                                        &point_bytes) != 1 ||
        point_bytes != sizeof point || shared_secret(own, keys->point, secret) != 0)
        return ERR_INVALID;
    derive(keys, point, secret, salt, key, nonce);
    buf_add(out, salt, WEBPUSH_SALT_BYTES);
    buf_add(out, sizes, sizeof sizes);
    buf_add(out, point, sizeof point);
    encrypt(out, key, nonce, plain, length);
    OPENSSL_cleanse(secret, sizeof secret);
    OPENSSL_cleanse(key, sizeof key);
    return 0;
}

int webpush_seal(struct buf *out, const struct webpush_keys *keys, const void *plain, size_t length)
{
    unsigned char salt[WEBPUSH_SALT_BYTES];
    EVP_PKEY *own;
    int err;

    if (length > WEBPUSH_PLAIN_MAX)
        return ERR_TOO_LARGE;
    own = EVP_EC_gen("P-256");
    if (!own)
        panic("EVP_EC_gen");
    random_bytes(salt, sizeof salt);
    err = seal(out, keys, plain, length, own, salt);
    EVP_PKEY_free(own);
    return err;
}

int webpush_seal_with(struct buf *out, const struct webpush_keys *keys, const void *plain,
                      size_t length, const unsigned char scalar[32],
                      const unsigned char salt[WEBPUSH_SALT_BYTES])
{
    struct jose_key *key;
    int err = jose_key_from_scalar(scalar, 32, &key);

    if (err)
        return err;
    err = seal(out, keys, plain, length, jose_key_pkey(key), salt);
    jose_key_free(key);
    return err;
}

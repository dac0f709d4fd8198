/* SPDX-License-Identifier: MIT */
#include "channels/sign.h"
#include "base/log.h"
#include "channels/encode.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

void sha256(const void *bytes, size_t length, unsigned char out[SHA256_BYTES])
{
    if (EVP_Digest(bytes, length, out, NULL, EVP_sha256(), NULL) != 1)
        panic("sha256");
}

void hmac_sha256(const void *key, size_t key_bytes, const void *message, size_t length,
                 unsigned char out[SHA256_BYTES])
{
    if (!HMAC(EVP_sha256(), key, (int)key_bytes, message, length, out, NULL))
        panic("hmac");
}

int webhook_secret_parse(const struct secret *text, struct secret *key)
{
    static const char prefix[] = "whsec_";
    size_t skip = 0;
    struct buf bytes = {0};
    int err;

    if (text->length > sizeof prefix - 1 && memcmp(text->bytes, prefix, sizeof prefix - 1) == 0)
        skip = sizeof prefix - 1;
    err = decode_base64(&bytes, text->bytes + skip, text->length - skip);
    if (!err && (bytes.length < 24 || bytes.length > 64))
        err = ERR_INVALID;
    if (!err)
        secret_set(key, bytes.data, bytes.length);
    if (bytes.data)
        OPENSSL_cleanse(bytes.data, bytes.capacity);
    buf_fini(&bytes);
    return err;
}

void webhook_sign(struct buf *out, const struct secret *key, const char *id, int64_t unix_seconds,
                  const void *body, size_t length)
{
    unsigned char mac[SHA256_BYTES];
    struct buf message = {0};

    buf_add_text(&message, id);
    buf_add_char(&message, '.');
    buf_add_i64(&message, unix_seconds);
    buf_add_char(&message, '.');
    buf_add(&message, body, length);
    hmac_sha256(key->bytes, key->length, message.data, message.length, mac);
    buf_fini(&message);
    buf_add_text(out, out->length ? " v1," : "v1,");
    encode_base64(out, mac, sizeof mac);
}

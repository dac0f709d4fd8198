/* SPDX-License-Identifier: MIT */
/*
 * sign - hashes, HMAC and the Standard Webhooks signature
 *
 * Purity: no I/O, no clock.
 */
#ifndef TOCSIN_CHANNELS_SIGN_H
#define TOCSIN_CHANNELS_SIGN_H
#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"
#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32

void sha256(const void *bytes, size_t length, unsigned char out[SHA256_BYTES]);
void hmac_sha256(const void *key, size_t key_bytes, const void *message, size_t length,
                 unsigned char out[SHA256_BYTES]);

/*
 * Reads "whsec_" + base64 (or the bare base64) into key; ERR_INVALID when it is not that, or
 * not 24 to 64 bytes.
 */
NODISCARD int webhook_secret_parse(const struct secret *text, struct secret *key);
/* Appends "v1,<base64>", with a space before it when out is not empty. */
void webhook_sign(struct buf *out, const struct secret *key, const char *id, int64_t unix_seconds,
                  const void *body, size_t length);

#endif

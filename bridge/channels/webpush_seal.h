/* SPDX-License-Identifier: MIT */
/*
 * webpush_seal - the encryption of Web Push messages (RFC 8291 over RFC 8188)
 *
 * One record of aes128gcm: salt, record size, the sender's public point, ciphertext.  Every
 * message has a fresh key pair and salt; tests pass their own.
 */
#ifndef TOCSIN_CHANNELS_WEBPUSH_SEAL_H
#define TOCSIN_CHANNELS_WEBPUSH_SEAL_H
#include "base/buf.h"
#include "base/err.h"
#include <stddef.h>

#define WEBPUSH_POINT_BYTES 65
#define WEBPUSH_AUTH_BYTES  16
#define WEBPUSH_SALT_BYTES  16
#define WEBPUSH_PLAIN_MAX   3993 /* so that the body is at most 4096 */

struct webpush_keys {
    unsigned char point[WEBPUSH_POINT_BYTES]; /* the browser's public key (p256dh) */
    unsigned char auth[WEBPUSH_AUTH_BYTES];
};

/* From base64url; ERR_INVALID for other lengths.  Whether it is a point shows in sealing. */
NODISCARD int webpush_keys_parse(const char *p256dh, const char *auth, struct webpush_keys *keys);
/*
 * Appends the sealed message.  ERR_TOO_LARGE over WEBPUSH_PLAIN_MAX, ERR_INVALID when the key is
 * not a point of the curve.
 */
NODISCARD int webpush_seal(struct buf *out, const struct webpush_keys *keys, const void *plain,
                           size_t length);
/* The same with a given secret scalar and salt: for the vectors of the RFC only. */
NODISCARD int webpush_seal_with(struct buf *out, const struct webpush_keys *keys, const void *plain,
                                size_t length, const unsigned char scalar[32],
                                const unsigned char salt[WEBPUSH_SALT_BYTES]);

#endif

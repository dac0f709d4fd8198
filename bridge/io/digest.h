/* SPDX-License-Identifier: MIT */
/*
 * digest - SHA-256, and SHA-1 where a protocol wants it, in one call (libcrypto)
 */
#ifndef TOCSIN_IO_DIGEST_H
#define TOCSIN_IO_DIGEST_H
#include <stddef.h>

#define DIGEST_BYTES      32
#define DIGEST_SHA1_BYTES 20

void digest_sha256(const void *bytes, size_t length, unsigned char out[DIGEST_BYTES]);
/* Protects nothing: RFC 6455 4.2.2 asks for it as a sign of having understood. */
void digest_sha1(const void *bytes, size_t length, unsigned char out[DIGEST_SHA1_BYTES]);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * digest - SHA-256 in one call (libcrypto)
 */
#ifndef TOCSIN_IO_DIGEST_H
#define TOCSIN_IO_DIGEST_H
#include <stddef.h>

#define DIGEST_BYTES 32

void digest_sha256(const void *bytes, size_t length, unsigned char out[DIGEST_BYTES]);

#endif

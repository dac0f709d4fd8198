/* SPDX-License-Identifier: MIT */
#include "io/digest.h"

#include <openssl/sha.h>

void digest_sha256(const void *bytes, size_t length, unsigned char out[DIGEST_BYTES])
{
    SHA256(bytes, length, out);
}

void digest_sha1(const void *bytes, size_t length, unsigned char out[DIGEST_SHA1_BYTES])
{
    SHA1(bytes, length, out);
}

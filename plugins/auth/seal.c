/* SPDX-License-Identifier: MIT */
#include "seal.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <stdio.h>
#include <string.h>

int seal_init(unsigned char key[SEAL_KEY_SIZE])
{
    return RAND_bytes(key, SEAL_KEY_SIZE) == 1 ? 0 : -1;
}

static int mac_of(const unsigned char *key, const char *text, size_t len, char hex[SEAL_HEX + 1])
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_len;

    if (!HMAC(EVP_sha256(), key, SEAL_KEY_SIZE, (const unsigned char *)text, len, mac, &mac_len))
        return -1;
    for (int i = 0; i < SEAL_HEX / 2; i++)
        snprintf(hex + 2 * i, 3, "%02x", mac[i]);
    return 0;
}

int seal_name(const unsigned char key[SEAL_KEY_SIZE], const char *name, char out[SEAL_NAME_SIZE])
{
    size_t len = strlen(name);

    if (len == 0 || len >= PRINCIPAL_NAME_SIZE)
        return -1;
    memcpy(out, name, len);
    out[0] = PRINCIPAL_SEALED;
    out[len] = ':';
    return mac_of(key, out, len, out + len + 1);
}

bool seal_holds(const unsigned char key[SEAL_KEY_SIZE], const char *sealed)
{
    char hex[SEAL_HEX + 1];
    size_t len = strlen(sealed);

    if (len < SEAL_HEX + 2 || len >= SEAL_NAME_SIZE || sealed[0] != PRINCIPAL_SEALED ||
        sealed[len - SEAL_HEX - 1] != ':' || mac_of(key, sealed, len - SEAL_HEX - 1, hex) != 0)
        return false;
    return CRYPTO_memcmp(hex, sealed + len - SEAL_HEX, SEAL_HEX) == 0;
}

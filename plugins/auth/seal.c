/* SPDX-License-Identifier: MIT */
#include "seal.h"

#include "sip.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <stdint.h>
#include <string.h>

enum { MAC_SIZE = SEAL_HEX / 2 };

int seal_init(unsigned char key[SEAL_KEY_SIZE])
{
    return RAND_bytes(key, SEAL_KEY_SIZE) == 1 ? 0 : -1;
}

int seal_derive(unsigned char key[SEAL_KEY_SIZE], const void *secret, size_t len)
{
    static const char label[] = "tocsin: names of sessions, 1";
    unsigned char mac[EVP_MAX_MD_SIZE];

    if (len > INT32_MAX || !HMAC(EVP_sha256(), secret, (int)len, (const unsigned char *)label,
                                 sizeof(label) - 1, mac, NULL))
        return -1;
    memcpy(key, mac, SEAL_KEY_SIZE);
    OPENSSL_cleanse(mac, sizeof(mac));
    return 0;
}

static uint64_t load(const unsigned char *at)
{
    uint64_t word = 0;

    for (int i = 7; i >= 0; i--)
        word = word << 8 | at[i];
    return word;
}

/* SipHash-2-4 with 128 bits of output (Aumasson and Bernstein). */
static void mac_of(const unsigned char *key, const char *text, size_t len,
                   unsigned char out[MAC_SIZE])
{
    uint64_t k0 = load(key), k1 = load(key + 8);
    uint64_t v[4] = {k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d ^ 0xee,
                     k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573};
    unsigned char last[8] = {0};
    size_t at = 0;

    for (; len - at >= 8; at += 8) {
        uint64_t word = load((const unsigned char *)text + at);
        v[3] ^= word;
        sip_rounds(v, 2);
        v[0] ^= word;
    }
    memcpy(last, text + at, len - at);
    last[7] = (unsigned char)len;
    v[3] ^= load(last);
    sip_rounds(v, 2);
    v[0] ^= load(last);
    v[2] ^= 0xee;
    sip_rounds(v, 4);
    uint64_t low = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    sip_rounds(v, 4);
    uint64_t high = v[0] ^ v[1] ^ v[2] ^ v[3];
    for (int i = 0; i < 8; i++) {
        out[i] = (unsigned char)(low >> 8 * i);
        out[8 + i] = (unsigned char)(high >> 8 * i);
    }
}

static void hex_of(const unsigned char *key, const char *text, size_t len, char hex[SEAL_HEX])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char mac[MAC_SIZE];

    mac_of(key, text, len, mac);
    for (int i = 0; i < MAC_SIZE; i++) {
        hex[2 * i] = digits[mac[i] >> 4];
        hex[2 * i + 1] = digits[mac[i] & 15];
    }
}

int seal_name(const unsigned char key[SEAL_KEY_SIZE], const char *name, char mark,
              char out[SEAL_NAME_SIZE])
{
    size_t len = strlen(name);

    if (len == 0 || len >= PRINCIPAL_NAME_SIZE)
        return -1;
    memcpy(out, name, len);
    out[0] = mark;
    out[len] = ':';
    hex_of(key, out, len, out + len + 1);
    out[len + 1 + SEAL_HEX] = '\0';
    return 0;
}

bool seal_holds(const unsigned char key[SEAL_KEY_SIZE], const char *sealed)
{
    char hex[SEAL_HEX];
    size_t len = sealed ? strlen(sealed) : 0;

    if (len < SEAL_HEX + 2 || len >= SEAL_NAME_SIZE ||
        (sealed[0] != PRINCIPAL_MARK && sealed[0] != PRINCIPAL_SEALED) ||
        sealed[len - SEAL_HEX - 1] != ':')
        return false;
    hex_of(key, sealed, len - SEAL_HEX - 1, hex);
    return CRYPTO_memcmp(hex, sealed + len - SEAL_HEX, SEAL_HEX) == 0;
}

bool seal_open(const unsigned char key[SEAL_KEY_SIZE], const char *sealed, struct principal *out)
{
    return seal_holds(key, sealed) && principal_parse(sealed, out);
}

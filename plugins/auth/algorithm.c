/* SPDX-License-Identifier: MIT */
#include "algorithm.h"

#include <string.h>

const struct algorithm algorithms[ALGORITHM_COUNT] = {
    {"HS256", KEY_HMAC, "SHA256", 0, 1, 32},  {"HS384", KEY_HMAC, "SHA384", 0, 0, 48},
    {"HS512", KEY_HMAC, "SHA512", 0, 0, 64},  {"RS256", KEY_RSA, "SHA256", 0, 1, 0},
    {"RS384", KEY_RSA, "SHA384", 0, 0, 0},    {"RS512", KEY_RSA, "SHA512", 0, 0, 0},
    {"PS256", KEY_RSA, "SHA256", 1, 0, 0},    {"PS384", KEY_RSA, "SHA384", 1, 0, 0},
    {"PS512", KEY_RSA, "SHA512", 1, 0, 0},    {"ES256", KEY_P256, "SHA256", 0, 1, 64},
    {"ES384", KEY_P384, "SHA384", 0, 1, 96},  {"EdDSA", KEY_ED25519, NULL, 0, 1, 64},
    {"Ed25519", KEY_ED25519, NULL, 0, 1, 64}, /* RFC 9864's name for the same */
};

const struct algorithm *algorithm_find(const char *name)
{
    for (size_t i = 0; i < ALGORITHM_COUNT; i++)
        if (strcmp(algorithms[i].name, name) == 0)
            return &algorithms[i];
    return NULL;
}

unsigned algorithm_bit(const struct algorithm *alg)
{
    return 1u << (alg - algorithms);
}

unsigned algorithm_set(enum key_type type, int only_default)
{
    unsigned set = 0;

    for (size_t i = 0; i < ALGORITHM_COUNT; i++)
        if (algorithms[i].type == type && (algorithms[i].is_default || !only_default))
            set |= 1u << i;
    return set;
}

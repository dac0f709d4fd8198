/* SPDX-License-Identifier: MIT */
/* Any bytes as a JWKS file: refused with a sentence, or a set that can be used and freed. */
#include "key.h"

#include <openssl/err.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char label[] = "";
    unsigned all = (1u << ALGORITHM_COUNT) - 1;
    struct issuer issuers[2] = {{.label = label}, {.label = label, .algorithms = all}};

    for (int i = 0; i < 2; i++) {
        char err[FILE_ERROR_SIZE] = "";
        unsigned char sig[256] = {1};
        struct keys *keys = calloc(1, sizeof(*keys));
        const struct key *key;
        size_t at = 0;

        if (!keys)
            return 0;
        int rc = jwks_parse(keys, &issuers[i], (const char *)data, size, err);
        if ((rc == 0) != (err[0] == '\0') || (rc == 0 && keys_count(keys) == 0))
            abort();
        ERR_clear_error(); /* as keys_load() does */
        while ((key = keys_next(keys, NULL, &at)))
            for (size_t a = 0; a < ALGORITHM_COUNT; a++) {
                size_t len = algorithms[a].signature_len;
                if (key_verify(key, &algorithms[a], "x", 1, sig, len ? len : 256) ||
                    ERR_peek_error() != 0)
                    abort();
            }
        keys_free(keys);
    }
    return 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * Any plugin_opt_ lines, "key value" each: refused with a sentence, or options that could
 * protect - an issuer with a key to verify with, and no limit below zero.
 */
#include "options.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct options *opt)
{
    if (opt->issuer_count == 0 || opt->issuer_count > OPTIONS_ISSUERS_MAX ||
        opt->max_token_bytes <= 0 || opt->cache_entries < 0)
        abort();
    for (size_t i = 0; i < opt->issuer_count; i++) {
        const struct issuer *iss = &opt->issuers[i];

        if (!iss->issuer || !iss->audiences.count || iss->leeway_s < 0 ||
            (!iss->secret_file && !iss->jwks_file && !iss->pem_files.count))
            abort();
    }
}

static void refuse(const char err[FILE_ERROR_SIZE])
{
    if (!memchr(err, '\0', FILE_ERROR_SIZE) || *err == '\0')
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size), *rest = text, *line;
    struct options *opt = options_new();
    char err[FILE_ERROR_SIZE] = "";
    int failed = 0;

    if (!text || !opt)
        abort();
    while (!failed && (line = strsep(&rest, "\n"))) {
        char *value = line;
        const char *key = strsep(&value, " ");

        failed = *line ? options_set(opt, key, value ? value : "", err) : 0;
    }
    if (!failed)
        failed = options_finish(opt, err);
    if (failed)
        refuse(err);
    else
        check(opt);
    options_free(opt);
    free(text);
    return 0;
}

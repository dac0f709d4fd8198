/* SPDX-License-Identifier: MIT */
#include "key.h"

#include <stdio.h>
#include <string.h>

/* The sentence so far, with the path in front of it. */
static void name_path(const char *path, char *err)
{
    char why[FILE_ERROR_SIZE];

    snprintf(why, sizeof(why), "%s", err);
    snprintf(err, FILE_ERROR_SIZE, "%.200s: %.290s", path, why);
}

static int set_kid(struct key *key, const char *kid)
{
    if (!kid)
        return 0;
    if (strlen(kid) > KEYS_KID_MAX)
        return -1;
    memcpy(key->kid, kid, strlen(kid) + 1);
    return 0;
}

int keyfile_secret(struct keys *keys, const struct issuer *iss, char err[FILE_ERROR_SIZE])
{
    struct key key = {.issuer = iss, .type = KEY_HMAC};
    size_t len;
    char *text = file_read(iss->secret_file, KEYS_FILE_MAX, true, &len, err);

    if (!text)
        return -1;
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        len--;
    key.secret = (unsigned char *)text;
    key.secret_len = len;
    if (set_kid(&key, iss->key_id) != 0) {
        file_wipe(text, len);
        snprintf(err, FILE_ERROR_SIZE, "key_id is longer than %d bytes", KEYS_KID_MAX);
        return -1;
    }
    if (keys_add(keys, &key, err) == 0)
        return 0;
    name_path(iss->secret_file, err);
    return -1;
}

int keyfile_pem(struct keys *keys, const struct issuer *iss, const char *path,
                char err[FILE_ERROR_SIZE])
{
    (void)keys, (void)iss;
    snprintf(err, FILE_ERROR_SIZE, "%s: not built yet", path);
    return -1;
}

int keyfile_jwks(struct keys *keys, const struct issuer *iss, char err[FILE_ERROR_SIZE])
{
    (void)keys;
    snprintf(err, FILE_ERROR_SIZE, "%s: not built yet", iss->jwks_file);
    return -1;
}

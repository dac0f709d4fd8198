/* SPDX-License-Identifier: MIT */
#include "token.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define TOKEN_TTL_S 86400

int token_secret_load(struct token_secret *s, const char *path)
{
    FILE *f = fopen(path, "rb");

    if (!f) {
        fprintf(stderr, "load: cannot read the secret file\n");
        return -1;
    }
    s->len = fread(s->bytes, 1, sizeof(s->bytes), f);
    fclose(f);
    while (s->len && (s->bytes[s->len - 1] == '\n' || s->bytes[s->len - 1] == '\r'))
        s->len--;
    if (!s->len) {
        fprintf(stderr, "load: the secret file is empty\n");
        return -1;
    }
    return 0;
}

/* Base64url without padding; returns the characters written. */
static size_t base64url(char *out, const unsigned char *in, size_t n)
{
    int len = EVP_EncodeBlock((unsigned char *)out, in, (int)n);

    while (len > 0 && out[len - 1] == '=')
        len--;
    for (int i = 0; i < len; i++) {
        if (out[i] == '+')
            out[i] = '-';
        else if (out[i] == '/')
            out[i] = '_';
    }
    out[len] = 0;
    return (size_t)len;
}

int token_mint(const struct token_secret *s, const char *kind, const char *sub, char out[TOKEN_MAX])
{
    static const char head[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_len = 0;
    char claims[256];
    long now = (long)time(NULL);
    int n = snprintf(claims, sizeof(claims),
                     "{\"iss\":\"tocsin\",\"aud\":\"tocsin-mqtt\",\"sub\":\"%s\",\"kind\":\"%s\","
                     "\"roles\":[],\"iat\":%ld,\"exp\":%ld,\"jti\":\"bench-%s-%s\"}",
                     sub, kind, now, now + TOKEN_TTL_S, kind, sub);

    if (n < 0 || (size_t)n >= sizeof(claims)) {
        fprintf(stderr, "load: a principal's name is too long\n");
        return -1;
    }
    size_t at = base64url(out, (const unsigned char *)head, sizeof(head) - 1);
    out[at++] = '.';
    at += base64url(out + at, (const unsigned char *)claims, (size_t)n);
    if (!HMAC(EVP_sha256(), s->bytes, (int)s->len, (const unsigned char *)out, at, mac, &mac_len))
        return -1;
    out[at++] = '.';
    base64url(out + at, mac, mac_len);
    return 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * Two ways in.  The input as a token: must never be accepted, for it cannot
 * know the secret.  And the input as "header '\n' payload", signed here with
 * the right secret, so that everything behind the signature is reached: what
 * is accepted must be a principal with an end.
 */
#include "token.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char secret[] = "0123456789abcdef0123456789abcdef";
enum { INPUT_MAX = 6000 };
static const int64_t now_s = 1800000000;

static struct keys *make_keys(void)
{
    static const char *const lines[][2] = {{"issuer", "iss"},
                                           {"audience", "aud"},
                                           {"default_kind", "user"},
                                           {"admin_when", "/a/b=admin"},
                                           {"service_when", "scope=svc"},
                                           {"roles_claim", "/realm_access/roles"},
                                           {"roles_prefix", "t-"}};
    char path[] = "/tmp/fuzz_auth_token.XXXXXX", err[FILE_ERROR_SIZE];
    struct options *opt = options_new(); /* lives as long as the process, as the keys do */
    int fd = mkstemp(path);

    if (fd < 0 || !opt || write(fd, secret, strlen(secret)) < 0)
        abort();
    close(fd);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        if (options_set(opt, lines[i][0], lines[i][1], err) != 0)
            abort();
    if (options_set(opt, "secret_file", path, err) != 0 || options_finish(opt, err) != 0)
        abort();
    struct keys *keys = keys_load(opt, err);
    unlink(path);
    if (!keys)
        abort();
    return keys;
}

static size_t encode(const uint8_t *raw, size_t len, char *out)
{
    int size = EVP_EncodeBlock((unsigned char *)out, raw, (int)len);

    while (size > 0 && out[size - 1] == '=')
        size--;
    for (int i = 0; i < size; i++)
        out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
    return (size_t)size;
}

static void check_signed(const struct keys *keys, const uint8_t *data, size_t size)
{
    static char text[INPUT_MAX * 2];
    const uint8_t *line = memchr(data, '\n', size);
    size_t header_len = line ? (size_t)(line - data) : 0;
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_len;
    struct token tok;
    struct principal p;

    if (!line)
        return;
    size_t len = encode(data, header_len, text);
    text[len++] = '.';
    len += encode(line + 1, size - header_len - 1, text + len);
    HMAC(EVP_sha256(), secret, (int)strlen(secret), (unsigned char *)text, len, mac, &mac_len);
    text[len++] = '.';
    len += encode(mac, mac_len, text + len);
    if (token_verify(keys, text, len, 8192, now_s, &tok) == REFUSAL_NONE &&
        (!principal_parse(tok.name, &p) || tok.expires_s <= now_s || memchr(p.id, '/', p.id_len) ||
         strlen(tok.name) >= PRINCIPAL_NAME_SIZE))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct keys *keys;
    struct token tok;

    if (!keys)
        keys = make_keys();
    if (size > INPUT_MAX)
        return 0;
    if (token_verify(keys, (const char *)data, size, 8192, now_s, &tok) == REFUSAL_NONE)
        abort();
    check_signed(keys, data, size);
    return 0;
}
